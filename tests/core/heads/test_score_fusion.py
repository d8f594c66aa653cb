"""A head's scores joined with CLIP's: the formula, and the file beside the head."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.errors import CheckpointError
from regionspot_core.heads.checkpoint import HeadRecord, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.heads.score_fusion import (
    FUSION,
    ScoreFusion,
    Tuning,
    load_fusion,
    save_fusion,
)
from regionspot_core.support.checksums import FileSum
from regionspot_train.verify import verify_run

NAMES = ("red star", "blue ring", "green cross")
TUNED = Tuning(
    cache={"images": 3},
    head=FileSum(1, "0" * 16),
    held_out_classes=HeldOutClasses(share=0.1, seed=0, names=("red star",)),
    images=3,
    regions={"seen": 5, "held_out": 2},
    objective="log p",
    before={"seen": 0.5},
    after={"seen": 0.75},
)


def make_head(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    widths = FusionConfig(
        region_width=8, image_width=16, text_width=12, layers=1, heads=2, ffn_width=8
    )
    head = FusionHead(widths)
    save_head(folder, head, HeadRecord(head.config, {}, {"step": 1}))
    return folder


def test_shares_by_hand() -> None:
    """p ∝ head^(1 − w) · clip^w, w = 0.5 of the first class and 0.25 of the second."""
    fusion = ScoreFusion(opinion="clip-crop", weight_seen=0.5, weight_unseen=0.25)
    weights = fusion.weights(np.array([True, False]))
    logits = torch.tensor([[0.8, 0.2]]).log()
    fused = fusion.fuse(logits, torch.tensor([[0.1, 0.9]]), weights).softmax(-1)
    first, second = 0.8**0.5 * 0.1**0.5, 0.2**0.75 * 0.9**0.25
    assert fused[0].tolist() == pytest.approx([first / (first + second), second / (first + second)])


def test_temperatures_divide_the_logits() -> None:
    """An even mean of p² and of the square root of q, each with a sum of 1."""
    fusion = ScoreFusion(
        opinion="clip-crop", weight_seen=0.5, weight_unseen=0.5, head_temperature=0.5,
        clip_temperature=2.0,
    )  # fmt: skip
    head, clip = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.2, 0.3, 0.5])
    fused = fusion.fuse(head.log(), clip, fusion.weights(np.zeros(3, dtype=bool))).softmax(-1)
    expected = (head**2 * clip.sqrt()).sqrt()
    torch.testing.assert_close(fused, expected / expected.sum())


@given(st.lists(st.floats(-90, 90), min_size=3, max_size=3), st.booleans())
def test_a_weight_of_nothing_is_the_head_and_of_all_is_clip(logits: list[float], of: bool) -> None:
    head, clip = torch.tensor([logits]), torch.tensor([[0.5, 0.5, 0.0]])
    share = float(of)
    fusion = ScoreFusion(opinion="clip-crop", weight_seen=share, weight_unseen=share)
    fused = fusion.fuse(head, clip, fusion.weights(np.zeros(3, dtype=bool))).softmax(-1)
    torch.testing.assert_close(fused, clip if of else head.softmax(-1))


def test_classes_are_seen_by_their_names_as_clip_reads_them(tmp_path: Path) -> None:
    classes = {"names": NAMES, "ids": (1, 2, 3), "frequencies": ("",) * 3, "regions": (4, 0, 1)}
    folder = make_head(tmp_path / "head")
    record = HeadRecord(FusionHead(FusionConfig()).config, {}, {"caches": [{"classes": classes}]})
    seen = record.classes_learnt(["Red_Star", "blue ring", "green cross", "a plate"])
    assert seen.tolist() == [True, False, True, False]
    assert load_fusion(folder) is None
    imported = HeadRecord(record.config, {}, {"imported": {}})
    assert not imported.classes_learnt(NAMES).any()


def test_what_is_written_beside_a_head_is_read(tmp_path: Path) -> None:
    fusion = ScoreFusion(opinion="clip-crop", weight_seen=0.25, weight_unseen=0.5, tuned=TUNED)
    save_fusion(make_head(tmp_path), fusion)
    assert load_fusion(tmp_path) == fusion
    assert "tuned on 1 held-out classes and 3 images" in fusion.line
    assert not verify_run(tmp_path).damaged


@pytest.mark.parametrize("change", ["a byte", "a number", "no seal", "not JSON"])
def test_damage_is_found(tmp_path: Path, change: str) -> None:
    fusion = ScoreFusion(opinion="clip-crop", weight_seen=0.25, weight_unseen=0.5)
    save_fusion(make_head(tmp_path), fusion)
    path = tmp_path / FUSION
    content = path.read_bytes()
    values = json.loads(content)
    values["fusion"]["weight_seen"] = 0.75
    other = {
        "a byte": content.replace(b"clip-crop", b"clip-crap"),
        "a number": json.dumps(values).encode(),
        "no seal": content.replace(b"crc32c", b"crc32d"),
        "not JSON": content[:-3],
    }[change]
    assert other != content
    path.write_bytes(other)
    with pytest.raises(CheckpointError, match=r"fusion\.json"):
        load_fusion(tmp_path)
    assert [FUSION in (each.problem or "") for each in verify_run(tmp_path).damaged] == [True]


def test_a_fusion_of_another_head_is_refused(tmp_path: Path) -> None:
    fusion = ScoreFusion(opinion="clip-crop", weight_seen=0.25, weight_unseen=0.5)
    save_fusion(make_head(tmp_path / "one"), fusion)
    make_head(tmp_path / "other", seed=1)
    (tmp_path / "other" / FUSION).write_bytes((tmp_path / "one" / FUSION).read_bytes())
    with pytest.raises(CheckpointError, match="other weights than the head beside it"):
        load_fusion(tmp_path / "other")
