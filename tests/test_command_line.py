"""Every command: help at 80 columns, and each mistake one line on standard error, code 2."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from file_events import watched
from PIL import Image

from regionspot_core import __version__
from regionspot_core.testing import make_cache

COMMANDS = [
    [],
    ["demo"],
    ["extract"],
    ["extract", "weights"],
    ["extract", "text"],
    ["extract", "plan"],
    ["extract", "run"],
    ["extract", "info"],
    ["train"],
    ["train", "fit"],
    ["train", "import"],
    ["train", "export"],
    ["evaluate"],
    ["evaluate", "run"],
    ["evaluate", "predict"],
    ["evaluate", "report"],
    ["evaluate", "compare"],
    ["bench"],
    ["bench", "cache"],
    ["bench", "extract"],
    ["bench", "train"],
]


Regionspot = Callable[..., Any]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_eighty_columns(regionspot: Regionspot, command: list[str]) -> None:
    done = regionspot(*command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_version(regionspot: Regionspot) -> None:
    assert regionspot("--version").stdout.strip() == f"regionspot {__version__}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "images").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "images" / "a.png")
    (folder / "nothing").mkdir()
    (folder / "text.txt").write_text("not what you want")
    (folder / "empty.json").write_text("")
    (folder / "list.json").write_text("[]")
    (folder / "bad.toml").write_text("steps = ")
    lvis = {
        "images": [
            {"id": 1, "file_name": "a.png", "height": 8, "width": 8,
             "neg_category_ids": [], "not_exhaustive_category_ids": []}
        ],
        "annotations": [],
        "categories": [{"id": 1, "name": "thing", "frequency": "f"}],
    }  # fmt: skip
    (folder / "lvis.json").write_text(json.dumps(lvis))
    make_cache(folder / "store", [1, 2])
    make_cache(folder / "unfinished", [1] * 8, parts=1)
    return folder


@pytest.mark.parametrize("command", [[], ["train"]], ids=" ".join)
def test_a_command_of_others_alone_shows_its_help(
    regionspot: Regionspot, command: list[str]
) -> None:
    done = regionspot(*command)
    assert (done.returncode, done.stderr) == (2, "")
    assert "Usage:" in done.stdout


EXTRACT = ["extract", "run", "--images", "images", "--out", "out", "--annotations"]
FIT = ["train", "fit", "--out", "run", "--cache"]
TEXT = ["extract", "text", "--out", "out"]
EVALUATE = ["evaluate", "run", "--images", "images", "--annotations", "lvis.json", "--out", "o"]

MISTAKES = [
    (["nonsense"], "No such command 'nonsense'"),
    (["extract", "run"], "Missing option '--images'"),
    (["extract", "plan", "--images", "images"], "expected either --annotations, or --proposals"),
    (["train", "fit"], "Missing option '--cache'"),
    (["evaluate", "run"], "Missing option '--images'"),
    (["evaluate", "score"], "Missing option '--annotations'"),
    (["demo"], "Missing option '--out'"),
    (["extract", "info"], "Missing argument 'STORE'"),
    (["extract", "text"], "Missing option '--out'"),
    (["train", "import"], "Missing argument 'FILE.pth'"),
    (["train", "export"], "Missing argument 'HEAD'"),
    (["evaluate", "predict"], "Missing argument 'PICTURE'"),
    (
        ["evaluate", "run", "--images", "images", "--annotations", "lvis.json"],
        "`train fit` or `train import` wrote, or `demo` as",
    ),
    (["evaluate", "report"], "Missing argument 'RUN …'"),
    (["evaluate", "compare"], "Missing argument 'RUN'"),
    (["evaluate", "compare", "lvis.json"], "Missing option '--annotations'"),
    (["train", "fit", "--nonsense"], "No such option: --nonsense"),
    ([*EXTRACT, "missing.json"], "--annotations missing.json: expected a file or a folder, found"),
    ([*EXTRACT, "images"], "expected an annotation file, got a folder without one"),
    ([*EXTRACT, "empty.json"], "empty.json: expected JSON"),
    ([*EXTRACT, "text.txt"], "text.txt: expected JSON"),
    ([*EXTRACT, "list.json"], "expected an object with lists images, annotations, categories"),
    (
        ["extract", "run", "--images", "nothing", "--annotations", "lvis.json", "--out", "out"],
        "none of the 1 annotated images is there",
    ),
    ([*EXTRACT, "lvis.json", "--sam", "vit_x"], "one of tiny, vit_b, vit_l, vit_h"),
    ([*EXTRACT, "lvis.json", "--sam", "vit_b"], "give --sam-checkpoint FILE"),
    (
        [*EXTRACT, "lvis.json", "--sam", "vit_b", "--sam-checkpoint", "none.pth"],
        "--sam-checkpoint none.pth: expected a file, found nothing there",
    ),
    (
        [*EXTRACT, "lvis.json", "--sam", "vit_b", "--sam-checkpoint", "text.txt"],
        "text.txt",
    ),
    ([*EXTRACT, "lvis.json", "--clip", "ViT-B-99"], "did you mean ViT-B-"),
    ([*EXTRACT, "lvis.json", "--clip", "RN50"], "got ModifiedResNet"),
    ([*EXTRACT, "lvis.json", "--sam-input", "100"], "multiple of SAM tiny's patch size, 8"),
    ([*EXTRACT, "lvis.json", "--clip-input", "0"], "backbones.clip_input: input should be"),
    (["extract", "weights"], "give --sam NAME, --clip NAME or both"),
    (["extract", "weights", "--sam", "tiny"], "expected one of vit_b, vit_l, vit_h"),
    (["extract", "weights", "--clip", "RN50"], "expected a Vision Transformer"),
    (["extract", "weights", "--clip", "ViT-B-16", "--clip-pretrained", "x"], "a tag of ViT-B-16"),
    ([*EXTRACT, "lvis.json", "--device", "quantum"], "device 'quantum' cannot be used here"),
    ([*EXTRACT, "lvis.json", "--precision", "int4"], "backbones.precision: input should be"),
    ([*EXTRACT, "lvis.json", "--batch", "0"], "batch_images: input should be greater than"),
    ([*EXTRACT, "lvis.json", "--batch", "many"], "Invalid value for '--batch'"),
    ([*EXTRACT, "lvis.json", "--engine", "slurm"], "engine: input should be 'local' or 'ray'"),
    ([*EXTRACT, "lvis.json", "--actors", "2"], "expected --engine ray with options for Ray's"),
    (
        [*EXTRACT, "lvis.json", "--engine", "ray", "--device", "cuda:1"],
        "expected --device auto, cpu or cuda",
    ),
    ([*EXTRACT, "lvis.json", "--engine", "ray", "--actors", "0"], "ray.actors: input should be"),
    (["extract", "info", "missing"], "expected a feature cache"),
    (["extract", "info", "images"], "images: expected a feature cache"),
    ([*FIT, "missing"], "missing: expected a feature cache"),
    ([*FIT, "text.txt"], "found a file"),
    ([*FIT, "unfinished"], "1 of 2 parts are not written yet"),
    ([*FIT, "store", "--config", "papr"], "one of the recipes paper-bb, paper-bl,"),
    ([*FIT, "store", "--config", "bad.toml"], "bad.toml: expected a TOML file"),
    ([*FIT, "store", "--set", "stepps=3"], "unknown key 'stepps'; expected one of"),
    ([*FIT, "store", "--set", "optimiser.lr=-1"], "optimiser.lr: input should be greater than 0"),
    ([*FIT, "store", "--set", "steps"], "expected key.subkey=value"),
    ([*FIT, "store", "--split", "20"], "above 0 and below 1 (20 % is 0.2), such as 0.2"),
    ([*FIT, "store", "--split", "0"], "--split 0: expected a share of the images above 0"),
    ([*EVALUATE, "--head", "missing"], "missing: expected a trained head"),
    ([*EVALUATE, "--head", "images"], "images: expected a trained head"),
    ([*TEXT], "either --names A,B,C or --vocabulary FILE"),
    ([*TEXT, "--names", "a", "--vocabulary", "lvis.json"], "either --names A,B,C or --vocabulary"),
    ([*TEXT, "--names", "a,b,a"], "expected different class names, got 'a' twice"),
    ([*TEXT, "--names", "a", "--templates", "papr"], "one of paper, openai, simple"),
    ([*TEXT, "--names", "a", "--templates", "text.txt"], "expected a template with {}"),
    ([*TEXT, "--names", "a", "--wording", "tidy"], "text.wording: input should be 'raw' or"),
    ([*TEXT, "--names", "a", "--clip", "tny"], "did you mean tiny"),
    (["bench", "cache", "--shape", "B/32"], "shape: input should be 'B/16', 'L/14@336', 'both'"),
    (["bench", "cache", "--images", "31"], "images: input should be greater than or equal to 32"),
    (["bench", "cache", "--regions", "0"], "regions: input should be greater than or equal to 1"),
    (["bench", "cache", "--images", "many"], "Invalid value for '--images'"),
    (["bench", "train", "--shape", "B/32"], "shape: input should be 'B/16', 'L/14@336', 'both'"),
    (["bench", "train", "--precision", "half"], "precision: input should be 'float32' or"),
    (["bench", "train", "--threads", "0"], "threads: input should be greater than or equal to 1"),
    (["bench", "score", "--dir", "missing"], "--dir missing: expected an existing folder"),
    (["bench", "score", "--json", "images"], "--json images: expected a name for a file"),
    (["demo", "--out", "."], "expected a new or empty folder"),
    (["demo", "--out", "text.txt"], "expected a folder, or a new name for one; got a file"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_line(
    regionspot: Regionspot, place: Path, arguments: list[str], message: str
) -> None:
    done = regionspot(*arguments, cwd=place)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("regionspot: error: ")
    assert message in lines[0]
    assert not (place / "out").exists()
    assert not (place / "run").exists()


def test_info_of_an_unfinished_store(regionspot: Regionspot, place: Path) -> None:
    done = regionspot("extract", "info", "unfinished", "--json", cwd=place)
    values = json.loads(done.stdout)
    assert (values["parts"], values["parts_written"], values["images_written"]) == (2, 1, 4)
    human = regionspot("extract", "info", "unfinished", cwd=place)
    assert "1 of 2 written: NOT complete" in human.stdout


@pytest.mark.slow
def test_as_a_program_of_its_own(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "regionspot", "train", "fit", "--cache", "images", "--out", "x"],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("regionspot: error: images: expected a feature cache")
    assert done.stderr.count("\n") == 1


def test_an_interrupted_command_says_so(regionspot: Callable[..., Any], tmp_path: Path) -> None:
    make_cache(tmp_path / "store", [1])

    def interrupt(path: str) -> None:
        if path.startswith(str(tmp_path)):
            raise KeyboardInterrupt

    with watched(interrupt):
        done = regionspot("extract", "info", str(tmp_path / "store"))
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "regionspot: interrupted; the same command goes on where it can\n"
