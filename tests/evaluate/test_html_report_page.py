"""The page as a file: it loads nothing, holds any name, and stays small."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from lvis_runs import (
    SIZE,
    make_annotations,
    make_detections,
    page_data,
    write_annotations,
    write_images,
    write_run,
)
from PIL import Image
from typer.testing import CliRunner

from regionspot.cli import app
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.heads.score_fusion import ScoreFusion, Tuning
from regionspot_core.support.checksums import FileSum
from regionspot_evaluate.reports.html.config import ReportConfig
from regionspot_evaluate.reports.html.write import write_html_report

PACKAGE = files("regionspot_evaluate.reports.html")


def test_bundled_libraries_are_those_that_the_readme_names() -> None:
    text = (PACKAGE / "vendor" / "README.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"^\| `([^`]+\.js)` .* `([0-9a-f]{64})` \|$", text, flags=re.M))
    assert sorted(named) == ["d3.min.js", "plot.min.js"]
    total = 0
    for name, sha256 in named.items():
        content = (PACKAGE / "vendor" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
        total += len(content)
    assert total < 1_500_000


@pytest.fixture
def world(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(7)
    made = make_annotations(rng)
    made["categories"][1]["name"] = "</script><b>&\u2028"
    return {
        "annotations": write_annotations(tmp_path, made),
        "images": write_images(tmp_path / "images", made, rng),
        "run": write_run(tmp_path / "<i>run", make_detections(rng, made, masks=True)),
    }


def test_the_page_asks_for_nothing_and_holds_any_name(world: dict[str, Path]) -> None:
    arguments = ["evaluate", "report", str(world["run"])]
    for option in ("annotations", "images"):
        arguments += [f"--{option}", str(world[option])]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    text = (world["run"] / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert not re.findall(r"@import|url\(", text.split("</style>")[0])
    assert "<i>run" not in text.split("<script")[0]
    data = page_data(world["run"] / "report.html")
    assert data["classes"][1]["name"] == "</script><b>&\u2028"
    assert data["runs"][0]["name"] == "<i>run"


def test_without_images_the_page_says_so(world: dict[str, Path]) -> None:
    config = {"runs": [world["run"]], "annotations": world["annotations"]}
    page, *_ = write_html_report(ReportConfig.parse(config, source="test"))
    text = page.read_text(encoding="utf-8")
    assert "give --images to have pictures" in text
    assert page_data(page)["gallery"]["pictures"] == {}


def test_a_fusion_has_a_line_with_what_it_was_tuned_for(
    world: dict[str, Path], tmp_path: Path
) -> None:
    """And a run without one has none."""
    figures = {"seen": 0.8, "held_out": 0.5, "mean": 0.65, "loss": 1.25}
    fusion = ScoreFusion(
        opinion="region-tokens",
        weight_seen=0.2,
        weight_unseen=0.4,
        tuned=Tuning(
            cache={},
            head=FileSum.of([b"weights"]),
            held_out_classes=HeldOutClasses(share=0.1, seed=0, names=("a", "b")),
            images=7,
            regions={"seen": 9, "held_out": 3},
            objective="any",
            before=figures,
            after={"seen": 0.9, "held_out": 0.75, "mean": 0.825, "loss": 0.5},
        ),
    )
    unknown = {"auroc": 0.875, "known_regions": 8, "unknown_regions": 2}
    entries = json.loads((world["run"] / "detections.json").read_text())
    fused = write_run(tmp_path / "fused", entries, fusion=fusion.to_json(), unknown=unknown)
    asked = {"runs": [world["run"], fused], "annotations": world["annotations"]}
    page, told, *_ = write_html_report(ReportConfig.parse(asked, source="test"))
    text = page.read_text(encoding="utf-8").split("<script")[0]
    (line,) = re.findall(r'<p class="note">([^\n]*fused with region-tokens[^\n]*)</p>', text)
    assert "weight 0.2 of seen classes, 0.4 of unseen ones" in line
    assert "(tuned on 2 held-out classes and 7 images)" in line
    assert "seen classes 80.0 → 90.0, held-out classes 50.0 → 75.0, −log p 1.250 → 0.500." in line
    runs = json.loads(told.read_text(encoding="utf-8"))["runs"]
    assert "known against unknown classes 87.5 %: 8 regions of classes that it learnt, 2 " in text
    assert runs[0]["fusion"] is runs[0]["unknown"] is None
    assert runs[1]["fusion"]["tuned"]["before"] == figures


@pytest.mark.slow
def test_size_does_not_grow_with_images_and_is_bounded(tmp_path: Path) -> None:
    # What an LVIS report holds most of: 1 203 classes for two runs, and 72 different photographs
    # of a kind that JPEG shrinks badly. Of the images only these are in it.
    rng = np.random.default_rng(2)
    made = make_annotations(rng, images=900, classes=1203)
    images = tmp_path / "images"
    images.mkdir()
    for image in made["images"]:
        image |= {"height": 6 * SIZE[0], "width": 6 * SIZE[1], "file_name": "noise.png"}
    coarse = Image.fromarray(rng.integers(0, 255, (120, 180, 3), dtype=np.uint8))
    coarse.resize((720, 480), Image.Resampling.BICUBIC).save(images / "noise.png")
    runs = [
        write_run(tmp_path / name, make_detections(rng, made, right=right))
        for name, right in (("a", 0.6), ("b", 0.3))
    ]
    annotations = write_annotations(tmp_path, made)

    def size(annotations: Path) -> int:
        config = {"runs": runs, "annotations": annotations, "images": images}
        return write_html_report(ReportConfig.parse(config, source="test"))[0].stat().st_size

    assert size(annotations) < 8_000_000
