"""The two-way transformer of SAM's mask decoder, on segment-anything's modules.

Its tokens are few and the image's places many: 7 and 4 096 for a box. segment-anything copies the
image's embedding for each region, and projects every place of each copy ten times. Here

- the first block projects the image once for all its regions; only what it makes of the image is
  each region's own, and
- later projections of places are moved to the tokens: a score ``q · (W k)`` is ``(Wᵀ q) · k``, and
  a sum of projected values is the projection of their sum.

Shapes: N regions, P tokens a region, L places of the image, S values a token, n heads of d values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F


class TwoWayTransformer:
    """A ``segment_anything`` two-way transformer: its values, to rounding, in less time."""

    def __init__(
        self,
        transformer: Any,  # noqa: ANN401 - segment_anything's; the package is untyped
    ) -> None:
        """Take the transformer; its modules are used as they are."""
        self._transformer = transformer

    def __call__(
        self,
        images: torch.Tensor,
        counts: Sequence[int],
        positions: torch.Tensor,
        tokens: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Let tokens and images attend to each other.

        Args:
            images: (B, L, S), with their dense prompts.
            counts: Of the N regions, how many are the first image's, the second's and so on.
            positions: (L, S), of the places.
            tokens: (N, P, S), of the regions in the images' order.

        Returns:
            What became of the tokens (N, P, S), and of the image for each region (N, L, S).
        """
        first, *rest = self._transformer.layers
        begun = [
            _first_block(first, image, positions, own)
            for image, own in zip(images, torch.split(tokens, list(counts)), strict=True)
            if len(own)
        ]
        queries, places = (torch.cat(parts) for parts in zip(*begun, strict=True))
        for block in rest:
            queries, places = _block(block, queries, places, positions, tokens)
        final = self._transformer.final_attn_token_to_image
        seen = _to_own_image(final, queries + tokens, places, positions)
        return self._transformer.norm_final_attn(queries + seen), places


