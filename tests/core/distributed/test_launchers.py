"""A way to have several processes do a job is one class: here, threads take their place."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_evaluation import quick_config, write_place

from regionspot_core.backbones.loading import Backbones
from regionspot_core.distributed.shares import Job, Shard, Worker
from regionspot_core.testing import files_of
from regionspot_core.tiny.world import write_world
from regionspot_evaluate.run import run_evaluations
from regionspot_evaluate.shares import evaluate_together
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction


class Threads:
    is_main, patience = True, 0.0

    def run(self, job: Job) -> None:
        shares = [Shard(index=1, of=2), Shard(index=2, of=2)]
        workers = [
            Worker(share, send=lambda message: job.on_message(message, None)) for share in shares
        ]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(job.run, workers))


def test_a_new_launcher_fills_a_store(tmp_path: Path, bank: Path) -> None:
    world = write_world(tmp_path / "world", train_scenes=9, val_scenes=1, seed=3)
    asked = ExtractConfig(
        images=world.train_images,
        annotations=world.train_annotations,
        bank=bank,
        out=tmp_path / "alone",
        part_images=2,
    )
    run_extraction(asked)
    together = asked.model_copy(update={"out": tmp_path / "together"})
    assert run_extraction(together, launcher=Threads()).parts_done == 5
    assert files_of(tmp_path / "together") == files_of(tmp_path / "alone")


def test_a_new_launcher_evaluates(tmp_path: Path, backbones: Backbones) -> None:
    place = write_place(tmp_path / "place", backbones)
    alone = run_evaluations(quick_config(place, tmp_path / "alone"), backbones=backbones)
    together = evaluate_together(quick_config(place, tmp_path / "together"), launcher=Threads())
    assert together == alone
    for name in ("detections.json.gz", "metrics.json", "images.jsonl", "run.json"):
        assert (tmp_path / "together" / name).read_bytes() == (
            tmp_path / "alone" / name
        ).read_bytes()


@given(of=st.integers(1, 9), workers=st.integers(1, 9), parts=st.integers(0, 120))
def test_shares_of_a_share(of: int, workers: int, parts: int) -> None:
    for index in range(1, of + 1):
        shard = Shard(index=index, of=of)
        own = [part for part in range(parts) if shard.has(part)]
        shares = [
            [part for part in range(parts) if shard.divided(Shard(index=i, of=workers)).has(part)]
            for i in range(1, workers + 1)
        ]
        assert sorted(part for share in shares for part in share) == own
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("share", [Shard(index=3, of=4), Shard(index=1_000_000, of=1_000_000)])
def test_the_largest_shares_can_be_divided(share: Shard) -> None:
    assert share.divided(Shard(index=2, of=3)).of == 3 * share.of
