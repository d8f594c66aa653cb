"""What a backbone's file tells the registry: the names it answers to, and how to load one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from regionspot_core.backbones.runtime import Runtime

Encoder = TypeVar("Encoder", covariant=True)


class Loader(Protocol[Encoder]):
    """Loads the frozen model called ``name``."""

    def __call__(
        self, name: str, *, weights: str | None, input_size: int | None, runtime: Runtime
    ) -> Encoder:
        """Load ``name``.

        Args:
            name: One of the entry's names.
            weights: What ``--sam-checkpoint`` or ``--clip-pretrained`` says.
            input_size: Side of the square input in pixels; None is the pretraining one.
            runtime: Where the model runs.

        Raises:
            InputError: The weights are not named, or the input size is none the model can take.
            WeightsError: The weights are not found or do not fit.
        """
        ...


TINY = "tiny"
"""The name of the embedded models."""


@dataclass(frozen=True)
class Entry(Generic[Encoder]):
    """The backbones of one file, as its ``REGION_ENCODER`` or ``IMAGE_TEXT_ENCODER``."""

    names: Callable[[], Sequence[str]]
    """All names; called only once a name is looked for."""
    load: Loader[Encoder]
    examples: tuple[str, ...]
    """The names to show where all would be too many."""