def _first_block(
    block: Any,  # noqa: ANN401 - a segment_anything TwoWayAttentionBlock
    image_LS: torch.Tensor,
    positions_LS: torch.Tensor,
    tokens_NPS: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the block whose places are the same for all N regions, those of one image."""
    queries = _among_tokens(block, tokens_NPS, tokens_NPS)
    attention = block.cross_attn_token_to_image
    placed = image_LS + positions_LS
    # To the image's keys, all regions' tokens are the tokens of one.
    q = _heads(attention, attention.q_proj(queries + tokens_NPS).flatten(0, 1))
    k, v = (
        _heads(attention, attention.k_proj(placed)),
        _heads(attention, attention.v_proj(image_LS)),
    )
    seen = F.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1)
    queries = _after_image(block, queries, attention.out_proj(seen).view(queries.shape))
    attention = block.cross_attn_image_to_token
    keys = _token_heads(attention, attention.k_proj(queries + tokens_NPS))
    scores = _shared_scores(keys, _heads(attention, attention.q_proj(placed)))
    return queries, _updated(block, image_LS.expand(len(queries), -1, -1), scores, queries)


def _block(
    block: Any,  # noqa: ANN401 - as above
    queries_NPS: torch.Tensor,
    places_NLS: torch.Tensor,
    positions_LS: torch.Tensor,
    tokens_NPS: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a block whose places are each region's own."""
    queries = _among_tokens(block, queries_NPS, tokens_NPS)
    attention = block.cross_attn_token_to_image
    seen = _to_own_image(attention, queries + tokens_NPS, places_NLS, positions_LS)
    queries = _after_image(block, queries, seen)
    attention = block.cross_attn_image_to_token
    keys = _token_heads(attention, attention.k_proj(queries + tokens_NPS))
    scores = _own_scores(attention, keys, attention.q_proj, places_NLS, positions_LS)
    return queries, _updated(block, places_NLS, scores, queries)


def _among_tokens(
    block: Any,  # noqa: ANN401 - as above
    queries_NPS: torch.Tensor,
    tokens_NPS: torch.Tensor,
) -> torch.Tensor:
    """Let tokens attend to each other."""
    attention = block.self_attn
    if block.skip_first_layer_pe:
        mixed = attention(queries_NPS, queries_NPS, queries_NPS)
    else:
        placed = queries_NPS + tokens_NPS
        mixed = queries_NPS + attention(placed, placed, queries_NPS)
    normed: torch.Tensor = block.norm1(mixed)
    return normed


def _after_image(
    block: Any,  # noqa: ANN401 - as above
    queries_NPS: torch.Tensor,
    seen_NPS: torch.Tensor,
) -> torch.Tensor:
    """Add to tokens what they saw of the image, and apply the block's own layer."""
    queries = block.norm2(queries_NPS + seen_NPS)
    layered: torch.Tensor = block.norm3(queries + block.mlp(queries))
    return layered


def _to_own_image(
    attention: Any,  # noqa: ANN401 - a segment_anything Attention of its transformer
    queries_NPS: torch.Tensor,
    places_NLS: torch.Tensor,
    positions_LS: torch.Tensor,
) -> torch.Tensor:
    """Return what tokens see of their region's image, (N, P, S)."""
    q = _token_heads(attention, attention.q_proj(queries_NPS))
    weights = _own_scores(attention, q, attention.k_proj, places_NLS, positions_LS).softmax(-1)
    summed = (weights.flatten(1, 2) @ places_NLS).view(*q.shape[:3], -1)
    values = summed @ _head_weights(attention, attention.v_proj.weight).transpose(1, 2)
    seen: torch.Tensor = attention.out_proj(
        values.transpose(1, 2).flatten(2) + attention.v_proj.bias
    )
    return seen


def _updated(
    block: Any,  # noqa: ANN401 - as above
    places_NLS: torch.Tensor,
    scores_NnPL: torch.Tensor,
    queries_NPS: torch.Tensor,
) -> torch.Tensor:
    """Return places (N, L, S) after they attended to their region's tokens."""
    attention = block.cross_attn_image_to_token
    heads = attention.num_heads
    weights = scores_NnPL.softmax(-2).flatten(1, 2).transpose(1, 2)
    out = _head_weights(attention, attention.out_proj.weight.t())
    values = _token_heads(attention, attention.v_proj(queries_NPS)) @ out
    # A head's weights sum to 1, so the bias may be shared among the values.
    values = (values + attention.out_proj.bias / heads).flatten(1, 2)
    mixed = torch.baddbmm(places_NLS, weights, values)
    updated: torch.Tensor = block.norm4(mixed).to(mixed.dtype)
    return updated


def _own_scores(
    attention: Any,  # noqa: ANN401 - as above
    tokens_NnPd: torch.Tensor,
    projection: torch.nn.Linear,
    places_NLS: torch.Tensor,
    positions_LS: torch.Tensor,
) -> torch.Tensor:
    """Return scores (N, n, P, L) with ``projection(places + positions)``, which is not made."""
    scores = _shared_scores(tokens_NnPd, _heads(attention, projection(positions_LS)))
    lifted = (tokens_NnPd * _scale(tokens_NnPd)) @ _head_weights(attention, projection.weight)
    own = lifted.flatten(1, 2) @ places_NLS.transpose(1, 2)
    return own.view(scores.shape).add_(scores)


def _shared_scores(tokens_NnPd: torch.Tensor, projected_nLd: torch.Tensor) -> torch.Tensor:
    """Return scores (N, n, P, L) with places that are the same for all regions."""
    regions, _, count, _ = tokens_NnPd.shape
    together = (tokens_NnPd * _scale(tokens_NnPd)).transpose(0, 1).flatten(1, 2)
    scores = together @ projected_nLd.transpose(1, 2)
    return scores.view(-1, regions, count, scores.shape[-1]).transpose(0, 1)


def _scale(heads: torch.Tensor) -> float:
    return 1 / math.sqrt(heads.shape[-1])


def _heads(
    attention: Any,  # noqa: ANN401 - as above
    projected_LC: torch.Tensor,
) -> torch.Tensor:
    """Split into heads, (n, L, d)."""
    return projected_LC.view(len(projected_LC), attention.num_heads, -1).transpose(0, 1)


def _token_heads(
    attention: Any,  # noqa: ANN401 - as above
    projected_NPC: torch.Tensor,
) -> torch.Tensor:
    """Split tokens into heads, (N, n, P, d)."""
    return projected_NPC.view(*projected_NPC.shape[:2], attention.num_heads, -1).transpose(1, 2)


def _head_weights(
    attention: Any,  # noqa: ANN401 - as above
    weight_CS: torch.Tensor,
) -> torch.Tensor:
    """Split a projection's weights into heads, (n, d, S)."""
    return weight_CS.view(attention.num_heads, -1, weight_CS.shape[-1])
