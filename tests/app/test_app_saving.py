"""What is saved: COCO JSON and the pictures, whole at every moment, and read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from app_parts import Parts, started
from PIL import Image
from pycocotools import mask as rle_codec

from regionspot_app.corrections import Corrections
from regionspot_app.pictures import DrawnPictures
from regionspot_core.datasets.reading import read_table
from regionspot_core.errors import AnnotationError
from regionspot_core.tiny.scenes import make_scene, scene_generator


def saved_regions(app: Parts, number: int, names: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """Encode a scene, and return its id and regions as the page would save them."""
    boxes = make_scene(scene_generator(0, "val", number)).boxes.astype(float).tolist()
    image = app.post(f"/api/pictures/{number}/encode")["image"]
    prompts = [{"box": box} for box in boxes[: len(names)]]
    regions = app.post(f"/api/images/{image}/regions", {"prompts": prompts})["regions"]
    return image, [
        {"prompt": prompt, "name": name, "mask": region["mask"], "box": region["box"]}
        for prompt, name, region in zip(prompts, names, regions, strict=True)
    ]


def test_what_is_saved_is_a_data_set_that_the_stages_read(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started(out) as app:
        assert not out.exists()
        image, regions = saved_regions(app, 0, ["ball", "box"])
        body = {"picture": "scene-01.png", "image": image, "regions": regions}
        assert app.post("/api/save", body)["saved"] == {"pictures": 1, "regions": 2}
        image, others = saved_regions(app, 1, ["ball"])
        app.post("/api/save", {"picture": "scene-02.png", "image": image, "regions": others})
    table = read_table(out / "labels.json")
    assert table.vocabulary.names == ("ball", "box")
    assert len(table.regions().box) == 3
    assert (out / "pictures" / "scene-01.png").read_bytes() == DrawnPictures().read("scene-01.png")
    labels = json.loads((out / "labels.json").read_text())
    first = labels["annotations"][0]
    mask = {**first["segmentation"], "counts": first["segmentation"]["counts"].encode()}
    assert first["area"] == rle_codec.decode(mask).sum()


def test_reopening_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started(out) as app:
        image, regions = saved_regions(app, 2, ["ball"])
        app.post("/api/save", {"picture": "scene-03.png", "image": image, "regions": regions})
        before = (out / "labels.json").read_bytes()
    with started(out) as app:
        listed = app.client.get("/api/pictures").json()
        assert listed["pictures"][2] == {"name": "scene-03.png", "regions": 1, "done": True}
        assert listed["saved"] == {"pictures": 1, "regions": 1}
        saved = app.client.get("/api/pictures/2/saved").json()
        assert saved == {"regions": regions, "done": True, "revision": 1}
        image = app.post("/api/pictures/2/encode")["image"]
        app.post("/api/save", {"picture": "scene-03.png", "image": image, "regions": regions})
        assert (out / "labels.json").read_bytes() == before
        body = {"picture": "scene-03.png", "image": image, "regions": [], "done": False}
        assert app.post("/api/save", body)["saved"] == {"pictures": 1, "regions": 0}


def test_a_dropped_picture_is_kept_under_a_name_of_our_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started(out) as app:
        image, regions = saved_regions(app, 4, ["<img src=x onerror=alert(1)>"])
        body = {"picture": "../../etc/passwd.jpg", "image": image, "regions": regions}
        assert app.post("/api/save", body)["picture"] == f"dropped/{image}.jpg"
    assert (out / "pictures" / "dropped" / f"{image}.jpg").is_file()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out"]


def test_an_image_that_is_not_kept_is_not_saved(tmp_path: Path) -> None:
    with started(tmp_path / "out") as app:
        answer = app.client.post(
            "/api/save", json={"picture": "scene-01.png", "image": "0" * 32, "regions": []}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_encoded")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_keeps_what_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started(out) as app:
        image, regions = saved_regions(app, 0, ["ball"])
        body = {"picture": "scene-01.png", "image": image, "regions": regions}
        app.post("/api/save", body)
        before = (out / "labels.json").read_bytes()
        (out / "pictures" / "dropped").write_text("in the way")
        image, regions = saved_regions(app, 1, ["ball"])
        body = {"picture": "mine.png", "image": image, "regions": regions}
        answer = app.client.post("/api/save", json=body)
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "disk"
        assert (out / "labels.json").read_bytes() == before
        assert app.client.get("/api/pictures").json()["saved"]["pictures"] == 1


@pytest.mark.parametrize(
    "content",
    [
        "nothing",
        "[]",
        '{"images": 3}',
        '{"annotations": [{"id": 1}]}',
        '{"annotations": [{"id": 1, "image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 1],'
        ' "segmentation": {"size": [2, 2], "counts": "04"}, "regionspot_prompt":'
        ' {"box": [0, 0, 1, 1]}}]}',
    ],
)
def test_labels_of_somebody_else_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(AnnotationError, match=r"labels\.json"):
        Corrections(tmp_path)


def test_a_mask_that_is_none_is_not_saved(tmp_path: Path) -> None:
    with started(tmp_path / "out") as app:
        image, regions = saved_regions(app, 0, ["ball"])
        regions[0]["mask"] = {"size": [96, 96], "counts": "0"}
        answer = app.client.post(
            "/api/save", json={"picture": "scene-01.png", "image": image, "regions": regions}
        )
        assert answer.status_code == 400
    assert not (tmp_path / "out").exists()


def test_pictures_of_a_folder_are_saved_beside_it(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    scene = make_scene(scene_generator(0, "val", 0))
    Image.fromarray(scene.image).save(tmp_path / "in" / "deep" / "a.png")
    with started(None, images=tmp_path / "in") as app:  # type: ignore[arg-type] # the default
        image = app.post("/api/pictures/0/encode")["image"]
        app.post("/api/save", {"picture": "deep/a.png", "image": image, "regions": []})
    saved = tmp_path / "in.regionspot"
    assert (saved / "pictures" / "deep" / "a.png").is_file()
    assert (saved / "labels.json").is_file()
