"""The files of the small arrays, which the plan decides: a chunk's values and their crc32c."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

CHUNK = "/c/"
"""Between an array's name and the place of a chunk in its grid, in a file's key."""


@dataclass(frozen=True)
class SmallArray:
    """A small array, cut along axis 0 into one file a chunk."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunk_rows: int
    fill: float
    """What the last chunk is padded with."""

    @classmethod
    def from_metadata(cls, name: str, content: bytes) -> SmallArray:
        """From the array's ``zarr.json``."""
        values = json.loads(content)
        return cls(
            name=name,
            dtype=np.dtype(values["data_type"]).newbyteorder("<"),
            shape=tuple(values["shape"]),
            chunk_rows=values["chunk_grid"]["configuration"]["chunk_shape"][0],
            fill=values["fill_value"],
        )

    def rows(self, key: str) -> slice:
        """The rows that the file at a key holds."""
        start = int(key.removeprefix(self.name + CHUNK).split("/")[0]) * self.chunk_rows
        return slice(start, min(start + self.chunk_rows, self.shape[0]))

    def values(self, key: str, content: bytes) -> NDArray[Any]:
        """The rows of :meth:`rows` in the file's content; its checksum is not looked at."""
        rows = self.rows(key)
        shape = (rows.stop - rows.start, *self.shape[1:])
        return np.frombuffer(content, self.dtype, math.prod(shape)).reshape(shape)

    def content(self, values: NDArray[Any]) -> bytes:
        """The content of the file that holds ``values``, the rows of one chunk."""
        chunk = np.full((self.chunk_rows, *self.shape[1:]), self.fill, dtype=self.dtype)
        chunk[: len(values)] = values
        plain = chunk.tobytes()
        return plain + struct.pack("<I", google_crc32c.value(plain))
