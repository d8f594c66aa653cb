"""Export of a store's region embeddings to one Parquet file, for search and other programs.

A row is a region: its annotation, image, box and class, and CLIP's own embedding of it. Databases
of vectors and tables of data (DuckDB, Polars, LanceDB, faiss) read it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from regionspot_core.cache.layout.schema import REGION_EMBEDDING
from regionspot_core.cache.location import Location
from regionspot_core.cache.maintenance.export import Export
from regionspot_core.cache.read.store_reader import StoreReader
from regionspot_core.cache.storage.arrays import READ_ERRORS
from regionspot_core.cache.storage.store import Store
from regionspot_core.errors import InputError

FORMAT = "regionspot region embeddings 1"


class ParquetExport(Export):
    """A finished store, whose region embeddings are to be written to one Parquet file.

    Raises:
        InputError: If the store keeps none, or pyarrow is not installed.
    """

    def __init__(self, location: Location | Store) -> None:
        super().__init__(location)
        self._arrow, self._parquet = _pyarrow()
        if not self._plan.shape.region_embedding:
            raise InputError(
                f"{self._store} keeps no region embeddings to write to Parquet; extract it with "
                f"--region-embedding tokens or crop"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of the parts' files that are read."""
        return sum(marker.files[REGION_EMBEDDING].size for marker in self._embedded_markers)

    def is_at(self, path: Path) -> bool:
        """Return whether an export of this very store is at the path; it is not read whole."""
        if not path.is_file():
            return False
        try:
            metadata = self._parquet.read_schema(path).metadata or {}
        except (OSError, self._arrow.ArrowException):
            return False
        marks = self._marks(FORMAT).items()
        return all(metadata.get(name.encode()) == value.encode() for name, value in marks)

    def _write(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        schema = self._schema()
        with (
            path.open("wb") as file,
            self._parquet.ParquetWriter(file, schema, compression="zstd") as writer,
        ):
            for size, columns in self._parts():
                writer.write_table(self._arrow.table(columns, schema=schema))
                on_bytes(size)

    def _schema(self) -> Any:  # noqa: ANN401 - pyarrow is untyped
        arrow = self._arrow
        fields = {
            "annotation": arrow.int64(),
            "image": arrow.int64(),
            "file": arrow.string(),
            "box": arrow.list_(arrow.float32(), 4),
            "class": arrow.string(),
            "vector": arrow.list_(arrow.float32(), self._plan.shape.region_embedding),
        }
        return arrow.schema(list(fields.items()), metadata=self._marks(FORMAT))

    @property
    def _embedded_markers(self) -> list[Any]:
        return [marker for marker in self._markers if REGION_EMBEDDING in marker.files]

    def _parts(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the bytes and the columns of each part that has regions."""
        reader, plan, arrow = StoreReader(self._store), self._plan, self._arrow
        small, files = reader.small, reader.file_names()
        failed = {failure.position for failure in reader.failed}
        names = np.array([*reader.vocabulary.names, None], dtype=object)  # -1: without a class
        for marker in self._embedded_markers:
            images = [i for i in plan.part(marker.part).images if i not in failed]
            counts = plan.region_count[images]
            owner = np.repeat(images, counts)
            starts = plan.region_start[images]
            rows = np.concatenate(
                [np.arange(s, s + n) for s, n in zip(starts, counts, strict=True)]
                or [np.zeros(0, np.int64)]
            )
            try:
                vectors = reader.begin_rows(REGION_EMBEDDING, rows).result().astype(np.float32)
            except READ_ERRORS as error:
                raise reader.damaged(np.array(images), error) from None
            boxes = small["region/box"][rows]
            yield (
                marker.files[REGION_EMBEDDING].size,
                {
                    "annotation": small["region/annotation"][rows],
                    "image": small["image/id"][owner],
                    "file": [files[position] for position in owner.tolist()],
                    "box": arrow.FixedSizeListArray.from_arrays(boxes.reshape(-1), 4),
                    "class": names[small["region/class"][rows]],
                    "vector": arrow.FixedSizeListArray.from_arrays(
                        vectors.reshape(-1), vectors.shape[1]
                    ),
                },
            )


def _pyarrow() -> tuple[ModuleType, ModuleType]:
    """Return pyarrow and its Parquet.

    Raises:
        InputError: If they are not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            "a Parquet file needs pyarrow: pip install 'regionspot[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet
