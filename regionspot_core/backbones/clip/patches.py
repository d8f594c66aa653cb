"""CLIP's patches as vectors beside its texts: the tower's last norm and projection, each alone.

A tower that takes CLS, or the mean, as the image's token does nothing else to it, so that every
token's vector lies in the space of texts. One that pools by attention projects the pooled vector
only: its patches have no place there.
"""

from __future__ import annotations

from typing import Any

import torch


def projects_patches(
    visual: Any,  # noqa: ANN401 - an open_clip image tower; the package is untyped
) -> bool:
    """Return whether the tower projects single tokens: False where it pools by attention."""
    pools = (
        getattr(visual, "attn_pool", None),  # CoCa
        getattr(getattr(visual, "trunk", None), "attn_pool", None),  # timm's: SigLIP, PE
        getattr(getattr(visual, "head", None), "pool", None),  # open_clip's around timm's
    )
    return all(pool is None for pool in pools)


def project_tokens(
    visual: Any,  # noqa: ANN401 - as above
    tokens_BTC: torch.Tensor,
) -> torch.Tensor:
    """Project tokens before the last norm to vectors (B, T, D), not normalised.

    Args:
        visual: A tower of which :func:`projects_patches` is true.
        tokens_BTC: Any of its image tokens.
    """
    projected: torch.Tensor
    if hasattr(visual, "trunk"):
        trunk = visual.trunk
        projected = visual.head(trunk.head(trunk.fc_norm(trunk.norm(tokens_BTC))))
    else:
        normed = visual.ln_post(tokens_BTC)
        projected = normed if visual.proj is None else normed @ visual.proj
    return projected
