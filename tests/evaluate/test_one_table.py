"""Each command parses the annotations once; a format and a baseline are added from outside."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_events import watched
from lvis_runs import make_annotations, make_detections, write_annotations
from lvis_sets import random_set
from PIL import Image
from small_evaluation import write_place
from typer.testing import CliRunner

from regionspot.cli import app
from regionspot_core.backbones.loading import Backbones
from regionspot_core.datasets.builder import AnnotationBuilder
from regionspot_core.datasets.dataset_format import DatasetFormat
from regionspot_core.datasets.reading import FORMATS, read_annotations, register_format
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.imaging.sources import ImageSource

Opens = Callable[..., Counter[str]]


@pytest.fixture
def opens(regionspot: Callable[..., Any]) -> Opens:
    """Counts how often a command opens each JSON file."""

    def count(folder: Path, *words: str) -> Counter[str]:
        opened: list[str] = []
        with watched(opened.append):
            done = regionspot(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
        return Counter(Path(path).name for path in opened if path.endswith((".json", ".json.gz")))

    return count


@pytest.mark.parametrize("protocol", ["lvis", "coco"])
def test_score_opens_each_file_once(opens: Opens, protocol: str, tmp_path: Path) -> None:
    random_set(1, found=40).write(tmp_path)
    words = ("evaluate", "score", "--annotations", "annotations.json")
    words += ("--detections", "detections.json", "--iou", "bbox,segm", "--protocol", protocol)
    found = opens(tmp_path, *words)
    assert (found["annotations.json"], found["detections.json"]) == (1, 1)


def test_compare_and_report_open_the_annotations_once(opens: Opens, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    annotations = make_annotations(rng)
    truth = write_annotations(tmp_path, annotations)
    results = tmp_path / "results.json"
    results.write_text(json.dumps(make_detections(rng, annotations, masks=True)))
    found = opens(tmp_path, "evaluate", "report", "results.json", "--annotations", truth.name)
    assert (found[truth.name], found["results.json"]) == (1, 1)
    found = opens(tmp_path, "evaluate", "compare", "results.json", "--annotations", truth.name)
    assert (found[truth.name], found["results.json"]) == (1, 1)


def test_run_opens_the_annotations_and_each_results_file_once(
    opens: Opens, tmp_path: Path, backbones: Backbones
) -> None:
    write_place(tmp_path, backbones)
    boxes = [{"image_id": 1, "bbox": [0, 0, 30, 30], "score": 0.5}]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    words = ["evaluate", "run", "--images", "world/whole", "--annotations", "world/val.json"]
    words += ["--head", "first", "--head", "second", "--out", "out", "--device", "cpu"]
    words += ["--proposals", "boxes.json", "--baseline", "clip-crop", "--bank", "bank.h5"]
    found = opens(tmp_path, *words)
    assert found["val.json"] == 1
    assert found["boxes.json"] == 2  # once for its boxes, and once for its digest
    assert (tmp_path / "out" / "baseline_clip_crop.json.gz").exists()
    assert len(list((tmp_path / "out").glob("*/detections.json.gz"))) == 2
    assert (found["baseline_clip_crop.json.gz"], found["detections.json.gz"]) == (1, 2)


def read_lines(path: Path, *, images: ImageSource | None, masks: bool) -> AnnotationTable:
    """Read lines of ``file class x y width height`` of images of 9 × 9 pixels."""
    assert images is None or images.contains("a.png")
    builder, names = AnnotationBuilder(path, masks=masks), list[str]()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        file, name, *box = line.split()
        if name not in names:
            names.append(name)
        builder.add_image(number, size=(9, 9), file=file)
        builder.add_region(
            number, image=number, class_id=names.index(name) + 1, crowd=False,
            box=[float(value) for value in box],
        )  # fmt: skip
    return builder.build(Vocabulary.from_names(names), "0" * 64)


LINES = DatasetFormat(
    name="lines",
    suffixes=(".lines",),
    find=lambda path: path if path.suffix == ".lines" else None,
    read=read_lines,
    read_vocabulary=lambda path: read_lines(path, images=None, masks=False).vocabulary,
)


def test_a_format_from_outside_is_planned(tmp_path: Path) -> None:
    (tmp_path / "set.lines").write_text("a.png cat 1 2 3 4\nb.png dog 0 0 5 50\n")
    for name in ("a.png", "b.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    before = list(FORMATS)
    register_format(LINES)
    try:
        found = read_annotations(tmp_path / "set.lines")
        assert found.box.tolist() == [[1, 2, 4, 6], [0, 0, 5, 9]]
        words = ["extract", "plan", "--images", str(tmp_path)]
        words += ["--annotations", str(tmp_path / "set.lines")]
        done = CliRunner().invoke(app, [*words, "--sam", "tiny", "--clip", "tiny"])
        assert done.exit_code == 0, done.output
        assert "2 images" in done.output
    finally:
        FORMATS[:] = before
