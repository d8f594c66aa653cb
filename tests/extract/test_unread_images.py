"""Images that cannot be read are told by every call, until the store has them: none vanishes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from regionspot_core.backbones.loading import Backbones
from regionspot_core.distributed.shares import Shard
from regionspot_core.testing import files_of
from regionspot_core.tiny.world import World
from regionspot_extract.commands.printing import print_report
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import ExtractionReport, run_extraction

SCENES, PART = 12, 2
BROKEN = [1, 2, 7]
"""In the parts 0, 1 and 3 of 6."""


@pytest.fixture(scope="module")
def world(world_of: Callable[[int], World]) -> World:
    return world_of(SCENES)


@dataclass(frozen=True)
class Data:
    """A data set of which images are broken."""

    world: World
    images: Path
    names: list[str]
    backbones: Backbones
    bank: Path

    def config(self, out: Path, **changes: Any) -> ExtractConfig:
        return ExtractConfig(
            images=self.images,
            annotations=self.world.train_annotations,
            out=out,
            part_images=PART,
            bank=self.bank,
            **changes,
        )

    def run(self, out: Path, **changes: Any) -> ExtractionReport:
        return run_extraction(self.config(out, **changes), backbones=self.backbones)

    def mend(self) -> None:
        shutil.copytree(self.world.train_images, self.images, dirs_exist_ok=True)


@pytest.fixture
def data(world: World, backbones: Backbones, bank: Path, tmp_path: Path) -> Data:
    images = shutil.copytree(world.train_images, tmp_path / "images")
    names = [i["file_name"] for i in json.loads(world.train_annotations.read_text())["images"]]
    for place in BROKEN:
        (images / names[place]).write_bytes(b"broken")
    return Data(world, images, names, backbones, bank)


def lost(report: ExtractionReport) -> tuple[list[int], list[int]]:
    """The places of the images that the store lacks, and of those that this call tried."""
    return [f.position for f in report.failed], [f.position for f in report.failed_now]


def test_every_call_tells_of_all_until_they_are_mended(
    data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were broken when the store was planned: files of another size may take their place."""
    out = tmp_path / "store"
    assert lost(data.run(out)) == (BROKEN, BROKEN)
    again = data.run(out)
    assert lost(again) == (BROKEN, [])
    print_report("store", again)
    printed = capsys.readouterr().out
    assert all(f"  {data.names[place]}: the image cannot be decoded" in printed for place in BROKEN)
    assert "they were left out before this run; --retry-failed tries again" in printed
    assert lost(data.run(out, retry_failed=True)) == (BROKEN, BROKEN)
    data.mend()
    assert lost(data.run(out)) == (BROKEN, [])
    mended = data.run(out, retry_failed=True)
    assert (mended.failed, mended.parts_done, mended.complete) == ((), 3, True)
    assert lost(data.run(out)) == ([], [])
    data.run(tmp_path / "whole")
    differing = {
        key
        for key, content in files_of(tmp_path / "whole").items()
        if files_of(out)[key] != content
    }
    assert differing == {"image/bytes/c/0", "parts/plan.json"}  # as they were when it was planned


def test_a_shard_tells_of_the_whole_store(
    data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts 0, 2 and 4 are the first shard's, 1, 3 and 5 the second's."""
    out, shards = tmp_path / "store", [Shard(index=1, of=2), Shard(index=2, of=2)]
    assert lost(data.run(out, shard=shards[0])) == ([1], [1])
    second = data.run(out, shard=shards[1])
    assert lost(second) == (BROKEN, [2, 7])
    print_report("store", second)
    assert "1 of them left out before this run" in capsys.readouterr().out
    assert lost(data.run(out, shard=shards[0])) == (BROKEN, [])
    data.mend()
    assert lost(data.run(out, shard=shards[0], retry_failed=True)) == ([2, 7], [])


def test_images_of_too_many_pixels_are_left_out_until_more_are_allowed(
    data: Data, tmp_path: Path
) -> None:
    data.mend()
    image = json.loads(data.world.train_annotations.read_text())["images"][0]
    bound = image["height"] * image["width"] - 1  # all scenes are of one size
    report = data.run(tmp_path / "store", max_pixels=bound)
    assert lost(report) == ([*range(SCENES)], [*range(SCENES)])
    assert f"are more than --max-pixels {bound:,}; give a larger one" in report.failed[0].reason
    assert data.run(tmp_path / "store", retry_failed=True).failed == ()


def test_the_exit_code_says_it(regionspot: Callable[..., Any], data: Data, tmp_path: Path) -> None:
    for share in (1, 2):
        data.run(tmp_path / f"{share}", shard=Shard(index=share, of=2))
    merge = ["extract", "merge", str(tmp_path / "1"), str(tmp_path / "2"), "--out"]
    merged = regionspot(*merge, str(tmp_path / "store"))
    assert merged.returncode == 1
    assert "3 images could not be read and left out" in merged.stdout
    run = [
        "extract", "run", "--images", str(data.images), "--out", str(tmp_path / "store"),
        "--bank", str(data.bank),
        "--annotations", str(data.world.train_annotations), "--part-images", str(PART),
        "--bank", str(data.bank),
    ]  # fmt: skip
    done = regionspot(*run)
    assert done.returncode == 1
    assert all(f"  {data.names[place]}: " in done.stdout for place in BROKEN)
    data.mend()
    assert regionspot(*run, "--retry-failed").returncode == 0
