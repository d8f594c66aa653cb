"""Backbones by name: those of this folder's files, those registered, and those of users' modules.

A file of this folder, or below it, that defines ``REGION_ENCODER`` or ``IMAGE_TEXT_ENCODER`` is
found, unless its name begins with an underscore. A user's module is named together with its entry,
``--sam my_package.models:ENTRY``.
"""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from regionspot_core import backbones
from regionspot_core.backbones.config import TINY as TINY
from regionspot_core.backbones.protocols import ImageTextEncoder, RegionEncoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.backbones.weights.official import OfficialFile
from regionspot_core.errors import InputError
from regionspot_core.support.named_objects import load_object

Encoder = TypeVar("Encoder", covariant=True)


class Loader(Protocol[Encoder]):
    """Function that loads the frozen model called ``name``."""

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
    """The encoders that one function loads."""

    names: Callable[[], Sequence[str]]
    """Function that lists their names; called when a name is looked for."""
    load: Loader[Encoder]
    examples: tuple[str, ...] = ()
    """Names to show where all would be too many."""
    published: Callable[[str], OfficialFile | None] = lambda name: None
    """Function from a name to the weight file that ``extract weights`` fetches; None where nothing
    is published."""


_REGION_ENCODERS: list[Entry[RegionEncoder]] = []
_IMAGE_TEXT_ENCODERS: list[Entry[ImageTextEncoder]] = []


def register_region_encoder(entry: Entry[RegionEncoder]) -> None:
    """Add region encoders; ``--sam`` then takes their names, before all others of the same."""
    _REGION_ENCODERS.insert(0, entry)


def register_image_text_encoder(entry: Entry[ImageTextEncoder]) -> None:
    """Add image and text encoders; ``--clip`` then takes their names, before all others."""
    _IMAGE_TEXT_ENCODERS.insert(0, entry)


def unregister(entry: Entry[Any]) -> None:
    """Take back what a ``register_…`` function added."""
    _REGION_ENCODERS[:] = [each for each in _REGION_ENCODERS if each is not entry]
    _IMAGE_TEXT_ENCODERS[:] = [each for each in _IMAGE_TEXT_ENCODERS if each is not entry]


def load_region_encoder(
    name: str,
    *,
    checkpoint: Path | None = None,
    input_size: int | None = None,
    runtime: Runtime,
) -> RegionEncoder:
    """Load the frozen region encoder called ``name``, such as ``tiny`` or ``vit_b``.

    Args:
        name: A name of an entry, or ``module:ENTRY``.
        checkpoint: Its weight file; None takes the one in the usual cache folder.
        input_size: Side of the square input in pixels; None is the pretraining one.
        runtime: Where it runs.

    Raises:
        InputError: The name is unknown, its weights are not there, or the input size is wrong.
        WeightsError: The weight file does not fit.
    """
    weights = None if checkpoint is None else str(checkpoint)
    return find_region_encoder(name).load(
        name, weights=weights, input_size=input_size, runtime=runtime
    )


def find_region_encoder(name: str) -> Entry[RegionEncoder]:
    """Return the entry of a region encoder.

    Raises:
        InputError: If the name is unknown.
    """
    return _find("REGION_ENCODER", _REGION_ENCODERS, "--sam", name, "region encoder")


def load_image_text_encoder(
    name: str,
    *,
    pretrained: str | None = None,
    input_size: int | None = None,
    runtime: Runtime,
) -> ImageTextEncoder:
    """Load the frozen image and text encoder called ``name``: ``tiny`` or an open_clip ViT.

    Args:
        name: A name of an entry, or ``module:ENTRY``.
        pretrained: A tag of open_clip's, such as ``openai``, or a weight file.
        input_size: Side of the square input in pixels; None is the pretraining one.
        runtime: Where it runs.

    Raises:
        InputError: The name is unknown, its tower is no ViT, its weights are not named, or the
            input size is wrong.
        WeightsError: The weights are not found or do not fit.
    """
    entry: Entry[ImageTextEncoder] = _find(
        "IMAGE_TEXT_ENCODER", _IMAGE_TEXT_ENCODERS, "--clip", name, "image and text encoder"
    )
    return entry.load(name, weights=pretrained, input_size=input_size, runtime=runtime)


def _find(kind: str, registered: list[Entry[Any]], option: str, name: str, what: str) -> Entry[Any]:
    seen: list[Entry[Any]] = []
    for entry in chain(registered, _built_in(kind)):
        if name in entry.names():
            return entry
        seen.append(entry)
    if ":" in name:
        try:
            return load_object(name, Entry)
        except ValueError as error:
            raise InputError(f"{option} {name}: {error}") from None
    raise InputError(f"{option} {name!r}: no such {what}{_advice(name, seen)}")


def _built_in(kind: str) -> Iterator[Entry[Any]]:
    """Yield the entries of this folder's files, each imported when it is come to."""
    for module in pkgutil.walk_packages(backbones.__path__, f"{backbones.__name__}."):
        if "._" not in module.name and (entry := getattr(import_module(module.name), kind, None)):
            yield entry


def _advice(name: str, entries: list[Entry[Any]]) -> str:
    """Return the nearest name and the names there are, short lists first."""
    entries = sorted(entries, key=lambda entry: len(entry.names()))
    by_lower = {known.lower(): known for entry in entries for known in entry.names()}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    meant = f"; did you mean {by_lower[near[0]]}? Expected" if near else "; expected"
    shown = [example for entry in entries for example in entry.examples]
    if any(len(entry.names()) > len(entry.examples) for entry in entries):
        shown.append("…")
    return f"{meant} one of {', '.join(shown)}"
