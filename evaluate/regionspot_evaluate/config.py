"""What an evaluation, live or from a cache, or a look at one image, is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, ValidationInfo, field_validator

from regionspot_core.backbones.loading import BackboneConfig
from regionspot_core.backbones.protocols import ProposeConfig
from regionspot_core.cache.storage.store import Location
from regionspot_core.config import Config
from regionspot_core.distributed.ray_crew import (
    RayOptions,
    models_anywhere,
    require_ray_fits,
    require_ray_is_used,
)
from regionspot_core.distributed.shard import Shard
from regionspot_core.imaging.images import MAX_PIXELS, MOST_PIXELS
from regionspot_evaluate.recognition.baselines.names import (
    BASELINE_TABLE,
    NO_BASELINE,
    BaselineName,
)
from regionspot_evaluate.scoring.config import Protocols

GROUND_TRUTH = "gt"
AUTOMATIC = "auto"
MOST_IMAGES = 4_096
"""Of a batch: as many as that are in memory together."""
MOST_WORKERS = 1_024
MOST_PAIRS = 10_000_000
"""Of an image: more than any has of regions and classes."""


def _source_of_proposals(value: object) -> str:
    """Take any path as it is: pydantic's own text would refuse one that is not UTF-8."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected gt, auto or a file, got {value!r}")
    return value


def absolute_source(proposals: str) -> str:
    """Return where proposals come from, meant the same from any folder."""
    if proposals in (GROUND_TRUTH, AUTOMATIC):
        return proposals
    return str(Path(proposals).absolute())


