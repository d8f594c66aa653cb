"""Interrupted, shared out, or of several heads: the files are those of an unbroken evaluation."""

import itertools
import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import stepping
from file_events import watched
from filelock import FileLock
from small_evaluation import (
    BASELINE_FILES,
    BATCH,
    BATCHES,
    BROKEN,
    FILES,
    IMAGES,
    QUICK_FILES,
    quick_config,
)
from stepping import Killed, killed_at, numbers_at

from regionspot_core.backbones.loading import Backbones
from regionspot_core.distributed.journal import open_journal
from regionspot_core.distributed.shares import Shard
from regionspot_core.errors import ConfigError, FingerprintError, InputError
from regionspot_core.testing import files_of
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.recognition.baselines.names import BASELINES
from regionspot_evaluate.reports.printing import EvaluationReport
from regionspot_evaluate.run import run_evaluation, run_evaluations, run_share


@pytest.fixture(scope="module")
def unbroken(
    place: Path, backbones: Backbones, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, EvaluationReport]:
    out = tmp_path_factory.mktemp("unbroken") / "out"
    return out, run_evaluation(quick_config(place, out), backbones=backbones)


@pytest.fixture(scope="module")
def whole(
    place: Path, backbones: Backbones, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, EvaluationReport]:
    """The same with all images read."""
    out = tmp_path_factory.mktemp("whole") / "out"
    asked = quick_config(place, out, images=place / "world" / "whole")
    return out, run_evaluation(asked, backbones=backbones)


@pytest.fixture
def encoded() -> Iterator[list[int]]:
    """How many images the frozen models were given, a number a batch."""
    with numbers_at("recognise batch") as counts:
        yield counts


def assert_same(out: Path, expected: Path, *names: str) -> None:
    for name in names or QUICK_FILES:
        assert (out / name).read_bytes() == (expected / name).read_bytes(), name


def test_the_folder_of_one_head(unbroken: tuple[Path, EvaluationReport]) -> None:
    out, report = unbroken
    there = {path.name for path in out.iterdir()}
    assert there == {*QUICK_FILES, "run.json", "parts.kept"}
    assert len(report.failed) == 1
    lines = [json.loads(line) for line in (out / "images.jsonl").read_text().splitlines()]
    assert ["failed" in line for line in lines] == [i == BROKEN for i in range(IMAGES)]
    assert len({line["image_id"] for line in lines}) == IMAGES


def run_killed(
    asked: EvaluateConfig,
    backbones: Backbones,
    after: int,
    torn: bytes = b"",
    run: Callable[..., Any] = run_evaluation,
) -> None:
    """Killed when ``after`` batches are in the journal, and ``torn`` of the next one."""
    with killed_at("record batch", after):
        run(asked, backbones=backbones)
    (journal,) = (Path(asked.out) / "parts").glob("*.jsonl")
    with journal.open("ab") as file:
        file.write(torn)


@pytest.mark.parametrize(
    ("after", "torn"),
    [
        pytest.param(0, b"", marks=pytest.mark.slow),
        (1, b'{"batch": 1, "images": [{"pos'),
        pytest.param(3, b"{", marks=pytest.mark.slow),
        (5, b'{"batch": 5, "images": []}'),
    ],
)
def test_a_killed_evaluation_goes_on(
    place: Path,
    backbones: Backbones,
    unbroken: tuple[Path, EvaluationReport],
    encoded: list[int],
    tmp_path: Path,
    after: int,
    torn: bytes,
) -> None:
    asked = quick_config(place, tmp_path / "out")
    run_killed(asked, backbones, after, torn)
    assert not (tmp_path / "out" / "detections.json.gz").exists()
    encoded.clear()
    report = run_evaluation(asked, backbones=backbones)
    assert len(encoded) == BATCHES - after  # none of the finished batches again
    assert_same(tmp_path / "out", unbroken[0])
    assert report == unbroken[1]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {p.name for p in unbroken[0].iterdir()}


@contextmanager
def killed_at_file(out: Path, pattern: str, nth: int) -> Iterator[None]:
    """End what runs in the context before a thing that it does to a file of a folder."""
    left = itertools.count(-nth + 1)

    def die(path: str) -> None:
        name = path.removeprefix(f"{out}/")
        if name != path and re.fullmatch(pattern, name) and next(left) == 0:
            raise Killed

    with watched(die), pytest.raises(Killed):
        yield


