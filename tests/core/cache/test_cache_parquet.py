"""Region embeddings of a store in one Parquet file: a row for each region that was read."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from regionspot_core.cache.layout.keep import Keep, TokenShape
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import CacheDamagedError, InputError
from regionspot_core.testing import SHAPE, make_annotations, make_cache, shard_path
from regionspot_extract.stores.exchange import export_store

COUNTS = [2, 0, 3, 1, 20, 0, 1, 4, 2]
FAILED = 3


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_row_is_a_region(tmp_path: Path, dtype: str) -> None:
    make_cache(tmp_path / "store", COUNTS, keep=Keep(dtype=dtype), failed=[FAILED])
    report = export_store(tmp_path / "store", tmp_path / "r.parquet")
    assert (report.parts, report.written) == (3, True)
    rows = pq.read_table(tmp_path / "r.parquet").to_pylist()
    cache, annotations = FeatureCache(tmp_path / "store"), make_annotations(COUNTS)
    assert len(rows) == sum(COUNTS) - COUNTS[FAILED]
    by_id = {row["annotation"]: row for row in rows}
    positions = [i for i in range(len(COUNTS)) if i != FAILED]
    for index, position in enumerate(positions):
        batch = cache.read([index])
        for slot in range(COUNTS[position]):
            row = by_id.pop(int(batch.annotation_ids[0, slot]))
            assert row["image"] == int(batch.image_ids[0])
            assert row["file"] == annotations.image_file[position]
            assert row["class"] == cache.vocabulary.names[int(batch.classes[0, slot])]
            np.testing.assert_array_equal(np.float32(row["box"]), batch.boxes[0, slot])
            np.testing.assert_array_equal(
                np.float32(row["vector"]), batch.region_embeddings[0, slot]
            )
    assert not by_id


def test_the_same_export_stays_and_another_is_refused(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        make_cache(tmp_path / name, COUNTS, seed=seed)
    out = tmp_path / "r.parquet"
    export_store(tmp_path / "a", out)
    before = out.read_bytes()
    assert not export_store(tmp_path / "a", out).written
    with pytest.raises(InputError, match="expected a new file"):
        export_store(tmp_path / "b", out)
    assert out.read_bytes() == before
    assert json.loads(pq.read_schema(out).metadata[b"fingerprint"])["precision"] == "float32"


def test_a_store_without_embeddings(tmp_path: Path) -> None:
    shape = TokenShape(**vars(SHAPE) | {"region_embedding": 0})
    make_cache(tmp_path / "store", COUNTS, shape=shape)
    with pytest.raises(InputError, match=r"keeps no region embeddings .* with --region-embedding"):
        export_store(tmp_path / "store", tmp_path / "r.parquet")


def test_a_damaged_part_leaves_no_file(tmp_path: Path) -> None:
    make_cache(tmp_path / "store", COUNTS)
    path = shard_path(tmp_path / "store", "region/clip", 1)
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    with pytest.raises(CacheDamagedError):
        export_store(tmp_path / "store", tmp_path / "r.parquet")
    assert not list(tmp_path.glob("*.parquet*"))


def test_without_pyarrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, regionspot: Callable[..., Any]
) -> None:
    make_cache(tmp_path / "store", COUNTS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out = ["--out", str(tmp_path / "r.parquet")]
    done = regionspot("extract", "export", str(tmp_path / "store"), *out)
    assert done.returncode == 2
    assert "pip install 'regionspot[parquet]'" in " ".join(done.stderr.split())
