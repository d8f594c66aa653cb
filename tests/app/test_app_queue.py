"""The queue: filters and orders, what the heads answered, and the look at all pictures."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_parts import Parts, started

from regionspot_app.pictures import DrawnPictures
from regionspot_app.queue.listing import Entry, Only, Order, arranged
from regionspot_app.queue.looks import LOOKS, MOST_QUESTIONS, Look, Looks
from regionspot_core.heads.checkpoint import weights_sum
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.heads.unknown_classes import (
    NONE_OF_THESE,
    UnknownThreshold,
    load_threshold,
    save_threshold,
)
from regionspot_core.tiny.packaged_head import PACKAGED_HEAD
from regionspot_core.tiny.scenes import make_scene, scene_generator

WORDS = ["solid red circle", "striped blue square", "dotted green star"]
BOXES = [make_scene(scene_generator(0, "val", n)).boxes.astype(float).tolist() for n in range(3)]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three scenes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(DrawnPictures().read(f"scene-{number + 1:02d}.png"))
    return folder


def look(app: Parts, number: int, **asked: Any) -> dict[str, Any]:
    """Ask about all regions of a picture, as the page does."""
    image = app.post(f"/api/pictures/{number}/encode")["image"]
    prompts = [{"box": box} for box in BOXES[number]]
    body = {"prompts": prompts, "picture": number} | asked
    answer: dict[str, Any] = app.post(f"/api/images/{image}/names", body)
    return answer


def save(app: Parts, number: int, name: str) -> None:
    """Save the first region of a picture by a name."""
    image = app.post(f"/api/pictures/{number}/encode")["image"]
    prompt = {"box": BOXES[number][0]}
    (region,) = app.post(f"/api/images/{image}/regions", {"prompts": [prompt]})["regions"]
    kept = [{"prompt": prompt, "name": name, "mask": region["mask"], "box": region["box"]}]
    app.post("/api/save", {"picture": f"{number}.png", "image": image, "regions": kept})


def wait_for_the_end(app: Parts) -> dict[str, Any]:
    """Return the state of the look at all pictures once it is over."""
    for _ in range(600):
        status: dict[str, Any] = app.client.get("/api/look").json()
        if status["state"] != "running":
            return status
        time.sleep(0.2)
    raise AssertionError(status)


def entry(number: int, **values: Any) -> Entry:
    known: dict[str, Any] = {"picture": f"{number}.png", "done": False, "saved": (), "look": None}
    return Entry(number=number, **(known | values))


ENTRIES = [
    entry(0, look=Look(regions=4, least=0.9, names=("Cat",), differing=1)),
    entry(1),
    entry(2, look=Look(regions=2, least=0.2, names=("dog",), differing=2), done=True),
    entry(3, look=Look(regions=1, least=0.5, none_of_these=1, differing=0), saved=("cat",)),
    entry(4, look=Look(regions=0, differing=0)),
]


@pytest.mark.parametrize(
    ("only", "name", "order", "expected"),
    [
        ("all", None, "folder", [0, 1, 2, 3, 4]),
        ("open", None, "folder", [0, 1, 3, 4]),
        ("differing", None, "folder", [0, 2]),
        ("all", "CAT", "folder", [0, 3]),
        ("all", NONE_OF_THESE, "folder", [3]),
        ("all", "absent", "folder", []),
        ("all", None, "least_sure", [3, 2, 0, 4, 1]),
        ("all", None, "disagreement", [2, 0, 3, 4, 1]),
        ("open", None, "least_sure", [3, 0, 4, 1]),
    ],
)
def test_filters_and_orders(only: Only, name: str | None, order: Order, expected: Any) -> None:
    assert [each.number for each in arranged(ENTRIES, only, name, order)] == expected


def test_a_picture_that_was_looked_at_is_remembered(pictures: Path, tmp_path: Path) -> None:
    with started(tmp_path / "out", images=pictures) as app:
        answer = look(app, 1)["heads"][0]["regions"]
        listed = app.post("/api/queue", {"order": "least_sure"})
        first = listed["pictures"][0]
        assert (first["number"], listed["looked"], listed["total"]) == (1, 1, 3)
        shares = [each["names"][0]["probability"] for each in answer]
        assert first["look"]["least"] == pytest.approx(min(shares), abs=1e-4)
        assert first["names"] == sorted({each["names"][0]["name"] for each in answer})
        # Other words are another question, to which nobody has an answer yet.
        assert app.post("/api/queue", {"names": WORDS})["looked"] == 0
    assert not (tmp_path / "out").exists()  # nothing was saved


def test_done_and_names_come_from_what_is_saved(pictures: Path, tmp_path: Path) -> None:
    with started(tmp_path / "out", images=pictures) as app:
        save(app, 2, "my own")
        assert app.post("/api/queue")["done"] == 1
        found = app.post("/api/queue", {"name": "My Own"})["pictures"]
        assert [each["number"] for each in found] == [2]
        found = app.post("/api/queue", {"only": "open"})["pictures"]
        assert [each["number"] for each in found] == [0, 1]


def test_a_look_at_all_is_kept_and_begins_where_it_stopped(pictures: Path, tmp_path: Path) -> None:
    (pictures / "broken.png").write_bytes(b"no picture")
    with started(tmp_path / "out", images=pictures) as app:
        save(app, 0, "ball")
        look(app, 1)
        assert app.post("/api/look")["total"] == 3  # without the one that was looked at
        status = wait_for_the_end(app)
        assert (status["state"], status["looked"], status["failed"]) == ("done", 3, 1)
        assert status["failures"][0]["picture"] == "broken.png"
        listed = app.post("/api/queue")["pictures"]
        assert listed[0]["look"]["regions"] == 1  # the saved region, not all that SAM finds
        assert listed[2]["look"]["regions"] > 1
        assert app.client.get("/healthz").json()["images"] == 2  # it keeps none open
    with started(tmp_path / "out", images=pictures) as app:
        again = app.post("/api/queue")
        assert [each["look"] for each in again["pictures"]] == [each["look"] for each in listed]
        assert app.post("/api/look")["total"] == 1
        wait_for_the_end(app)


def test_a_look_at_all_can_be_stopped_and_does_not_keep_others_waiting(
    pictures: Path, tmp_path: Path
) -> None:
    with started(tmp_path / "out", images=pictures) as app:
        assert app.post("/api/look", {"names": WORDS})["state"] == "running"
        twice = app.client.post("/api/look", json={})
        assert twice.status_code == 400
        look(app, 0)  # answered in between
        assert app.client.get("/api/look").json()["state"] == "running"
        assert app.post("/api/look/stop")["state"] == "stopped"
        assert app.post("/api/look", {"again": True})["total"] == 3
        app.post("/api/look/stop")


def test_two_heads_that_differ(pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(PACKAGED_HEAD, other)
    with started(tmp_path / "out", images=pictures, heads=[PACKAGED_HEAD, other]) as app:
        first, second = (
            [region["names"][0]["name"] for region in head["regions"]]
            for head in look(app, 0)["heads"]
        )
        assert first == second
        assert app.post("/api/queue", {"only": "differing"})["pictures"] == []
        assert app.post("/api/queue")["pictures"][0]["look"]["differing"] == 0


def test_a_file_of_looks_that_is_damaged_counts_as_none(tmp_path: Path) -> None:
    looks = Looks(tmp_path)
    looks.note("a" * 32, "0.png", Look(regions=0))
    looks.write()
    (file,) = (tmp_path / LOOKS).iterdir()
    assert Looks(tmp_path).of("a" * 32) == {"0.png": Look(regions=0)}
    for content in ("{", "[]", '{"pictures": {"0.png": {"regions": -1}}}'):
        file.write_text(content)
        assert Looks(tmp_path).of("a" * 32) == {}


def test_few_questions_are_kept(tmp_path: Path) -> None:
    looks = Looks(tmp_path)
    for number in range(MOST_QUESTIONS + 3):
        looks.note(f"{number:032x}", "0.png", Look(regions=number))
        looks.write()
    assert len(list((tmp_path / LOOKS).iterdir())) == MOST_QUESTIONS


def with_threshold(head: Path, threshold: float) -> None:
    unknown = UnknownThreshold(
        threshold=threshold,
        cache={},
        head=weights_sum(head),
        held_out_classes=HeldOutClasses(names=("a",), share=0.5, seed=0),
        regions={"seen": 1, "held_out": 1},
        auroc=0.9,
        known_kept=0.9,
        unknown_refused=0.8,
    )
    save_threshold(head, unknown)


def test_none_of_these_is_said_as_predict_says_it(pictures: Path, tmp_path: Path) -> None:
    head = tmp_path / "head"
    shutil.copytree(PACKAGED_HEAD, head)
    with started(tmp_path / "out", images=pictures, heads=[head]) as app:
        assert app.client.get("/api/session").json()["heads"][0]["unknown_threshold"] is None
        regions = look(app, 0)["heads"][0]["regions"]
        scores = [each["known_score"] for each in regions]
        assert not any(each["none_of_these"] for each in regions)
    middle = float(np.median(scores)) + 1e-3
    with_threshold(head, middle)
    found = load_threshold(head)
    assert found is not None
    with started(tmp_path / "out", images=pictures, heads=[head]) as app:
        facts = app.client.get("/api/session").json()["heads"][0]
        assert facts["unknown_threshold"] == pytest.approx(middle)
        regions = look(app, 0)["heads"][0]["regions"]
        assert [each["none_of_these"] for each in regions] == [s < found.threshold for s in scores]
        listed = app.post("/api/queue", {"name": NONE_OF_THESE})["pictures"]
        assert listed[0]["look"]["none_of_these"] == sum(s < found.threshold for s in scores)


def test_names_are_embedded_in_parts(tmp_path: Path) -> None:
    with started(tmp_path / "out") as app:
        names = [f"thing {n}" for n in range(30)]
        left: list[int] = []
        while not left or left[-1]:
            left.append(app.post("/api/vocabulary", {"names": names, "seconds": 0})["left"])
        assert left == sorted(left, reverse=True)
        assert len(left) == 4
        assert app.post("/api/vocabulary", {"names": names}) == {"names": 30, "left": 0}
        learnt = app.client.get("/api/session").json()["learnt"]
        counts = json.loads((PACKAGED_HEAD / "head.json").read_text())
        assert len(learnt) == 180
        assert all(name in json.dumps(counts) for name in learnt)
