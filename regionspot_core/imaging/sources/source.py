"""What every place of images can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from posixpath import splitext
from typing import BinaryIO

from regionspot_core.errors import ImageError, InputError
from regionspot_core.imaging.images import (
    ImageHeader,
    OnHeader,
    decode_image,
    opened_image,
    read_header,
)
from regionspot_core.imaging.limits import MAX_PIXELS
from regionspot_core.imaging.transforms import RGBImage, Size
from regionspot_core.support.terminal import printable

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"}
    | {".ppm", ".tif", ".tiff", ".webp"}
)
"""Endings of image files, in lower case."""
BYTES_A_PIXEL = 8
"""Bytes of a pixel at most: four channels of 16 bits, not compressed."""
BYTES_BESIDE_PIXELS = 1 << 24
"""Bytes of a file at most beside its pixels: colour profiles, previews, EXIF."""


def is_image_name(name: str) -> bool:
    """Return whether a name ends as image files do, and is no remnant of macOS (``._a.jpg``)."""
    file = name.rpartition("/")[2]
    return splitext(file)[1].lower() in SUFFIXES and not file.startswith("._")


class ImageSource(ABC):
    """A place of images, which are named by their paths in it, with ``/``.

    Any number of threads may read at once. Nothing is held open between two reads, so that a source
    serves in a forked process too, and can be pickled for a spawned one.
    """

    def __init__(self, location: Path) -> None:
        self.location = location
        self.kept_headers: dict[str, ImageHeader | ImageError] | None = None
        """Headers by name, for whoever reads them twice; None: they are not kept."""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Return the names of the files that end as images do, sorted."""

    @abstractmethod
    def contains(self, name: str) -> bool:
        """Return whether there is a file of this name."""

    @abstractmethod
    def place(self, name: str) -> Path:
        """Return where a file is, or would be: what messages about it begin with."""

    @abstractmethod
    def file_bytes(self, name: str) -> int | None:
        """Return the size of a file in bytes, not compressed; None where there is none."""

    @abstractmethod
    def _open(self, name: str, *, most_bytes: int) -> BinaryIO:
        """Open a file, for its caller to close.

        Raises:
            FileNotFoundError: There is no such file.
            OSError: It cannot be read; ``strerror`` says why.
            ImageError: It is damaged, or has more than ``most_bytes`` where all are read at once.
        """

    def read(
        self,
        name: str,
        *,
        size: Size | None = None,
        max_pixels: int = MAX_PIXELS,
        on_header: OnHeader | None = None,
    ) -> RGBImage:
        """Decode an image to uint8 (H, W, 3) RGB, as ``decode_image`` of `imaging/images.py` does.

        Raises:
            ImageError: The file is missing, damaged, not an image of 8 or 16 bits, too large, or
                not of the annotated size.
        """
        most_bytes = BYTES_A_PIXEL * max_pixels + BYTES_BESIDE_PIXELS
        return decode_image(
            lambda: self._open(name, most_bytes=most_bytes),
            self.place(name),
            size=size,
            max_pixels=max_pixels,
            on_header=on_header,
        )

    def content(self, name: str, *, most_bytes: int) -> bytes:
        """Return a file as it is.

        Raises:
            ImageError: The file is missing, damaged, or of more than ``most_bytes``.
        """
        try:
            with self._open(name, most_bytes=most_bytes) as file:
                content = file.read(most_bytes + 1)
        except ImageError as error:
            raise ImageError(f"{self.place(name)}: {error}") from None
        except OSError as error:
            reason = error.strerror or "no such image file"
            raise ImageError(f"{self.place(name)}: it cannot be read ({reason})") from None
        if len(content) > most_bytes:
            raise ImageError(f"{self.place(name)}: expected at most {most_bytes:,} bytes, got more")
        return content

    def size(self, name: str) -> Size:
        """Return an image's height and width as its pixels are stored, from the file's header.

        Raises:
            ImageError: The file is missing, or no image of a known format.
        """
        return self.header(name).size

    def header(self, name: str) -> ImageHeader:
        """Return what an image's header says; its pixels are not decoded.

        Raises:
            ImageError: The file is missing, or no image of a known format.
        """
        most_bytes = BYTES_A_PIXEL * MAX_PIXELS + BYTES_BESIDE_PIXELS
        with opened_image(
            lambda: self._open(name, most_bytes=most_bytes), self.place(name)
        ) as file:
            return read_header(file)

    def reason(self, name: str, error: ImageError) -> str:
        """Return why an image could not be read, without its place.

        The place may move between a run and its resumption: records keep it out.
        """
        return printable(str(error).removeprefix(f"{self.place(name)}: "))

    def require(self, names: Iterable[str]) -> None:
        """Refuse a place that holds none of a data set's images: surely the wrong one.

        Raises:
            InputError: None of the files is there.
        """
        listed = list(names)
        if listed and not any(map(self.contains, listed)):
            raise InputError(
                f"--images {self.location}: none of the {len(listed):,} annotated images is there "
                f"({listed[0]}, …); give the folder or archive that the file names start from"
            )
