"""The head that the package carries: small, and good at the demo's world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import regionspot as rs
from regionspot import cli
from regionspot_core.tiny.names import CLASSES, class_of
from regionspot_core.tiny.packaged_head import PACKAGED_HEAD
from regionspot_core.tiny.scenes import make_scene, scene_generator

MOST_BYTES = 2_000_000
SCENES = 20


def test_it_takes_less_than_two_megabytes() -> None:
    assert sum(file.stat().st_size for file in PACKAGED_HEAD.iterdir()) <= MOST_BYTES


def test_it_names_scenes_that_it_never_saw() -> None:
    """Of 252 names; it names 97 in 100 (benchmarks/LOG.md), and three in four would be a fault."""
    recognizer = rs.Recognizer.load(PACKAGED_HEAD, names=[each.name for each in CLASSES])
    right = []
    for index in range(SCENES):
        scene = make_scene(scene_generator(0, "val", index))
        named = recognizer(scene.image, boxes=scene.boxes).top(1)
        names = [class_of(each).name for each in scene.class_ids.tolist()]
        right += [best[0][0] == name for best, name in zip(named, names, strict=True)]
    assert np.mean(right) > 0.75


def test_predict_takes_it_where_no_head_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    Image.fromarray(make_scene(scene_generator(0, "val", 0)).image).save(tmp_path / "a.png")
    words = ["evaluate", "predict", str(tmp_path / "a.png"), "--names", "a,b"]
    monkeypatch.setattr("sys.argv", ["regionspot", *words, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None)
    assert "knows the demo's world and nothing else" in capsys.readouterr().err
    assert (tmp_path / "a.regions.json").is_file()
