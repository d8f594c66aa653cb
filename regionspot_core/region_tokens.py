"""SAM's tokens and CLIP's embeddings of a region: which there are, and which a head sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from regionspot_core.errors import InputError

if TYPE_CHECKING:  # torch takes seconds, and plans of caches need none of it
    import torch

PAPER_TOKEN = 1
"""The region token the paper takes: mask token 0, the one after the IoU token."""

MASK_SIDE = 16
"""Points along a side at which a region's mask is sampled inside its box."""

TokenChoice = Literal["paper", "masks", "all"]
"""``paper``: mask token 0 alone. ``masks``: all mask tokens. ``all``: the IoU token, then those."""
KeptTokens = Literal["all", "paper"]
"""Name of what a cache keeps of the decoder's tokens (``plan.keep.sam_tokens``)."""
EmbeddingSource = Literal["tokens", "crop", "masked-crop"]
"""How CLIP embeds a region: a class token of its patches, or a pass over its crop, as it is or with
all outside SAM's mask painted over."""


class EmbeddingInputs(NamedTuple):
    """Inputs of CLIP's embedding of a region, beside the region's box."""

    image_pass: bool = False
    """Whether it takes what entered CLIP's blocks when it encoded the image."""
    pixels: bool = False
    """Whether it takes the image itself."""
    masks: bool = False
    """Whether it takes SAM's masks."""


EMBEDDING_INPUTS: dict[str, EmbeddingInputs] = {
    "tokens": EmbeddingInputs(image_pass=True),
    "crop": EmbeddingInputs(pixels=True),
    "masked-crop": EmbeddingInputs(pixels=True, masks=True),
    "none": EmbeddingInputs(),
}
"""Inputs by :data:`EmbeddingSource`, or ``none``."""

_CHOSEN = {
    "paper": slice(PAPER_TOKEN, PAPER_TOKEN + 1),
    "masks": slice(PAPER_TOKEN, None),
    "all": slice(None),
}
_ALONE = slice(0, 1)


def chosen_tokens(
    tokens: torch.Tensor, choice: TokenChoice, kept: KeptTokens = "all"
) -> torch.Tensor:
    """Return the N chosen of regions' tokens (..., M, S) in a row, (..., N·S)."""
    return tokens[..., _places(choice, tokens.shape[-2], kept), :].flatten(-2)


def chosen_count(choice: TokenChoice, count: int, kept: KeptTokens, *, of: str) -> int:
    """Return N, how many of a region's M = ``count`` tokens are chosen of those in a cache.

    Raises:
        InputError: If the cache ``of`` keeps only the paper's token, and others are chosen.
    """
    if kept == "paper" and choice != "paper":
        raise InputError(
            f"{of} keeps only the paper's token of each region, and head.region_tokens={choice} "
            f"needs all; extract it with --sam-tokens all, or set head.region_tokens=paper"
        )
    return len(range(count)[_places(choice, count, kept)])


def _places(choice: TokenChoice, count: int, kept: KeptTokens) -> slice:
    # Region encoders other than SAM may have one token alone: it is the paper's.
    return _ALONE if kept == "paper" or count == 1 else _CHOSEN[choice]
