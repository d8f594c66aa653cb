"""Paths that are not UTF-8, and folders named as `.`, are paths like any other."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_evaluation import write_place

from regionspot_core.backbones.loading import Backbones
from regionspot_core.support.files import file_sha256


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, backbones: Backbones) -> Path:
    folder = tmp_path_factory.mktemp("place") / os.fsdecode(b"d\xff")
    folder.mkdir()
    return write_place(folder, backbones)


def test_a_whole_evaluation_in_a_folder_that_is_not_utf8(
    place: Path, regionspot: Callable[..., Any], tmp_path: Path
) -> None:
    truth = json.loads((place / "world" / "val.json").read_text())
    boxes = [
        {"image_id": each["image_id"], "bbox": each["bbox"], "score": 0.9, "category_id": 1}
        for each in truth["annotations"]
    ]
    (place / "boxes.json").write_text(json.dumps(boxes))
    arguments = [
        "evaluate", "run", "--images", f"{place}/world/whole", "--head", f"{place}/first",
        "--annotations", f"{place}/world/val.json", "--proposals", f"{place}/boxes.json",
        "--bank", f"{place}/bank.h5", "--out", f"{place}/out", "--device", "cpu",
    ]  # fmt: skip
    done = regionspot(*arguments)
    assert done.returncode == 0, done.stderr
    record = json.loads((place / "out" / "run.json").read_text(encoding="utf-8"))
    assert record["configuration"]["annotations"] == f"{place}/world/val.json"
    assert record["proposals"] == file_sha256(place / "boxes.json")
    again = regionspot(*arguments)
    assert again.returncode == 0, again.stderr
    assert "are there already" in again.stderr

    page = regionspot("evaluate", "report", f"{place}/out", cwd=tmp_path)
    assert page.returncode == 0, page.stderr
    assert "d\\xff/out/report.html" in "".join(page.stdout.split())
    scored = regionspot(
        "evaluate", "score", "--annotations", f"{place}/world/val.json",
        "--detections", f"{place}/out/detections.json.gz", "--json", f"{place}/score.json",
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    told = json.loads((place / "score.json").read_text(encoding="utf-8"))
    assert told["detections"] == f"{place}/out/detections.json.gz"

    missing = regionspot(*arguments[:-4], "--out", f"{place}/new", "--head", f"{place}/none")
    assert missing.returncode == 2
    assert "d\\xff/none" in missing.stderr


def test_the_current_folder_is_a_folder(
    place: Path, regionspot: Callable[..., Any], tmp_path: Path
) -> None:
    arguments = [
        "evaluate", "run", "--images", f"{place}/world/whole", "--head", f"{place}/first",
        "--annotations", f"{place}/world/val.json", "--bank", f"{place}/bank.h5",
        "--baseline", "none", "--device", "cpu", "--out",
    ]  # fmt: skip
    done = regionspot(*arguments, ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = regionspot("evaluate", "report", ".", "--gallery", "0")
    assert page.returncode == 0, page.stderr
    assert (tmp_path / "report.html").exists()
    root = regionspot(*arguments, "/")
    assert root.returncode == 2
    assert "--out /: expected a folder of its own" in root.stderr


@pytest.mark.parametrize("option", ["shard", "proposals", "baseline", "protocol", "names"])
def test_an_empty_text_is_no_value(regionspot: Callable[..., Any], option: str) -> None:
    command = "predict" if option == "names" else "run"
    for words in ((f"--{option}", ""), (f"--{option}=",)):
        done = regionspot("evaluate", command, *words)
        assert done.returncode == 2
        assert f"--{option}: expected a value, got an empty text" in done.stderr
