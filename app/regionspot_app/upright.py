"""Copies of pictures whose pixels lie as viewers show them, without an EXIF orientation."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

from regionspot_core.imaging.images import ImageHeader, decode_image, opened_image, read_header
from regionspot_core.imaging.transforms import Size

PLACE = Path("picture")
"""Name of a picture in messages."""


def shown_size(content: bytes) -> Size:
    """Return (height, width) of a picture as viewers show it.

    Args:
        content: The picture's file.

    Raises:
        ImageError: If it cannot be decoded.
    """
    return _header(content).turned()


def has_ambiguous_orientation(content: bytes, size: Size) -> bool:
    """Return whether readers of annotations would take a picture's pixels as stored.

    The app's regions are of the picture as viewers show it. Readers of annotations turn it only
    where the annotated size does not fit the pixels as stored: a mirrored or a square one is not
    turned.

    Args:
        content: The picture's file.
        size: (height, width) of the picture as viewers show it.

    Raises:
        ImageError: If it cannot be decoded.
    """
    return _header(content).is_ambiguous(size)


def upright_png(content: bytes, size: Size) -> bytes:
    """Return a picture as viewers show it as a PNG file, which loses nothing more of its pixels.

    Args:
        content: The picture's file.
        size: (height, width) of the picture as viewers show it.

    Raises:
        ImageError: If it cannot be decoded.
    """
    pixels = decode_image(lambda: BytesIO(content), PLACE, max_pixels=size[0] * size[1])
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def _header(content: bytes) -> ImageHeader:
    with opened_image(lambda: BytesIO(content), PLACE) as image:
        if image.format == "PNG" and b"eXIf" in content:
            image.load()  # the field may stand behind the pixels
        return read_header(image)
