"""A head class of one's own, defined in this file alone, through the public command line."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import Field
from safetensors.torch import load_file
from stepping import killed_at
from torch import Tensor, nn

import regionspot as rs
from regionspot_core.config import Config
from regionspot_core.errors import CheckpointError
from regionspot_core.heads.checkpoint import read_record
from regionspot_core.heads.options import HeadOptions
from regionspot_core.heads.registry import HEADS
from regionspot_core.heads.shape import BUILT_IN, HeadNeeds, HeadShape
from regionspot_core.testing import make_cache
from regionspot_core.tiny.world import write_world
from regionspot_train.config import TrainConfig, load_settings

Run = Callable[..., SimpleNamespace]


class BoxedHead(nn.Module):
    """Adds a region's tokens, its box and the mean of the image's tokens."""

    class Options(Config):
        width: int = Field(default=8, ge=1, le=512)
        dropout: float = 0.1

    needs = HeadNeeds(region_tokens="masks", boxes=True)

    def __init__(self, shape: HeadShape, options: Options) -> None:
        super().__init__()
        self.region = nn.Linear(shape.region_token_count * shape.region_width + 4, options.width)
        self.image = nn.Linear(shape.image_width, options.width, bias=False)
        self.drop = nn.Dropout(options.dropout)
        self.out = nn.Linear(options.width, shape.text_width)

    def forward(
        self, region_tokens: Tensor, image_tokens: Tensor, region_mask: Tensor, boxes: Tensor
    ) -> Tensor:
        assert region_tokens.shape[:2] == region_mask.shape == boxes.shape[:2]
        assert (boxes <= 1).all()
        regions = self.region(torch.cat([region_tokens, boxes], dim=-1))
        return self.out(self.drop(regions + self.image(image_tokens.mean(1))[:, None]))


OWN = f"{__name__}:BoxedHead"
SMALL = [
    "--set", f"head.kind={OWN}", "--set", "head.options.width=16", "--set", "steps=6",
    "--set", "batch_images=4", "--set", "checkpoint_every=2", "--set", "validation.every=3",
    "--set", "device=cpu",
]  # fmt: skip


FIT = ["train", "fit", "--cache", "store", "--val", "val", *SMALL, "--config", "demo"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with stores, on Python's path while the test runs."""
    make_cache(tmp_path / "store", [2, 1, 3, 2])
    make_cache(tmp_path / "val", [1, 3])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_training_and_resuming(regionspot: Run, place: Path) -> None:
    dry = regionspot(*FIT, "--dry-run")
    assert dry.returncode == 0
    assert "width=16, dropout=0.1" in " ".join(dry.stdout.split())
    assert "2 tokens and the box of each region" in " ".join(dry.stdout.split())

    assert regionspot(*FIT, "--out", "whole").returncode == 0
    with killed_at("train step", 3):
        regionspot(*FIT, "--out", "run")
    resumed = regionspot(*FIT, "--out", "run", "--resume")
    assert resumed.returncode == 0
    assert "going on after step 2" in resumed.stderr
    whole, run = (load_file(f"{out}/head.safetensors") for out in ("whole", "run"))
    assert whole.keys() == run.keys()
    assert all(torch.equal(whole[name], run[name]) for name in whole)
    recorded = json.loads(Path("run/run.json").read_bytes())["config"]["head"]
    assert recorded == {"kind": OWN, "options": {"width": 16}}
    assert regionspot("train", "verify", "run").returncode == 0
    assert regionspot(*FIT, "--out", "more", "--from", "run").returncode == 0
    other = regionspot(*FIT, "--out", "other", "--from", "run", "--set", "head.options.width=8")
    assert other.returncode == 2
    assert "a head of another shape: options {" in " ".join(other.stderr.split())
    built_in = ["--set", "head.kind=fusion", "--set", "head.heads=2", "--out", "other"]
    other = regionspot("train", "fit", "--cache", "store", *built_in, "--from", "run")
    assert other.returncode == 2
    assert f"a head of another kind: {OWN}, expected fusion" in " ".join(other.stderr.split())


