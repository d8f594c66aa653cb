"""The image towers of open_clip that are Vision Transformers: open_clip's own and timm's.

Both kinds give the last block's output, *before* the last norm, the pooling and the projection:
prefix tokens first (CLS; SigLIP has none), then the patches in row order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from regionspot_core.errors import InputError


@dataclass(frozen=True)
class TowerShape:
    """Sizes of a tower's input and output."""

    side: int
    """Side of its square input, pixels."""
    grid: int
    """Patches along a side."""
    prefix_tokens: int
    """Tokens before the patches: 1 with CLS, 0 without."""
    width: int
    """C, values a token."""

    @property
    def token_count(self) -> int:
        """T, tokens an image."""
        return self.prefix_tokens + self.grid**2

    @property
    def patch(self) -> int:
        """Side of a patch, pixels. A grid that leaves a rest at the edge ignores it."""
        return self.side // self.grid


def tower_shape(
    visual: Any,  # noqa: ANN401 - an open_clip image tower; the package is untyped
    *,
    name: str,
) -> TowerShape:
    """Read off a tower what it takes and gives.

    Raises:
        InputError: The tower is no Vision Transformer, or its input is not square.
    """
    if hasattr(visual, "conv1") and hasattr(visual, "class_embedding"):
        side, grid = _pair(visual.image_size), _pair(visual.grid_size)
        prefix, width = 1, int(visual.conv1.out_channels)
    elif hasattr(trunk := getattr(visual, "trunk", visual), "num_prefix_tokens"):
        # timm's ViTs all count their prefix tokens; its other models have no such thing.
        # One of open_clip's configurations has a size that is not its trunk's: the trunk knows.
        side, grid = _pair(trunk.patch_embed.img_size), _pair(trunk.patch_embed.grid_size)
        prefix, width = int(trunk.num_prefix_tokens), int(trunk.embed_dim)
    else:
        raise InputError(
            f"CLIP {name}: expected a Vision Transformer tower (OpenAI's and LAION's ViT-B-16, "
            f"ViT-L-14, …, SigLIP, EVA), got {type(trunk).__name__}, which has no image tokens"
        )
    if side[0] != side[1] or grid[0] != grid[1]:
        raise InputError(f"CLIP {name}: expected a square input, got {side[0]} × {side[1]}")
    return TowerShape(side[0], grid[0], prefix, width)


def tower_tokens(
    visual: Any,  # noqa: ANN401 - as above
    pixels: torch.Tensor,
) -> torch.Tensor:
    """Return tokens (B, T, C) of normalised pixels (B, 3, side, side)."""
    # timm's EVA fails where prefix tokens are asked for and there are none.
    has_prefix = getattr(getattr(visual, "trunk", None), "num_prefix_tokens", 1) > 0
    out = visual.forward_intermediates(
        pixels,
        indices=1,
        normalize_intermediates=False,
        intermediates_only=True,
        output_fmt="NLC",
        output_extra_tokens=has_prefix,
    )
    prefix = out["image_intermediates_prefix"] if has_prefix else []
    return torch.cat([*prefix, *out["image_intermediates"]], dim=1)


def sequence_first(
    tower: Any,  # noqa: ANN401 - as above
) -> None:
    """Let one of open_clip's own towers hold its tokens as (T, B, C) between blocks.

    Under autocast, attention of (B, T, C) projects a transposed view, and PyTorch (2.15) then
    copies the weights once for each token: ten times the time of a B/16 in bfloat16 on a CPU. The
    values are the same to the bit. In float32, (B, T, C) has a quicker way of its own.

    Args:
        tower: ``model.visual``, or a CLIP whose text tower is its own ``transformer``. One of
            another kind is left alone.
    """
    transformer = getattr(tower, "transformer", None)
    blocks = getattr(transformer, "resblocks", ())
    if not all(isinstance(getattr(b, "attn", None), torch.nn.MultiheadAttention) for b in blocks):
        return
    if transformer is not None and hasattr(transformer, "batch_first"):
        transformer.batch_first = False
        for block in blocks:
            block.attn.batch_first = False


@torch.no_grad()
def resize_tower(
    model: Any,  # noqa: ANN401 - an open_clip CLIP
    side: int,
    *,
    name: str,
) -> None:
    """Change ``model.visual`` in place to take images of ``side × side`` pixels.

    Its position table is interpolated by open_clip's own function, or by timm's for a timm
    tower; both are bicubic with antialiasing. At the size it has, nothing is touched.

    Raises:
        InputError: ``side`` is no multiple of the patch size.
    """
    from open_clip.model import resize_pos_embed

    visual, shape = model.visual, tower_shape(model.visual, name=name)
    if side == shape.side:
        return
    if side < shape.patch or side % shape.patch:
        raise InputError(
            f"--clip-input {side}: expected a multiple of CLIP {name}'s patch size, {shape.patch}; "
            f"it was trained with {shape.side}"
        )
    if hasattr(visual, "trunk"):
        visual.set_input_size(side)
        return
    visual.image_size = (side, side)
    visual.grid_size = (side // shape.patch,) * 2
    state = {"visual.positional_embedding": visual.positional_embedding.detach()}
    resize_pos_embed(state, model)
    visual.positional_embedding = torch.nn.Parameter(state["visual.positional_embedding"])


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
