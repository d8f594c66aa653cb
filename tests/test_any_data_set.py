"""One data set as COCO's boxes, Pascal VOC, YOLO and a CSV, from extraction to named pictures.

Only the words of the files differ, so every store and every figure is the same; the CSV's pictures
lie in a zip.
"""

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from regionspot_core.cache.read.reader import FeatureCache

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[1] / "docs" / "your-data"
PICTURES = 8


class DataSet(NamedTuple):
    images: Path
    annotations: Path


class Labels(NamedTuple):
    """The example's first pictures: the COCO file's content, and boxes by file."""

    content: dict[str, Any]
    boxes: dict[str, list[tuple[str, list[float]]]]
    """Class name and x1, y1, x2, y2 of each region."""
    names: list[str]

    @classmethod
    def read(cls) -> "Labels":
        content = json.loads((EXAMPLE / "labels.json").read_text())
        content["images"] = content["images"][:PICTURES]
        file_of = {image["id"]: image["file_name"] for image in content["images"]}
        name_of = {each["id"]: each["name"] for each in content["categories"]}
        content["annotations"] = [e for e in content["annotations"] if e["image_id"] in file_of]
        boxes: dict[str, list[tuple[str, list[float]]]] = {name: [] for name in file_of.values()}
        for each in content["annotations"]:
            x, y, width, height = each["bbox"]
            corners = [x, y, x + width, y + height]
            boxes[file_of[each["image_id"]]].append((name_of[each["category_id"]], corners))
        # Formats that list no classes know those that are labelled, by rising name.
        names = sorted({name for regions in boxes.values() for name, _ in regions})
        labelled = [each for each in content["categories"] if each["name"] in names]
        content["categories"] = sorted(labelled, key=lambda each: each["name"])
        return cls(content, boxes, names)


def as_coco(folder: Path, labels: Labels) -> DataSet:
    (folder / "labels.json").write_text(json.dumps(labels.content))
    return DataSet(copy_pictures(folder / "photos", labels), folder / "labels.json")


def as_voc(folder: Path, labels: Labels) -> DataSet:
    (folder / "Annotations").mkdir()
    for file, regions in labels.boxes.items():
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for name, (x1, y1, x2, y2) in regions
        )
        path = folder / "Annotations" / Path(file).with_suffix(".xml")
        path.write_text(f"<annotation><filename>{file}</filename>{objects}</annotation>")
    return DataSet(copy_pictures(folder / "JPEGImages", labels), folder)


def as_yolo(folder: Path, labels: Labels) -> DataSet:
    copy_pictures(folder / "images", labels)
    (folder / "labels").mkdir()
    names = "".join(f"  - {name}\n" for name in labels.names)
    (folder / "data.yaml").write_text(f"path: .\ntrain: images\nnames:\n{names}")
    side = labels.content["images"][0]["width"]
    for file, regions in labels.boxes.items():
        lines = [
            f"{labels.names.index(name)} {(x1 + x2) / 2 / side} {(y1 + y2) / 2 / side} "
            f"{(x2 - x1) / side} {(y2 - y1) / side}\n"
            for name, (x1, y1, x2, y2) in regions
        ]
        (folder / "labels" / Path(file).with_suffix(".txt")).write_text("".join(lines))
    return DataSet(folder, folder / "data.yaml")


def as_csv_and_zip(folder: Path, labels: Labels) -> DataSet:
    with (folder / "boxes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "x1", "y1", "x2", "y2", "name"])
        for name, regions in labels.boxes.items():
            writer.writerows([name, *corners, class_name] for class_name, corners in regions)
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for name in labels.boxes:
            archive.write(EXAMPLE / "photos" / name, name)
    return DataSet(folder / "photos.zip", folder / "boxes.csv")


FORMATS = {"coco": as_coco, "voc": as_voc, "yolo": as_yolo, "csv": as_csv_and_zip}


def copy_pictures(folder: Path, labels: Labels) -> Path:
    folder.mkdir()
    for name in labels.boxes:
        shutil.copy(EXAMPLE / "photos" / name, folder)
    return folder


def test_every_format_goes_from_pictures_to_names(
    regionspot: Callable[..., Any], tmp_path: Path
) -> None:
    labels = Labels.read()
    head = tmp_path / "head"
    found: dict[str, Any] = {}
    for name, write in FORMATS.items():
        folder = tmp_path / name
        folder.mkdir()
        data = write(folder, labels)
        given = ["--images", str(data.images), "--annotations", str(data.annotations)]

        def run(*words: str, folder: Path = folder) -> None:
            done = regionspot(*words, cwd=folder)
            assert done.returncode == 0, done.stdout + done.stderr

        run("extract", "check", *given)
        run("extract", "run", *given, "--out", "store.zarr")
        if not head.exists():
            run("train", "fit", "--cache", "store.zarr", "--out", str(head), "--set", "steps=2")
        run("evaluate", "run", *given, "--head", str(head), "--out", "results", "--baseline",
            "none", "--all-images")  # fmt: skip
        run("evaluate", "report", "results")
        run("evaluate", "predict", str(EXAMPLE / "new" / "IMG_1062.jpg"), "--head", str(head),
            "--vocabulary", str(data.annotations), "--box", "10,10,60,60",
            "--out", "named")  # fmt: skip
        named = json.loads((folder / "named" / "IMG_1062.regions.json").read_text())
        metrics = json.loads((folder / "results" / "metrics.json").read_text())
        cache = FeatureCache(folder / "store.zarr")
        found[name] = {
            "figures": {
                **metrics["scores"]["coco"]["bbox"]["metrics"],
                **metrics["naming"]["top1"],
            },
            "tokens": cache.read(list(range(len(cache)))).region_tokens.tolist(),
            "names": cache.vocabulary.names,
            "named": named["regions"],
        }
        assert "<html" in (folder / "results" / "report.html").read_text()
    expected = found.pop("coco")
    figures = pytest.approx(expected["figures"], abs=1e-9)  # sums over boxes in another order
    for name, result in found.items():
        assert result == {**expected, "figures": figures}, name
