"""Settings of an evaluation, live or from a cache, and of predictions for pictures."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from regionspot_core.backbones.config import (
    PROPOSING,
    BackboneConfig,
    ModelsConfig,
    ProposeConfig,
)
from regionspot_core.cache.location import Location
from regionspot_core.config import Config
from regionspot_core.datasets.settings import Annotations, Images, Names, Strict, VocabularyFile
from regionspot_core.distributed.ray_cluster import (
    RAY,
    RayOptions,
    require_ray_fits,
    require_ray_is_used,
)
from regionspot_core.distributed.shares import Shard
from regionspot_core.imaging.limits import MAX_PIXELS, MOST_PIXELS
from regionspot_core.scoring.plan import STORE_PROTOCOLS
from regionspot_core.support.arguments import (
    existing_file,
    existing_head,
    existing_path,
    existing_pictures,
    existing_store,
    writable_folder,
)
from regionspot_core.support.options import Flag
from regionspot_evaluate.recognition.baselines.names import (
    BASELINE_TABLE,
    NO_BASELINE,
    BaselineName,
)
from regionspot_evaluate.recognition.fuse_config import FuseConfig
from regionspot_evaluate.scoring.config import PLANNED, PlannedProtocol, Protocols, ScorerOption
from regionspot_evaluate.scoring.registry import PROTOCOL_TABLE

GROUND_TRUTH = "gt"
AUTOMATIC = "auto"
WHOLE_PICTURE = "whole"
NO_THRESHOLD = "none"
MOST_IMAGES = 4_096
"""Largest batch: all its images are in memory together."""
MOST_WORKERS = 1_024
MOST_PAIRS = 10_000_000
"""Largest number of (region, class) pairs of an image."""


AllImages = Annotated[
    bool,
    Flag(),
    Field(
        description="Score the images too that a head learnt from, where `train fit --split` held "
        "others out."
    ),
]
Heads = Annotated[
    tuple[Path, ...],
    Flag(name="--head", metavar="HEAD", check=existing_head),
    Field(
        min_length=1,
        description="A folder that `train fit` or `train import` wrote, or `demo` as DIR/run; "
        "several score what is read once.",
    ),
]


def _source_of_proposals(value: object) -> str:
    """Take any path as it is: pydantic's own text would refuse one that is not UTF-8."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected gt, auto or a file, got {value!r}")
    return value


