"""Towers without trained weights, on the tiny CLIP."""

import pytest
import torch

from regionspot_core.backbones.clip.open_clip_models import build_untrained
from regionspot_core.backbones.clip.towers import sequence_first, tower_tokens
from regionspot_core.backbones.clip.untrained import untrained_tower
from regionspot_core.tiny.models import build_tiny_clip, tiny_tokenizer

PIXELS = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_it_gives_the_architectures_tokens() -> None:
    torch.manual_seed(0)
    tower = untrained_tower("tiny", "float32")
    torch.manual_seed(0)
    expected = tower_tokens(build_tiny_clip().visual, PIXELS)
    assert tower.side == 96
    assert torch.equal(tower(PIXELS), expected)


def test_training_may_use_its_tokens() -> None:
    """Those of inference mode could not be kept for a backward pass."""
    tokens = untrained_tower("tiny", "float32")(PIXELS)
    weight = torch.ones(128, requires_grad=True)
    (tokens * weight).sum().backward()
    assert weight.grad is not None
    assert not tokens.requires_grad


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@torch.no_grad()
def test_the_order_of_axes_between_blocks_changes_nothing(precision: str) -> None:
    visual = build_tiny_clip().visual
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        before = tower_tokens(visual, PIXELS).float()
        sequence_first(visual)
        after = tower_tokens(visual, PIXELS).float()
    assert not visual.transformer.batch_first
    # In float32 another kernel does the attention.
    assert torch.allclose(before, after, rtol=0, atol=0 if precision == "bfloat16" else 1e-5)


@torch.no_grad()
def test_nor_does_it_in_the_text_tower() -> None:
    clip = build_tiny_clip()
    texts = tiny_tokenizer()(["a photo of a dog", "red"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = clip.encode_text(texts)
        sequence_first(clip)
        after = clip.encode_text(texts)
    assert not clip.transformer.batch_first
    assert torch.equal(before, after)


def test_towers_of_another_kind_are_left_alone() -> None:
    """timm's have no such axes; EVA's and custom attention is no nn.MultiheadAttention."""
    visual = build_untrained("ViT-B-16-SigLIP", device="meta").visual
    sequence_first(visual)
    assert not hasattr(visual, "transformer")
