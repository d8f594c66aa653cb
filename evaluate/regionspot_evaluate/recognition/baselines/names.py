"""The table of baselines: their names on the command line, in tables, and in a run's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch, which a wrong argument need not wait for
    from regionspot_core.backbones.protocols import ImageTextEncoder
    from regionspot_core.region_tokens import EmbeddingSource
    from regionspot_core.text.class_bank import ClassBank
    from regionspot_evaluate.recognition.baselines.protocol import Baseline

BaselineName = str
NO_BASELINE = "none"


@dataclass(frozen=True)
class BaselineEntry:
    """One baseline of the table."""

    label: str
    """Name of its row in tables of figures."""
    create: Callable[[ImageTextEncoder, ClassBank], Baseline]
    """Function that makes it of the CLIP and the vocabulary that the head has.

    Raises:
        InputError: If the baseline cannot work with this CLIP.
    """
    region_embeddings: EmbeddingSource | None = None
    """How CLIP embeds the regions for it; None for one that does not need that."""
    takes_pixels: bool = True
    """Whether it looks at the image's pixels, which are kept for it until the regions are named."""


def _in_module(module: str, name: str) -> Callable[[ImageTextEncoder, ClassBank], Baseline]:
    """Return a function that imports a class or function of this folder when it is called."""

    def create(encoder: ImageTextEncoder, bank: ClassBank) -> Baseline:
        made: Baseline = getattr(import_module(f"{__package__}.{module}"), name)(encoder, bank)
        return made

    return create


BASELINE_TABLE: dict[BaselineName, BaselineEntry] = {
    "clip-crop": BaselineEntry("CLIP crop", _in_module("clip_crop", "ClipCrop")),
    "clip-masked-crop": BaselineEntry(
        "CLIP masked", _in_module("clip_masked_crop", "ClipMaskedCrop")
    ),
    "clip-pool": BaselineEntry(
        "CLIP pool", _in_module("clip_pool", "ClipPool"), takes_pixels=False
    ),
    "region-tokens": BaselineEntry(
        "CLIP tokens",
        _in_module("region_embeddings", "of_patches"),
        region_embeddings="tokens",
        takes_pixels=False,
    ),
    "region-crop": BaselineEntry(
        "CLIP wide crop",
        _in_module("region_embeddings", "of_crops"),
        region_embeddings="crop",
        takes_pixels=False,
    ),
    "region-masked-crop": BaselineEntry(
        "CLIP wide masked",
        _in_module("region_embeddings", "of_masked_crops"),
        region_embeddings="masked-crop",
        takes_pixels=False,
    ),
}
BASELINES: tuple[BaselineName, ...] = tuple(BASELINE_TABLE)
"""The baselines of this package."""


def register_baseline(name: BaselineName, entry: BaselineEntry) -> None:
    """Add a baseline to the table; ``--baseline NAME`` then takes it."""
    BASELINE_TABLE[name] = entry


def baseline_label(name: BaselineName) -> str:
    """Return a baseline's name in tables of figures."""
    return BASELINE_TABLE[name].label if name in BASELINE_TABLE else name


def results_file(name: BaselineName) -> str:
    """Return the name of a baseline's detections file."""
    return f"baseline_{name.replace('-', '_')}.json.gz"
