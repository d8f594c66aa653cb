"""Every option that takes a path, given the wrong thing: one line that names it, code 2.

The wrong things: nothing there, an empty file, a folder, and a file of every kind that lies about.
The options are the commands' own, so that a new one is tried by itself.
"""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.main
from PIL import Image
from safetensors.torch import save_file

from regionspot import cli
from regionspot_core.heads.checkpoint import HeadRecord, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.heads.published import write_published
from regionspot_core.testing import MODEL, make_cache
from regionspot_extract.stores.exchange import export_store

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
    (folder / "sets" / "Own" / "valid").mkdir(parents=True)
    for name, source in (("a.png", "images/a.png"), ("_annotations.coco.json", "lvis.json")):
        shutil.copy(folder / source, folder / "sets" / "Own" / "valid" / name)
    torch.manual_seed(0)
    head = FusionHead(SMALL)
    save_head(folder / "head", head, HeadRecord(SMALL, TINY, {"imported": {}}))
    stores = {"region_encoder": MODEL, "image_text_encoder": MODEL}
    save_head(folder / "own", head, HeadRecord(SMALL, stores, {"imported": {}}))
    write_published(folder / "published.pth", head)
    make_cache(folder / "store", [1])
    export_store(folder / "store", folder / "store.zip")
    shutil.copytree(folder / "store", folder / "damaged")
    (folder / "damaged" / "clip" / "tokens" / "c" / "0" / "0" / "0").write_bytes(b"damaged")
    (folder / "space.toml").write_text('[space]\n"optimiser.lr" = [1e-4, 1e-3]\n')
    found = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "score": 0.9}
    (folder / "found.json").write_text(json.dumps([found]))
    (folder / "text").write_text("not what\nyou want\n")
    make_wrong_things(folder)
    return folder


def make_wrong_things(folder: Path) -> None:
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "text.txt").write_text("not what\nyou want\n")
    (folder / "table.csv").write_text("name,price\nchair,3.50\ntable,12\n")
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(folder / "picture.png")
    (folder / "list.json").write_text('[1, {"a": 2}]')
    (folder / "object.json").write_text('{"name": "chair", "prices": [3.5]}')
    save_file({"weight": torch.zeros(2, 3)}, folder / "weights.safetensors")
    (folder / "noise.bin").write_bytes(np.random.default_rng(0).bytes(5_000))
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("read me.txt", "not what you want")


DATA = ["--images", "images", "--annotations", "lvis.json"]
RUN = ["extract", "run", *DATA, "--out", "out"]
EVALUATE = ["evaluate", "run", *DATA, "--out", "out"]
PREDICT = ["evaluate", "predict", "images/a.png", "--head", "head", "--box", "1,1,5,5"]

