"""The readers that are compared. Each has its own files of the same features.

``read`` of B images gives their image tokens (B, T, C) and region tokens padded with zeros
(B, R, M, S), float16, in the order of the indices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from regionspot_bench.cache.contents import Contents, create_store
from regionspot_core.cache.layout.plan import REGION_CHUNK
from regionspot_core.cache.layout.schema import part_arrays
from regionspot_core.cache.read.reader import FeatureCache

Indices = NDArray[np.int64]


class Tokens(NamedTuple):
    """Tokens of a batch, as every reader returns them."""

    image_tokens: NDArray[np.float16]
    region_tokens: NDArray[np.float16]


class Reader(ABC):
    """A way to keep features in files and read batches of them."""

    name: str
    repeats: int
    """Batches of a turn: few for a slow one."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        self._folder = folder
        self._regions = contents.regions
        self._width = (contents.shape.region_tokens, contents.shape.region_width)

    @property
    def files(self) -> list[Path]:
        """Files that it reads."""
        return [path for path in sorted(self._folder.rglob("*")) if path.is_file()]

    def reopen(self) -> None:
        """Let go of what keeps the files' pages in memory. Most keep nothing."""
        return

    @abstractmethod
    def read(self, indices: Indices) -> Tokens:
        """Return the tokens of the images at ``indices``."""

    def _rows(self, indices: Indices) -> Indices:
        """Return (B × R,) rows of the images' regions, where all regions lie end to end."""
        return (indices[:, None] * self._regions + np.arange(self._regions)).ravel()

    def _padded(self, rows: NDArray[np.float16], images: int) -> NDArray[np.float16]:
        """Return (B, R, M, S). Every image has as many regions here, so nothing is left to pad."""
        return rows.reshape(images, self._regions, *self._width)


class CacheReader(Reader):
    """Ours."""

    name = "FeatureCache"
    repeats = 8

    def __init__(self, folder: Path, contents: Contents) -> None:
        super().__init__(folder, contents)
        writer = create_store(folder / "store", contents.plan)
        for part in writer.pending():
            writer.write(part, contents.part(part.index))
        writer.finish()
        self.cache = FeatureCache(folder / "store")

    @property
    def feature_bytes(self) -> int:
        """Bytes of the files that hold features, scales and checksums with them."""
        plan = self.cache.plan
        keys = [
            array.file(i) for array in part_arrays(plan).values() for i in range(plan.part_count)
        ]
        return sum((self._folder / "store" / key).stat().st_size for key in keys)

    def read(self, indices: Indices) -> Tokens:
        """Read through TensorStore, with boxes, classes and ids."""
        batch = self.cache.read(indices)
        return Tokens(batch.image_tokens.numpy(), batch.region_tokens.numpy())


class Int8Reader(CacheReader):
    """Ours, of tokens stored in a byte each. It delivers float16 as well, but rounded."""

    name = "… in int8"

    def __init__(self, folder: Path, contents: Contents) -> None:
        super().__init__(folder, contents.as_int8())


class ZarrPythonReader(Reader):
    """zarr-python on the files of :class:`CacheReader`."""

    name = "zarr-python"
    repeats = 1

    def __init__(self, ours: CacheReader, contents: Contents) -> None:
        super().__init__(ours._folder, contents)
        group: Any = zarr.open_group(str(ours._folder / "store"), mode="r")
        self._image_tokens, self._region_tokens = group["clip/tokens"], group["region/tokens"]
        self._start = contents.plan.region_start

    def read(self, indices: Indices) -> Tokens:
        """Read through ``oindex``, zarr-python's way to read rows that are no slice."""
        rows = (self._start[indices][:, None] + np.arange(self._regions)).ravel()
        return Tokens(
            self._image_tokens.oindex[indices],
            self._padded(self._region_tokens.oindex[rows], len(indices)),
        )


class MemmapReader(Reader):
    """NumPy on plain files without checksums: the limit."""

    name = "numpy memmap"
    repeats = 8

    def __init__(self, folder: Path, contents: Contents) -> None:
        super().__init__(folder, contents)
        folder.mkdir()
        with (folder / "image").open("wb") as image, (folder / "region").open("wb") as region:
            for part in contents.parts():
                part.arrays["clip/tokens"].tofile(image)
                part.arrays["region/tokens"].tofile(region)
        self._image_width = (contents.shape.image_tokens, contents.shape.image_width)
        self.reopen()

    def reopen(self) -> None:
        """Map the files anew, since mapped pages stay in memory."""
        self._image_tokens = _memmap(self._folder / "image", self._image_width)
        self._region_tokens = _memmap(self._folder / "region", self._width)

    def read(self, indices: Indices) -> Tokens:
        """Read by two gathers."""
        rows = self._region_tokens[self._rows(indices)]
        return Tokens(self._image_tokens[indices], self._padded(rows, len(indices)))


class TorchReader(Reader):
    """Features in a ``.pth`` an image, as the original code keeps its tokens."""

    name = "torch.load"
    repeats = 3

    def __init__(self, folder: Path, contents: Contents) -> None:
        super().__init__(folder, contents)
        folder.mkdir()
        for index, part in enumerate(contents.parts()):
            images, rows = part.arrays["clip/tokens"], part.arrays["region/tokens"]
            regions = rows.reshape(-1, contents.regions, *self._width)
            for place, tokens in enumerate(zip(images, regions, strict=True)):
                # Copies: torch would save the whole part behind a view.
                values = [torch.from_numpy(each.copy()) for each in tokens]
                torch.save(values, folder / f"{index * contents.part_images + place}.pth")

    def read(self, indices: Indices) -> Tokens:
        """Load and stack."""
        loaded = [torch.load(self._folder / f"{index}.pth") for index in indices.tolist()]
        image_tokens, region_tokens = (torch.stack(each) for each in zip(*loaded, strict=True))
        return Tokens(image_tokens.numpy(), region_tokens.numpy())


class H5Reader(Reader):
    """Features in an HDF5 file, a chunk an image."""

    name = "h5py"
    repeats = 1

    def __init__(self, folder: Path, contents: Contents) -> None:
        super().__init__(folder, contents)
        folder.mkdir()
        path, shape, images = folder / "features.h5", contents.shape, contents.images
        token_shape = (shape.image_tokens, shape.image_width)
        with h5py.File(path, "w") as file:
            image = file.create_dataset(
                "image", (images, *token_shape), "float16", chunks=(1, *token_shape)
            )
            rows = (images * contents.regions, *self._width)
            region = file.create_dataset(
                "region", rows, "float16", chunks=(min(REGION_CHUNK, rows[0]), *self._width)
            )
            at = row = 0
            for part in contents.parts():
                tokens, regions = part.arrays["clip/tokens"], part.arrays["region/tokens"]
                image[at : at + len(tokens)], region[row : row + len(regions)] = tokens, regions
                at, row = at + len(tokens), row + len(regions)
        self._open = h5py.File(path)

    def reopen(self) -> None:
        """Clear its cache of chunks."""
        self._open.close()
        self._open = h5py.File(self._folder / "features.h5")

    def read(self, indices: Indices) -> Tokens:
        """Read image by image: several times faster than h5py's own lists of indices."""
        image, region = self._open["image"], self._open["region"]
        starts = (indices * self._regions).tolist()
        rows = [region[start : start + self._regions] for start in starts]
        return Tokens(
            np.stack([image[index] for index in indices.tolist()]),
            np.stack(rows),
        )


def _memmap(path: Path, trailing: tuple[int, ...]) -> NDArray[np.float16]:
    return np.memmap(path, dtype=np.float16, mode="r").reshape(-1, *trailing)
