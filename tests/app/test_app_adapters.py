"""Labelling tools' protocols, in their published forms."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from app_parts import Parts, started
from PIL import Image

from regionspot_app.pictures import DrawnPictures
from regionspot_core.tiny.scenes import make_scene, scene_generator

SCENE = make_scene(scene_generator(0, "val", 3))
CONFIG = """<View><Image name="image" value="$picture"/>
<RectangleLabels name="label" toName="image">
<Label value="solid red circle"/><Label value="striped blue square"/></RectangleLabels></View>"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with started(tmp_path_factory.mktemp("app") / "out") as parts:
        yield parts


def task(place: str) -> dict[str, Any]:
    """A task as Label Studio sends it, with the fields that nobody looks at."""
    return {"id": 7, "data": {"picture": place}, "project": 1, "annotations": [], "predictions": []}


def test_label_studio_asks_whether_it_is_there(app: Parts) -> None:
    assert app.client.get("/label-studio/health").json()["status"] == "UP"
    body = {"project": "1", "schema": CONFIG, "hostname": "http://localhost:8080"}
    assert "model_version" in app.post("/label-studio/setup", body)


@pytest.mark.parametrize(
    "place",
    [
        "/data/local-files/?d=photos/scene-04.png",
        "/data/upload/1/scene-04.png",
        "http://localhost:8080/data/upload/scene-04.png",
        "data:image/png;base64," + base64.b64encode(DrawnPictures().read("scene-04.png")).decode(),
    ],
)
def test_label_studio_gets_rectangles_in_percent(app: Parts, place: str) -> None:
    x1, y1, x2, y2 = SCENE.boxes[0].tolist()
    drawn = {
        "x": 100 * x1 / 96, "y": 100 * y1 / 96,
        "width": 100 * (x2 - x1) / 96, "height": 100 * (y2 - y1) / 96,
    }  # fmt: skip
    body = {
        "tasks": [task(place)],
        "label_config": CONFIG,
        "project": "1.1700000000",
        "params": {
            "login": None,
            "context": {"result": [{"type": "rectanglelabels", "value": drawn | {"rotation": 0}}]},
        },
    }
    (prediction,) = app.post("/label-studio/predict", body)["results"]
    (region,) = prediction["result"]
    assert (region["from_name"], region["to_name"]) == ("label", "image")
    assert region["type"] == "rectanglelabels"
    assert (region["original_width"], region["original_height"]) == (96, 96)
    value = region["value"]
    for side, share in drawn.items():
        assert value[side] == pytest.approx(share, abs=1e-4)
    assert value["rectanglelabels"][0] in ("solid red circle", "striped blue square")
    assert prediction["score"] == pytest.approx(region["score"])


def test_label_studio_gets_everything_where_nothing_is_drawn(app: Parts) -> None:
    body = {"tasks": [task("scene-04.png")], "label_config": CONFIG}
    (prediction,) = app.post("/label-studio/predict", body)["results"]
    assert len(prediction["result"]) >= len(SCENE.boxes)


def test_a_click_is_one_region(app: Parts) -> None:
    x1, y1, x2, y2 = SCENE.boxes[0].tolist()
    click = {"x": 100 * (x1 + x2) / 192, "y": 100 * (y1 + y2) / 192, "width": 0.5}
    context = {"result": [{"type": "keypointlabels", "is_positive": True, "value": click}]}
    body = {"tasks": [task("scene-04.png")], "label_config": CONFIG, "params": {"context": context}}
    (prediction,) = app.post("/label-studio/predict", body)["results"]
    assert len(prediction["result"]) == 1


