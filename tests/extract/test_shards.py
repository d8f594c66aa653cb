"""`--shard i/n`: every part exactly once whatever n, on one shared store or on several to merge."""

import re
from collections.abc import Callable
from pathlib import Path

import forked
import killable
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.cache.storage.markers import COMPLETE
from regionspot_core.distributed.shares import Shard
from regionspot_core.errors import ConfigError
from regionspot_core.testing import files_of
from regionspot_core.tiny.world import World
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import ExtractionReport, run_extraction
from regionspot_extract.stores.exchange import merge_stores
from regionspot_extract.stores.info import describe_store

pytestmark = pytest.mark.slow

SCENES = 9
PARTS = 5


@pytest.fixture(scope="module")
def world(world_of: Callable[[int], World]) -> World:
    return world_of(SCENES)


def make_config(world: World, out: Path, shard: str) -> ExtractConfig:
    return ExtractConfig(
        images=world.train_images,
        annotations=world.train_annotations,
        bank=world.train_annotations.with_name("bank.h5"),
        out=out,
        part_images=2,
        shard=Shard.from_text(shard),
    )


def run_shard(world: World, out: Path, shard: str) -> ExtractionReport:
    return run_extraction(make_config(world, out, shard))


@pytest.fixture(scope="module")
def one_run(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "store"
    report = run_shard(world, out, "1/1")
    assert (report.parts, report.complete) == (PARTS, True)
    return files_of(out)


@given(of=st.integers(1, 50), parts=st.integers(0, 120))
def test_every_part_is_of_exactly_one_shard(of: int, parts: int) -> None:
    shards = [Shard.from_text(f"{index}/{of}") for index in range(1, of + 1)]
    shares = [[part for part in range(parts) if shard.has(part)] for shard in shards]
    assert sorted(part for share in shares for part in share) == list(range(parts))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    "text",
    ["0/3", "4/3", "1/0", "0/0", "1", "/", "1/", "/3", "a/b", "-1/3", "1/-3", "1/3/5", "1.5/3", ""],
)
def test_a_wrong_shard_is_refused(text: str) -> None:
    shown = re.escape(text or "(empty)")
    with pytest.raises(ConfigError, match=f"--shard {shown}: ") as caught:
        Shard.from_text(text)
    assert "as in 2/8" in str(caught.value)


@pytest.mark.parametrize("of", [1, 2, 3, PARTS + 2])
def test_shards_on_disks_of_their_own_merge_into_the_store_of_one_run(
    world: World, one_run: dict[str, bytes], tmp_path: Path, of: int
) -> None:
    stores = [tmp_path / f"{index}" for index in range(1, of + 1)]
    done = [run_shard(world, store, f"{store.name}/{of}").parts_done for store in stores]
    assert sum(done) == PARTS
    report = merge_stores(stores, tmp_path / "out")
    assert (report.parts_copied, report.parts_in_several, report.missing) == (PARTS, 0, ())
    assert files_of(tmp_path / "out") == one_run


def test_a_merge_without_one_shard_waits_for_it(
    world: World, one_run: dict[str, bytes], tmp_path: Path
) -> None:
    for index in (1, 2, 3):
        run_shard(world, tmp_path / f"{index}", f"{index}/3")
    assert merge_stores([tmp_path / "1", tmp_path / "3"], tmp_path / "out").missing == (1, 4)
    assert not (tmp_path / "out" / COMPLETE).exists()
    assert merge_stores([tmp_path / "2"], tmp_path / "out").missing == ()
    assert files_of(tmp_path / "out") == one_run


def test_shards_one_after_the_other_on_a_shared_store(
    world: World, one_run: dict[str, bytes], tmp_path: Path
) -> None:
    reports = [run_shard(world, tmp_path / "out", f"{index}/3") for index in (3, 1, 2)]
    assert [report.complete for report in reports] == [False, False, True]
    assert [report.parts_done for report in reports] == [1, 2, 2]
    again = run_shard(world, tmp_path / "out", "2/3")
    assert (again.parts_done, again.parts_resumed, again.complete) == (0, 2, True)
    assert files_of(tmp_path / "out") == one_run


@pytest.mark.parametrize("shards", [["1/3", "2/3", "3/3"], ["1/2", "2/2", "1/1"]])
def test_a_job_array_on_a_shared_store_makes_the_store_of_one_run(
    world: World, one_run: dict[str, bytes], tmp_path: Path, shards: list[str]
) -> None:
    """All tasks at once, and in the second case one that overlaps with the others."""
    out, logs = tmp_path / "out" / "store", [tmp_path / f"log{n}" for n in range(3)]
    out.parent.mkdir()
    tasks = [
        killable.start(make_config(world, out, shard), log)
        for shard, log in zip(shards, logs, strict=True)
    ]
    for task in tasks:
        forked.wait(task)
    assert [task.exitcode for task in tasks] == [0, 0, 0], [log.read_text() for log in logs]
    assert sorted(part for log in logs for part in killable.parts_begun(log)) == list(range(PARTS))
    assert describe_store(out).parts_written == PARTS
    assert files_of(out) == one_run
    assert [path.name for path in out.parent.iterdir()] == ["store"]
