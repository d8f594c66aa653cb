"""The headers of many image files: sizes and orientations, without decoding."""

from __future__ import annotations

from collections.abc import Sequence

from regionspot_core.errors import ImageError
from regionspot_core.imaging.images import ImageHeader
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.prefetch import in_batches, map_ahead
from regionspot_core.support.progress import progress_line

THREADS = 8
FILES_A_TASK = 64
NO_SIZE: Size = (0, 0)
"""Size of an image that cannot be read."""


def read_headers(images: ImageSource, names: Sequence[str]) -> list[ImageHeader | ImageError]:
    """Return each file's header, or why it cannot be read."""

    def read(name: str) -> ImageHeader | ImageError:
        try:
            return images.header(name)
        except ImageError as error:
            return error

    found: list[ImageHeader | ImageError] = []
    with progress_line("headers", total=len(names), unit="images") as advance:
        batches = in_batches(names, FILES_A_TASK)
        for batch in map_ahead(lambda b: list(map(read, b)), batches, workers=THREADS):
            found += batch
            advance(len(batch))
    return found


def read_sizes(images: ImageSource, names: Sequence[str]) -> list[Size]:
    """Return height and width of each file as its pixels are stored; 0, 0 if unreadable."""
    headers = read_headers(images, names)
    return [each.size if isinstance(each, ImageHeader) else NO_SIZE for each in headers]
