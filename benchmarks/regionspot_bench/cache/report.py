"""Report of `regionspot bench cache`, as JSON and as tables."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from rich.table import Table

from regionspot_bench.benchmark import Benchmark
from regionspot_bench.cache.config import BATCH_IMAGES
from regionspot_bench.cache.contents import Contents
from regionspot_bench.cache.readers import (
    CacheReader,
    Int8Reader,
    MemmapReader,
    TorchReader,
    ZarrPythonReader,
)
from regionspot_bench.cache.writers import PartWriter, PlainWriter
from regionspot_bench.measure import Requirement, Times, at_least, at_most
from regionspot_core.support.tables import facts_table, titled_table

OURS = CacheReader.name
INT8 = Int8Reader.name
MAIN_SHAPE = "B/16"
"""The shape that the required ratios are of."""
NOT_COLD = "cold: not possible here"

KEYS = {
    OURS: "ours",
    INT8: "int8",
    MemmapReader.name: "memmap",
    TorchReader.name: "torch_load",
    ZarrPythonReader.name: "zarr_python",
}
"""Readers' names in the keys of the JSON."""

Figures = dict[str, float]


@dataclass(frozen=True)
class ShapeReport:
    """The figures of one shape."""

    name: str
    contents: Contents
    random: Times
    in_order: Times
    cold: Times | None
    """None where the system does not put files out of the page cache."""
    cold_waiting: float
    """Share of the time of cold float16 reading in which the process waits for the disk."""
    writing: Times
    unsynced_seconds: list[float]
    written_bytes: int
    prefetch_overhead: float
    int8_bytes_ratio: float

    @property
    def batch_bytes(self) -> int:
        """Bytes of the tokens of a batch, as delivered."""
        contents = self.contents
        return BATCH_IMAGES * (contents.image_bytes + contents.regions * contents.region_bytes)

    @property
    def disk_bound(self) -> bool:
        """Whether the disk is the limit of float16: most of the time it is waited for."""
        return self.cold is not None and self.cold_waiting > 0.5

    def figures(self) -> Figures:
        """Return all figures by flat keys."""
        figures = _reading_figures("read", self.random) | _reading_figures(
            "in_order", self.in_order
        )
        figures |= {} if self.cold is None else _reading_figures("cold", self.cold)
        ours, plain = (self.writing.median(each.name) for each in (PartWriter, PlainWriter))
        unsynced = statistics.median(self.unsynced_seconds)
        return (
            figures
            | {
                "write_vs_tofile": self.writing.ratio(PlainWriter.name, PartWriter.name),
                "write_bytes_per_second": self.written_bytes / ours,
                "tofile_bytes_per_second": self.written_bytes / plain,
                "tofile_unsynced_bytes_per_second": self.written_bytes / unsynced,
                "prefetch_overhead": self.prefetch_overhead,
                "int8_bytes_vs_float16": self.int8_bytes_ratio,
                "int8_warm_vs_float16": self.random.ratio(OURS, INT8),
            }
            | ({} if self.cold is None else {"int8_cold_vs_float16": self.cold.ratio(OURS, INT8)})
        )

    def requirements(self) -> list[Requirement]:
        """Return the bounds that the shape must keep."""
        figures, name = self.figures(), self.name
        rows = [
            at_most(
                f"{name}: read ahead, × the slower",
                figures["prefetch_overhead"],
                1.15,
            ),
            at_least(
                f"{name}: writing, × tofile",
                figures["write_vs_tofile"],
                0.9,
            ),
        ]
        rows.append(
            at_most(
                f"{name}: int8 bytes, × float16",
                figures["int8_bytes_vs_float16"],
                0.52,
            )
        )
        cold = figures.get("int8_cold_vs_float16")
        rows.append(
            at_least(
                f"{name}: int8 cold, × float16",
                cold if self.disk_bound else None,
                1.5,
                note=NOT_COLD if cold is None else f"{cold:.2g} ×; the disk is no limit",
            )
        )
        if name != MAIN_SHAPE:
            return rows
        bounds = {TorchReader.name: 3, ZarrPythonReader.name: 30, MemmapReader.name: 0.2}
        return [
            at_least(
                f"{name}: random, × {other}",
                figures[f"read_vs_{KEYS[other]}"],
                bound,
            )
            for other, bound in bounds.items()
        ] + rows

    def reading_table(self) -> Table:
        """Return a table with a line a reader: images/s, and how much faster ours is."""
        shape, contents = self.contents.shape, self.contents
        table = titled_table(
            f"Reading {self.name}: {contents.images:,} images of {shape.image_tokens} × "
            f"{shape.image_width} float16, {contents.regions} regions, {BATCH_IMAGES} a batch",
            "images/s",
            ("random", "GB/s", "ours is", "in order", "ours is", "cold", "ours is"),
        )
        for name in self.random.seconds:
            cells = [name]
            for times in (self.random, self.in_order, self.cold):
                if times is None:
                    cells += ["–", ""]
                    continue
                cells.append(f"{BATCH_IMAGES / times.median(name):,.0f}")
                if times is self.random:
                    cells.append(_short(self.batch_bytes / times.median(name) / 1e9))
                cells.append("" if name == OURS else f"{_short(times.ratio(name, OURS))} ×")
            table.add_row(*cells)
        if self.cold is None:
            table.caption = NOT_COLD
        return table

    def writing_table(self) -> Table:
        """Return a table of the bytes a second of both writers."""
        figures = self.figures()

        def rate(key: str) -> str:
            return f"{figures[key] / 1e6:,.0f} MB/s"

        return facts_table(
            f"Writing {self.name}, synced",
            {
                "CacheWriter": rate("write_bytes_per_second"),
                "numpy.tofile": rate("tofile_bytes_per_second"),
                "… not waiting for the disk": rate("tofile_unsynced_bytes_per_second"),
            },
        )


