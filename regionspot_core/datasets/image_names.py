"""Images by the names of their files, for results that name images so instead of by their ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray


class ImageNames:
    """The images of a data set by file name.

    A name means the image with that path; or the only one with that file name; or the only one
    with that file name but for its ending: ``a`` of ``val/a.png``.

    Args:
        image_id: (I,)
        image_file: I paths, with ``/`` between folders; empty texts where there is none.
    """

    def __init__(self, image_id: NDArray[np.int64], image_file: Sequence[str]) -> None:
        self._ids, self._files = image_id, image_file

    def find(self, name: str) -> int | None:
        """Return the id of the image that a name means; None if there is none, or several."""
        name = name.replace("\\", "/")
        for index in self._indices:
            if name in index:
                return index[name]
        return None

    @cached_property
    def _indices(self) -> tuple[dict[str, int | None], ...]:
        """Return ids by path, by file name and by stem; None of a name that several have."""
        paths = [PurePosixPath(file) for file in self._files]
        return (
            self._by(self._files),
            self._by(path.name for path in paths),
            self._by(path.stem for path in paths),
        )

    def _by(self, names: Iterable[str]) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for name, image in zip(names, self._ids.tolist(), strict=True):
            if name:
                found[name] = None if name in found else image
        return found
