"""The sizes of many image files, without decoding them."""

from __future__ import annotations

from collections.abc import Sequence

from regionspot_core.errors import ImageError
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.prefetch import in_batches, map_ahead
from regionspot_core.support.progress import progress_line

THREADS = 8
FILES_A_TASK = 64
NOT_READABLE: Size = (0, 0)


def read_sizes(images: ImageSource, names: Sequence[str]) -> list[Size]:
    """Return height and width of each file as its pixels are stored; 0, 0 if unreadable."""

    def sizes(batch: list[str]) -> list[Size]:
        return [_size(images, name) for name in batch]

    found: list[Size] = []
    with progress_line("sizes", total=len(names), unit="images") as advance:
        for batch in map_ahead(sizes, in_batches(names, FILES_A_TASK), workers=THREADS):
            found += batch
            advance(len(batch))
    return found


def _size(images: ImageSource, name: str) -> Size:
    try:
        return images.size(name)
    except ImageError:
        return NOT_READABLE