@pytest.mark.parametrize(
    ("file", "nth"),
    [
        pytest.param(r"detections\.json\.gz\..*", 1, id="results are begun"),
        pytest.param(r"predictions\.png\..*", 1, id="results are whole", marks=pytest.mark.slow),
        pytest.param(r"images\.jsonl\..*", 2, id="but the list of images"),
        pytest.param(r"parts\.gathered.*", 2, id="parts are removed"),
        pytest.param(r"images\.jsonl", 1, id="figures are summed up", marks=pytest.mark.slow),
        pytest.param(r"metrics\.json\..*", 1, id="figures are written", marks=pytest.mark.slow),
    ],
)
def test_killed_while_files_are_written(
    place: Path,
    backbones: Backbones,
    whole: tuple[Path, EvaluationReport],
    encoded: list[int],
    tmp_path: Path,
    file: str,
    nth: int,
) -> None:
    asked = quick_config(place, tmp_path / "out", images=place / "world" / "whole")
    with killed_at_file(tmp_path / "out", file, nth):
        run_evaluation(asked, backbones=backbones)
    encoded.clear()
    assert run_evaluation(asked) == whole[1]
    assert encoded == []
    assert_same(tmp_path / "out", whole[0])
    assert not list((tmp_path / "out").glob("parts*"))


@pytest.mark.slow
def test_kill_9(
    place: Path,
    evaluated: tuple[Path, EvaluationReport],
    encoded: list[int],
    regionspot: Callable[..., Any],
    tmp_path: Path,
) -> None:
    arguments = [
        "evaluate", "run", "--images", "world/val", "--annotations", "world/val.json",
        "--head", "first", "--out", str(tmp_path / "out"), "--batch", str(BATCH), "--device", "cpu",
        "--bank", "bank.h5", *(word for name in BASELINES for word in ("--baseline", name)),
    ]  # fmt: skip
    signalled = (signal.SIGKILL, "record batch", 2)
    done = stepping.run_command(*arguments, signalled=signalled, cwd=place)
    assert done.returncode == -9, done.stderr
    (journal,) = (tmp_path / "out" / "parts").glob("*.jsonl")
    assert journal.read_bytes().count(b"\n") == 3  # the models, and two batches
    with journal.open("ab") as file:
        file.write(b'{"batch": 2, "images"')
    again = regionspot(*arguments, cwd=place)
    assert again.returncode == 1, again.stderr  # an image cannot be read
    assert "4 of 11 images are there already" in again.stderr
    assert len(encoded) == BATCHES - 2
    same = ("detections.json.gz", "metrics.json", "images.jsonl", *BASELINE_FILES)
    assert_same(tmp_path / "out", evaluated[0], *same)


def test_images_that_can_be_read_now(
    place: Path,
    backbones: Backbones,
    whole: tuple[Path, EvaluationReport],
    encoded: list[int],
    tmp_path: Path,
) -> None:
    """Only the batch of the broken image is done again, once its image is mended."""
    images = shutil.copytree(place / "world" / "val", tmp_path / "images")
    asked = quick_config(place, tmp_path / "out", images=images)
    retry = asked.model_copy(update={"retry_failed": True})
    assert len(run_evaluation(asked, backbones=backbones).failed) == 1
    encoded.clear()
    assert len(run_evaluation(retry, backbones=backbones).failed) == 1  # not mended yet
    assert len(run_evaluation(asked).failed) == 1  # no model is needed where nothing is tried
    assert encoded == [BATCH - 1]
    name = sorted(path.name for path in images.iterdir())[BROKEN]
    shutil.copy(place / "world" / "whole" / name, images / name)
    encoded.clear()
    assert run_evaluation(retry, backbones=backbones) == whole[1]
    assert encoded == [BATCH]
    assert not list((tmp_path / "out").glob("parts*"))
    assert_same(tmp_path / "out", whole[0])


def test_a_finished_evaluation_is_only_scored_again(
    place: Path, backbones: Backbones, encoded: list[int], tmp_path: Path
) -> None:
    asked = quick_config(place, tmp_path / "out")
    first = run_evaluation(asked, backbones=backbones)
    (tmp_path / "out" / "metrics.json").unlink()
    encoded.clear()
    assert run_evaluation(asked) == first
    assert encoded == []
    assert (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pairs": 40}, "pairs: expected 40, found 900"),
        ({"detections": 100}, "detections: expected 100, found 40"),
        ({"batch_images": 3}, "batch_images: expected 3, found 2"),
        ({"proposals": "auto"}, "proposals: expected auto, found gt"),
        (
            {"baseline": ["clip-crop"]},
            r"baselines: expected \['clip-crop'\], found \['clip-pool'\]",
        ),
        ({"heads": ["second"]}, r"heads\.first: expected nothing, found \w+…; heads\.second"),
        (
            {"backbones": {"precision": "bfloat16"}},
            r"models\.precision: expected bfloat16, found f",
        ),
    ],
)
def test_another_evaluation_is_refused(
    place: Path,
    unbroken: tuple[Path, EvaluationReport],
    changes: dict[str, Any],
    named: str,
) -> None:
    before = files_of(unbroken[0])
    if "heads" in changes:
        changes = {"heads": [place / name for name in changes["heads"]]}
    with pytest.raises(FingerprintError, match=f"something else than this: .*{named}"):
        run_evaluation(quick_config(place, unbroken[0], **changes))
    assert files_of(unbroken[0]) == before


