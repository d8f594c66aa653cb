"""A head on disk comes back as it was, or not at all."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from regionspot_core.errors import CheckpointError
from regionspot_core.heads.checkpoint import (
    UNSEALED_FORMAT,
    HeadRecord,
    load_head,
    read_beside,
    read_record,
    read_weights,
    save_head,
    verify_head,
)
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.support.checksums import SEAL, FileSum, sealed

CONFIG = FusionConfig(
    region_width=8, image_width=16, text_width=12, ffn_width=32, logit_scale="learned"
)
RECORD = HeadRecord(CONFIG, {"region_encoder": {"name": "x"}}, {"step": 5})
BESIDE = b"what goes on from here"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_head(tmp_path / "run", FusionHead(CONFIG), RECORD, beside={"state.pt": BESIDE})
    return tmp_path / "run"


def test_round_trip_is_exact(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    original, loaded = FusionHead(CONFIG), load_head(str(folder))
    assert not loaded.training
    for name, value in original.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert read_record(folder) == RECORD
    assert read_beside(folder, "state.pt") == BESIDE
    assert verify_head(folder)
    assert capsys.readouterr().err == ""


def damaged(folder: Path) -> list[str]:
    """What of the head refuses to be read."""
    reads: dict[str, Callable[[], object]] = {
        "verify": lambda: verify_head(folder),
        "head": lambda: load_head(folder),
        "weights": lambda: read_weights(folder, FusionHead(CONFIG)),
        "beside": lambda: read_beside(folder, "state.pt"),
    }
    refused = []
    for name, read in reads.items():
        try:
            read()
        except CheckpointError:
            refused.append(name)
    return refused


@pytest.mark.parametrize("name", ["head.json", "head.safetensors", "state.pt"])
def test_one_changed_bit_is_never_loaded(folder: Path, name: str) -> None:
    path = folder / name
    whole = path.read_bytes()
    concerned = {
        "head.json": ["verify", "head", "weights", "beside"],
        "head.safetensors": ["verify", "head", "weights"],
        "state.pt": ["verify", "beside"],
    }
    step = max(1, len(whole) // 300)
    for at in range(0, len(whole), step):
        content = bytearray(whole)
        content[at] ^= 1 << (at // step) % 8
        path.write_bytes(content)
        assert damaged(folder) == concerned[name], f"bit {(at // step) % 8} of byte {at}"
    path.write_bytes(whole)
    assert damaged(folder) == []


@pytest.mark.parametrize("name", ["head.json", "head.safetensors", "state.pt"])
def test_nor_is_a_file_that_is_cut_longer_or_another_heads(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    save_head(folder.parent / "other", FusionHead(CONFIG), RECORD, beside={"state.pt": b"other"})
    other = (folder.parent / "other" / name).read_bytes()
    for content in (b"", whole[:-1], whole + b"\n", bytes(len(whole)), other):
        (folder / name).write_bytes(content)
        assert "verify" in damaged(folder)


def resealed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a head's record as somebody would who can compute checksums."""
    values = json.loads((folder / "head.json").read_text())
    del values[SEAL]
    change(values)
    (folder / "head.json").write_bytes(sealed(values))


def config(**values: object) -> Callable[[Path], None]:
    return lambda folder: resealed(folder, lambda record: record["config"].update(values))


def record(**values: object) -> Callable[[Path], None]:
    return lambda folder: resealed(folder, lambda record: record.update(values))


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_head(folder).state_dict()
        change(tensors)
        save_file(tensors, folder / "head.safetensors")
        total = asdict(FileSum.of([(folder / "head.safetensors").read_bytes()]))
        resealed(folder, lambda record: record["files"].update({"head.safetensors": total}))

    return apply


def text(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "head.json").write_text(content) and None


