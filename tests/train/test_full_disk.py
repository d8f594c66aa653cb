"""A full disk ends a run with one sentence, and the same command with room goes on to its bits."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_disk import Step, can_mount, run_steps

from regionspot_core.heads.checkpoint import HeadRecord, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.heads.published import write_published
from regionspot_core.testing import make_cache

pytestmark = pytest.mark.slow

SETTINGS = [
    "steps=24", "batch_images=4", "log_every=2", "checkpoint_every=6", "keep_checkpoints=9",
    "head.ffn_width=512", "head.heads=2", "head.dropout=0.2", "optimiser.lr=0.003",
]  # fmt: skip
KIB = 1024


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        make_cache(path / "store", [2, 3, 1, 2, 0, 4])
        (path / "disk").mkdir()
        yield path


@pytest.fixture(scope="module")
def disk(folder: Path) -> Path:
    """An empty folder to mount a disk on."""
    if not can_mount(folder / "disk"):
        pytest.skip("no disk can be mounted here without being root")
    return folder / "disk"


def fit(folder: Path, out: Path) -> Step:
    options = [word for each in SETTINGS for word in ("--set", each)]
    return ["regionspot", "train", "fit", "--cache", str(folder / "store"), "--config", "demo",
            "--val", str(folder / "store"), "--out", str(out), "--resume", *options]  # fmt: skip


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """A run that nothing disturbs."""
    (done,) = run_steps([fit(folder, folder / "whole")], mounting=False)
    assert done.returncode == 0, done.text
    return folder / "whole"


def losses(out: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(n["step"], n["loss"], n["gradient_norm"]) for n in lines]


def pages(*files: Path) -> int:
    """What files take of a disk, in KiB."""
    return sum(4 * -(-file.stat().st_size // (4 * KIB)) for file in files if file.is_file())


@pytest.mark.parametrize(("full_at", "checkpoints"), [("start", 0), ("step", 1), ("report", 3)])
def test_a_full_disk(folder: Path, disk: Path, whole: Path, full_at: str, checkpoints: int) -> None:
    """Full before anything is written, in the midst of a checkpoint, and when all is learnt."""
    one = pages(*(whole / "checkpoints" / "step_0000006").iterdir())
    report = pages(whole / "report.html")
    room = {"start": 4, "step": 3 * one // 2, "report": pages(*whole.rglob("*")) - report // 2}
    kept, out = folder / f"kept-{full_at}", folder / f"out-{full_at}"
    first, again = run_steps(
        [
            ["sh", f"mount -t tmpfs -o size={room[full_at]}k none {disk}"],
            fit(folder, disk / "run"),
            ["sh", f"test -z \"$(find {disk} -name '*.partial*')\""],
            ["sh", f"cp -r {disk} {kept}"],
            ["sh", f"mount -o remount,size=256m {disk}"],
            fit(folder, disk / "run"),
            ["sh", f"cp -r {disk}/run {out}"],
        ],
        mounting=True,
    )
    assert first.returncode == 2, first.text
    assert "the run cannot be written (No space left on device)" in first.stderr
    assert "Traceback" not in first.stderr
    assert first.stderr.count("regionspot: error:") == 1
    found = list((kept / "run").glob("checkpoints/*"))
    assert len(found) == checkpoints
    for checkpoint in found:
        for file in checkpoint.iterdir():
            same = whole / "checkpoints" / checkpoint.name / file.name
            assert file.read_bytes() == same.read_bytes(), file
    assert again.returncode == 0, again.text
    assert (out / "head.safetensors").read_bytes() == (whole / "head.safetensors").read_bytes()
    assert losses(out) == losses(whole)
    assert (out / "report.html").stat().st_size > 0


def test_a_head_in_and_out_on_a_full_disk(folder: Path, disk: Path) -> None:
    """And a class bank: each names what it could not write, leaves nothing, and then goes on."""
    config = FusionConfig(ffn_width=32, layers=1)
    write_published(folder / "published.pth", FusionHead(config))
    save_head(folder / "head", FusionHead(config), HeadRecord(config, {}, {}))
    commands = [
        ["regionspot", "train", "import", f"{folder}/published.pth", "--out", f"{disk}/imported"],
        ["regionspot", "train", "export", f"{folder}/head", "--out", f"{disk}/exported.pth"],
        ["regionspot", "extract", "text", "--names", "cat,dog", "--out", f"{disk}/bank.h5"],
    ]
    done = run_steps(
        [
            ["sh", f"mount -t tmpfs -o size=12k none {disk}"],
            *commands[:2],
            ["sh", f'test -z "$(ls -A {disk})"'],
            commands[2],
            ["sh", f"test ! -e {disk}/bank.h5 -a -z \"$(find {disk} -name '*.partial*')\""],
            ["sh", f"mount -o remount,size=256m {disk}"],
            *commands,
        ],
        mounting=True,
    )
    for each, name in zip(done, ("imported", "exported.pth", "bank.h5"), strict=False):
        assert each.returncode == 1, each.text
        assert f"regionspot: error: {disk}/{name}" in each.stderr
        assert "No space left on device; free some and run the same command again" in each.text
    assert [each.returncode for each in done[3:]] == [0, 0, 0], done[3:]