def _reading_figures(way: str, times: Times) -> Figures:
    figures = {}
    for name in times.seconds:
        key = KEYS.get(name, name)
        figures[f"{way}_images_per_second_{key}"] = BATCH_IMAGES / times.median(name)
        if name not in (OURS, INT8):
            figures[f"{way}_vs_{key}"] = times.ratio(name, OURS)
    return figures


@dataclass(frozen=True)
class CacheReport(Benchmark):
    """The figures of a whole run."""

    shapes: tuple[ShapeReport, ...]
    open_parts: int
    open_seconds: float
    quick: bool

    @property
    def requirements(self) -> list[Requirement]:
        """All bounds, in the order they are shown."""
        opening = at_most(
            f"opening {self.open_parts:,} parts",
            self.open_seconds,
            1,
            unit="s",
        )
        return [*(row for shape in self.shapes for row in shape.requirements()), opening]

    @property
    def figures(self) -> dict[str, object]:
        """Flat: the first shape's figures, those of another one with its name behind."""
        values: dict[str, object] = {
            "shape": self.shapes[0].name,
            "images": self.shapes[0].contents.images,
            "regions": self.shapes[0].contents.regions,
            "disk_bound": self.shapes[0].disk_bound,
            "cold_waiting": self.shapes[0].cold_waiting,
            "cold_possible": self.shapes[0].cold is not None,
            f"open_{self.open_parts}_parts_seconds": self.open_seconds,
        }
        for number, shape in enumerate(self.shapes):
            behind = f"_{shape.name}" if number else ""
            values |= {f"{key}{behind}": value for key, value in shape.figures().items()}
        return values

    def figure_tables(self) -> list[Table]:
        """Return the figures for people, at 80 columns."""
        return [t for each in self.shapes for t in (each.reading_table(), each.writing_table())]


def _short(value: float) -> str:
    """Return a number as wide as a column at most."""
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value >= 0.01 else "<0.01"