class EvaluateConfig(Config):
    """One evaluation of a head, or of several that share the frozen models' work."""

    images: Path
    annotations: Path
    head: Path
    more_heads: tuple[Path, ...] = ()
    """Others that name the same regions; each gets a folder of its own below ``out``."""
    out: Path
    proposals: Annotated[str, PlainValidator(_source_of_proposals)] = GROUND_TRUTH
    """``gt`` for the annotated boxes, ``auto`` for SAM's own, or a file of boxes and scores."""
    propose: ProposeConfig = ProposeConfig()
    """How SAM looks for ``auto``."""
    bank: Path | None = None
    """Class embeddings that `regionspot extract text` wrote; None makes the paper's."""
    backbones: BackboneConfig = BackboneConfig()
    batch_images: int = Field(default=8, ge=1, le=MOST_IMAGES)
    """Images that the frozen models take together, and what an interrupted run loses at most."""
    workers: int = Field(default=4, ge=1, le=MOST_WORKERS)
    """Threads that decode and resize."""
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=MOST_PIXELS)
    """Images of more pixels are not decoded, and count as such that cannot be read."""
    shard: Shard = Shard()
    """Which share of the batches `run_share` does."""
    retry_failed: bool = False
    """Whether batches are done again of which an image could not be read."""
    engine: Literal["local", "ray"] = "local"
    """Who names the images: this process, or workers on a Ray cluster."""
    ray: RayOptions = RayOptions()
    pairs: int = Field(default=900, ge=1, le=MOST_PAIRS)
    """Best (region, class) pairs of an image that are looked at: the paper's number."""
    detections: int = Field(default=300, ge=1, le=MOST_PAIRS)
    """How many of them an image keeps: LVIS's limit."""
    baseline: tuple[BaselineName, ...] | None = None
    """Which baselines name the regions too, () for none. None: CLIP's crops and pooled patches for
    annotated boxes, which are few, and none else; of 300 proposals the crops cost CLIP a hundred
    times what the method does."""
    protocol: Protocols = ("standard",)
    """What the detections are scored by; a finished evaluation may be scored again by another."""
    scorer: Literal["fast", "lvis"] = "fast"
    gallery: int = Field(default=12, ge=0, le=60)
    """Images drawn into ``predictions.png``; 0 draws none."""

    @field_validator("engine")
    @classmethod
    def _device_fits(cls, engine: str, info: ValidationInfo) -> str:
        device = info.data["backbones"].device if "backbones" in info.data else "auto"
        require_ray_fits(engine, device)
        return engine

    @field_validator("ray")
    @classmethod
    def _ray_is_used(cls, options: RayOptions, info: ValidationInfo) -> RayOptions:
        require_ray_is_used(info.data.get("engine", "ray"), options)
        return options

    @property
    def heads(self) -> tuple[Path, ...]:
        """All that are evaluated."""
        return self.head, *self.more_heads

    @property
    def baselines(self) -> tuple[BaselineName, ...]:
        """Those that name the regions too, in the order of their table."""
        if self.baseline is None:
            return ("clip-crop", "clip-pool") if self.proposals == GROUND_TRUTH else ()
        return tuple(name for name in BASELINE_TABLE if name in self.baseline)

    def with_absolute_paths(self) -> Self:
        """The same, meant the same from any folder."""
        return self.model_copy(
            update={
                "images": self.images.absolute(),
                "annotations": self.annotations.absolute(),
                "head": self.head.absolute(),
                "more_heads": tuple(head.absolute() for head in self.more_heads),
                "out": self.out.absolute(),
                "proposals": absolute_source(self.proposals),
                "bank": self.bank and self.bank.absolute(),
                "backbones": models_anywhere(self.backbones, on_gpu=False),
            }
        )

    @property
    def limit(self) -> int:
        """Detections that an image keeps."""
        return min(self.pairs, self.detections)

    @field_validator("baseline", mode="before")
    @classmethod
    def _none_stands_alone(cls, value: Any) -> Any:  # noqa: ANN401 - whatever is given
        if not isinstance(value, (list, tuple)) or NO_BASELINE not in value:
            return value
        others = [str(name) for name in value if name != NO_BASELINE]
        if others:
            raise ValueError(f"expected none alone, or baselines; got none and {', '.join(others)}")
        return ()

    @field_validator("baseline")
    @classmethod
    def _are_in_the_table(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = [name for name in names or () if name not in BASELINE_TABLE]
        if unknown:
            expected = ", ".join((*BASELINE_TABLE, NO_BASELINE))
            raise ValueError(f"expected {expected}; got {unknown[0]!r}")
        return names


class CachedConfig(Config):
    """One evaluation of heads on a cache alone, with its boxes as proposals."""

    cache: Location
    """A store that `extract run` filled."""
    heads: tuple[Path, ...] = Field(min_length=1)
    """All score what is read once."""
    annotations: Path | None = None
    """LVIS's file, for figures to the last digit as `run` prints them; None scores with the
    store's own boxes and lists of classes."""
    out: Path | None = None
    """A folder for figures and detections; None writes none."""
    bank: Path | None = None
    """Class embeddings; None takes the store's."""
    device: str = "auto"
    batch_images: int = Field(default=32, ge=1, le=MOST_IMAGES)
    pairs: int = Field(default=900, ge=1, le=MOST_PAIRS)
    """As for `run`."""
    detections: int = Field(default=300, ge=1, le=MOST_PAIRS)
    """As for `run`."""


class PredictConfig(Config):
    """One image whose regions are to be named."""

    image: Path
    head: Path
    out: Path
    """Folder for the JSON and the picture."""
    names: str | None = None
    """Class names with commas between; this, or ``vocabulary``, or ``bank``."""
    vocabulary: Path | None = None
    bank: Path | None = None
    boxes: tuple[str, ...] = ()
    """``x1,y1,x2,y2`` in original pixels."""
    points: tuple[str, ...] = ()
    """``x,y`` in original pixels, each for a region of its own."""
    masks: tuple[Path, ...] = ()
    """Pictures of the image's size; the region is what is more than half as bright as they get."""
    propose: ProposeConfig = ProposeConfig()
    """How SAM looks where there is no prompt at all."""
    overlap: float = Field(default=0.5, ge=0, le=1)
    """Largest IoU of the masks of two regions that SAM finds by itself; above it the one that SAM
    is less sure of is left out."""
    top: int = Field(default=3, ge=1, le=MOST_PAIRS)
    """Names given for each region."""
    least: float = Field(default=0.0, ge=0, le=1)
    """Regions whose best name is less probable are left out."""
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=MOST_PIXELS)
    """An image, or a mask's picture, of more pixels is not decoded."""
    backbones: BackboneConfig = BackboneConfig()