def test_what_decides_nothing_may_differ(
    place: Path, backbones: Backbones, unbroken: tuple[Path, EvaluationReport], tmp_path: Path
) -> None:
    run_killed(quick_config(place, tmp_path / "out"), backbones, 2)
    moved = (tmp_path / "out").rename(tmp_path / "moved")
    run_evaluation(quick_config(place, moved, workers=1), backbones=backbones)
    assert_same(moved, unbroken[0])


def test_other_frozen_models_do_not_go_on(
    place: Path, backbones: Backbones, tmp_path: Path
) -> None:
    asked = quick_config(place, tmp_path / "out")
    run_killed(asked, backbones, 2)
    (journal,) = (tmp_path / "out" / "parts").glob("*.jsonl")
    name = backbones.region_encoder.fingerprint()["weights"].encode()
    without_sums = re.sub(rb', "crc32": "[0-9a-f]{8}"', b"", journal.read_bytes())
    journal.write_bytes(without_sums.replace(name, b"f" * 64))
    with pytest.raises(
        FingerprintError, match=r"region_encoder\.weights: expected \w+…, found ffffffff"
    ):
        run_evaluation(asked, backbones=backbones)


@pytest.mark.parametrize(
    "order", [pytest.param((1, 2, 3), marks=pytest.mark.slow), (3, 1, 2), (2,)]
)
def test_shares_give_the_files_of_one_process(
    place: Path,
    backbones: Backbones,
    unbroken: tuple[Path, EvaluationReport],
    encoded: list[int],
    tmp_path: Path,
    order: tuple[int, ...],
) -> None:
    out = tmp_path / "out"
    failed: list[str] = []
    for index in order:
        share = Shard(index=index, of=3)
        report = run_share(quick_config(place, out, shard=share), backbones=backbones)
        failed = list(report.failed)  # of all shares so far
        assert report.images == (3 if index == 3 else 4)
        again = run_share(quick_config(place, out, shard=share))  # nothing is left to do
        assert again == report
    assert not (out / "detections.json.gz").exists()
    left = {1: 0, 2: 3, 3: 0}[len(order)] if len(order) == 3 else IMAGES - 4
    assert report.images_left == left if len(order) == 1 else not report.images_left
    assert len(encoded) == 2 * len(order)
    assert run_evaluation(quick_config(place, out), backbones=backbones) == unbroken[1]
    assert len(encoded) == BATCHES
    assert_same(out, unbroken[0], *QUICK_FILES, "run.json")
    if len(order) == 3:
        assert tuple(failed) == unbroken[1].failed
    finished = run_share(quick_config(place, out, shard=Shard(index=1, of=3)))
    assert (finished.images_left, finished.failed) == (0, unbroken[1].failed)