def test_a_sweep_and_a_cached_evaluation(regionspot: Run, place: Path) -> None:
    Path("space.toml").write_text('[space]\n"head.options.width" = [4, 16]\n', encoding="utf-8")
    sweep = ["train", "sweep", *FIT[2:], "--space", "space.toml", "--trials", "2", "--stacked"]
    done = regionspot(*sweep, "--out", "sweep", "--set", "head.options.dropout=0.0")
    assert done.returncode == 0, done.stderr
    configs = [read_record(f"sweep/trials/000{n}").config.to_json() for n in range(2)]
    assert {config["options"]["width"] for config in configs} == {4, 16}
    alone = regionspot(
        "train", "fit", "--cache", "store", "--val", "val", "--config", "sweep/trials/0001",
        "--out", "alone",
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    first, second = (load_file(f"{out}/head.safetensors") for out in ("sweep/trials/0001", "alone"))
    assert all(torch.equal(first[name], second[name]) for name in first)

    heads = ["--head", "sweep/trials/0000", "--head", "sweep/best"]
    cached = regionspot("evaluate", "cached", "--cache", "val", *heads, "--out", "scores")
    assert cached.returncode == 0, cached.stderr
    assert len(list(place.glob("scores/*/metrics.json"))) == 2


@pytest.mark.slow
def test_from_images_to_images(regionspot: Run, tmp_path: Path) -> None:
    write_world(tmp_path / "world", train_scenes=8, val_scenes=4, seed=0)
    images = ["--images", "world/val", "--annotations", "world/val.json"]
    extract = ["extract", "run", *images, "--out", "store", "--sam-tokens", "all"]
    assert regionspot(*extract, "--device", "cpu", cwd=tmp_path).returncode == 0
    fit = ["train", "fit", "--cache", "store", "--out", "run", *SMALL]
    assert regionspot(*fit).returncode == 0
    live = ["evaluate", "run", *images, "--head", "run", "--out", "results"]
    done = regionspot(*live, "--baseline", "none", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "metrics.json").exists()
    cached = regionspot("evaluate", "cached", "--cache", "store", "--head", "run", "--out", "c")
    assert cached.returncode == 0, cached.stderr
    photo = min((tmp_path / "world" / "val").glob("*.png"))
    names = ["--names", "star,square", "--box", "4,6,30,40"]
    shown = regionspot("evaluate", "predict", str(photo), "--head", "run", *names)
    assert shown.returncode == 0, shown.stderr
    assert "star" in shown.stdout
    recognizer = rs.Recognizer.load("run", names=["star", "square"], device="cpu")
    assert len(recognizer(photo, boxes=[[4, 6, 30, 40]]).top(1)) == 1


def test_a_head_of_ones_own_cannot_be_exported(regionspot: Run, place: Path) -> None:
    assert regionspot(*FIT, "--out", "run", "--set", "steps=2").returncode == 0
    exported = regionspot("train", "export", "run", "--out", "run.pth")
    assert exported.returncode == 2
    assert "the published layout is the built-in head's" in " ".join(exported.stderr.split())
    assert not Path("run.pth").exists()


MODULE = """
import torch
from torch import nn
class Head(nn.Module):
    def __init__(self, shape, options):
        super().__init__()
        self.options, self.shape = options, shape
        self.layer = nn.Linear(shape.region_width, shape.text_width)
        self.tied = self.layer.weight
        self.scale = nn.Parameter(torch.zeros(()))
    def forward(self, region_tokens, image_tokens, region_mask):
        return self.layer(region_tokens)
    def logits(self, embeddings, classes, clip_scale):
        return embeddings @ classes.T * self.scale.exp()
"""


def fit(regionspot: Run, module: str, *more: str, name: str = "Head") -> Any:
    return regionspot(
        "train", "fit", "--cache", "store", "--out", "run", "--set", f"head.kind={module}:{name}",
        "--set", "steps=2", "--set", "device=cpu", "--set", "checkpoint_every=1", *more,
    )  # fmt: skip


def test_a_module_on_the_path_and_none_to_read_the_record(
    regionspot: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "own_here.py").write_text(MODULE, encoding="utf-8")
    done = fit(regionspot, "own_here", "--set", "head.options.anything=[1, 2]")
    assert done.returncode == 0, done.stderr
    head = rs.load_head("run")
    assert head.module.options == {"anything": [1, 2]}
    assert torch.equal(head.module.tied, head.module.layer.weight)
    classes = nn.functional.normalize(torch.randn(4, 12), dim=-1)
    embedded = head(torch.ones(1, 2, 8), torch.zeros(1, 5, 16))
    expected = embedded @ classes.T * head.module.scale.exp()  # the class's own, not CLIP's
    assert torch.equal(head.logits(embedded, classes, 50.0), expected)

    (place / "own_here.py").unlink()
    monkeypatch.delitem(sys.modules, "own_here")
    verified = regionspot("train", "verify", "run")
    assert verified.returncode == 0
    assert "damaged" in verified.stdout
    assert read_record("run").config.kind_name == "own_here:Head"
    assert "own_here" not in sys.modules
    with pytest.raises(
        CheckpointError, match=r"run: head\.kind=own_here:Head: .* there is no own_here on"
    ):
        rs.load_head("run")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("no_file", None, "there is no own_no_file on Python's path; install it, or put"),
        ("syntax", ("import torch\n", "import torch (\n"), "cannot be imported: SyntaxError"),
        ("absent", ("import torch\n", "import no_such_thing\n"),
         "cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("no_class", ("class Head", "class Other"),
         "expected Head of the module own_no_class to be a subclass of Module, got nothing of"),
        ("no_module", ("(nn.Module)", ""), "to be a subclass of Module, got <class"),
        ("arguments", ("shape, options)", "shape)"), "cannot be built: TypeError: .* 2 .* 3 "),
        ("raises", ("super().__init__()", "super().__init__(); 1 / 0"),
         r"ZeroDivisionError: division by zero \(.*own_raises.py, line 6\)"),
        ("needs", ("    def forward", "    needs = 'boxes'\n    def forward"),
         "its needs must be a HeadNeeds .* got 'boxes'"),
        ("options", ("    def forward", "    Options = dict\n    def forward"),
         "its Options must be a subclass of regionspot_core.config.Config"),
        ("embeddings", ("self.layer(region_tokens)", "region_tokens"),
         r"forward must return a tensor \(B, R, D\) = \(4, 3, 12\), got \(4, 3, 8\)"),
        ("nothing", ("return self.layer(region_tokens)", "pass"),
         r"forward must return .* got NoneType"),
        ("logits", ("classes.T", "classes.T[:, :2]"),
         r"logits must return a tensor \(B, R, K\) = \(4, 3, 6\), got \(4, 3, 2\)"),
    ],
)  # fmt: skip
def test_a_wrong_class_is_one_sentence(
    regionspot: Run, place: Path, name: str, change: tuple[str, str] | None, message: str
) -> None:
    module = f"own_{name}"
    if change is not None:
        assert change[0] in MODULE
        (place / f"{module}.py").write_text(MODULE.replace(*change, 1), encoding="utf-8")
    done = fit(regionspot, module)
    told = " ".join(done.stderr.split())
    assert done.returncode == 2, told
    assert f"head.kind={module}:Head: " in told
    assert "Traceback" not in told
    assert re.search(message, told), told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["head.kind=nonsense"], "expected fusion, or a class of your own as module:Class"),
        (["head.kind=a-b:C"], "expected fusion, or a class of your own as module:Class"),
        (["head.options.width=3"], r"options\.width: head\.options are for a class of your own"),
        (["head.kind=a:B", "head.layers=2"], "layers: an option of the built-in head"),
        ([f"head.kind={OWN}", "head.options.wide=3"],
         "head.options of .*: unknown key 'wide'; expected one of dropout, width"),
        ([f"head.kind={OWN}", "head.options.width=0"], "width: .* greater than or equal to 1"),
    ],
)  # fmt: skip
def test_wrong_settings_are_one_sentence(
    regionspot: Run, place: Path, settings: list[str], message: str
) -> None:
    given = [word for each in settings for word in ("--set", each)]
    done = regionspot("train", "fit", "--cache", "store", "--out", "run", *given)
    assert done.returncode == 2
    assert re.search(message, " ".join(done.stderr.split())), done.stderr


