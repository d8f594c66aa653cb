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
    """Return each file's header, or why it cannot be read; those that are kept are not read."""

    def read(name: str) -> tuple[str, ImageHeader | ImageError]:
        try:
            return name, images.header(name)
        except ImageError as error:
            return name, error

    found = {} if images.kept_headers is None else images.kept_headers
    unread = [name for name in names if name not in found]
    if unread:
        with progress_line("headers", total=len(unread), unit="images") as advance:
            batches = in_batches(unread, FILES_A_TASK)
            for batch in map_ahead(lambda b: list(map(read, b)), batches, workers=THREADS):
                found.update(batch)
                advance(len(batch))
    return [found[name] for name in names]


def read_sizes(images: ImageSource, names: Sequence[str]) -> list[Size]:
    """Return height and width of each file as its pixels are stored; 0, 0 if unreadable."""
    headers = read_headers(images, names)
    return [each.size if isinstance(each, ImageHeader) else NO_SIZE for each in headers]
