"""Annotations of COCO's layout, and of boxes alone, through extraction and every evaluation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_evaluation import results_in

Regionspot = Callable[..., Any]


@pytest.fixture
def boxes_only(place: Path, tmp_path: Path) -> Path:
    """The small world's validation file without LVIS's lists, frequencies and masks, from id 0."""
    content = json.loads((place / "world" / "val.json").read_text())
    for image in content["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    for category in content["categories"]:
        del category["frequency"]
    for number, annotation in enumerate(content["annotations"]):
        annotation |= {"id": number, "segmentation": []}
        del annotation["area"]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    return path


def test_boxes_alone_are_scored_by_coco_everywhere(
    regionspot: Regionspot, place: Path, boxes_only: Path, tmp_path: Path
) -> None:
    bank, head = ("--bank", str(place / "bank.h5")), ("--head", str(place / "first"))
    data = ("--images", str(place / "world" / "whole"), "--annotations", str(boxes_only))
    out, store = tmp_path / "out", str(tmp_path / "store")

    def command(*words: str) -> str:
        done = regionspot(*words)
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if str(tmp_path) not in line]
        assert max(map(len, lines), default=0) <= 80  # a path is never broken
        return " ".join(done.stdout.split())

    live = command(
        "evaluate", "run", *data, *head, *bank, "--out", str(out), "--baseline", "none",
        "--device", "cpu",
    )  # fmt: skip
    assert "Box × 100, COCO" in live
    assert "Mask" not in live
    assert "scored by COCO's rules, boxes alone: image" in live
    assert "annotation 0 has no mask" in live
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["plan"]["protocols"] == ["coco"]
    assert list(metrics["scores"]) == ["coco"]
    assert list(metrics["scores"]["coco"]) == ["bbox"]
    assert "segmentation" in results_in(out / "detections.json.gz")[0]

    command("extract", "run", *data, *bank, "--out", store, "--device", "cpu")
    cached = ("evaluate", "cached", "--cache", store, *head, "--device", "cpu")
    found = []
    for words in ((), ("--annotations", str(boxes_only))):
        assert "scored by COCO's rules, boxes alone" in command(
            *cached, *words, "--out", store + "c"
        )
        scores = json.loads((Path(store + "c") / "metrics.json").read_text())["scores"]
        found.append(scores["coco"]["bbox"]["metrics"])
    assert found[0] == pytest.approx(found[1])
    assert found[0]["AP"] == pytest.approx(
        metrics["scores"]["coco"]["bbox"]["metrics"]["AP"], abs=2e-3
    )


def test_what_the_file_cannot_give_is_said_before_models_load(
    regionspot: Regionspot, place: Path, boxes_only: Path, tmp_path: Path
) -> None:
    done = regionspot(
        "evaluate", "run", "--images", str(place / "world" / "whole"),
        "--annotations", str(boxes_only), "--head", str(place / "first"),
        "--out", str(tmp_path / "out"), "--protocol", "coco,lvis-fixed",
    )  # fmt: skip
    assert done.returncode == 2
    assert "protocol lvis-fixed needs lists of the classes" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("protocol", ["lvis", "coco"])
@pytest.mark.parametrize("scorer", ["fast", "reference"])
def test_a_crowd_flag_of_text_has_one_verdict(
    protocol: str, scorer: str, regionspot: Regionspot, place: Path, tmp_path: Path
) -> None:
    content = json.loads((place / "world" / "val.json").read_text())
    content["annotations"][1]["iscrowd"] = "0"
    (tmp_path / "val.json").write_text(json.dumps(content))
    (tmp_path / "found.json").write_text("[]")
    words = ("--annotations", "val.json", "--detections", "found.json", "--protocol", protocol)
    done = regionspot("evaluate", "score", *words, "--scorer", scorer, cwd=tmp_path)
    assert done.returncode == 2
    assert "expected 0 or 1 as iscrowd, got '0'" in done.stderr
