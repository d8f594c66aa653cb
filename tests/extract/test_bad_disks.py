"""Full, read-only and forbidden disks: one clear sentence, and the same command goes on after."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_disk import Step, can_mount, run_steps

from regionspot_core.testing import files_of
from regionspot_core.tiny.world import write_world

pytestmark = pytest.mark.slow

SCENES = 24
NOBODY = "65534"


@pytest.fixture(scope="module")
def folder(bank: Path) -> Iterator[Path]:
    """A folder that every user may look into; pytest's own are for their owner alone."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        write_world(path / "world", train_scenes=SCENES, val_scenes=1, seed=3)
        shutil.copy(bank, path)
        yield path


@pytest.fixture
def disk(folder: Path) -> Path:
    """An empty folder to mount a disk on."""
    path = folder / "disk"
    path.mkdir(exist_ok=True)
    if not can_mount(path):
        pytest.skip("no disk can be mounted here without being root")
    return path


def extract(folder: Path, out: Path, *options: str) -> Step:
    world = folder / "world"
    inputs = ["--images", f"{world}/train", "--annotations", f"{world}/train.json"]
    return ["regionspot", "extract", "run", *inputs, "--out", str(out),
            "--bank", f"{folder}/bank.h5", "--part-images", "4", "--sam-tokens", "paper",
            *options]  # fmt: skip


@pytest.fixture(scope="module")
def whole(folder: Path) -> dict[str, bytes]:
    """The store of a run that nothing disturbs."""
    (done,) = run_steps([extract(folder, folder / "whole")], mounting=False)
    assert done.returncode == 0, done.text
    return files_of(folder / "whole")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_full_disk(folder: Path, disk: Path, whole: dict[str, bytes], share: float) -> None:
    """Full before the store is made, and in the midst of its parts."""
    pages = sum(-(-len(content) // 4096) for content in whole.values())
    kib, store = 4 * (4 + int(share * pages)), disk / "store"
    (folder / "out").mkdir(exist_ok=True)
    first, second, again = run_steps(
        [
            ["sh", f"mount -t tmpfs -o size={kib}k none {disk}"],
            extract(folder, store),
            ["regionspot", "extract", "info", str(store)] if share else extract(folder, store),
            ["sh", f"test -z \"$(find {disk} -name '*.partial')\""],
            ["sh", f"mount -o remount,size=256m {disk}"],
            extract(folder, store),
            ["sh", f"cp -r {store} {folder}/out/{share}"],
        ],
        mounting=True,
    )
    assert first.returncode == 2
    assert "No space left on device" in first.stderr
    assert "Traceback" not in first.stderr
    assert len(first.stderr.strip().splitlines()) <= 4
    if share:
        assert second.returncode == 0
        assert f"of {SCENES // 4} written: NOT complete" in second.text
        assert "already there" in again.stdout
    else:
        assert second == first
    assert again.returncode == 0, again.text
    assert files_of(folder / "out" / str(share)) == whole


def test_a_disk_that_turns_read_only(folder: Path, disk: Path, whole: dict[str, bytes]) -> None:
    store = disk / "store"
    (folder / "out").mkdir(exist_ok=True)
    half, refused, verified, again, finished, verified_again = run_steps(
        [
            ["sh", f"mount -t tmpfs none {disk}"],
            extract(folder, store, "--shard", "1/2"),
            ["sh", f"mount -o remount,ro {disk}"],
            extract(folder, store),
            ["regionspot", "extract", "verify", str(store)],
            ["sh", f"mount -o remount,rw {disk}"],
            extract(folder, store),
            ["sh", f"mount -o remount,ro {disk}"],
            extract(folder, store),
            ["regionspot", "extract", "verify", str(store)],
            ["sh", f"cp -r {store} {folder}/out/read-only"],
        ],
        mounting=True,
    )
    assert half.returncode == 0
    assert refused.returncode == 2
    assert "Read-only file system" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert verified.returncode == 1  # whole as far as it goes, but not complete
    assert "parts 3 of 6 written: NOT complete damaged nothing" in verified.text, verified.text
    assert again.returncode == 0, again.text
    # There is nothing left to write.
    assert finished.returncode == 0, finished.text
    assert "6 already there, 0 done now" in finished.text
    assert verified_again.returncode == 0
    assert files_of(folder / "out" / "read-only") == whole


@pytest.mark.parametrize("lost", ["the store", "its folder"])
def test_permission_lost(folder: Path, whole: dict[str, bytes], lost: str) -> None:
    place = folder / lost.replace(" ", "-")
    place.mkdir()
    store = place / "store"
    shut = f"find {store if lost == 'the store' else place} -type d -exec chmod 555 {{}} +"
    as_nobody = os.geteuid() == 0
    steps = [
        *([["sh", f"chown {NOBODY} {place}"]] if as_nobody else []),
        extract(folder, folder / "warm"),  # loads what others than root may not even read
        *([["seteuid", NOBODY]] if as_nobody else []),
        *([extract(folder, store, "--shard", "1/2")] if lost == "the store" else []),
        ["sh", shut],
        extract(folder, store),
        ["sh", f"chmod -R u+w {place}"],
        extract(folder, store),
    ]
    *_, refused, again = run_steps(steps, mounting=False)
    assert refused.returncode == 2
    assert "Permission denied" in refused.stderr or "no permission" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert again.returncode == 0, again.text
    assert files_of(store) == whole
