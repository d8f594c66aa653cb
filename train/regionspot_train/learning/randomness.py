"""PyTorch's random numbers, a stream of its own for each head that learns in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class RandomStream:
    """Random numbers by a seed, whatever else in the process draws some.

    Args:
        seed: Seed of the stream.
        device: Device that draws numbers besides the CPU.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        outer = self._now()
        torch.manual_seed(seed)
        self.state = self._now()
        """State of the stream: tensors, to be kept and set again."""
        self._set(outer)

    @contextmanager
    def drawn_from(self) -> Iterator[None]:
        """Let PyTorch draw from the stream inside the context."""
        outer = self._now()
        self._set(self.state)
        try:
            yield
        finally:
            self.state = self._now()
            self._set(outer)

    def _now(self) -> dict[str, Any]:
        state = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self._device)
        elif self._device.type == "mps":
            state["mps"] = torch.mps.get_rng_state()
        return state

    def _set(self, state: dict[str, Any]) -> None:
        torch.set_rng_state(state["cpu"])
        if "cuda" in state and self._device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], self._device)
        elif "mps" in state and self._device.type == "mps":
            torch.mps.set_rng_state(state["mps"])
