"""A head on disk comes back as it was, or not at all."""

import json
from pathlib import Path

import pytest
import torch

from regionspot_core.checkpoint import HeadRecord, load_head, read_record, save_head
from regionspot_core.errors import CheckpointError
from regionspot_core.fusion import FusionConfig, FusionHead

CONFIG = FusionConfig(
    region_width=8, image_width=16, text_width=12, ffn_width=32, logit_scale="learned"
)
RECORD = HeadRecord(CONFIG, {"region_encoder": {"name": "x"}}, {"step": 5})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_head(tmp_path / "run", FusionHead(CONFIG), RECORD)
    return tmp_path / "run"


def test_round_trip_is_exact(folder: Path) -> None:
    torch.manual_seed(0)
    original, loaded = FusionHead(CONFIG), load_head(str(folder))
    assert not loaded.training
    for name, value in original.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert read_record(folder) == RECORD


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "head.json").unlink(), "expected a trained head"),
        (lambda f: (f / "head.safetensors").unlink(), r"head\.safetensors is missing"),
        (lambda f: (f / "head.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "head.json").write_text("[]"), "expected a 'regionspot head 1' file"),
        (lambda f: (f / "head.safetensors").write_bytes(b"xx"), "not the weights of this head"),
        (lambda f: _set(f, "layers", 2), "not the weights of this head"),
        (lambda f: _set(f, "text_width", 13), "not the weights of this head"),
        (lambda f: _set(f, "depth", 2), "unknown key 'depth'"),
        (lambda f: _replace(f, "backbones", []), r"expected an object as backbones, got \[\]"),
        (lambda f: _replace(f, "training", None), "expected an object as training, got None"),
    ],
)
def test_damage_is_one_clear_error(folder: Path, damage: object, message: str) -> None:
    assert callable(damage)
    damage(folder)
    with pytest.raises((CheckpointError, ValueError), match=message):
        load_head(folder)


def test_a_record_from_before_the_options_loads(folder: Path) -> None:
    """An option that a head.json does not name has the paper's value."""
    values = json.loads((folder / "head.json").read_text())
    known = {
        "layers", "heads", "ffn_width", "dropout", "norm", "activation", "logit_scale",
        "initial_scale", "initial_bias", "region_width", "image_width", "text_width", "region_bias",
    }  # fmt: skip
    older = {name: value for name, value in values["config"].items() if name in known}
    assert len(older) == len(known) < len(values["config"])
    (folder / "head.json").write_text(json.dumps({**values, "config": older}))
    assert load_head(folder).config == CONFIG


def _replace(folder: Path, key: str, value: object) -> None:
    values = json.loads((folder / "head.json").read_text())
    values[key] = value
    (folder / "head.json").write_text(json.dumps(values))


def _set(folder: Path, key: str, value: int) -> None:
    values = json.loads((folder / "head.json").read_text())
    values["config"][key] = value
    (folder / "head.json").write_text(json.dumps(values))
