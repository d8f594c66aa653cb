"""One data set written in every format reads as its COCO file does, to a thousandth of a pixel."""

import csv
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from png_headers import save_png_header

from regionspot_core.datasets.reading import read_table, read_vocabulary
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.imaging.sources import open_images

NAMES = ("a cat", "dog, big", "é<猫>&")


@dataclass(frozen=True)
class Region:
    name: str
    corners: tuple[float, float, float, float]
    crowd: bool


@dataclass(frozen=True)
class Scene:
    size: tuple[int, int]
    regions: list[Region]


def grid(pixels: float) -> float:
    """Return the nearest 64th of a pixel, so that what is empty is so in every format."""
    return round(pixels * 64) / 64


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """One image; its boxes may leave it, have no area, or a negative side."""
    height, width = draw(st.tuples(*[st.integers(1, 4_000)] * 2))
    regions = []
    for _ in range(draw(st.integers(0, 4))):
        x, y = (grid(draw(st.floats(-0.2, 1.1)) * side) for side in (width, height))
        w, h = (grid(draw(st.floats(0, 1.2) | st.just(-0.1)) * side) for side in (width, height))
        name = draw(st.sampled_from(NAMES))
        regions.append(Region(name, (x, y, x + w, y + h), draw(st.booleans())))
    return Scene((height, width), regions)


def file_name(number: int) -> str:
    return f"{number:03} é.png"


def write_coco(folder: Path, data: list[Scene]) -> Path:
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": i, "name": name} for i, name in enumerate(sorted(NAMES), 1)]
    for number, scene in enumerate(data, 1):
        height, width = scene.size
        content["images"].append(
            {"id": number, "height": height, "width": width, "file_name": file_name(number)}
        )
        for each in scene.regions:
            x1, y1, x2, y2 = each.corners
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": sorted(NAMES).index(each.name) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "iscrowd": int(each.crowd),
                }
            )
    path = folder / "coco.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_csv(folder: Path, data: list[Scene]) -> Path:
    path = folder / "boxes.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "file", "x1", "y1", "x2", "y2", "note"])
        for number, scene in enumerate(data, 1):
            if not scene.regions:
                writer.writerow(["", file_name(number), "", "", "", "", "nothing here"])
            for each in scene.regions:
                writer.writerow([each.name, file_name(number), *each.corners, ""])
    return path


def write_voc(folder: Path, data: list[Scene]) -> Path:
    (folder / "voc/Annotations").mkdir(parents=True)
    for number, scene in enumerate(data, 1):
        height, width = scene.size
        objects = "".join(
            f"<object><name>{escape(each.name)}</name><difficult>{each.crowd:d}</difficult><bndbox>"
            f"<xmin>{each.corners[0] + 1}</xmin><ymin>{each.corners[1] + 1}</ymin>"
            f"<xmax>{each.corners[2]}</xmax><ymax>{each.corners[3]}</ymax></bndbox></object>"
            for each in scene.regions
        )
        path = folder / f"voc/Annotations/{number:03} é.xml"
        path.write_text(
            f"<annotation><filename>renamed since.png</filename><size><width>{width}</width>"
            f"<height>{height}</height></size>{objects}</annotation>",
            encoding="utf-8",
        )
    return folder / "voc"


def write_yolo(folder: Path, data: list[Scene]) -> Path:
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text(
        f"path: .\ntrain: images\nnames: {json.dumps(dict(enumerate(sorted(NAMES))))}\n"
    )
    for number, scene in enumerate(data, 1):
        height, width = scene.size
        save_png_header(folder / "images" / file_name(number), height, width)
        lines = []
        for each in scene.regions:
            x1, y1, x2, y2 = each.corners
            shares = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width
            lines.append(f"{sorted(NAMES).index(each.name)} {shares[0]} {shares[1]} {shares[2]} ")
            lines[-1] += f"{(y2 - y1) / height}"
        label = folder / "labels" / file_name(number).replace(".png", ".txt")
        label.write_text("\n".join(lines), encoding="utf-8")
    return folder / "data.yaml"


Write = Callable[[Path, list[Scene]], Path]


def comparable(data: AnnotationSet, crowds: str) -> dict[str, Any]:
    names = data.vocabulary.names
    return {
        "files": [Path(name).name for name in data.image_file],
        "sizes": data.image_size.tolist(),
        "starts": data.region_start.tolist(),
        "names": [names[index] for index in data.class_index],
        "crowds": data.dropped[crowds],
        "empty": data.dropped["empty box"],
    }


@pytest.mark.parametrize(
    ("write", "crowds"), [(write_csv, None), (write_voc, "difficult"), (write_yolo, None)]
)
@settings(max_examples=25, deadline=None)
@given(data=st.lists(scenes(), min_size=1, max_size=3))
def test_a_format_reads_as_coco_does(write: Write, crowds: str | None, data: list[Scene]) -> None:
    if crowds is None:  # the format has none
        data = [
            Scene(each.size, [Region(r.name, r.corners, crowd=False) for r in each.regions])
            for each in data
        ]
    regions = [region for scene in data for region in scene.regions]
    if not regions:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, scene in enumerate(data, 1):
            save_png_header(folder / file_name(number), *scene.size)
        path = write(folder, data)
        coco = read_table(write_coco(folder, data))
        table = read_table(path, images=open_images(folder))
        read, expected = table.regions(), coco.regions()
        assert comparable(read, crowds or "crowd") == comparable(expected, "crowd")
        np.testing.assert_allclose(read.box, expected.box, rtol=0, atol=1e-3)
        assert read_vocabulary(path).names == read.vocabulary.names
        if all(r.corners[2] >= r.corners[0] and r.corners[3] >= r.corners[1] for r in regions):
            truth, wanted = (each.truth(federated=False) for each in (table, coco))
            np.testing.assert_allclose(truth.box, wanted.box, rtol=0, atol=1e-3)
            assert truth.crowd.tolist() == wanted.crowd.tolist()
            np.testing.assert_allclose(truth.area, wanted.area, rtol=1e-6, atol=1e-3)
