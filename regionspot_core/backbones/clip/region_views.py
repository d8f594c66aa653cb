"""CLIP's view of each region, out of the pass that makes the image's tokens.

For each region a copy of the class token goes through the tower, and sees in every block itself
and the patches of its region: what the class token would be if the image were that region (the
masked class tokens of MaskCLIP, arXiv 2208.08984, and ODISE, arXiv 2303.04803). A tower that
pools its patches pools each region's. The image's own tokens are not touched, and a region that
has all patches gets the image's own embedding.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from regionspot_core.backbones.clip.patches import project_tokens
from regionspot_core.backbones.clip.region_attention import (
    TimmPoolProjections,
    TorchProjections,
    attend,
    attention_projections,
)


class BlockInput(NamedTuple):
    """Input of one block of the tower."""

    tokens_BTC: torch.Tensor
    rope: torch.Tensor | None
    """Rotary positions of the patches, where the tower has them."""


@dataclass(frozen=True)
class EncodedBlocks:
    """B images after a pass: their tokens, and what entered every block."""

    tokens_BTC: torch.Tensor
    """The last block's."""
    inputs: Sequence[BlockInput]
    """In the blocks' order; none for a tower without class token, or one that takes the mean."""

    def __getitem__(self, images: slice) -> EncodedBlocks:
        """Return some of the images."""
        inputs = [BlockInput(each.tokens_BTC[images], each.rope) for each in self.inputs]
        return EncodedBlocks(self.tokens_BTC[images], inputs)


def region_obstacle(
    visual: Any,  # noqa: ANN401 - an open_clip image tower; the package is untyped
    *,
    prefix_tokens: int,
) -> str | None:
    """Return why a tower cannot embed regions; None where it can."""
    if prefix_tokens > 1:
        return f"it has {prefix_tokens} tokens before its patches, not a class token alone"
    pooling = _pooling(visual)
    if pooling is None:
        return "it pools its tokens in a way that is not known"
    if pooling == "token" and not prefix_tokens:
        return "it has no class token"
    if pooling == "mean":
        return None
    blocks = _blocks(visual)
    if prefix_tokens and not (blocks and all(_is_known(block) for block in blocks)):
        return "its blocks are not those of a plain Vision Transformer"
    return None


