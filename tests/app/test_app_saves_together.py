"""Saves that meet each other: of two tabs, of two apps, of two pictures, and of a tab that goes."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_parts import started
from PIL import Image
from test_app_saving import saved_regions

from regionspot_app.config import AppConfig
from regionspot_app.corrections import Corrections
from regionspot_app.pictures import DrawnPictures
from regionspot_app.run import assemble, run_app
from regionspot_app.workbench.workbench import Workbench
from regionspot_core.errors import AnnotationError, InputError
from regionspot_core.imaging.images import read_image
from regionspot_core.tiny.scenes import make_scene, scene_generator

SECONDS = 60
SCENE = make_scene(scene_generator(0, "val", 0))
ORIENTATION = 0x0112


class SlowPictures(DrawnPictures):
    """Scenes that can only be read while the event is set."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.go.set()

    def read(self, name: str) -> bytes:
        """Return a scene, once the event is set."""
        self.asked.set()
        assert self.go.wait(SECONDS)
        return super().read(name)


async def posted(application: Any, path: str, body: Any) -> Any:
    """Return the answer to a body of JSON, in this event loop, where it can be cancelled."""
    content = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if content:
            return content.pop()
        return await asyncio.Event().wait()  # the tab stays

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:8765"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers,
        "server": ("127.0.0.1", 8765), "client": None,
    }  # fmt: skip
    await application(scope, receive, send)
    return json.loads(sent[1]["body"])


def test_saves_are_done_though_their_tabs_go_and_the_app_ends(tmp_path: Path) -> None:
    config, pictures = AppConfig.parse({"out": tmp_path / "out"}, source="test"), SlowPictures()

    async def story(application: Any) -> None:
        images = [
            (await posted(application, f"/api/pictures/{n}/encode", {}))["image"] for n in range(2)
        ]
        pictures.go.clear()
        pictures.asked.clear()
        saves = [
            asyncio.create_task(
                posted(
                    application,
                    "/api/save",
                    {"picture": pictures.names[n], "image": image, "regions": []},
                )
            )
            for n, image in enumerate(images)
        ]
        assert await asyncio.to_thread(pictures.asked.wait, SECONDS)
        await asyncio.sleep(0.2)  # the second one waits behind the first
        for save in saves:
            save.cancel()
        await asyncio.gather(*saves, return_exceptions=True)
        pictures.go.set()

    with (
        Corrections(config.saved_in) as corrections,
        assemble(config, Workbench.load(config), pictures, corrections) as application,
    ):
        asyncio.run(story(application))
    labels = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert [each["file_name"] for each in labels["images"]] == ["scene-01.png", "scene-02.png"]


def test_an_offered_picture_is_saved_though_it_made_room_for_others(tmp_path: Path) -> None:
    with started(tmp_path / "out", cache_mib=1) as app:
        image, regions = saved_regions(app, 0, ["ball"])
        for number in range(1, 12):
            app.post(f"/api/pictures/{number}/encode")
        lost = app.client.post(f"/api/images/{image}/regions", json={"prompts": []})
        assert lost.status_code == 404
        body = {"picture": "mine.png", "image": image, "regions": regions}
        answer = app.client.post("/api/save", json=body)
        assert answer.json()["error"]["code"] == "not_encoded"  # nobody has its file
        app.post("/api/save", body | {"picture": "scene-01.png"})
        assert app.client.get("/api/pictures/0/saved").json()["regions"] == regions


def test_a_file_named_like_an_offered_picture_leaves_that_ones_labels(tmp_path: Path) -> None:
    with started(tmp_path / "out") as app:
        image, regions = saved_regions(app, 0, ["ball"])
        app.post("/api/save", {"picture": "scene-01.png", "image": image, "regions": regions})
        other, _ = saved_regions(app, 1, ["box"])
        body = {"picture": "scene-01.png", "image": other, "regions": []}
        assert app.post("/api/save", body)["picture"] == f"dropped/{other}.png"
        assert app.client.get("/api/pictures/0/saved").json()["regions"] == regions


def test_another_picture_under_a_name_does_not_get_the_first_ones_copy(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    photo, kept = tmp_path / "in" / "a.png", tmp_path / "out" / "pictures" / "a.png"
    photo.write_bytes(DrawnPictures().read("scene-01.png"))
    with started(tmp_path / "out", images=tmp_path / "in") as app:

        def save(names: list[str]) -> Any:
            image = app.post("/api/pictures/0/encode")["image"]
            prompts = [{"box": [10, 10, 60, 60]}] * len(names)
            found = app.post(f"/api/images/{image}/regions", {"prompts": prompts})["regions"]
            regions = [
                {"prompt": prompt, "name": name, "mask": each["mask"], "box": each["box"]}
                for prompt, name, each in zip(prompts, names, found, strict=True)
            ]
            return app.client.post(
                "/api/save", json={"picture": "a.png", "image": image, "regions": regions}
            )

        assert save(["ball"]).status_code == 200
        before = (tmp_path / "out" / "labels.json").read_bytes()
        photo.write_bytes(DrawnPictures().read("scene-02.png"))
        answer = save(["box"])
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "other_picture")
        assert (tmp_path / "out" / "labels.json").read_bytes() == before
        assert kept.read_bytes() == DrawnPictures().read("scene-01.png")
        kept.unlink()
        assert save([]).status_code == 200
        assert kept.read_bytes() == photo.read_bytes()
        photo.write_bytes(DrawnPictures().read("scene-03.png"))
        assert save(["box"]).status_code == 200  # nothing was said of the one before
        assert kept.read_bytes() == photo.read_bytes()