def test_two_processes_on_one_share_are_refused(
    place: Path, backbones: Backbones, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = quick_config(place, out, shard=Shard(index=2, of=3))
    run_share(asked, backbones=backbones)
    with FileLock(out / "parts" / "2-of-3.lock"):
        with pytest.raises(InputError, match=r"another process is at work on it \(share 2/3\)"):
            run_share(asked)
        with pytest.raises(InputError, match=r"at work on it \(share 2/3\)"):
            run_evaluation(quick_config(place, out), backbones=backbones)
        run_share(quick_config(place, out, shard=Shard(index=1, of=3)), backbones=backbones)
    with (
        FileLock(out / "parts" / "1-of-1.lock"),
        pytest.raises(InputError, match=r"at work on it \(share 1/1\)"),
    ):
        run_share(quick_config(place, out, shard=Shard(index=3, of=3)), backbones=backbones)
    with pytest.raises(ConfigError, match="expected i from 1 to n"):
        Shard.from_text("4/3")


def test_several_heads_share_the_frozen_models(
    place: Path,
    backbones: Backbones,
    unbroken: tuple[Path, EvaluationReport],
    encoded: list[int],
    tmp_path: Path,
) -> None:
    """Each head's folder has what it has alone, the record of the request too."""
    asked = quick_config(place, tmp_path / "both", heads=[place / "first", place / "second"])
    run_killed(asked, backbones, 4, b"{", run=run_evaluations)
    reports = run_evaluations(asked, backbones=backbones)
    assert len(encoded) == BATCHES + 1
    second = run_evaluation(
        quick_config(place, tmp_path / "alone", heads=[place / "second"]), backbones=backbones
    )
    assert reports == {"first": unbroken[1], "second": second}
    assert_same(tmp_path / "both" / "first", unbroken[0], *FILES)
    assert_same(tmp_path / "both" / "second", tmp_path / "alone", *FILES)
    assert_same(tmp_path / "both", unbroken[0], *set(QUICK_FILES).difference(FILES))
    assert not (tmp_path / "both" / "detections.json.gz").exists()
    for name, alone in (("first", unbroken[0]), ("second", tmp_path / "alone")):
        records = [
            json.loads((folder / "run.json").read_text())
            for folder in (tmp_path / "both" / name, alone)
        ]
        assert records[0] == records[1]


def test_the_command_with_heads_and_shares(
    place: Path, regionspot: Callable[..., Any], tmp_path: Path
) -> None:
    arguments = [
        "evaluate", "run", "--images", "world/val", "--annotations", "world/val.json",
        "--head", "first", "--head", "second", "--out", str(tmp_path / "out"), "--batch", "4",
        "--device", "cpu", "--baseline", "none", "--bank", "bank.h5",
    ]  # fmt: skip
    share = regionspot(*arguments, "--shard", "1/2", cwd=place)
    assert share.returncode == 0, share.stderr
    assert "share 1/2: 7 images done; 4 images left to other shares" in " ".join(
        share.stdout.split()
    )
    other = regionspot(*arguments, "--shard", "2/2", cwd=place)
    assert other.returncode == 1, other.stderr
    assert "all shares are done" in " ".join(other.stdout.split())
    assert "1 image could not be read" in other.stdout
    again = regionspot(*arguments, "--shard", "1/2", cwd=place)
    assert again.returncode == 1, again.stderr  # it tells of all shares
    assert "1 image could not be read" in again.stdout
    done = regionspot(*arguments, cwd=place)
    assert done.returncode == 1, done.stderr
    after = regionspot(*arguments, "--shard", "1/2", cwd=place)
    assert (after.returncode, "1 image could not be read" in after.stdout) == (1, True)
    lines = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines), done.stdout
    assert sum(line.startswith("second") for line in lines) == 3  # box, mask, naming
    assert (tmp_path / "out" / "second" / "metrics.json").exists()


@pytest.mark.parametrize("share", [None, Shard(index=2, of=3)], ids=["alone", "a share"])
def test_a_process_that_comes_late_leaves_what_another_finished(
    place: Path,
    backbones: Backbones,
    unbroken: tuple[Path, EvaluationReport],
    encoded: list[int],
    tmp_path: Path,
    share: Shard | None,
) -> None:
    """It loads its models when another names the last batch, and gathers."""
    out = tmp_path / "out"
    others = iter(["another"])

    def other_finishes(path: str) -> None:
        if path == str(place / "first" / "head.safetensors") and next(others, None):
            run_evaluation(quick_config(place, out), backbones=backbones)
            encoded.clear()

    with watched(other_finishes):
        if share is None:
            assert run_evaluation(quick_config(place, out), backbones=backbones) == unbroken[1]
        else:
            run_share(quick_config(place, out, shard=share), backbones=backbones)
    assert list(others) == []
    assert encoded == []
    assert_same(out, unbroken[0])
    assert {p.name for p in out.iterdir()} == {p.name for p in unbroken[0].iterdir()}


def test_shares_that_begin_together_do_not_refuse_each_other(tmp_path: Path) -> None:
    """Each looks whether all is being gathered, by holding that lock for a moment."""
    held = FileLock(tmp_path / "1-of-1.lock", thread_local=False)
    held.acquire()
    tries = []

    def let_go(path: str) -> None:
        tries.append(path == held.lock_file)
        if sum(tries) == 2:  # the first try was in vain
            held.release()

    with watched(let_go), open_journal(tmp_path, Shard(index=1, of=2)):
        assert (tmp_path / "1-of-2.jsonl").exists()
    assert not held.is_locked


def test_images_that_cannot_be_read_at_all(
    place: Path, backbones: Backbones, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in (place / "world" / "val").iterdir():
        (images / path.name).write_bytes(b"no picture")
    report = run_evaluation(
        quick_config(place, tmp_path / "out", images=images), backbones=backbones
    )
    assert len(report.failed) == report.images
    assert report.head.scores["lvis"]["bbox"]["AP"] == 0
