"""ODinW-like folders in one command: which sets there are, their figures, and the means."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regionspot_core.errors import InputError
from regionspot_evaluate.odinw.report import OdinwReport
from regionspot_evaluate.odinw.sets import ODINW_13, ODINW_35, OdinwSet, find_sets, missing_sets

SETS = {
    "Aquarium": "Aquarium/Combined v2.coco/valid/annotations_without_background.json",
    "EgoHands/generic": "EgoHands/generic/valid/_annotations.coco.json",
    "pistols": "pistols/export/val_annotations_without_background.json",
}


@pytest.fixture
def root(place: Path, tmp_path: Path) -> Path:
    """Three sets of three images each, boxes alone, numbered from 0, beside other splits."""
    content = json.loads((place / "world" / "val.json").read_text())
    for number, file in enumerate(SETS.values()):
        path = tmp_path / "odinw" / file
        path.parent.mkdir(parents=True)
        images = content["images"][3 * number : 3 * number + 3]
        ids = [image["id"] for image in images]
        for image in images:
            shutil.copy(place / "world" / "whole" / image["file_name"], path.parent)
        used = {a["category_id"] for a in content["annotations"] if a["image_id"] in ids}
        own = {
            "images": [
                {key: image[key] for key in ("id", "file_name", "height", "width")}
                for image in images
            ],
            "categories": [
                {"id": c["id"], "name": c["name"]} for c in content["categories"] if c["id"] in used
            ],
            "annotations": [
                {**{k: a[k] for k in ("image_id", "category_id", "bbox", "area")}, "id": n}
                for n, a in enumerate(a for a in content["annotations"] if a["image_id"] in ids)
            ],
        }
        path.write_text(json.dumps(own))
        shutil.copy(path, path.parent / "fewshot_train_shot1_seed3.json")
    (tmp_path / "odinw" / "notes").mkdir()
    return tmp_path / "odinw"


def test_every_set_is_scored_and_the_same_command_goes_on(
    root: Path, place: Path, regionspot: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["evaluate", "odinw", "--root", root, "--out", out, "--device", "cpu"]
    command += ["--head", place / "first", "--head", place / "second", "--baseline", "none"]
    done = regionspot(*map(str, command))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    figures = json.loads((out / "odinw.json").read_text())
    for head in ("first", "second"):
        found = {}
        for name in SETS:
            metrics = json.loads((out / name.replace("/", "_") / head / "metrics.json").read_text())
            assert list(metrics["scores"]) == ["coco"]
            found[name] = metrics["scores"]["coco"]["bbox"]["metrics"]["AP"]
        assert figures["AP"][head] == found
        mean = sum(found.values()) / 3
        assert figures["mean"][head] == {
            "all": pytest.approx(mean), "ODinW-13": None, "ODinW-35": None,
        }  # fmt: skip
    rows = {line.split("  ")[0]: line.split() for line in done.stdout.splitlines()}
    first, second = (figures["mean"][head]["all"] for head in ("first", "second"))
    assert rows["mean of 3 sets"][-2:] == [f"{100 * first:.1f}", f"{100 * second:.1f}"]
    assert "ODinW-13: 10 of its 13 sets not found: AerialMaritimeDrone/large" in done.stdout
    shutil.rmtree(out / "pistols")
    again = regionspot(*map(str, command))
    assert again.stdout == done.stdout
    assert again.stderr.count("3 images are there already") == 2


def test_the_lists_are_of_thirteen_and_thirty_five() -> None:
    assert (len(set(ODINW_13)), len(set(ODINW_35))) == (13, 35)
    assert set(ODINW_13) < set(ODINW_35)


def test_means_are_of_whole_benchmarks() -> None:
    precision: dict[str, float | None] = dict.fromkeys(ODINW_13, 0.5) | {"mine": 1.0}
    report = OdinwReport("valid", [], {})
    assert report.means(precision) == {"all": 7.5 / 14, "ODinW-13": 0.5, "ODinW-35": None}
    assert missing_sets([OdinwSet("pothole", Path())], "ODinW-13") == [
        name for name in ODINW_13 if name != "pothole"
    ]


def test_what_is_no_such_folder(root: Path) -> None:
    assert [each.name for each in find_sets(root, "valid")] == list(SETS)
    with pytest.raises(InputError, match="expected folders of data sets"):
        find_sets(root, "test")
    shutil.copytree(root / "Aquarium", root / "Aquarium" / "copy")
    with pytest.raises(InputError, match=r"one annotation file of the split valid, got 2 \(C"):
        find_sets(root, "valid")
