"""Images in a folder and the folders below it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from regionspot_core.imaging.sources.source import ImageSource, is_image_name
from regionspot_core.support.input_files import open_input


class FolderImages(ImageSource):
    """A folder of images."""

    def names(self) -> Sequence[str]:
        """Return the names of the files that end as images do, sorted; links are followed."""
        found, seen = [], set()
        for folder, below, files in os.walk(self.location, followlinks=True):
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in seen:  # links in a circle
                below.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            prefix = Path(folder).relative_to(self.location)
            found += [(prefix / name).as_posix() for name in files if is_image_name(name)]
        return sorted(found)

    def contains(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return os.path.isfile(self.location / name)  # noqa: PTH113 - Path.is_file raises where a name is too long

    def place(self, name: str) -> Path:
        """Return where a file is, or would be."""
        return self.location / name

    def file_bytes(self, name: str) -> int | None:
        """Return the size of a file in bytes; None where there is none."""
        try:
            return self.place(name).stat().st_size
        except OSError:
            return None

    def _open(self, name: str, *, most_bytes: int) -> BinaryIO:
        return open_input(self.place(name))
