"""`regionspot bench cache` on a store of 48 tiny images. Nothing here looks at how fast it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from regionspot_bench.cache import readers
from regionspot_bench.cache import run as cache
from regionspot_bench.cache.config import SHAPES
from regionspot_bench.cache.contents import Contents
from regionspot_core.errors import CacheError

TINY = ["bench", "cache", "--shape", "tiny", "--images", "48", "--regions", "2", "--quick"]
TINY += ["--open-parts", "20"]
KEYS = {
    "read_vs_torch_load",
    "read_vs_zarr_python",
    "read_vs_memmap",
    "write_vs_tofile",
    "prefetch_overhead",
    "int8_bytes_vs_float16",
    "int8_warm_vs_float16",
    "open_20_parts_seconds",
    "all_met",
}


class Run(NamedTuple):
    code: int
    out: str
    values: dict[str, Any]


@pytest.fixture
def run(regionspot: Callable[..., Any], tmp_path: Path) -> Run:
    (tmp_path / "stores").mkdir()
    done = regionspot(*TINY, "--dir", "stores", "--json", "figures.json", cwd=tmp_path)
    assert list((tmp_path / "stores").iterdir()) == []  # nothing is left behind
    return Run(done.returncode, done.stdout, json.loads((tmp_path / "figures.json").read_text()))


def test_figures_tables_and_exit_code_agree(run: Run) -> None:
    assert run.values.keys() >= KEYS
    assert all(isinstance(each, int | float | str) for each in run.values.values())  # flat
    assert run.code == (0 if run.values["all_met"] else 1)
    assert ("NOT met" in run.out) is not run.values["all_met"]
    for name in ("FeatureCache", "numpy memmap", "torch.load", "zarr-python", "h5py"):
        assert name in run.out
    assert all(len(line) <= 80 for line in run.out.splitlines())


@pytest.fixture
def made(tmp_path: Path) -> dict[str, readers.Reader]:
    contents = Contents(SHAPES["tiny"], images=41, regions=3, part_images=8)
    return cache._make_readers(tmp_path, contents)


def test_readers_deliver_what_was_written(made: dict[str, readers.Reader]) -> None:
    contents = Contents(SHAPES["tiny"], images=41, regions=3, part_images=8)
    parts = list(contents.parts())
    images = np.concatenate([part.arrays["clip/tokens"] for part in parts])
    regions = np.concatenate([part.arrays["region/tokens"] for part in parts]).reshape(41, 3, 3, 8)
    indices = np.array([40, 3, 17, 3, 0])
    for _ in range(2):
        for reader in made.values():
            tokens = reader.read(indices)
            rounded = 0.51 / 127 if reader.name == "… in int8" else 0
            for got, wanted in zip(tokens, (images[indices], regions[indices]), strict=True):
                assert got.dtype == np.float16
                assert abs(got - wanted).max() <= rounded * abs(wanted).max(), reader.name
            assert reader.files
            reader.reopen()
    cache.require_equal_values(made, indices)


def test_a_reader_of_other_values_is_named(made: dict[str, readers.Reader]) -> None:
    class Wrong(readers.MemmapReader):
        def read(self, indices: readers.Indices) -> readers.Tokens:
            image_tokens, region_tokens = super().read(indices)
            return readers.Tokens(image_tokens, region_tokens + 1)

    made["numpy memmap"].__class__ = Wrong
    with pytest.raises(CacheError, match="numpy memmap delivers other values than FeatureCache"):
        cache.require_equal_values(made, np.arange(4))


def test_parts_differ_and_writing_uses_parts_of_the_usual_size() -> None:
    contents = Contents(SHAPES["tiny"], images=40, regions=2, part_images=20)
    first, second = (part.arrays["clip/tokens"] for part in contents.parts())
    assert not np.array_equal(first, second)
    assert abs(first[..., :4]).mean() > 50 * abs(first[..., 4:]).mean()
    assert contents.with_parts(3).plan.part_count == 3
    assert contents.with_parts(3).part_images == 256
    large = Contents(SHAPES["L/14@336"], images=40, regions=2, part_images=20)
    assert large.with_parts(3).part_images == 67
