"""`extract check`: what a data set holds, without a model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from regionspot.cli import app
from regionspot_core.backbones.loading import Backbones
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import InputError
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction

SIZES = {"a": (40, 30), "b": (30, 40), "c": (60, 60), "huge": (200, 100), "flag": (40, 30)}
FLAGS = {"b": 6, "c": 6, "flag": 3}
"""EXIF orientations; of b alone the annotated size, 40 × 30, tells that it is turned."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO file with one of each thing that may be the matter, beside its images."""
    folder = tmp_path_factory.mktemp("dataset")
    for name, size in SIZES.items():
        exif = Image.Exif()
        exif[0x0112] = FLAGS.get(name, 1)
        Image.new("RGB", size, "white").save(folder / f"{name}.jpg", exif=exif)
    Image.new("RGB", (8, 8)).save(folder / "stray.png")
    (folder / "broken.jpg").write_bytes(b"<html>")
    listed = {**SIZES, "b": (40, 30), "a": (50, 30), "broken": (9, 9), "gone": (9, 9)}
    images = [
        {"id": i, "file_name": f"{name}.jpg", "width": width, "height": height}
        for i, (name, (width, height)) in enumerate(listed.items())
    ]
    boxes: list[dict[str, Any]] = [
        {"image_id": 1, "bbox": [1, 1, 10, 10], "segmentation": [[1, 1, 9, 1, 9, 9]]},
        {"image_id": 2, "bbox": [50, 50, 30, 5]},
        {"image_id": 3, "bbox": [1, 1, 0, 5]},
        {"image_id": 3, "bbox": [1, 1, 9, 5], "iscrowd": 1},
        {"image_id": 6, "bbox": [1, 1, 5, 5]},
    ]
    for i, box in enumerate(boxes):
        box |= {"id": i, "category_id": 1}
    names = [{"id": 1, "name": "猫 [x]"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": boxes, "categories": names}
    (folder / "coco.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def check(folder: Path, *options: str, file: str = "coco.json") -> Any:
    arguments = ["extract", "check", "--images", str(folder), "--annotations", str(folder / file)]
    return CliRunner().invoke(app, [*arguments, *options])


def test_everything_is_counted(dataset: Path) -> None:
    result = check(dataset, "--max-pixels", "10000", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report == {
        "format": "COCO",
        "images_listed": 7,
        "images": 3,
        "images_without_regions": 1,
        "regions": 2,
        "masks": 1,
        "classes": 2,
        "classes_without_regions": 1,
        "left_out": {"crowd": 1, "empty box": 1},
        "clipped": 1,
        "not_listed": 1,
        "files": {
            "missing": ["gone.jpg"],
            "not_readable": ["broken.jpg"],
            "other_size": ["a.jpg"],
            "too_large": ["huge.jpg"],
            "turned": ["b.jpg"],
            "not_turned": ["c.jpg", "flag.jpg"],
            "largest": [
                {"file": "huge.jpg", "height": 100, "width": 200},
                {"file": "c.jpg", "height": 60, "width": 60},
                {"file": "a.jpg", "height": 30, "width": 40},
            ],
        },
        "pictures": [],
    }


def test_the_table_names_what_is_the_matter_within_80_columns(dataset: Path) -> None:
    result = check(dataset, "--max-pixels", "10000")
    assert max(map(len, result.stdout.splitlines())) <= 80
    text = " ".join(result.stdout.split())
    for part in (
        "format COCO", "images 3 of 7, 1 without regions", "classes 2, 1 without regions",
        "left out 1 crowd, 1 empty box", "missing 1 image (gone.jpg)", "other size 1 image",
        "too large 1 image (huge.jpg): above --max-pixels 10,000", "(c.jpg, flag.jpg)",
    ):  # fmt: skip
        assert part in text


def test_headers_that_sizes_came_from_are_not_read_again(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text("file,x1,y1,x2,y2,name\na.png,1,1,9,9,猫\n")
    result = check(tmp_path, file="a.csv")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("headers: 1/1") == 1


def test_letters_that_no_font_has_are_said(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text("file,x1,y1,x2,y2,name\na.png,1,1,9,9,\U00013000x\n")
    result = check(tmp_path, "--pictures", str(tmp_path / "samples.png"), file="a.csv")
    assert result.exit_code == 0, result.output
    assert "no installed font has" in result.stderr


def test_samples_are_drawn(dataset: Path, tmp_path: Path) -> None:
    result = check(dataset, "--pictures", str(tmp_path / "samples.png"))
    assert "samples.png: b.jpg, c.jpg, from left to right" in " ".join(result.stdout.split())
    drawn = np.asarray(Image.open(tmp_path / "samples.png"))
    assert drawn.shape[0] == 640
    assert (drawn != 255).any()


def test_a_picture_that_cannot_be_written_is_not_announced(dataset: Path) -> None:
    result = check(dataset, "--pictures", str(dataset / "no folder" / "out.png"))
    assert result.exit_code == 0
    assert "the picture could not be made (No such file or directory)" in result.stderr
    assert "left to right" not in result.output


def test_images_of_which_none_can_be_read_are_refused(dataset: Path) -> None:
    result = check(dataset, "--max-pixels", "10")
    assert isinstance(result.exception, InputError)
    assert str(result.exception).endswith(
        "a run could read none of 7 images (1 missing, 1 not readable, 1 of another size than "
        "annotated, 5 larger than --max-pixels); give the annotations' own images"
    )


def test_what_a_run_would_refuse_is_refused(dataset: Path, tmp_path: Path) -> None:
    result = check(dataset, "--strict")
    assert result.exit_code != 0
    assert "1 of 7 images is missing (gone.jpg)" in str(result.exception)
    (tmp_path / "a.csv").write_text("file,x1\n")
    assert "expected a header with file" in str(check(tmp_path, file="a.csv").exception)


def test_a_run_says_which_orientations_nothing_confirms(
    dataset: Path, tmp_path: Path, backbones: Backbones, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ExtractConfig(
        images=dataset, annotations=dataset / "coco.json", out=tmp_path / "store.zarr"
    )
    counted = json.loads(check(dataset, "--json").stdout)
    capsys.readouterr()
    report = run_extraction(config, backbones=backbones)
    counts = FeatureCache(config.out).region_counts
    assert (counted["images"], counted["regions"]) == (len(counts), counts.sum())
    assert {each.file for each in report.failed} == {"a.jpg", "broken.jpg", "gone.jpg"}
    said = capsys.readouterr().err
    assert "1 of 7 images is missing (gone.jpg); going on with the others" in said
    assert "2 images with an EXIF orientation that the annotated size does not tell of" in said
    assert "(c.jpg, flag.jpg): pixels were taken as stored" in said


def test_no_model_library_is_loaded(dataset: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from regionspot_extract.check import check_dataset; "
        "from regionspot_extract.config import CheckConfig; folder = Path(sys.argv[1]); "
        "check_dataset(CheckConfig(images=folder, annotations=folder / 'coco.json', "
        "pictures=folder.parent / 'samples.png')); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(dataset)], check=True)