def a_pipe(folder: Path) -> None:
    (folder / "head.safetensors").unlink()
    os.mkfifo(folder / "head.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "head.json").unlink(), "expected a trained head"),
        (lambda f: (f / "head.safetensors").unlink(), r"head\.safetensors is missing"),
        (a_pipe, "expected a file, found a pipe"),
        (text("{"), "cannot be read as JSON"),
        (text("[]"), "expected a JSON object, got a list"),
        (text("{}"), "expected a 'regionspot head 2' file"),
        (text("[" * 100_000), "nested too deep"),
        (text('{"a":' * 100_000 + "1" + "}" * 100_000), "nested too deep"),
        (text('{"format": "regionspot head 2"}'), "damaged, it is not, byte for byte"),
        (
            text('{"format": "regionspot head 2", "training": {"\\ud800": 1}, "crc32c": "0"}'),
            "damaged, it is not, byte for byte",
        ),
        (record(format="regionspot head 3"), "expected a 'regionspot head 2' file"),
        (record(files={}), "damaged, it is not, byte for byte"),
        (record(files={"head.safetensors": 1}), r"files\.head\.safetensors: "),
        (
            lambda f: resealed(f, lambda r: r["files"].update({"../x.pt": r["files"]["state.pt"]})),
            r"files\.\.\./x\.pt.*: string should match",
        ),
        (record(backbones=[]), r"backbones: .*, got \[\]"),
        (record(backbones={"region_encoder": {"name": 3}}), r"region_encoder\.name: .*, got 3"),
        (record(backbones={"image_text_encoder": "x"}), r"image_text_encoder: .*, got 'x'"),
        (record(training=None), "training: .*, got None"),
        (record(training={"step": -5}), r"training\.step: .*, got -5"),
        (record(training={"step": "x"}), r"training\.step: .*, got 'x'"),
        (record(training={"imported": 1}), r"training\.imported: .*, got 1"),
        (record(other=1), "unknown key 'other'"),
        (config(layers=2), "not the weights of this head"),
        (config(text_width=13), "not the weights of this head"),
        (config(depth=2), "unknown key 'depth'"),
        (config(layers=10**5), "layers: .* less than or equal to 128, got 100000"),
        (config(ffn_width=1e12), "ffn_width: .* less than or equal to 65536"),
        (config(ffn_width=10**400), r"expected a number below 2\^63"),
        (config(width=65536, layers=128), "at most 1,073,741,824 parameters, got 3,"),
        (config(dropout=float("nan")), "dropout"),
        (
            config(image_tokens=65536, image_width=65536, image_positions="sincos"),
            "positions of at most 67,108,864 numbers",
        ),
        (weights(lambda w: w.pop("to_clip.bias")), r"not the weights .*missing to_clip\.bias"),
        (weights(lambda w: w.update(x=torch.ones(1))), "not the weights .*unexpected x"),
        (
            weights(lambda w: w.update({"to_clip.bias": torch.ones(16, dtype=torch.int64)})),
            r"to_clip\.bias is of int64, not float32",
        ),
    ],
)
def test_damage_is_one_clear_error(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_head(folder)
    assert len(str(caught.value)) < 600


def as_first_written(folder: Path) -> dict[str, Any]:
    """Make the head one of before there were checksums; its record."""
    values = json.loads((folder / "head.json").read_text())
    del values[SEAL], values["files"]
    values["format"] = UNSEALED_FORMAT
    (folder / "head.json").write_text(json.dumps(values, indent=2))
    return values


def test_a_head_from_before_checksums_loads_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_head(folder).state_dict()
    as_first_written(folder)
    for name, value in load_head(folder).state_dict().items():
        assert torch.equal(value, before[name])
    assert "written before heads had checksums" in " ".join(capsys.readouterr().err.split())
    assert not verify_head(folder)
    (folder / "head.safetensors").write_bytes(b"xx")
    with pytest.raises(CheckpointError, match="not the weights of this head"):
        load_head(folder)


def test_a_record_from_before_the_options_loads(folder: Path) -> None:
    """An option that a head.json does not name has the paper's value."""
    values = as_first_written(folder)
    known = {
        "layers", "heads", "ffn_width", "dropout", "norm", "activation", "logit_scale",
        "initial_scale", "initial_bias", "region_width", "image_width", "text_width", "region_bias",
    }  # fmt: skip
    older = {name: value for name, value in values["config"].items() if name in known}
    assert len(older) == len(known) < len(values["config"])
    (folder / "head.json").write_text(json.dumps({**values, "config": older}))
    assert load_head(folder).config == CONFIG


def test_names_that_are_not_utf_8_are_kept_escaped(tmp_path: Path) -> None:
    store = os.fsdecode(b"d\xff")
    save_head(tmp_path, FusionHead(CONFIG), HeadRecord(CONFIG, {}, {"caches": [{"store": store}]}))
    assert read_record(tmp_path).training == {"caches": [{"store": "d\\xff"}]}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("width", [None, 32])
def test_a_heads_size_is_known_before_it_is_made(shared: bool, width: int | None) -> None:
    config = CONFIG.model_copy(
        update={"shared_keys": shared, "width": width, "image_positions": "learned",
                "image_tokens": 9, "region_token_count": 3, "region_tokens": "all"}
    )  # fmt: skip
    matrices = [p.numel() for p in FusionHead(config).parameters() if p.ndim >= 2]
    assert config.size == sum(matrices)


CLASSES = {"names": ["cat", "dog"], "ids": [3, 1], "frequencies": ["f", ""], "regions": [5, 0]}


@pytest.mark.parametrize(
    ("training", "counts"),
    [
        ({}, None),
        ({"imported": {"file": "a.pth"}}, None),
        ({"caches": [{"store": "older"}]}, None),
        ({"caches": [{"classes": CLASSES}, {"store": "older"}]}, None),
        ({"caches": [{"classes": CLASSES}]}, {"cat": 5, "dog": 0}),
        ({"caches": [{"classes": CLASSES}] * 2}, {"cat": 10, "dog": 0}),
        ({"caches": [{"classes": CLASSES}], "started_from": {"imported": {}}}, None),
    ],
    ids=str,
)
def test_regions_by_class_are_known_only_of_heads_that_say_all_of_it(
    tmp_path: Path, training: dict[str, Any], counts: dict[str, int] | None
) -> None:
    save_head(tmp_path, FusionHead(CONFIG), HeadRecord(CONFIG, {}, training))
    assert read_record(tmp_path).training_counts() == counts


def test_counts_that_are_not_one_a_class_are_refused(tmp_path: Path) -> None:
    wrong = {"caches": [{"classes": CLASSES | {"regions": [5]}}]}
    save_head(tmp_path, FusionHead(CONFIG), HeadRecord(CONFIG, {}, wrong))
    with pytest.raises(CheckpointError, match="a number of regions for every name"):
        read_record(tmp_path)
