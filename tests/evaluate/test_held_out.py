"""A head that learnt from part of a file's images is evaluated on the others, in every command."""

import json
from pathlib import Path

import pytest
from lvis_runs import page_data
from small_evaluation import IMAGES, quick_config, results_in

from regionspot_core.backbones.loading import Backbones
from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.split import Split
from regionspot_core.errors import FingerprintError
from regionspot_core.heads.checkpoint import HeadRecord, load_head, read_record, save_head
from regionspot_evaluate.reports.html.config import ReportConfig
from regionspot_evaluate.reports.html.write import write_html_report
from regionspot_evaluate.run import run_evaluation
from regionspot_evaluate.scoring.scored_images import evaluated_images


def test_images_that_were_held_out_are_evaluated_and_reported(
    place: Path, backbones: Backbones, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = place / "world" / "val.json"
    table = read_table(annotations)
    split = Split.of(table.image_id, share=0.3, seed=0)
    held = sorted(table.image_id[split.held_out(table.image_id)].tolist())
    before = read_record(place / "first")
    training = {"caches": [{"annotations_sha256": table.sha256, "split": split.model_dump()}]}
    record = HeadRecord(before.config, before.backbones, training)
    save_head(tmp_path / "split", load_head(place / "first"), record)

    out = tmp_path / "out"
    asked = quick_config(
        place, out, heads=[tmp_path / "split"], images=place / "world" / "whole", baseline=(),
        gallery=0,
    )  # fmt: skip
    report = run_evaluation(asked, backbones=backbones)
    assert f"scoring the {len(held)} of {IMAGES} images" in capsys.readouterr().err
    found = results_in(out / "detections.json.gz")
    assert sorted({each["image_id"] for each in found}) == held
    assert json.loads((out / "run.json").read_text())["scored_images"] == held

    everything = asked.model_copy(update={"all_images": True})
    with pytest.raises(FingerprintError, match="scored_images: expected nothing, found"):
        run_evaluation(everything, backbones=backbones)
    capsys.readouterr()

    write_html_report(ReportConfig.parse({"runs": [out], "gallery": 0}, source="test"))
    page = json.loads((out / "report.json").read_text())
    assert page["data"]["images"] == report.images == len(held)
    assert "learnt from" not in capsys.readouterr().err
    (tmp_path / "all").mkdir()
    of_run = {"configuration": {"head": str(tmp_path / "split")}}
    (tmp_path / "all" / "run.json").write_text(json.dumps(of_run))
    assert evaluated_images([tmp_path / "all" / "detections.json"], table) is table
    learnt = f"its head learnt from {IMAGES - len(held)} of these {IMAGES} images"
    assert learnt in capsys.readouterr().err
    annotated = table.only(split.held_out(table.image_id)).regions()
    assert page["data"]["regions"] == len(annotated.box)
    assert page["runs"][0]["named_right"]["all"] == report.head.region.top1["all"]

    # A detector's file of all images stands beside it on the same ones.
    others = [
        found[0] | {"image_id": image_id}
        for image_id in table.image_id.tolist()
        if image_id not in held
    ]
    (tmp_path / "detector.json").write_text(json.dumps(others + found))
    asked = {"runs": [out, tmp_path / "detector.json"], "gallery": 1}
    both = write_html_report(
        ReportConfig.parse(asked | {"out": tmp_path / "both.html"}, source="test")
    )
    said = capsys.readouterr().err
    assert f"detector.json: {len(others)} detections of images that are not scored" in said
    page = page_data(both[0])
    assert page["data"]["images"] == len(held)
    first, second = page["runs"]
    assert first["box"] == second["box"]
    assert page["gallery"]["pictures"]
    for picture in page["gallery"]["pictures"].values():
        assert picture["said"][0] == picture["said"][1]  # masks too
