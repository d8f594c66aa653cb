"""Every option that takes a path, given the wrong thing: one line that names it, code 2.

The wrong things: nothing there, an empty file, a file of text, a folder where a file belongs, and
a file where a folder belongs.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from regionspot_core.heads.checkpoint import HeadRecord, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.heads.published import write_published
from regionspot_core.testing import MODEL, make_cache

TINY = {"region_encoder": {"name": "tiny"}, "image_text_encoder": {"name": "tiny"}}
SMALL = FusionConfig(region_width=8, image_width=16, text_width=12, ffn_width=8, layers=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good things to go with the wrong one, and the wrong ones."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "images").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(folder / "images" / "a.png")
    image = {"id": 1, "file_name": "a.png", "height": 8, "width": 8}
    lists = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    box = {
        "id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16,
        "segmentation": [],
    }  # fmt: skip
    lvis = {
        "images": [image | lists],
        "annotations": [box],
        "categories": [{"id": 1, "name": "thing", "frequency": "f"}],
    }
    (folder / "lvis.json").write_text(json.dumps(lvis))
    torch.manual_seed(0)
    head = FusionHead(SMALL)
    save_head(folder / "head", head, HeadRecord(SMALL, TINY, {"imported": {}}))
    stores = {"region_encoder": MODEL, "image_text_encoder": MODEL}
    save_head(folder / "own", head, HeadRecord(SMALL, stores, {"imported": {}}))
    write_published(folder / "published.pth", head)
    make_cache(folder / "store", [1])
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "text").write_text("not what\nyou want\n")
    return folder


DATA = ["--images", "images", "--annotations", "lvis.json"]
RUN = ["extract", "run", *DATA, "--out", "out"]
EVALUATE = ["evaluate", "run", *DATA, "--out", "out"]
PREDICT = ["evaluate", "predict", "images/a.png", "--head", "head", "--box", "1,1,5,5"]

FILES: dict[str, list[str]] = {
    "extract plan --annotations": ["extract", "plan", "--images", "images", "--annotations", "@"],
    "extract run --annotations": [
        "extract", "run", "--images", "images", "--out", "out", "--annotations", "@",
    ],
    "extract run --bank": [*RUN, "--bank", "@"],
    "extract run --sam-checkpoint": [*RUN, "--sam", "vit_b", "--sam-checkpoint", "@"],
    "extract run --clip-pretrained": [*RUN, "--clip", "ViT-B-16", "--clip-pretrained", "@"],
    "extract text --vocabulary": ["extract", "text", "--out", "bank.h5", "--vocabulary", "@.json"],
    "extract text --templates": [
        "extract", "text", "--out", "bank.h5", "--names", "a", "--templates", "@",
    ],
    "train fit --config": ["train", "fit", "--cache", "folder", "--out", "out", "--config", "@"],
    "train import FILE": ["train", "import", "@", "--out", "out"],
    "evaluate run --annotations": [
        "evaluate", "run", "--images", "images", "--head", "head", "--out", "out",
        "--annotations", "@",
    ],
    "evaluate run --proposals": [*EVALUATE, "--head", "head", "--proposals", "@"],
    "evaluate run --bank": [*EVALUATE, "--head", "head", "--bank", "@"],
    "evaluate score --annotations": [
        "evaluate", "score", "--detections", "lvis.json", "--annotations", "@",
    ],
    "evaluate score --detections": [
        "evaluate", "score", "--annotations", "lvis.json", "--detections", "@",
    ],
    "evaluate compare --annotations": [
        "evaluate", "compare", "lvis.json", "--annotations", "@",
    ],
    "evaluate predict PICTURE": ["evaluate", "predict", "@", "--head", "head", "--names", "a"],
    "evaluate predict --vocabulary": [*PREDICT, "--vocabulary", "@.json"],
    "evaluate predict --bank": [*PREDICT, "--bank", "@"],
    "evaluate predict --mask": [*PREDICT, "--names", "a", "--mask", "@"],
    "evaluate cached --annotations": [
        "evaluate", "cached", "--cache", "store", "--head", "own", "--annotations", "@",
    ],
    "evaluate cached --bank": [
        "evaluate", "cached", "--cache", "store", "--head", "own", "--bank", "@",
    ],
    "evaluate report --annotations": ["evaluate", "report", "lvis.json", "--annotations", "@"],
}  # fmt: skip
"""Where a file belongs; @ stands for it."""
FOLDERS: dict[str, list[str]] = {
    "extract plan --images": [
        "extract", "plan", "--annotations", "lvis.json", "--images", "@",
    ],
    "extract run --images": [
        "extract", "run", "--annotations", "lvis.json", "--out", "out", "--images", "@",
    ],
    "extract info STORE": ["extract", "info", "@"],
    "train fit --cache": ["train", "fit", "--out", "out", "--cache", "@"],
    "train export HEAD": ["train", "export", "@", "--out", "out"],
    "evaluate run --images": [
        "evaluate", "run", "--annotations", "lvis.json", "--head", "head", "--out", "out",
        "--images", "@",
    ],
    "evaluate run --head": [*EVALUATE, "--head", "@"],
    "evaluate report RUN": ["evaluate", "report", "@", "--annotations", "lvis.json"],
    "evaluate report --images": [
        "evaluate", "report", "lvis.json", "--annotations", "lvis.json", "--images", "@",
    ],
    "evaluate compare RUN": ["evaluate", "compare", "@", "--annotations", "lvis.json"],
    "evaluate cached --cache": ["evaluate", "cached", "--head", "head", "--cache", "@"],
    "evaluate cached --head": ["evaluate", "cached", "--cache", "store", "--head", "@"],
    "evaluate predict --head": [
        "evaluate", "predict", "images/a.png", "--names", "a", "--head", "@",
    ],
}  # fmt: skip
"""Where a folder belongs."""
CASES = [
    pytest.param(arguments, wrong, id=f"{name} {wrong}")
    for name, arguments in (FILES | FOLDERS).items()
    for wrong in ("absent", "empty", "text", "folder")
    if (name, wrong) != ("train fit --config", "empty")  # asks for nothing but the defaults
]


@pytest.mark.parametrize(("arguments", "wrong"), CASES)
def test_the_wrong_thing_is_one_line(
    regionspot: Callable[..., Any], place: Path, arguments: list[str], wrong: str
) -> None:
    # A name that says what kind of file it is gets one.
    suffixes = [argument[1:] for argument in arguments if argument.startswith("@.")]
    given = wrong + "".join(suffixes)
    if suffixes and (place / wrong).is_file():
        (place / given).write_bytes((place / wrong).read_bytes())
    elif suffixes and wrong == "folder":
        (place / given).mkdir(exist_ok=True)
    before = sorted(place.rglob("*"))
    done = regionspot(*(given if a[:1] == "@" else a for a in arguments), cwd=place)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("regionspot: error: ")
    assert given in lines[0]
    assert len(lines[0]) < 400
    assert done.stdout == ""
    assert sorted(place.rglob("*")) == before  # nothing is left behind


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (["train", "import", "published.pth", "--out", "text"], "text"),
        (["train", "import", "published.pth", "--out", "head"], "head"),
        (["train", "export", "head", "--out", "text"], "text"),
        (["train", "export", "head", "--out", "absent/file.pth"], "absent"),
        (["extract", "text", "--names", "a", "--out", "absent/bank.h5"], "absent"),
        (["extract", "text", "--names", "a", "--out", "folder"], "folder"),
        (["extract", "text", "--names", "a", "--out", "text"], "text"),
        ([*RUN[:-1], "text"], "text"),
        ([*RUN[:-1], "folder"], "folder"),
        (["train", "fit", "--cache", "store", "--out", "text"], "text"),
        ([*EVALUATE[:-1], "text", "--head", "head"], "text"),
        (
            [*EVALUATE[:-1], "store", "--head", "head"],
            "--out store: expected a new folder, or one of `evaluate run`; this one has zarr.json",
        ),
        ([*PREDICT, "--names", "a", "--out", "text"], "text"),
        ([*PREDICT, "--names", "a", "--out", "text/deeper"], "text is a file"),
        (["train", "import", "published.pth", "--out", "text/deeper"], "text is a file"),
        (
            ["evaluate", "compare", "a", "--annotations", "lvis.json", "--json", "absent/x.json"],
            "--json absent/x.json: expected an existing folder",
        ),
        (["bench", "cache", "--dir", "absent"], "--dir absent: expected an existing folder"),
        (["bench", "cache", "--dir", "text"], "--dir text: expected an existing folder"),
        (["bench", "cache", "--dir", "empty"], "--dir empty: expected an existing folder"),
        (["bench", "cache", "--json", "folder"], "--json folder: expected a name for a file"),
        (["bench", "cache", "--json", "absent/x.json"], "--json absent/x.json: expected an exist"),
        (["bench", "cache", "--json", "text/x.json"], "--json text/x.json: expected an existing"),
        (["bench", "train", "--dir", "absent"], "--dir absent: expected an existing folder"),
        (["bench", "train", "--json", "folder"], "--json folder: expected a name for a file"),
    ],
)
def test_the_wrong_place_to_write_to_is_one_line(
    regionspot: Callable[..., Any], place: Path, arguments: list[str], made: str
) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    done = regionspot(*arguments, cwd=place)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("regionspot: error: ")
    assert made in lines[0]
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
