"""Bounds of an image's size that settings name."""

MAX_PIXELS = 100_000_000
"""Largest number of pixels of an image, unless a larger bound is asked for: 300 MB as RGB. A few
kilobytes of PNG can stand for gigabytes of pixels."""
MOST_PIXELS = 10**10
"""Largest bound that can be asked for: 30 GB as RGB."""