GOOD: dict[str, list[str]] = {
    "doctor": ["--dir", "images"],
    "app": ["--head", "head", "--names", "a", "--port", "0"],
    "extract check": ["--images", "images", "--annotations", "lvis.json"],
    "extract plan": ["--images", "images", "--annotations", "lvis.json"],
    "extract run": ["--images", "images", "--annotations", "lvis.json", "--out", "out"],
    "extract propose": ["--images", "images", "--out", "proposals.json"],
    "extract text": ["--names", "a", "--templates", "simple", "--out", "bank.h5"],
    "extract info": ["store"],
    "extract verify": ["damaged", "--repair", "--images", "images", "--annotations", "lvis.json"],
    "extract export": ["store", "--out", "out.zip"],
    "extract import": ["store.zip", "--out", "out"],
    "extract merge": ["store", "--out", "out"],
    "train fit": ["--cache", "store", "--out", "out"],
    "train sweep": [
        "--cache", "store", "--val", "store", "--space", "space.toml", "--trials", "1",
        "--out", "out",
    ],
    "train import": ["published.pth", "--out", "out"],
    "train export": ["head", "--out", "out.pth"],
    "train verify": ["head"],
    "evaluate run": [
        "--images", "images", "--annotations", "lvis.json", "--head", "head", "--out", "out",
    ],
    "evaluate odinw": ["--root", "sets", "--head", "head", "--out", "out"],
    "evaluate cached": ["--cache", "store", "--head", "own"],
    "evaluate predict": ["images/a.png", "--names", "a", "--head", "head"],
    "evaluate report": ["found.json", "--annotations", "lvis.json", "--out", "out.html"],
    "evaluate score": ["--annotations", "lvis.json", "--detections", "found.json"],
    "evaluate compare": ["found.json", "--annotations", "lvis.json"],
    "evaluate tune": ["--cache", "store", "--head", "own"],
}  # fmt: skip
"""What each command is given where nothing is wrong. A new command needs a line."""
OUTPUTS = {"--out", "--json", "--pictures", "--dir"}
"""Options that name what is written."""
READS = ("FILE", "DIR", "STORE", "RUN", "HEAD", "PICTURE")
"""Words in the placeholders of arguments and options that name what is read."""
WITH = {
    "--sam-checkpoint": ["--sam", "vit_b"],
    "--clip-pretrained": ["--clip", "ViT-B-16"],
}
"""Options that another one only matters with."""
INSTEAD_OF = {"--vocabulary": "--names", "--bank": "--names"}
"""Options that take another one's place."""
WRONG = (
    "absent", "empty", "folder", "text.txt", "table.csv", "picture.png", "list.json",
    "object.json", "weights.safetensors", "noise.bin", "archive.zip",
)  # fmt: skip
"""What is given in place of the right thing: nothing at all, and a file of every common kind."""
WRONG_AGAIN = ("absent", "folder", "picture.png")
"""The same for the options of the frozen models where another command has had them: all read these
alike, and take seconds to."""
RIGHT = {
    ("app", "--vocabulary", "text.txt"),  # names of classes
    ("evaluate predict", "PICTURE", "picture.png"),
    ("evaluate predict", "--mask", "picture.png"),
    ("evaluate predict", "--vocabulary", "text.txt"),  # names of classes
    ("extract text", "--vocabulary", "text.txt"),
    ("train fit", "--config", "empty"),  # asks for nothing but the defaults
    ("train sweep", "--config", "empty"),
}
"""Of these, what is right after all."""


def inputs() -> list[tuple[str, str]]:
    """Return every command with each of its arguments and options that name a thing to read."""
    found = []

    def walk(command: Any, words: tuple[str, ...]) -> None:
        for name, each in getattr(command, "commands", {}).items():
            walk(each, (*words, name))
        for param in () if hasattr(command, "commands") else command.params:
            if param.opts[0] not in OUTPUTS and any(w in (param.metavar or "") for w in READS):
                is_argument = param.param_type_name == "argument"
                found.append((" ".join(words), param.metavar if is_argument else param.opts[0]))

    walk(typer.main.get_command(cli.app), ())
    return found


def with_wrong(command: str, name: str, wrong: str) -> list[str]:
    """Return a command's good arguments, one of them replaced."""
    words = list(GOOD[command])
    if not name.startswith("-"):
        return [*command.split(), wrong, *words[1:]]
    dropped = INSTEAD_OF.get(name, name)
    if command.startswith("extract") and name == "--proposals":
        dropped = "--annotations"
    if dropped in words:
        at = words.index(dropped)
        del words[at : at + 2]
    return [*command.split(), *words, *WITH.get(name, []), name, wrong]


@pytest.mark.parametrize(
    ("command", "name"), [pytest.param(*each, id=" ".join(each)) for each in inputs()]
)
def test_the_wrong_thing_is_one_sentence(
    regionspot: Callable[..., Any], place: Path, command: str, name: str
) -> None:
    before = sorted(place.rglob("*"))
    problems = []
    of_models = name in WITH and command != next(first for first, each in inputs() if each == name)
    for wrong in WRONG_AGAIN if of_models else WRONG:
        if (command, name, wrong) in RIGHT:
            continue
        done = regionspot(*with_wrong(command, name, wrong), cwd=place)
        lines = done.stderr.strip().splitlines()
        if not (
            done.returncode == 2
            and done.stdout == ""
            and len(lines) <= 2  # before it, perhaps how far a store was read
            and lines[-1].startswith("regionspot: error: ")
            and wrong in lines[-1]
            and len(lines[-1]) <= 260
        ):
            problems.append((wrong, done))
        if left := set(place.rglob("*")) - set(before):
            problems.append((wrong, f"left behind: {left}"))
            for path in sorted(left, reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
    assert not problems, "\n".join(f"{wrong}: {what}" for wrong, what in problems)


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
