"""Teaching: saved regions of new names become a head that knows them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from app_parts import started
from test_app_saving import saved_regions

from regionspot_app.corrections import Corrections
from regionspot_app.teaching.teacher import Teacher
from regionspot_core.errors import InputError

SECONDS = 600


@pytest.mark.slow
def test_a_head_learns_names_that_it_never_saw(tmp_path: Path) -> None:
    """Every region is called by its shape in made-up words, which no text encoder can know."""
    from regionspot_core.tiny.names import class_of
    from regionspot_core.tiny.scenes import make_scene, scene_generator

    words = {"circle": "wug", "square": "blicket"}
    with started(tmp_path / "out") as app:
        answer = app.client.post("/api/teach", json={})
        assert answer.status_code == 400
        assert "at least 3 saved pictures" in answer.json()["error"]["message"]
        for number in range(12):
            shapes = [
                class_of(each).shape
                for each in make_scene(scene_generator(0, "val", number)).class_ids.tolist()
            ]
            image, regions = saved_regions(
                app, number, [words.get(shape, "dax") for shape in shapes]
            )
            name = f"scene-{number + 1:02d}.png"
            app.post("/api/save", {"picture": name, "image": image, "regions": regions})
        app.post("/api/teach", {"names": ["wug", "blicket", "dax"], "steps": 60})
        assert app.client.post("/api/teach", json={}).status_code == 400  # one at a time
        end = time.monotonic() + SECONDS
        while (status := app.client.get("/api/teach").json())["state"] not in ("done", "failed"):
            assert time.monotonic() < end, status
            time.sleep(0.5)
        assert status["state"] == "done", status
        steps = [step for step, _ in status["loss"]]
        assert steps == sorted(steps)
        assert steps[-1] == 60
        figures = status["figures"]
        assert figures["images"] == 3  # a quarter of twelve
        assert figures["after"]["top1"] > figures["before"]["top1"]
        heads = app.post("/api/compare")["heads"]
        assert len(heads) == 2
        image, regions = saved_regions(app, 20, ["x"])
        body = {"prompts": [regions[0]["prompt"]], "names": ["wug", "blicket", "dax"]}
        named = app.post(f"/api/images/{image}/names", body)["heads"]
        assert len(named) == 2


class WatchedCorrections(Corrections):
    """Corrections that note how the teacher stands while a lesson is prepared."""

    teacher: Teacher
    states: list[Any]

    @property
    def pictures(self) -> Path:
        """Return the folder of pictures, which a lesson's preparation asks for."""
        if hasattr(self, "states"):
            self.states.append(self.teacher.status())
        return super().pictures


def test_a_lesson_is_told_of_when_it_runs_and_none_begins_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    teacher = Teacher(out, backbones={})
    with started(out) as app:
        for number in range(3):
            image, regions = saved_regions(app, number, ["wug"])
            name = f"scene-{number + 1:02d}.png"
            app.post("/api/save", {"picture": name, "image": image, "regions": regions})
    with WatchedCorrections(out) as corrections:
        teacher.begin(corrections, tmp_path / "head", ["a"], 5)
        teacher.stop()
        first = teacher.status()
        assert first["state"] == "failed"
        corrections.teacher, corrections.states = teacher, []
        teacher.begin(corrections, tmp_path / "head", ["a"], 5)
        assert corrections.states == [first]
        assert teacher.status()["folder"] != first["folder"]
        teacher.close()
        assert teacher.state == "failed"
        with pytest.raises(InputError, match="asked to stop"):
            teacher.begin(corrections, tmp_path / "head", ["a"], 5)
