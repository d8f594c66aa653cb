"""The baseline on patches: how much of each a box covers, and what their mean is called."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.backbones.loading import BackboneConfig, load_backbones
from regionspot_core.backbones.patch_grid import PatchGrid, patch_shares
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError
from regionspot_core.testing import make_bank
from regionspot_core.text.class_text import TextConfig
from regionspot_core.text.embed import build_class_bank
from regionspot_evaluate.recognition.baselines.clip_pool import ClipPool
from regionspot_evaluate.recognition.baselines.protocol import ShownRegions

FOUR = PatchGrid(4, 1 / 4)


def shares(box: list[float], size: tuple[int, int] = (40, 80), grid: PatchGrid = FOUR) -> list:
    """Of one box, as rows of patches; an image 80 wide and 40 high has patches of 20 × 10."""
    return patch_shares(np.array([box]), size, grid).reshape(grid.side, grid.side).tolist()


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([20, 10, 40, 20], {(1, 1): 1}),  # one patch
        ([21, 12, 22, 12.5], {(1, 1): 1}),  # within one
        ([35, 10, 60, 20], {(1, 1): 0.2, (1, 2): 0.8}),  # a quarter of one, all of the next
        ([15, 5, 25, 20], {(0, 0): 1 / 6, (0, 1): 1 / 6, (1, 0): 1 / 3, (1, 1): 1 / 3}),
        ([0, 0, 80, 40], {(r, c): 1 / 16 for r in range(4) for c in range(4)}),
        ([-50, -50, 500, 500], {(r, c): 1 / 16 for r in range(4) for c in range(4)}),
        ([-9, 35, 10, 90], {(3, 0): 1}),  # beyond two edges
        ([30, 15, 30, 15], {(1, 1): 1}),  # no area
        ([30, 5, 30, 20], {(0, 1): 1 / 3, (1, 1): 2 / 3}),  # no width
        ([80, 40, 80, 40], {(3, 3): 1}),  # on the far corner
        ([200, -30, 210, -20], {(0, 3): 1}),  # outside
    ],
)
def test_what_a_box_covers(box: list[float], expected: dict[tuple[int, int], float]) -> None:
    by_hand = np.zeros((4, 4))
    for place, share in expected.items():
        by_hand[place] = share
    assert np.allclose(shares(box), by_hand, atol=1e-12)


def test_a_rest_at_the_far_edges_belongs_to_no_patch() -> None:
    """A tower with an input of 10 pixels and patches of 3: the last pixel is in none."""
    grid = PatchGrid(3, 3 / 10)
    assert np.allclose(shares([0, 0, 100, 50], (50, 100), grid), np.full((3, 3), 1 / 9))
    corner = np.zeros((3, 3))
    corner[2, 2] = 1
    assert np.allclose(shares([95, 47, 100, 50], (50, 100), grid), corner)
    corner[2] = [0, 1 / 3, 2 / 3]  # 10 to 15 of 15 pixels a patch; and of the rest nothing
    assert np.allclose(shares([45, 46, 100, 50], (50, 100), grid)[2], corner[2])


whole = st.integers(0, 24)


@given(
    st.tuples(whole, whole, whole, whole),
    st.integers(1, 6),
    st.sampled_from([(24, 12), (12, 24), (24, 24)]),
)
def test_shares_are_those_of_counted_pixels(
    corners: tuple[int, ...], side: int, size: tuple[int, int]
) -> None:
    """Each pixel of the image is cut into side² parts, and each part lies in one patch."""
    height, width = size
    x1, x2 = sorted(min(x, width) for x in corners[:2])
    y1, y2 = sorted(min(y, height) for y in corners[2:])
    counts = np.zeros((side, side))
    for y in range(y1 * side, y2 * side):
        for x in range(x1 * side, x2 * side):
            counts[y // height, x // width] += 1
    if not counts.sum():
        return
    found = shares([x1, y1, x2, y2], size, PatchGrid(side, 1 / side))
    assert np.allclose(found, counts / counts.sum(), atol=1e-12)


any_place = st.floats(-1e4, 1e4, width=32)


@given(st.tuples(any_place, any_place, any_place, any_place), st.integers(1, 30))
def test_every_box_has_patches(corners: tuple[float, ...], side: int) -> None:
    found = np.array(shares(list(corners), (37, 61), PatchGrid(side, 0.97 / side)))
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1)


class Patches:
    """Stands for CLIP: image tokens are a patch's embedding already, two by two of them."""

    name = "patches"
    patch_grid, embeds_patches = PatchGrid(2, 1 / 2), True

    def patch_embeddings(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens


def test_probabilities_are_a_softmax_of_the_means_cosines() -> None:
    bank = make_bank(Vocabulary.from_names(["red", "green"]), width=2)
    bank = replace(bank, embeddings=np.eye(2, dtype=np.float32), logit_scale=2.0)
    tokens = torch.tensor([[[6.0, 0], [0, 8], [0, 0], [0, 3]]])
    boxes = np.array([[0, 0, 5, 5], [0, 0, 10, 5], [5, 0, 10, 10], [2, 2, 3, 3]])
    shown = ShownRegions((10, 10), tokens, boxes, [])
    found = ClipPool(Patches(), bank).probabilities(shown)  # type: ignore[arg-type]
    logits = 2 * np.array([[1, 0], [0.6, 0.8], [0, 1], [1, 0]])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-6)


def test_a_box_over_everything_is_the_mean_of_all_patches() -> None:
    """By the tiny CLIP's own modules, and no box is no answer."""
    clip = load_backbones(BackboneConfig(device="cpu")).image_text_encoder
    words = Vocabulary.from_names(["solid red star", "dotted blue ring", "striped green square"])
    bank = build_class_bank(clip, words, TextConfig(templates="simple"))
    pixels = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
    tokens = clip.image_tokens([clip.prepare(pixels)])
    boxes = np.array([[0, 0, 96, 48], [8, 4, 16, 8]], dtype=np.float32)
    found = ClipPool(clip, bank).probabilities(ShownRegions((48, 96), tokens, boxes, []))
    visual = clip._model.visual
    with torch.no_grad():
        patches = visual.ln_post(tokens[0, 1:]) @ visual.proj
        pooled = torch.stack([patches.mean(dim=0), patches[12 + 1]])  # 12 × 12 patches of 8 × 4
        unit = pooled / pooled.norm(dim=-1, keepdim=True)
        logits = clip.logit_scale * unit @ torch.from_numpy(bank.embeddings).T
    assert np.allclose(found, logits.softmax(-1), atol=1e-5)
    none = ShownRegions((48, 96), tokens, boxes[:0], [])
    assert ClipPool(clip, bank).probabilities(none).shape == (0, 3)


def test_a_tower_that_pools_by_attention_is_refused() -> None:
    encoder = SimpleNamespace(
        name="ViT-B-16-SigLIP", patch_grid=PatchGrid(14, 1 / 14), embeds_patches=False
    )
    with pytest.raises(InputError, match="clip-pool: CLIP ViT-B-16-SigLIP pools its patches by"):
        ClipPool(encoder, make_bank(Vocabulary.from_names(["a"])))  # type: ignore[arg-type]