def test_a_sweep_refuses_options_that_the_class_lacks(regionspot: Run, place: Path) -> None:
    for key, values, message in (
        ("head.options.wide", "[3]", "unknown key 'wide'"),
        ("head.options.width", "[0, 4]", "width: "),
    ):
        (place / "space.toml").write_text(f'[space]\n"{key}" = {values}\n', encoding="utf-8")
        done = regionspot(
            "train", "sweep", "--cache", "store", "--val", "store", "--space", "space.toml",
            "--trials", "1", "--out", "sweep", "--set", f"head.kind={OWN}",
        )  # fmt: skip
        assert done.returncode == 2
        assert message in " ".join(done.stderr.split())
        assert not (place / "sweep").exists()


def test_settings_of_another_kind_are_left_out_of_a_recipe() -> None:
    assert load_settings("demo", ["head.kind=a:B"]).head == HeadOptions(kind="a:B")
    assert load_settings("demo", ["head.kind=fusion"]).head == load_settings("demo", []).head


def test_the_built_in_head_is_written_as_it_always_was() -> None:
    assert {"kind", "options"}.isdisjoint(TrainConfig().to_json()["head"])
    own = TrainConfig.parse({"head": {"kind": "a:B", "options": {"x": 1}}}, source="test")
    assert own.to_json()["head"] == {"kind": "a:B", "options": {"x": 1}}
    assert TrainConfig.parse(own.to_json(), source="test") == own
    assert BUILT_IN in HEADS
