"""Main path of `regionspot bench cache`: generate, compare readers, write, read ahead, open."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_bench.cache.config import BATCH_IMAGES, SHAPES, CacheBenchConfig
from regionspot_bench.cache.contents import Contents, commit_unwritten, create_store
from regionspot_bench.cache.readers import (
    CacheReader,
    H5Reader,
    Indices,
    Int8Reader,
    MemmapReader,
    Reader,
    TorchReader,
    ZarrPythonReader,
)
from regionspot_bench.cache.report import CacheReport, ShapeReport
from regionspot_bench.cache.writers import PartWriter, PlainWriter
from regionspot_bench.measure import Times, take_turns, timed
from regionspot_bench.page_cache import can_be_cold, put_on_disk, put_out
from regionspot_core.cache.read.order import BatchOrder
from regionspot_core.cache.read.read_ahead import ReadAhead
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import CacheError
from regionspot_core.support.progress import say

PARTS = 8
DIFFERENT_BATCHES = 64
COLD_BATCHES = 4
READ_AHEAD_BATCHES = 60
READ_AHEAD_ROUNDS = 9
"""Least number of rounds: a moment in which others have the machine is a large part of a round."""
OPENINGS = 3
INT8_TOLERANCE = 0.51 / 127
"""Half a step of the largest value, and a little for float16."""

Values = NDArray[np.float16]


def measure(config: CacheBenchConfig, folder: Path) -> CacheReport:
    """Measure all that the settings ask for.

    Raises:
        CacheError: If a reader delivers other values than ours.
    """
    return CacheReport(
        shapes=tuple(_measure_shape(config, name, folder) for name in config.shapes),
        open_parts=config.open_parts,
        open_seconds=_measure_opening(folder / "many", config.open_parts),
        quick=config.quick,
    )


def _measure_shape(config: CacheBenchConfig, name: str, parent: Path) -> ShapeReport:
    images = config.images_of(name)
    contents = Contents(SHAPES[name], images, config.regions, part_images=-(-images // PARTS))
    order = BatchOrder(images=np.arange(images), batch_images=BATCH_IMAGES, seed=1)
    anywhere = list(islice(order.batches(), DIFFERENT_BATCHES))
    runs = [
        np.arange(n, n + BATCH_IMAGES) for n in range(0, images - BATCH_IMAGES + 1, BATCH_IMAGES)
    ]
    say(f"{name}: generating {images:,} images in six formats")
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        readers = _make_readers(Path(folder), contents)
        require_equal_values(readers, anywhere[0])
        say(f"{name}: reading with a warm page cache")
        random = _time_reading(readers, anywhere, rounds=config.rounds)
        in_order = _time_reading(readers, runs, rounds=config.rounds)
        say(f"{name}: reading from the disk")
        cold, waiting = _time_cold(readers, anywhere, rounds=config.cold_rounds)
        say(f"{name}: writing")
        writing, plain = _time_writing(Path(folder), contents, rounds=config.rounds)
        say(f"{name}: reading ahead")
        ours, int8 = readers[CacheReader.name], readers[Int8Reader.name]
        assert isinstance(ours, CacheReader)
        assert isinstance(int8, Int8Reader)
        overhead = _read_ahead_overhead(ours.cache, rounds=max(config.rounds, READ_AHEAD_ROUNDS))
        bytes_ratio = int8.feature_bytes / ours.feature_bytes
    return ShapeReport(
        name=name,
        contents=contents,
        random=random,
        in_order=in_order,
        cold=cold,
        cold_waiting=waiting,
        writing=writing,
        unsynced_seconds=plain.unsynced_seconds,
        written_bytes=plain.bytes,
        prefetch_overhead=overhead,
        int8_bytes_ratio=bytes_ratio,
    )


def _make_readers(folder: Path, contents: Contents) -> dict[str, Reader]:
    ours = CacheReader(folder / "ours", contents)
    readers: tuple[Reader, ...] = (
        ours,
        MemmapReader(folder / "memmap", contents),
        TorchReader(folder / "pth", contents),
        ZarrPythonReader(ours, contents),
        H5Reader(folder / "h5", contents),
        Int8Reader(folder / "int8", contents),
    )
    return {reader.name: reader for reader in readers}


def require_equal_values(readers: Mapping[str, Reader], indices: Indices) -> None:
    """Refuse to compare readers that deliver different things.

    Raises:
        CacheError: If values, types or shapes differ; the reader is named.
    """
    wanted = readers[CacheReader.name].read(indices)
    for name, reader in readers.items():
        tolerance = INT8_TOLERANCE if isinstance(reader, Int8Reader) else 0
        for ours, theirs in zip(wanted, reader.read(indices), strict=True):
            if not _alike(ours, theirs, tolerance * float(abs(ours).max())):
                raise CacheError(
                    f"{name} delivers other values than {CacheReader.name}: {theirs.dtype} "
                    f"{theirs.shape}, expected {ours.dtype} {ours.shape} and the same content"
                )


def _alike(ours: Values, theirs: Values, error: float) -> bool:
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return False
    if error == 0:
        return np.array_equal(ours, theirs)
    return bool((abs(ours.astype(np.float32) - theirs) <= error).all())


def _time_reading(readers: Mapping[str, Reader], batches: list[Indices], *, rounds: int) -> Times:
    return take_turns(
        {name: _reading(reader, batches) for name, reader in readers.items()},
        rounds=rounds,
        repeats={name: reader.repeats for name, reader in readers.items()},
    )


def _reading(reader: Reader, batches: list[Indices]) -> Callable[[int], None]:
    def read(number: int) -> None:
        reader.read(batches[number % len(batches)])

    return read


def _time_cold(
    readers: Mapping[str, Reader], batches: list[Indices], *, rounds: int
) -> tuple[Times | None, float]:
    """Time reading with the files put out of the page cache before each turn.

    None where the system does not let go of them. The other figure is the share of its time that
    our float16 reader, meanwhile, waits for the disk.
    """
    for reader in readers.values():
        reader.reopen()
        for path in reader.files:
            put_on_disk(path)
    if not can_be_cold([path for reader in readers.values() for path in reader.files]):
        return None, 0.0
    processor = whole = 0.0

    def watched(number: int) -> None:
        nonlocal processor, whole
        began, used = time.perf_counter(), time.process_time()
        readers[CacheReader.name].read(batches[number % len(batches)])
        whole += time.perf_counter() - began
        processor += time.process_time() - used

    def put_out_of_memory(name: str) -> None:
        readers[name].reopen()
        put_out(readers[name].files)

    tasks = {name: _reading(reader, batches) for name, reader in readers.items()}
    times = take_turns(
        tasks | {CacheReader.name: watched},
        rounds=rounds,
        repeats={name: min(reader.repeats, COLD_BATCHES) for name, reader in readers.items()},
        before=put_out_of_memory,
        # Not the fastest: the system may have read the next batch along with this one.
        of_turn=statistics.fmean,
    )
    return times, max(0.0, 1 - processor / whole)


def _time_writing(folder: Path, contents: Contents, *, rounds: int) -> tuple[Times, PlainWriter]:
    """Time writing parts of the usual size by our writer, and the same bytes by ``tofile``."""
    written = contents.with_parts(rounds)
    ours = PartWriter(folder / "written", written)
    plain = PlainWriter(folder / "plain", written)
    tasks = {ours.name: ours.write, plain.name: plain.write}
    return take_turns(tasks, rounds=rounds, repeats={}), plain


def _read_ahead_overhead(cache: FeatureCache, *, rounds: int) -> float:
    """Return the wall time of reading for a consumer as slow as the reader, over the slower one.

    The consumer sleeps: training on a GPU leaves the processor to the reader.
    """
    order = BatchOrder(images=np.arange(len(cache)), batch_images=BATCH_IMAGES, seed=2)
    batches = list(islice(order.batches(), READ_AHEAD_BATCHES))

    def read_all() -> None:
        for batch in batches:
            cache.read(batch)

    overheads = []
    for _ in range(rounds):
        before = timed(read_all)
        pause = partial(time.sleep, before / len(batches))
        began = time.perf_counter()
        using = sum(timed(pause) for _ in ReadAhead(cache.read, batches))
        wall = time.perf_counter() - began
        reading = (before + timed(read_all)) / 2
        overheads.append(wall / max(reading, using))
    return statistics.median(overheads)


def _measure_opening(store: Path, parts: int) -> float:
    """Return the least seconds to open a store of so many parts, whose files were just written."""
    say(f"opening a store of {parts:,} parts")
    contents = Contents(SHAPES["tiny"], images=parts, regions=1, part_images=1)
    create_store(store, contents.plan)
    commit_unwritten(store, contents.plan)
    return min(timed(partial(FeatureCache, store)) for _ in range(OPENINGS))
