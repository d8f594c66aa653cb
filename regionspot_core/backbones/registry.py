"""Backbones by name. A file of this folder, or below it, that defines an entry is found here."""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from regionspot_core import backbones
from regionspot_core.backbones.config import TINY as TINY
from regionspot_core.backbones.protocols import ImageTextEncoder, RegionEncoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.errors import InputError

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


@dataclass(frozen=True)
class Entry(Generic[Encoder]):
    """The backbones of one file, as its ``REGION_ENCODER`` or ``IMAGE_TEXT_ENCODER``."""

    names: Callable[[], Sequence[str]]
    """All names; called only once a name is looked for."""
    load: Loader[Encoder]
    examples: tuple[str, ...]
    """The names to show where all would be too many."""


def load_region_encoder(
    name: str,
    *,
    checkpoint: Path | None = None,
    input_size: int | None = None,
    runtime: Runtime,
) -> RegionEncoder:
    """The frozen region encoder called ``name``, such as ``tiny`` or ``vit_b``.

    Args:
        name: One of the registered names.
        checkpoint: Its weight file; None takes the one in the usual cache folder.
        input_size: Side of the square input in pixels; None is the pretraining one.
        runtime: Where it runs.

    Raises:
        InputError: The name is unknown, its weights are not there, or the input size is wrong.
        WeightsError: The weight file does not fit.
    """
    entry: Entry[RegionEncoder] = _find("REGION_ENCODER", "--sam", name, "region encoder")
    weights = None if checkpoint is None else str(checkpoint)
    return entry.load(name, weights=weights, input_size=input_size, runtime=runtime)


def load_image_text_encoder(
    name: str,
    *,
    pretrained: str | None = None,
    input_size: int | None = None,
    runtime: Runtime,
) -> ImageTextEncoder:
    """The frozen image and text encoder called ``name``: ``tiny`` or one of open_clip's ViTs.

    Args:
        name: One of the registered names.
        pretrained: A tag of open_clip's, such as ``openai``, or a weight file.
        input_size: Side of the square input in pixels; None is the pretraining one.
        runtime: Where it runs.

    Raises:
        InputError: The name is unknown, its tower is no ViT, its weights are not named, or the
            input size is wrong.
        WeightsError: The weights are not found or do not fit.
    """
    entry: Entry[ImageTextEncoder] = _find(
        "IMAGE_TEXT_ENCODER", "--clip", name, "image and text encoder"
    )
    return entry.load(name, weights=pretrained, input_size=input_size, runtime=runtime)


def _find(kind: str, option: str, name: str, what: str) -> Entry[Any]:
    entries: list[Entry[Any]] = [
        entry
        for module in pkgutil.walk_packages(backbones.__path__, f"{backbones.__name__}.")
        if (entry := getattr(import_module(module.name), kind, None))
    ]
    for entry in entries:
        if name in entry.names():
            return entry
    raise InputError(f"{option} {name!r}: no such {what}{_advice(name, entries)}")


def _advice(name: str, entries: list[Entry[Any]]) -> str:
    """The nearest name, and what there is; short lists first."""
    entries = sorted(entries, key=lambda entry: len(entry.names()))
    by_lower = {known.lower(): known for entry in entries for known in entry.names()}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    meant = f"; did you mean {by_lower[near[0]]}? Expected" if near else "; expected"
    shown = [example for entry in entries for example in entry.examples]
    if any(len(entry.names()) > len(entry.examples) for entry in entries):
        shown.append("…")
    return f"{meant} one of {', '.join(shown)}"