def test_a_dropped_picture_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with started(tmp_path / "out") as app:
        image, regions = saved_regions(app, 3, ["ball"])
        where = f"/api/images/{image}/saved"
        assert app.client.get(where).json() == {"regions": [], "done": False, "revision": 0}
        body = {"picture": "mine.png", "image": image, "regions": regions, "done": False}
        name = app.post("/api/save", body)["picture"]
    with started(tmp_path / "out") as app:
        saved = app.client.get(where).json()
        assert saved == {"regions": regions, "done": False, "revision": 1}
        saved_regions(app, 3, [])
        body = {"picture": "renamed.jpg", "image": image, "regions": [], "revision": 1}
        assert app.post("/api/save", body)["picture"] == name
        assert app.client.get("/openapi.json").json()["paths"]["/api/images/{image}/saved"]["get"]


def test_the_second_app_of_a_folder_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    config = AppConfig.parse({"out": out, "port": 0}, source="test")
    with Corrections(out), pytest.raises(InputError, match="another regionspot app saves there"):
        run_app(config)
    Corrections(out).close()


def test_of_two_apps_whose_folder_is_not_there_the_first_to_save_has_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    content = DrawnPictures().read("scene-01.png")

    def save(corrections: Corrections, name: str) -> Any:
        job = partial(corrections.save, name, content, (96, 96), [], done=True)
        return corrections.submit(job).result(SECONDS)

    with Corrections(out) as second:
        with Corrections(out) as first:
            save(first, "a.png")
            with pytest.raises(InputError, match="another regionspot app"):
                save(second, "b.png")
        save(second, "b.png")  # it has read what the first one left
    labels = json.loads((out / "labels.json").read_text())
    assert [each["file_name"] for each in labels["images"]] == ["a.png", "b.png"]


def test_labels_of_somebody_else_that_came_meanwhile_stay(tmp_path: Path) -> None:
    out, content = tmp_path / "out", DrawnPictures().read("scene-01.png")
    with Corrections(out) as corrections:
        out.mkdir()
        (out / "labels.json").write_text('{"images": 3}')
        for _ in range(2):
            save = partial(corrections.save, "a.png", content, (96, 96), [], done=True)
            with pytest.raises(AnnotationError):
                corrections.submit(save).result(SECONDS)
    assert (out / "labels.json").read_text() == '{"images": 3}'


def test_the_second_tab_is_told_of_the_first_ones_change(tmp_path: Path) -> None:
    with started(tmp_path / "out") as app:
        image, regions = saved_regions(app, 0, ["ball"])
        body = {"picture": "scene-01.png", "image": image, "regions": regions}
        assert app.client.get("/api/pictures/0/saved").json()["revision"] == 0
        assert app.post("/api/save", body | {"revision": 0})["revision"] == 1
        answer = app.client.post("/api/save", json=body | {"regions": [], "revision": 0})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "changed")
        assert app.client.get("/api/pictures/0/saved").json()["regions"] == regions
        assert app.post("/api/save", body | {"revision": 1})["revision"] == 1  # it is the same
        assert app.post("/api/save", body | {"regions": [], "revision": 1})["revision"] == 2
        assert app.post("/api/save", body)["revision"] == 3  # not checked


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": {"box": [1e308, 0, -1e308, 1]}},
        {"prompt": {"points": [[1e308, 0]]}},
        {"box": [1e308, 0, -1e308, 1]},
        {"box": [50, 0, 40, 1]},
        {"box": [0, 0, 1000, 1]},
    ],
)
def test_what_lies_in_no_picture_is_not_saved(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with started(tmp_path / "out") as app:
        image, (region,) = saved_regions(app, 0, ["ball"])
        body = {"picture": "scene-01.png", "image": image, "regions": [region | wrong]}
        assert app.client.post("/api/save", json=body).status_code == 400
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("orientation", [2, 3, 6])
@pytest.mark.parametrize("height", [96, 64])
def test_labels_and_pixels_of_a_turned_picture_agree(
    tmp_path: Path, orientation: int, height: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    Image.fromarray(SCENE.image[:height]).save(file, format="PNG", exif=exif)
    with started(tmp_path / "out") as app:
        opened = app.client.post("/api/images", content=file.getvalue()).json()
        body = {"picture": "mine.png", "image": opened["image"], "regions": []}
        name = app.post("/api/save", body)["picture"]
        copy = tmp_path / "out" / "pictures" / name
        first = copy.read_bytes()
        app.post("/api/save", body)
        assert copy.read_bytes() == first
        copy.write_bytes(file.getvalue())  # as it was kept once
        app.post("/api/save", body)
    (tmp_path / "as shown.png").write_bytes(file.getvalue())
    shown = read_image(tmp_path / "as shown.png")
    labelled = read_image(copy, size=(opened["height"], opened["width"]))
    np.testing.assert_array_equal(labelled, shown)
