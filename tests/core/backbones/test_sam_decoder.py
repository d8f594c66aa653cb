"""The two-way transformer gives segment-anything's tokens and places, of any mix of regions."""

import pytest
import torch
from segment_anything.modeling import TwoWayTransformer as Theirs

from regionspot_core.backbones.sam.decoder import TwoWayTransformer

SIDE = 6
WIDTH = 32
TOKENS = 7


@pytest.fixture(scope="module", params=[1, 2, 3], ids="{} blocks".format)
def theirs(request: pytest.FixtureRequest) -> Theirs:
    """With weights that make attention choose, and no bias of zero."""
    torch.manual_seed(0)
    model = Theirs(depth=request.param, embedding_dim=WIDTH, num_heads=4, mlp_dim=48)
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(std=0.3)
    return model.eval().requires_grad_(False)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def ask_theirs(
    theirs: Theirs, images: torch.Tensor, positions: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """An image a region, as the package wants it."""
    grids = images.transpose(1, 2).unflatten(2, (SIDE, SIDE))
    grid = positions.t().reshape(1, WIDTH, SIDE, SIDE).expand(len(tokens), -1, -1, -1)
    return theirs(grids, grid, tokens)


@pytest.mark.parametrize("counts", [[1], [4], [2, 0, 5, 1], [0, 3], [1, 1, 1]], ids=str)
def test_tokens_and_places_are_segment_anythings(theirs: Theirs, counts: list[int]) -> None:
    images, positions = draw(len(counts), SIDE**2, WIDTH), draw(SIDE**2, WIDTH)
    tokens = draw(sum(counts), TOKENS, WIDTH)
    queries, places = TwoWayTransformer(theirs)(images, counts, positions, tokens)
    each = images.repeat_interleave(torch.tensor(counts), dim=0)
    expected_queries, expected_places = ask_theirs(theirs, each, positions, tokens)
    torch.testing.assert_close(queries, expected_queries, atol=1e-5, rtol=0)
    torch.testing.assert_close(places, expected_places, atol=1e-5, rtol=0)
    # Places are told apart, so equality says something.
    assert (expected_places[0] - images[-1]).abs().max() > 0.1


def test_bfloat16_stays_near(theirs: Theirs) -> None:
    images, positions, tokens = draw(1, SIDE**2, WIDTH), draw(SIDE**2, WIDTH), draw(5, 7, WIDTH)
    expected, _ = TwoWayTransformer(theirs)(images, [5], positions, tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = TwoWayTransformer(theirs)(images, [5], positions, tokens)
    assert torch.cosine_similarity(found.float(), expected, dim=-1).min() >= 0.999
