"""Images wherever they lie: a folder, a zip, or tar shards, read without unpacking."""

from __future__ import annotations

from regionspot_core.imaging.sources.opening import holds_images as holds_images
from regionspot_core.imaging.sources.opening import open_images as open_images
from regionspot_core.imaging.sources.source import ImageSource as ImageSource