def _source_of_boxes(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected auto, whole or a file, got {value!r}")
    return value


def _threshold(value: object) -> str | None:
    """Take a number, or none, from a command line or from Python."""
    if value is None or value == NO_THRESHOLD:
        return value if value is None else NO_THRESHOLD
    try:
        finite = not isinstance(value, bool) and isfinite(float(str(value)))
    except ValueError:
        finite = False
    if not finite:
        raise ValueError(f"expected a number or none, got {value!r}")
    return str(value)


def absolute_source(proposals: str) -> str:
    """Return where proposals come from, meant the same from any folder."""
    if proposals in (GROUND_TRUTH, AUTOMATIC):
        return proposals
    return str(Path(proposals).absolute())


class EvaluateConfig(ModelsConfig):
    """One evaluation of a head, or of several that share the frozen models' work."""

    images: Images
    annotations: Annotations
    heads: Heads
    out: Annotated[Path, Flag(metavar="DIR", check=writable_folder)]
    """Folder for detections and figures."""
    proposals: Annotated[
        str, Flag(metavar="gt|auto|FILE"), PlainValidator(_source_of_proposals)
    ] = GROUND_TRUTH
    """Annotated boxes, SAM's own, or a file: a COCO-results JSON, or
    {image_id: {boxes, scores, labels}} with xyxy boxes."""
    propose: ProposeConfig = ProposeConfig()
    """Settings of SAM's proposals for ``auto``."""
    fuse: FuseConfig = FuseConfig()
    """Fusion of the heads' scores with CLIP's."""
    bank: Annotated[
        Path | None, Flag(metavar="FILE", check=existing_file, default="made as the paper does")
    ] = None
    """Class embeddings that `extract text` wrote."""
    backbones: BackboneConfig = BackboneConfig()
    batch_images: Annotated[int, Flag(name="--batch")] = Field(default=8, ge=1, le=MOST_IMAGES)
    """Images that the models take together; an interrupted run loses one batch at most."""
    workers: Annotated[int, Flag()] = Field(default=4, ge=1, le=MOST_WORKERS)
    """Threads that decode and resize images."""
    max_pixels: Annotated[int, Flag()] = Field(default=MAX_PIXELS, ge=1, le=MOST_PIXELS)
    """Largest image that is read, in pixels: a small file may stand for gigabytes."""
    strict: Strict = False
    shard: Shard = Shard()
    """Share of the batches that `run_share` does."""
    retry_failed: Annotated[bool, Flag()] = False
    """Repeat batches with an image that could not be read before."""
    all_images: AllImages = False
    engine: Annotated[Literal["local", "ray"], Flag(panel=RAY)] = "local"
    """Place of the work: this process, or workers on a Ray cluster."""
    ray: RayOptions = RayOptions()
    pairs: Annotated[int, Flag()] = Field(default=900, ge=1, le=MOST_PAIRS)
    """Best (region, class) pairs of an image that are considered: the paper's number."""
    detections: Annotated[int, Flag()] = Field(default=300, ge=1, le=MOST_PAIRS)
    """Detections that an image keeps of these pairs: LVIS's limit."""
    baseline: Annotated[
        tuple[BaselineName, ...] | None,
        Flag(metavar="NAME", default="clip-crop and clip-pool for annotated boxes, else none"),
    ] = None
    """Baselines that classify the regions too: clip-crop, clip-masked-crop, clip-pool,
    region-tokens, region-crop, region-masked-crop, or none; may be repeated. Crops are expensive
    where boxes are many: of 300 proposals they cost CLIP a hundred times what the method does."""
    protocol: Annotated[
        Protocols | None, Flag(metavar=",".join(PROTOCOL_TABLE), text=True, default=PLANNED)
    ] = None
    """Rules of scoring, one or several: LVIS's with the best 300 detections of an image, LVIS's
    with the best 10,000 of a class (fixed AP), COCO's."""
    scorer: ScorerOption = "fast"
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
    def baselines(self) -> tuple[BaselineName, ...]:
        """Return the baselines that classify the regions too, in the order of their table."""
        if self.baseline is None:
            return ("clip-crop", "clip-pool") if self.proposals == GROUND_TRUTH else ()
        return tuple(name for name in BASELINE_TABLE if name in self.baseline)

    def with_absolute_paths(self) -> Self:
        """Return the configuration with absolute paths."""
        return self.model_copy(
            update={
                "images": self.images.absolute(),
                "annotations": self.annotations.absolute(),
                "heads": tuple(head.absolute() for head in self.heads),
                "out": self.out.absolute(),
                "proposals": absolute_source(self.proposals),
                "bank": self.bank and self.bank.absolute(),
                "backbones": self.backbones.with_absolute_paths(),
            }
        )

    @property
    def limit(self) -> int:
        """Return the number of detections that an image keeps."""
        return min(self.pairs, self.detections)

    @field_validator("baseline", mode="before")
    @classmethod
    def _none_stands_alone(cls, value: Any) -> Any:  # noqa: ANN401 - whatever is given
        if not isinstance(value, (list, tuple)) or NO_BASELINE not in value:
            return value
        named = [str(name) for name in value if name != NO_BASELINE]
        if named:
            raise ValueError(f"expected none alone, or baselines; got none and {', '.join(named)}")
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

    cache: Annotated[Location, Flag(metavar="STORE", check=existing_store)]
    """Store that `extract run` wrote: a folder or a URL."""
    heads: Heads
    annotations: Annotated[
        Path | None,
        Flag(metavar="FILE", check=existing_path, default="the store's own boxes"),
    ] = None
    """Annotation file of the store: scores with its areas, exactly as `run` does."""
    protocol: PlannedProtocol = None
    scorer: ScorerOption = "fast"
    out: Annotated[Path | None, Flag(metavar="DIR")] = None
    """Folder for detections and figures."""
    bank: Annotated[
        Path | None, Flag(metavar="FILE", check=existing_file, default="the store's")
    ] = None
    """Class embeddings that `extract text` wrote."""
    fuse: FuseConfig = FuseConfig()
    """Fusion of the heads' scores with CLIP's."""
    device: Annotated[str, Flag(metavar="NAME")] = "auto"
    """Device that computes: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`."""
    batch_images: Annotated[int, Flag(name="--batch")] = Field(default=32, ge=1, le=MOST_IMAGES)
    """Images that a head takes together."""
    all_images: AllImages = False
    pairs: Annotated[int, Flag()] = Field(default=900, ge=1, le=MOST_PAIRS)
    """Best (region, class) pairs of an image that are considered, as for `run`."""
    detections: Annotated[int, Flag()] = Field(default=300, ge=1, le=MOST_PAIRS)
    """Detections that an image keeps of these pairs, as for `run`."""

    @model_validator(mode="after")
    def _scorer_has_annotations(self) -> Self:
        if self.annotations is None and self.scorer != "fast":
            raise ValueError(f"expected annotations with scorer {self.scorer}")
        if self.annotations is None and self.protocol not in (None, *STORE_PROTOCOLS):
            raise ValueError(f"expected annotations with protocol {self.protocol}")
        return self


class PredictConfig(ModelsConfig):
    """Pictures whose regions are to be named."""

    pictures: Annotated[
        tuple[Path, ...], Flag(metavar="PICTURE", check=existing_pictures, argument=True)
    ] = Field(min_length=1)
    """Pictures that Pillow reads: files, folders, zips or tars of them, patterns in quotes such as
    `"photos/*.jpg"`, or @FILE with one of these a line."""
    head: Annotated[Path, Flag(metavar="HEAD", check=existing_head)]
    """A folder that `train fit` or `train import` wrote, or `demo` as DIR/run."""
    names: Names = None
    vocabulary: VocabularyFile = None
    bank: Annotated[Path | None, Flag(metavar="FILE", check=existing_file)] = None
    """Class embeddings that `extract text` wrote, in place of names or a vocabulary."""
    boxes: Annotated[tuple[str, ...], Flag(name="--box", metavar="X1,Y1,X2,Y2")] = ()
    """A box in the pixels of a single picture; may be repeated."""
    points: Annotated[tuple[str, ...], Flag(name="--point", metavar="X,Y")] = ()
    """A point on a region, in the pixels of a single picture; may be repeated."""
    masks: Annotated[
        tuple[Path, ...], Flag(name="--mask", metavar="FILE", check=existing_file)
    ] = ()
    """A picture of a single picture's size, black except for the region: what is more than half as
    bright as the brightest pixel. May be repeated."""
    proposals: Annotated[str, Flag(metavar="auto|whole|FILE"), PlainValidator(_source_of_boxes)] = (
        AUTOMATIC
    )
    """Regions without a prompt: those that SAM finds, one box around each picture, or a detector's
    boxes: a COCO-results JSON whose image ids are the pictures' names, or an annotation file."""
    out: Annotated[Path, Flag(metavar="DIR")] = Path()
    """Folder for the results: of a single picture a JSON and a picture, of several
    predictions.json."""
    draw: Annotated[bool, Flag(name="--pictures")] = False
    """Draw several pictures too, into `predictions` in the folder for the results."""
    segmentation: Annotated[bool, Flag()] = False
    """Write the masks of several pictures too, as run lengths."""
    top: Annotated[int, Flag()] = Field(default=3, ge=1, le=MOST_PAIRS)
    """Names given for each region."""
    least: Annotated[float, Flag(metavar="P")] = Field(default=0.0, ge=0, le=1)
    """Least probability of a region's best name; other regions are left out."""
    unknown_threshold: Annotated[
        str | None,
        Flag(metavar="X|none", default="as HEAD/unknown.json says"),
        PlainValidator(_threshold),
    ] = None
    """Least score of the head, its largest logit before any fusion, for a region to have one of the
    names; below it the region is called none of these. `none` leaves the head's own aside."""
    fuse: FuseConfig = FuseConfig()
    """Fusion of the head's scores with CLIP's."""
    batch_images: Annotated[int, Flag(name="--batch")] = Field(default=8, ge=1, le=MOST_IMAGES)
    """Pictures that the models take together; an interrupted run loses one batch at most."""
    workers: Annotated[int, Flag()] = Field(default=4, ge=1, le=MOST_WORKERS)
    """Threads that decode and resize pictures."""
    retry_failed: Annotated[bool, Flag()] = False
    """Try pictures again that could not be read before."""
    propose: ProposeConfig = ProposeConfig()
    """Settings of SAM's proposals, used without any prompt."""
    overlap: Annotated[float, Flag(metavar="IOU", panel=PROPOSING)] = Field(default=0.5, ge=0, le=1)
    """Largest IoU of two regions' masks; above it only the one that SAM is surer of stays."""
    max_pixels: Annotated[int, Flag()] = Field(default=MAX_PIXELS, ge=1, le=MOST_PIXELS)
    """Largest image, or picture of a mask, that is read, in pixels."""
    backbones: BackboneConfig = BackboneConfig()

    @property
    def has_prompts(self) -> bool:
        """Return whether boxes, points or masks say which regions are meant."""
        return bool(self.boxes or self.points or self.masks)

    @model_validator(mode="after")
    def _prompts_are_proposals(self) -> Self:
        if self.has_prompts and self.proposals != AUTOMATIC:
            raise ValueError(
                f"expected --box, --point and --mask, or --proposals {self.proposals}; got both"
            )
        return self
