"""Decoding image files to RGB pixels."""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from regionspot_core.errors import ImageError
from regionspot_core.imaging.limits import MAX_PIXELS
from regionspot_core.imaging.transforms import RGBImage, Size
from regionspot_core.support.error_text import one_line
from regionspot_core.support.input_files import open_input

OpenFile = Callable[[], BinaryIO]
"""Function that opens a file to read its bytes from any place in it."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transpositions that show a picture upright, by EXIF orientation (EXIF 2.32, tag 0x0112)."""


class ImageHeader(NamedTuple):
    """Facts of an image that are known before it is decoded."""

    size: Size
    """Height, width of the pixels as they are stored."""
    orientation: int
    """EXIF's, 1 to 8; 1 where the file has none."""

    def turned(self) -> Size:
        """Return height, width of the picture as viewers show it."""
        return self.size[::-1] if self.orientation >= 5 else self.size

    def is_ambiguous(self, annotated: Size | None) -> bool:
        """Return whether an annotated size fits the picture both as stored and as viewers show it.

        Then nobody can tell which of them was annotated. None, no size, fits both.
        """
        fits_both = self.size == annotated == self.turned()
        return self.orientation != 1 and (annotated is None or fits_both)


OnHeader = Callable[[ImageHeader], None]
"""Function that is told of an image's header."""


def read_header(image: Image.Image) -> ImageHeader:
    """Return the header of an image that is open."""
    # Pillow would decode a PNG to look for a field behind its pixels.
    has_field = image.format != "PNG" or "exif" in image.info
    return ImageHeader((image.height, image.width), _orientation(image) if has_field else 1)


def read_image(path: Path, *, size: Size | None = None, max_pixels: int = MAX_PIXELS) -> RGBImage:
    """Decode the image file ``path`` to uint8 (H, W, 3) RGB; see :func:`decode_image`.

    Raises:
        ImageError: As there.
    """
    return decode_image(lambda: open_input(path), path, size=size, max_pixels=max_pixels)


def decode_image(
    open_file: OpenFile,
    place: Path,
    *,
    size: Size | None = None,
    max_pixels: int = MAX_PIXELS,
    on_header: OnHeader | None = None,
) -> RGBImage:
    """Decode an image file to uint8 (H, W, 3) RGB.

    With a ``size`` (height, width), pixels are taken as stored, as COCO's and LVIS's annotations
    count them; where it fits only the picture turned by its EXIF orientation, it is turned. Without
    one the picture is turned as viewers show it. An image of more than ``max_pixels`` is refused
    before it is decoded.

    Args:
        open_file: Opens the file.
        place: Where it is, for messages, which begin with it.
        size: Annotated height and width.
        max_pixels: The largest number of pixels.
        on_header: Told of the header of an image that is decoded.

    Raises:
        ImageError: The file is missing, truncated, no regular file, not an image of 8 or 16 bits,
            too large, or not of the annotated size.
    """
    with opened_image(open_file, place) as file:
        if size is not None and size not in ((file.height, file.width), (file.width, file.height)):
            raise _other_size((file.height, file.width), size)
        if file.width * file.height > max_pixels:
            raise ImageError(
                f"{file.width:,} × {file.height:,} pixels are more than --max-pixels "
                f"{max_pixels:,}; give a larger one, or make the image smaller"
            )
        file.load()
        image = _to_rgb(file)
        header = ImageHeader((file.height, file.width), _orientation(file))
        if on_header is not None:
            on_header(header)
        if header.size != size:
            turn = _TURNS.get(header.orientation)
            image = image if turn is None else image.transpose(turn)
        if size not in (None, (image.height, image.width)):
            raise _other_size((image.height, image.width), size)
        return np.asarray(image)


@contextmanager
def opened_image(open_file: OpenFile, place: Path) -> Iterator[Image.Image]:
    """Open an image file: its size is known, its pixels are not decoded yet.

    What goes wrong inside is raised as an :class:`ImageError` that begins with the place.

    Raises:
        ImageError: The file is missing, no regular file, empty, or no image of a known format.
    """
    try:
        with open_file() as raw, _PILLOW_QUIET:
            if not raw.seek(0, os.SEEK_END):
                raise ImageError("expected an image, got an empty file")
            raw.seek(0)
            with Image.open(raw) as image:
                if image.format == "EPS":  # Pillow would have Ghostscript run it: it is a program
                    raise ImageError("expected an image of pixels, got PostScript")
                yield image
    except ImageError as error:
        raise ImageError(f"{place}: {error}") from None
    except FileNotFoundError:
        raise ImageError(f"{place}: no such image file") from None
    except IsADirectoryError:
        raise ImageError(f"{place}: expected an image, got a folder") from None
    except UnidentifiedImageError:
        raise ImageError(f"{place}: the image cannot be decoded (no known format)") from None
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise ImageError(f"{place}: the image cannot be decoded ({reason})") from None
    except MemoryError:
        raise ImageError(f"{place}: the image cannot be decoded (memory ran out)") from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        raise ImageError(f"{place}: the image cannot be decoded ({one_line(error)})") from None


def _other_size(found: Size, annotated: Size | None) -> ImageError:
    assert annotated is not None
    return ImageError(
        f"the image is {found[1]} × {found[0]} pixels, its annotation says "
        f"{annotated[1]} × {annotated[0]}"
    )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where none can be read."""
    # Only this field is looked at: a picture whose other fields are broken is a picture.
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as above
        return 1
    return value if isinstance(value, int) else 1


class _PillowQuiet:
    """Switch that keeps Pillow's own bound on pixels and its warnings off in a thread.

    The bound is ours to set, and what is wrong with an image is said where it is read. Pillow knows
    both for the whole process only: they are put back when the last thread leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._bound: int | None = None
        self._filter = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                # Not catch_warnings, which puts a list back that other threads may have changed.
                _filters().insert(0, self._filter)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                Image.MAX_IMAGE_PIXELS = self._bound
                with suppress(ValueError):
                    _filters().remove(self._filter)


def _filters() -> Any:  # noqa: ANN401 - a list, which its stub calls a sequence
    return warnings.filters


_PILLOW_QUIET = _PillowQuiet()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ImageError("expected 8 or 16 bits a channel, got 32; convert the image")
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        # Pillow would clip 16-bit values at 255; keep the upper byte instead. A 16-bit PNG is "I".
        wide = np.clip(np.asarray(image), 0, 65535)
        image = Image.fromarray((wide >> 8).astype(np.uint8))
    if image.mode == "P":
        # By way of RGBA, or Pillow warns of transparent colours.
        image = image.convert("RGBA")
    return image.convert("RGB")
