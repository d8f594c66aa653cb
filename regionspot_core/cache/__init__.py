"""The feature cache: a plain Zarr v3 group of SAM and CLIP tokens.

See docs/cache.md for the format.
"""
