"""A full disk ends an evaluation with one sentence; with room the same command goes on."""

from pathlib import Path

import numpy as np
import pytest
from bad_disk import Done, Step, can_mount, run_steps
from lvis_runs import make_annotations, make_detections, write_annotations, write_run
from small_evaluation import results_in, write_place

from regionspot_core.backbones.loading import Backbones
from regionspot_core.testing import SHAPE, TEXT_WIDTH, make_cache

pytestmark = pytest.mark.slow

KIB = 1024
FULL = "No space left on device; free some and run the same command again"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, backbones: Backbones) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "disk").mkdir()
    if not can_mount(folder / "disk"):
        pytest.skip("no disk can be mounted here without being root")
    return write_place(folder, backbones)


def pages(*files: Path) -> int:
    """What files take of a disk, in KiB."""
    return sum(4 * -(-file.stat().st_size // (4 * KIB)) for file in files if file.is_file())


def mount(disk: Path, kib: int) -> Step:
    return ["sh", f"mount -t tmpfs -o size={kib}k none {disk}"]


def evaluate(place: Path, out: Path) -> Step:
    world = place / "world"
    return [
        "regionspot", "evaluate", "run", "--images", str(world / "whole"),
        "--annotations", str(world / "val.json"), "--head", str(place / "first"),
        "--bank", str(place / "bank.h5"), "--out", str(out), "--batch", "2", "--device", "cpu",
        "--baseline", "clip-pool",
    ]  # fmt: skip


def assert_said(done: Done, *names: str) -> None:
    (line,) = [each for each in done.stderr.splitlines() if "error:" in each]
    assert done.returncode == 1, done.text
    assert line.endswith(FULL), done.text
    assert any(line.startswith(f"regionspot: error: {name}") for name in names), line


def test_an_evaluation_goes_on_when_there_is_room(place: Path, tmp_path: Path) -> None:
    """Full while the first images are named, and while the files are gathered."""
    disk, whole = place / "disk", tmp_path / "whole"
    (first,) = run_steps([evaluate(place, whole)], mounting=False)
    assert first.returncode == 0, first.text
    needed = pages(*whole.iterdir())
    steps: list[Step] = []
    for number, room in enumerate((12, needed)):
        steps += [
            mount(disk, room),
            evaluate(place, disk / "out"),
            ["sh", f"test -z \"$(find {disk} -name '*.partial*')\""],
            ["sh", f"find {disk} -type f -size +0 > {tmp_path}/left{number}"],
            ["sh", f"mount -o remount,size=256m {disk}"],
            evaluate(place, disk / "out"),
            ["sh", f"cp -r {disk}/out {tmp_path}/out{number}; umount {disk}"],
        ]
    done = run_steps(steps, mounting=True)
    for number, (full, again) in enumerate(zip(done[::2], done[1::2], strict=True)):
        assert_said(full, f"{disk}/out/")
        left = {Path(line).name for line in (tmp_path / f"left{number}").read_text().splitlines()}
        assert "run.json" in left
        assert not left & {"images.jsonl", "metrics.json"}  # which say that the rest is whole
        assert again.returncode == 0, again.text
        out = tmp_path / f"out{number}"
        assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}
        for path in whole.iterdir():
            assert (out / path.name).read_bytes() == path.read_bytes(), path.name


def test_what_is_written_once_is_whole_or_absent(place: Path, tmp_path: Path) -> None:
    import torch

    from regionspot_core.heads.checkpoint import HeadRecord, save_head
    from regionspot_core.heads.fusion import FusionConfig, FusionHead
    from regionspot_core.testing import MODEL

    torch.manual_seed(0)
    head = FusionHead(
        FusionConfig(
            region_width=SHAPE.region_width, image_width=SHAPE.image_width, text_width=TEXT_WIDTH,
            heads=2, ffn_width=8,
        )
    )  # fmt: skip
    models = {"region_encoder": MODEL, "image_text_encoder": MODEL}
    save_head(tmp_path / "head", head, HeadRecord(head.config, models, {"step": 1}))
    make_cache(tmp_path / "store", [3, 2, 5] * 20, federated=True)
    rng = np.random.default_rng(0)
    made = make_annotations(rng, images=30)
    truth = write_annotations(tmp_path, made)
    run = write_run(tmp_path / "run", make_detections(rng, made))
    disk = place / "disk"
    cached = ["--cache", str(tmp_path / "store"), "--head", str(tmp_path / "head")]
    annotations = ["--annotations", str(truth)]
    commands = [
        ["cached", *cached, "--out", f"{disk}/out"],
        ["report", str(run), *annotations, "--out", f"{disk}/page.html"],
        ["score", "--detections", str(run / "detections.json"), *annotations,
         "--json", f"{disk}/score.json"],
    ]  # fmt: skip
    steps: list[Step] = []
    for number, command in enumerate(commands):
        steps += [
            mount(disk, 8),
            ["sh", f"head -c 8192 /dev/zero > {disk}/filler || true"],
            ["regionspot", "evaluate", *command],
            ["sh", f"find {disk} -type f ! -name filler > {tmp_path}/left{number}"],
            ["sh", f"umount {disk}"],
        ]
    done = run_steps(steps, mounting=True)
    names = ("out/", "page.html", "score.json")
    for number, (each, name) in enumerate(zip(done, names, strict=True)):
        assert_said(each, f"{disk}/{name}")
        assert (tmp_path / f"left{number}").read_text() == ""


def test_no_two_writers_share_a_file_aside(tmp_path: Path) -> None:
    """Two results of one name: the last whole one stays, and neither mixes with the other."""
    from regionspot_evaluate.folder.detections import ResultsFile

    path = tmp_path / "detections.json.gz"
    with ResultsFile.written(path) as one:
        one.add([{"image_id": 1}])
        with ResultsFile.written(path) as other:
            other.add([{"image_id": 2}])
        assert results_in(path) == [{"image_id": 2}]
        one.add([{"image_id": 1}])
    assert results_in(path) == [{"image_id": 1}, {"image_id": 1}]
    assert [each.name for each in tmp_path.iterdir()] == ["detections.json.gz"]