class RegionViews:
    """The regions' way through an image tower of which :func:`region_obstacle` is None."""

    def __init__(
        self,
        visual: Any,  # noqa: ANN401 - as above
        *,
        prefix_tokens: int,
    ) -> None:
        self._visual = visual
        self._prefix = prefix_tokens
        self._pooling = _pooling(visual)
        own_token = prefix_tokens > 0 and self._pooling != "mean"
        self._blocks = _blocks(visual) if own_token else []

    def encode(self, run: Callable[[], torch.Tensor]) -> EncodedBlocks:
        """Run the tower, and keep what enters its blocks.

        Args:
            run: Runs it and returns the last block's tokens (B, T, C).
        """
        inputs: list[BlockInput] = []
        transformer = getattr(self._visual, "transformer", None)
        sequence_first = not getattr(transformer, "batch_first", True)
        thread = threading.get_ident()

        def keep(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if threading.get_ident() == thread:  # others may run the same tower beside this one
                tokens = args[0].transpose(0, 1) if sequence_first else args[0]
                inputs.append(BlockInput(tokens, kwargs.get("rope")))

        hooks = [block.register_forward_pre_hook(keep, with_kwargs=True) for block in self._blocks]
        try:
            return EncodedBlocks(run(), inputs)
        finally:
            for hook in hooks:
                hook.remove()

    def embed(self, encoded: EncodedBlocks, seen_BRP: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, R, D) of regions, not normalised.

        Args:
            encoded: B images, as :meth:`encode` returned them.
            seen_BRP: bool, the patches of each region in row order. A row without any is
                padding: its embedding is a number that means nothing.
        """
        patches = encoded.tokens_BTC[:, self._prefix :]
        if self._pooling == "mean":
            counts = seen_BRP.sum(-1, keepdim=True).clamp(min=1)
            return project_tokens(self._visual, seen_BRP.to(patches.dtype) @ patches / counts)
        own = self._own_tokens(encoded, seen_BRP) if self._blocks else None
        if self._pooling == "attention":
            return self._attention_pooled(own, patches, seen_BRP)
        assert own is not None
        return project_tokens(self._visual, own)

    def _own_tokens(self, encoded: EncodedBlocks, seen_BRP: torch.Tensor) -> torch.Tensor:
        """Return (B, R, C): the regions' class tokens after the last block."""
        regions = encoded.inputs[0].tokens_BTC[:, :1].expand(-1, seen_BRP.shape[1], -1)
        for block, given in zip(self._blocks, encoded.inputs, strict=True):
            parts = _block_parts(block)
            normed = parts.norm1(regions)
            patches = parts.norm1(given.tokens_BTC[:, self._prefix :])
            attention = attention_projections(parts.attention)
            seen = attend(attention, normed, patches, seen_BRP, own_BRC=normed, rope=given.rope)
            regions = regions + parts.scale1(seen)
            regions = regions + parts.scale2(parts.mlp(parts.norm2(regions)))
        return regions

    def _attention_pooled(
        self, own: torch.Tensor | None, patches: torch.Tensor, seen_BRP: torch.Tensor
    ) -> torch.Tensor:
        """Return (B, R, D): the pooling's query over each region's patches and class token."""
        visual, rows = self._visual, (*seen_BRP.shape[:2], -1)
        if not hasattr(visual, "trunk"):  # CoCa pools by its first query, then norms and projects
            pool = visual.attn_pool
            query = pool.ln_q(pool.query[:1]).expand(*rows)
            own = None if own is None else pool.ln_k(own)
            maps, patches = TorchProjections(pool.attn), pool.ln_k(patches)
            normed: torch.Tensor = visual.ln_post(
                attend(maps, query, patches, seen_BRP, own_BRC=own)
            )
            return normed if visual.proj is None else normed @ visual.proj
        trunk, pool = visual.trunk, visual.trunk.attn_pool
        own = None if own is None else trunk.norm(own)
        pooled = attend(
            TimmPoolProjections(pool),
            pool.latent.expand(*rows),
            trunk.norm(patches),
            seen_BRP,
            own_BRC=own,
        )
        pooled = pooled + pool.mlp(pool.norm(pooled))
        embedded: torch.Tensor = visual.head(trunk.head(trunk.fc_norm(pooled)))
        return embedded


class _BlockParts(NamedTuple):
    """The modules of a pre-norm block, whatever their names."""

    norm1: Callable[[torch.Tensor], torch.Tensor]
    attention: nn.Module
    scale1: Callable[[torch.Tensor], torch.Tensor]
    norm2: Callable[[torch.Tensor], torch.Tensor]
    mlp: Callable[[torch.Tensor], torch.Tensor]
    scale2: Callable[[torch.Tensor], torch.Tensor]


def _block_parts(
    block: Any,  # noqa: ANN401 - open_clip's or timm's
) -> _BlockParts:
    if hasattr(block, "ln_1"):
        return _BlockParts(block.ln_1, block.attn, block.ls_1, block.ln_2, block.mlp, block.ls_2)
    scale1, scale2 = (
        getattr(block, f"ls{number}", None) or _times(getattr(block, f"gamma_{number}", None))
        for number in (1, 2)
    )
    return _BlockParts(block.norm1, block.attn, scale1, block.norm2, block.mlp, scale2)


def _times(factor: torch.Tensor | None) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda values: values if factor is None else factor * values


def _blocks(
    visual: Any,  # noqa: ANN401 - an open_clip image tower
) -> list[nn.Module]:
    if hasattr(visual, "transformer"):
        return list(visual.transformer.resblocks)
    return list(getattr(getattr(visual, "trunk", None), "blocks", ()))


def _is_known(block: nn.Module) -> bool:
    from open_clip.transformer import ResidualAttentionBlock
    from timm.layers.attention import Attention, AttentionRope
    from timm.models.eva import EvaAttention, EvaBlock
    from timm.models.vision_transformer import Block

    if isinstance(block, ResidualAttentionBlock):
        return isinstance(block.attn, nn.MultiheadAttention)
    if not isinstance(block, Block | EvaBlock):
        return False
    attention = block.attn
    known = isinstance(attention, Attention | AttentionRope | EvaAttention)
    return (
        known
        and getattr(attention, "gate", None) is None
        and getattr(attention, "num_kv_groups", 1) == 1
    )


def _pooling(
    visual: Any,  # noqa: ANN401 - an open_clip image tower
) -> Literal["token", "mean", "attention"] | None:
    """Return how a tower makes one vector of its tokens; None for a way that is not known."""
    trunk = getattr(visual, "trunk", None)
    if trunk is None:
        if getattr(visual, "attn_pool", None) is not None:
            plain = visual.attn_pool_contrastive is None and visual.pool_type == "tok"
            return "attention" if plain else None
        if visual.pool_type == "avg":
            return "mean" if visual.final_ln_after_pool else None
        return "token" if visual.pool_type == "tok" else None
    if getattr(visual.head, "pool", None) is not None:
        return None
    pool = getattr(trunk, "attn_pool", None)
    if pool is not None:
        whole = getattr(trunk, "pool_include_prefix", True) or not trunk.num_prefix_tokens
        plain = whole and pool.pos_embed is None and pool.latent_len == 1 and pool.mlp is not None
        return "attention" if plain and pool.pool == "token" else None
    if trunk.global_pool == "avg":
        # Only where the norm comes after the mean: `project_tokens` norms what it is given.
        return "mean" if isinstance(trunk.norm, nn.Identity) else None
    return "token" if trunk.global_pool == "token" else None