@pytest.mark.parametrize(
    ("place", "config", "says"),
    [
        ("http://169.254.169.254/latest", CONFIG, "none of the pictures"),
        ("file:///etc/passwd", CONFIG, "none of the pictures"),
        ("/data/local-files/?d=../../etc/passwd", CONFIG, "none of the pictures"),
        ("http://[x/scene-04.png", CONFIG, "none of the pictures"),
        ("data:image/png;base64,%%%", CONFIG, "base64"),
        ("data:image/png;base64,ä", CONFIG, "base64"),
        ("scene-04.png", "<View/>", "RectangleLabels"),
        ("scene-04.png", "not xml", "expected XML"),
        ("scene-04.png", '<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>', "expected XML"),
    ],
)
def test_no_address_is_fetched_and_no_entity_expanded(
    app: Parts, place: str, config: str, says: str
) -> None:
    body = {"tasks": [task(place)], "label_config": config}
    answer = app.client.post("/label-studio/predict", json=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "drawn",
    [
        [{"type": "keypointlabels", "value": {"x": 50, "y": 50}}] * 65,
        [{"type": "keypointlabels", "value": {"x": 1e308, "y": 50}}],
        [{"type": "rectanglelabels", "value": {"x": 1e308, "y": 0, "width": 1e308, "height": 1}}],
        [{"type": "rectanglelabels", "value": {"x": 0, "y": 0, "width": 9, "height": 9}}] * 1_001,
    ],
)
def test_what_is_drawn_beyond_bounds_is_refused(app: Parts, drawn: list[dict[str, Any]]) -> None:
    params = {"context": {"result": drawn}}
    body = {"tasks": [task("scene-04.png")], "label_config": CONFIG, "params": params}
    assert app.client.post("/label-studio/predict", json=body).status_code == 400


def test_the_longest_offered_path_is_meant_and_unquoted_once(tmp_path: Path) -> None:
    sizes = {"a.png": (96, 96), "cats/a.png": (80, 96), "wild/cats/a.png": (64, 96),
             "50%25.png": (48, 96)}  # fmt: skip
    for name, size in sizes.items():
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "red").save(file)
    box = {"type": "rectanglelabels", "value": {"x": 10, "y": 10, "width": 50, "height": 50}}
    with started(tmp_path / "out", images=tmp_path / "in") as app:
        for place, name in (
            ("a.png", "a.png"),
            ("/data/upload/dogs/a.png", "a.png"),
            ("cats/a.png", "cats/a.png"),
            ("/data/local-files/?d=photos/wild/cats/a.png", "wild/cats/a.png"),
            ("/data/local-files/?d=50%2525.png", "50%25.png"),
            ("/data/upload/50%2525.png", "50%25.png"),
        ):
            body = {
                "tasks": [task(place)],
                "label_config": CONFIG,
                "params": {"context": {"result": [box]}},
            }
            (prediction,) = app.post("/label-studio/predict", body)["results"]
            assert prediction["result"][0]["original_width"] == sizes[name][0], place


@pytest.mark.filterwarnings("ignore::DeprecationWarning:cvat_sdk")
def test_cvat_gets_shapes_of_its_own_types() -> None:
    cvataa = pytest.importorskip("cvat_sdk.auto_annotation")
    from regionspot_app.adapters.cvat import create

    function = create(names="solid red circle,striped blue square")
    assert isinstance(function.spec, cvataa.DetectionFunctionSpec)
    assert [(each.name, each.id) for each in function.spec.labels] == [
        ("solid red circle", 0),
        ("striped blue square", 1),
    ]
    picture = Image.fromarray(SCENE.image)
    shapes = function.detect(SimpleNamespace(conf_threshold=None), picture)
    assert len(shapes) >= len(SCENE.boxes)
    assert {each.type.value for each in shapes} == {"rectangle"}
    assert {each.label_id for each in shapes} <= {0, 1}
    assert function.detect(SimpleNamespace(conf_threshold=1.1), picture) == []
    masked = create(names="solid red circle,striped blue square", masks=True)
    (first, *_) = masked.detect(SimpleNamespace(conf_threshold=0.0), picture)
    assert first.type.value == "mask"
    x1, y1, x2, y2 = first.points[-4:]
    assert np.sum(first.points[:-4]) == (x2 - x1 + 1) * (y2 - y1 + 1)
