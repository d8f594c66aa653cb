"""CLIP's image towers without trained weights: they cost what the trained ones cost."""

from __future__ import annotations

from typing import Any

import torch

from regionspot_core.backbones.clip.open_clip_models import build_untrained
from regionspot_core.backbones.clip.towers import sequence_first, tower_shape, tower_tokens
from regionspot_core.backbones.precision import Precision
from regionspot_core.backbones.registry import TINY
from regionspot_core.backbones.runtime import Runtime


class UntrainedTower:
    """The architecture of an image tower with random weights, frozen."""

    def __init__(self, name: str, runtime: Runtime) -> None:
        """Build it; the text tower is left out.

        Args:
            name: One of open_clip's names, or ``tiny``.
            runtime: Where it runs.

        Raises:
            InputError: open_clip cannot build it, or it is no Vision Transformer.
        """
        self._visual = _build(name).visual.eval().requires_grad_(False).to(runtime.device)
        self._runtime = runtime
        if runtime.precision != "float32":
            sequence_first(self._visual)
        self.side = tower_shape(self._visual, name=name).side
        """Of the square input, pixels."""

    @torch.no_grad()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, T, C) float32 of normalised pixels (B, 3, side, side).

        Without inference mode: training may keep them for its backward pass.
        """
        with self._runtime.autocast():
            return tower_tokens(self._visual, pixels.to(self._runtime.device)).float()


def untrained_tower(name: str, precision: Precision) -> UntrainedTower:
    """Build the tower on the CPU."""
    return UntrainedTower(name, Runtime.create("cpu", precision))


def _build(name: str) -> Any:  # noqa: ANN401 - open_clip is untyped
    if name != TINY:
        return build_untrained(name, device="cpu")
    from regionspot_core.tiny.models import build_tiny_clip

    return build_tiny_clip()
