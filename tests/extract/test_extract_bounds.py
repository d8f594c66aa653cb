"""Numbers out of all bounds and places that are none: one sentence, before anything is made."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regionspot_core.testing import make_cache

Regionspot = Callable[..., Any]
HUGE = "999999999999"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "images").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(folder / "images" / "a.png")
    (folder / "coco.json").write_text(
        '{"images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 8}],'
        '"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}],'
        '"categories": [{"id": 1, "name": "thing"}]}'
    )
    (folder / "photos").mkdir()
    (folder / "photos" / "mine.txt").write_text("mine")
    (folder / "empty").mkdir()
    make_cache(folder / "store", [1])
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(regionspot: Regionspot, place: Path, *arguments: str, cwd: Path | None = None) -> str:
    """The one line that a call ends with, having made nothing."""
    before = sorted(place.rglob("*")), contents(place)
    done = regionspot(*arguments, cwd=cwd or place)
    assert done.returncode == 2, done.stderr
    assert (sorted(place.rglob("*")), contents(place)) == before
    (line,) = done.stderr.strip().splitlines()
    assert len(line) < 400
    return str(line.removeprefix("regionspot: error: "))


DATA = ["--images", "images", "--annotations", "coco.json"]
RUN = ["extract", "run", *DATA, "--out", "new"]
PLAN = ["extract", "plan", *DATA]
BENCH = ["bench", "extract"]
CACHE = ["bench", "cache"]


@pytest.mark.parametrize("value", ["0", "-1", HUGE])
@pytest.mark.parametrize(
    ("command", "option", "field"),
    [
        *[
            (command, option, field)
            for command in (RUN, PLAN)
            for option, field in [
                ("--batch", "batch_images"),
                ("--workers", "workers"),
                ("--part-images", "part_images"),
                ("--max-pixels", "max_pixels"),
                ("--sam-input", "backbones.sam_input"),
                ("--clip-input", "backbones.clip_input"),
            ]
        ],
        ([*RUN, "--engine", "ray"], "--actors", "ray.actors"),
        ([*RUN, "--engine", "ray"], "--actor-gpus", "ray.gpus"),
        ([*RUN, "--engine", "ray"], "--actor-threads", "ray.threads"),
        (BENCH, "--batch", "batch"),
        (BENCH, "--images", "images"),
        (BENCH, "--workers", "workers"),
        (CACHE, "--images", "images"),
        (CACHE, "--regions", "regions"),
        (CACHE, "--open-parts", "open_parts"),
    ],
)
def test_a_number_out_of_bounds(
    regionspot: Regionspot, place: Path, command: list[str], option: str, field: str, value: str
) -> None:
    line = refused(regionspot, place, *command, option, value)
    assert f"{field}: input should be " in line
    assert line.endswith(f", got {float(value) if 'gpus' in option else value}")


@pytest.mark.parametrize("command", [RUN, PLAN])
def test_very_many_jittered_copies(regionspot: Regionspot, place: Path, command: list[str]) -> None:
    line = refused(regionspot, place, *command, "--jitter", HUGE)
    assert "keep.jitter: input should be less than or equal to 64" in line


def test_a_thousand_devices_are_no_thousand_processes(regionspot: Regionspot, place: Path) -> None:
    line = refused(regionspot, place, *RUN, "--device", ",".join(["cpu"] * 1000))
    assert "devices: expected at most 64 devices, got 1,000" in line


@pytest.mark.parametrize(
    ("out", "what"),
    [
        ("/", "got the root of the file system"),
        ("images/../..", "found a folder that is no store"),
        ("photos", "found a folder that is no store; give a name in it, such as photos/store.zarr"),
        ("empty", "found a folder that is no store"),
        ("coco.json", "got a file"),
        ("coco.json/store", "is a file"),
        ("/proc/store", "nothing can be written in /proc"),
        ("/dev/null", "got a file"),
    ],
)
def test_a_place_that_is_none_for_a_store(
    regionspot: Regionspot, place: Path, out: str, what: str
) -> None:
    line = refused(regionspot, place, *RUN[:-1], out)
    assert what in line
    assert out in line


@pytest.mark.parametrize("folder", ["empty", "photos"])
def test_the_current_folder_is_refused_where_it_is_no_store(
    regionspot: Regionspot, place: Path, folder: str
) -> None:
    up = ["--images", "../images", "--annotations", "../coco.json", "--out"]
    for out in (".", f"../{folder}", f"../images/../{folder}"):
        line = refused(regionspot, place, "extract", "run", *up, out, cwd=place / folder)
        assert f"--out {out}: expected a store or a new name for one" in line


def test_a_store_may_be_the_current_folder_and_take_another_path_to_it(
    regionspot: Regionspot, place: Path, tmp_path: Path
) -> None:
    """A store is made below it, and gone on with from within."""
    data = [
        "--images", str(place / "images"), "--annotations", str(place / "coco.json"),
    ]  # fmt: skip
    store = tmp_path / "store"
    made = regionspot("extract", "run", *data, "--out", "store", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    before = contents(store)
    (store / "parts" / "complete.json").unlink()
    (store / "parts" / "000000.json").unlink()
    (store / "sub").mkdir()
    for out, folder in ((".", store), ("..", store / "sub")):
        done = regionspot("extract", "run", *data, "--out", out, cwd=folder)
        assert (done.returncode, contents(store)) == (0, before), done.stderr
    assert regionspot("extract", "info", ".", cwd=store).returncode == 0
    os.chdir(place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
