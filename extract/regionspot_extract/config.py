"""Settings of an extraction and of a class bank."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from regionspot_core.backbones.config import BackboneConfig, ModelsConfig, ProposeConfig
from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.location import Location
from regionspot_core.config import Config
from regionspot_core.datasets.settings import (
    Annotations,
    Images,
    Names,
    OptionalAnnotations,
    Strict,
    VocabularyFile,
)
from regionspot_core.distributed.ray_cluster import (
    RAY,
    RayOptions,
    require_ray_fits,
    require_ray_is_used,
)
from regionspot_core.distributed.shares import Shard
from regionspot_core.imaging.limits import MAX_PIXELS, MOST_PIXELS
from regionspot_core.support.arguments import existing_file, existing_images, existing_path
from regionspot_core.support.options import Flag
from regionspot_core.text.class_text import TextConfig

MOST_BATCH_IMAGES = 4_096
"""Largest number of images that are in memory together."""
MOST_WORKERS = 1_024
MOST_DEVICES = 64
SAM_NAMES = ("vit_b", "vit_l", "vit_h")
"""SAMs whose weights are published."""


def _shard(value: Any) -> Any:  # noqa: ANN401 - whatever is given
    return Shard.from_text(value) if isinstance(value, str) else value


EXAMPLES = "Examples"

Share = Annotated[Shard, Flag(metavar="I/N", default="all"), BeforeValidator(_shard)]


class ExtractConfig(ModelsConfig):
    """One extraction: images and annotations in, one store out."""

    images: Images
    annotations: OptionalAnnotations = None
    proposals: Annotated[Path | None, Flag(metavar="FILE", check=existing_file)] = None
    """Instead of annotations: boxes of `extract propose` or of a detector, as regions without
    classes. COCO results, or {image_id: {boxes, scores}} with xyxy boxes."""
    out: Annotated[Location, Flag(metavar="STORE")]
    """The store: a folder, or a URL such as `s3://bucket/path` or `gs://bucket/path`."""
    bank: Annotated[
        Path | None, Flag(metavar="FILE", check=existing_file, default="made as the paper does")
    ] = None
    """Class embeddings that `extract text` wrote."""
    backbones: BackboneConfig = BackboneConfig()
    batch_images: Annotated[int, Flag(name="--batch")] = Field(
        default=8, ge=1, le=MOST_BATCH_IMAGES
    )
    """Images that the models take together."""
    part_images: Annotated[int, Flag()] = Field(default=256, ge=1, le=65_536)
    """Images of a part, one shard file: an interruption loses two parts at most."""
    keep: Keep = Keep()
    """Which of the models' outputs are kept, and how."""
    shard: Share = Shard()
    """Do the I-th of N equal shares of the parts: one task of a job array."""
    strict: Strict = False
    retry_failed: Annotated[bool, Flag()] = False
    """Do parts again that contain images that could not be read before."""
    workers: Annotated[int, Flag()] = Field(default=4, ge=1, le=MOST_WORKERS)
    """Threads that decode and resize images."""
    max_pixels: Annotated[int, Flag()] = Field(default=MAX_PIXELS, ge=1, le=MOST_PIXELS)
    """Largest image that is read, in pixels: a small file may stand for gigabytes."""
    engine: Annotated[Literal["local", "ray"], Flag(panel=RAY)] = "local"
    """Where the parts are done: in this process, or by workers on a Ray cluster."""
    devices: tuple[str, ...] = ()
    """Several devices of this machine, a process each; none leaves it to `backbones.device`."""
    ray: RayOptions = RayOptions()

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, values: Any) -> Any:  # noqa: ANN401 - whatever is given
        """Take several devices from ``backbones.device``."""
        models = values.get("backbones") if isinstance(values, dict) else None
        if not isinstance(models, dict):
            return values
        devices = str(models.get("device", "")).split(",")
        if len(devices) > 1:
            values = {**values, "devices": tuple(devices)}
            models = {**models, "device": devices[0]}
        return {**values, "backbones": models}

    @model_validator(mode="after")
    def _has_regions(self) -> Self:
        if (self.annotations is None) == (self.proposals is None):
            raise ValueError(
                "expected either --annotations, or --proposals for regions without classes, got "
                f"{'neither' if self.annotations is None else 'both'}; `regionspot extract "
                "propose` finds regions where there are none"
            )
        return self

    @field_validator("engine")
    @classmethod
    def _models_fit(cls, engine: str, info: ValidationInfo) -> str:
        device = info.data["backbones"].device if "backbones" in info.data else "auto"
        require_ray_fits(engine, device)
        if engine == "ray" and "backbones" in info.data and info.data["backbones"].compile:
            raise ValueError(
                "expected no --compile with --engine ray, whose workers run the models from two "
                "threads: a CUDA graph belongs to one"
            )
        return engine

    @field_validator("devices")
    @classmethod
    def _devices_are_used(cls, devices: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(devices) > MOST_DEVICES:
            raise ValueError(f"expected at most {MOST_DEVICES} devices, got {len(devices):,}")
        if len(devices) > 1 and info.data.get("engine") == "ray":
            raise ValueError(
                "expected one device with --engine ray, since Ray gives each worker its own GPU; "
                f"found {', '.join(devices)}"
            )
        return devices

    @field_validator("ray")
    @classmethod
    def _ray_is_used(cls, options: RayOptions, info: ValidationInfo) -> RayOptions:
        require_ray_is_used(info.data.get("engine", "ray"), options)
        return options


class CheckConfig(Config):
    """One look at a data set, before anything is extracted."""

    images: Images
    annotations: Annotations
    pictures: Annotated[Path | None, Flag(metavar="FILE.png")] = None
    """Draw three images with their boxes and names into this file."""
    strict: Strict = False
    max_pixels: Annotated[int, Flag()] = Field(default=MAX_PIXELS, ge=1, le=MOST_PIXELS)
    """Largest image that a run would read, in pixels."""


class ProposalsConfig(ModelsConfig):
    """Regions that SAM finds by itself in images: images in, one file of proposals out."""

    images: Annotated[Path, Flag(metavar="DIR|ZIP|TAR", check=existing_images)]
    """Folder of images, or a zip or tar of them; several as for `extract run`."""
    out: Annotated[Path, Flag(metavar="FILE.json")]
    """The file to write: COCO results without classes, with SAM's masks and predicted IoU."""
    propose: ProposeConfig = ProposeConfig()
    backbones: BackboneConfig = BackboneConfig()
    batch_images: Annotated[int, Flag(name="--batch")] = Field(
        default=8, ge=1, le=MOST_BATCH_IMAGES
    )
    """Images that SAM encodes together; an interrupted run loses one batch at most."""
    shard: Share = Shard()
    """Do the I-th of N shares of the images; then the same without it writes the file."""
    retry_failed: Annotated[bool, Flag()] = False
    """Do batches again with an image that could not be read before."""
    workers: Annotated[int, Flag()] = Field(default=4, ge=1, le=MOST_WORKERS)
    """Threads that decode and resize images."""
    max_pixels: Annotated[int, Flag()] = Field(default=MAX_PIXELS, ge=1, le=MOST_PIXELS)
    """Largest image that is read, in pixels: a small file may stand for gigabytes."""


class ExamplesConfig(Config):
    """Regions that show what classes look like, beside the text that says it."""

    file: Annotated[
        Path | None,
        Flag(name="--examples", metavar="FILE|DIR", check=existing_path, panel=EXAMPLES),
    ] = None
    """Regions of every class, in any format of annotations: CSV of `file,x1,y1,x2,y2,name`, say."""
    images: Annotated[
        Path | None,
        Flag(
            metavar="DIR|ZIP|TAR",
            check=existing_images,
            panel=EXAMPLES,
            default="the folder of --examples",
        ),
    ] = None
    """What the file names in it start from."""
    share: Annotated[float, Flag(name="--example-share", panel=EXAMPLES)] = Field(
        default=0.25, gt=0, le=1
    )
    """Share of the regions in a class's embedding beside the texts; 1: in their place."""
    max_pixels: Annotated[int, Flag(panel=EXAMPLES)] = Field(
        default=MAX_PIXELS, ge=1, le=MOST_PIXELS
    )
    """Largest image that is read, in pixels: a small file may stand for gigabytes."""

    @model_validator(mode="after")
    def _images_are_of_examples(self) -> Self:
        if self.images is not None and self.file is None:
            raise ValueError(
                f"--images {self.images} holds the images of --examples FILE, which is not given"
            )
        return self


class TextBankConfig(Config):
    """One class bank to be made, in float32 if nothing else is said."""

    out: Annotated[Path, Flag(metavar="FILE.h5")]
    """The class bank to write."""
    names: Names = None
    vocabulary: VocabularyFile = None
    text: TextConfig = TextConfig()
    examples: ExamplesConfig = ExamplesConfig()
    backbones: BackboneConfig = BackboneConfig(precision="float32")

    @model_validator(mode="before")
    @classmethod
    def _in_float32(cls, values: Any) -> Any:  # noqa: ANN401 - whatever is given
        if isinstance(values, dict) and isinstance(values.get("backbones"), dict):
            return {**values, "backbones": {"precision": "float32", **values["backbones"]}}
        return values


class WeightRequest(Config):
    """Published weights to fetch; names are those that the options of the same name take."""

    sam: Annotated[str | None, Flag(metavar="NAME")] = None
    """SAM: `vit_b`, `vit_l` or `vit_h`."""
    clip: Annotated[str | None, Flag(metavar="NAME")] = None
    """CLIP: an open_clip ViT such as `ViT-B-16`."""
    clip_pretrained: Annotated[str, Flag(metavar="TAG")] = "openai"
    """open_clip's tag of CLIP's weights."""

    @model_validator(mode="after")
    def _something_is_fetched(self) -> WeightRequest:
        if self.sam is None and self.clip is None:
            raise ValueError("nothing to fetch: give --sam NAME, --clip NAME or both")
        if self.sam not in (None, *SAM_NAMES) and ":" not in str(self.sam):
            raise ValueError(f"--sam {self.sam}: expected one of {', '.join(SAM_NAMES)}")
        return self

    @property
    def options(self) -> str:
        """The options that use these weights."""
        sam = [] if self.sam is None else ["--sam", self.sam]
        clip = [] if self.clip is None else ["--clip", self.clip]
        tag = [] if self.clip is None else ["--clip-pretrained", self.clip_pretrained]
        return " ".join(sam + clip + tag)
