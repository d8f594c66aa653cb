"""Giving a SAM another input size than the one it was trained with."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from regionspot_core.errors import InputError


@torch.no_grad()
def resize_sam_input(
    model: Any,  # noqa: ANN401 - a segment_anything Sam; the package is untyped
    side: int,
    *,
    name: str,
) -> None:
    """Change ``model`` in place to take images of ``side × side`` pixels.

    The image encoder's position table is interpolated bicubically; its relative position tables
    interpolate themselves when it runs. At the size it has, nothing is touched.

    Raises:
        InputError: ``side`` is no multiple of the patch size.
    """
    encoder, prompts = model.image_encoder, model.prompt_encoder
    if side == encoder.img_size:
        return
    patch = int(encoder.patch_embed.proj.stride[0])
    if side < patch or side % patch:
        raise InputError(
            f"--sam-input {side}: expected a multiple of SAM {name}'s patch size, {patch}; "
            f"it was trained with {encoder.img_size}"
        )
    grid = side // patch
    encoder.pos_embed = torch.nn.Parameter(_interpolate(encoder.pos_embed, grid))
    encoder.img_size = side
    prompts.image_embedding_size = (grid, grid)
    prompts.input_image_size = (side, side)
    prompts.mask_input_size = (4 * grid, 4 * grid)


def _interpolate(table_1ggC: torch.Tensor, grid: int) -> torch.Tensor:
    """Resize a position table (1, g, g, C) to another g, with the filter of CLIP's towers."""
    table = table_1ggC.permute(0, 3, 1, 2)
    resized = F.interpolate(
        table, size=(grid, grid), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.permute(0, 2, 3, 1).contiguous()
