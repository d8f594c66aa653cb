"""Settings of the frozen models. Nothing heavy is imported here: command lines are made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, cast

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from regionspot_core.backbones.precision import Precision, best_precision
from regionspot_core.config import Config
from regionspot_core.support.arguments import existing_file
from regionspot_core.support.options import Flag

TINY = "tiny"
"""Name of the embedded SAM and CLIP."""
LARGEST_INPUT = 8_192
"""Pixels of a side: eight times SAM's own, whose position table then takes 800 MB."""
FROZEN = "Frozen models"


class BackboneConfig(Config):
    """Names of the frozen models, and where and how they run."""

    sam: Annotated[str, Flag(metavar="NAME", panel=FROZEN)] = TINY
    """Region encoder: `tiny`, `vit_b`, `vit_l`, `vit_h`, or your own as
    `my_package.models:ENTRY`."""
    sam_checkpoint: Annotated[
        Path | None,
        Flag(metavar="FILE", check=existing_file, panel=FROZEN, default="where weights puts it"),
    ] = None
    """SAM's official checkpoint file."""
    sam_input: Annotated[int | None, Flag(panel=FROZEN, default="as trained")] = Field(
        default=None, ge=1, le=LARGEST_INPUT
    )
    """Side of SAM's input in pixels."""
    clip: Annotated[str, Flag(metavar="NAME", panel=FROZEN)] = TINY
    """Image and text encoder: `tiny`, an open_clip ViT such as `ViT-B-16`, or your own as
    `my_package.models:ENTRY`."""
    clip_pretrained: Annotated[str | None, Flag(metavar="TAG|FILE", panel=FROZEN)] = None
    """CLIP's weights: open_clip's tag (`openai`) or a weight file."""
    clip_input: Annotated[int | None, Flag(panel=FROZEN, default="as trained")] = Field(
        default=None, ge=1, le=LARGEST_INPUT
    )
    """Side of CLIP's input in pixels."""
    device: Annotated[str, Flag(metavar="NAME", panel=FROZEN)] = "auto"
    """Device that computes: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`. Extraction takes several,
    `cuda:0,cuda:1`, with a process each."""
    precision: Annotated[Precision, Flag(metavar="TYPE", panel=FROZEN)] = cast(Precision, "auto")
    """Arithmetic of the frozen models: `float32`, `bfloat16`, `float16`, or `auto`: the quickest
    that the device has. The tiny models take `auto` as `float32`."""
    compile: Annotated[int, Flag(switch=True, panel=FROZEN)] = Field(default=0, ge=0, le=65_536)
    """Compile the image encoders with torch.compile, for batches of this many images: minutes at
    the start."""

    @model_validator(mode="before")
    @classmethod
    def _precision_of_the_device(cls, values: Any) -> Any:  # noqa: ANN401 - whatever is given
        if not isinstance(values, dict) or values.get("precision", "auto") != "auto":
            return values
        if {values.get(model, TINY) for model in ("sam", "clip")} == {TINY}:
            return {**values, "precision": "float32"}
        return {**values, "precision": best_precision(values.get("device", "auto"))}

    def with_absolute_paths(self) -> Self:
        """Return the same, meant the same from any folder."""
        weights = self.clip_pretrained
        if weights is not None and Path(weights).is_file():
            weights = str(Path(weights).absolute())
        checkpoint = self.sam_checkpoint and self.sam_checkpoint.absolute()
        return self.model_copy(update={"sam_checkpoint": checkpoint, "clip_pretrained": weights})

    def on_device(self, device: str | None) -> Self:
        """Return the same on another device; None leaves it."""
        return self if device is None else self.model_copy(update={"device": device})


class ModelsConfig(Config):
    """Base of configurations with ``backbones`` and ``batch_images``."""

    @model_validator(mode="before")
    @classmethod
    def _compile_for_the_batch(cls, values: Any) -> Any:  # noqa: ANN401 - whatever is given
        models = values.get("backbones") if isinstance(values, dict) else None
        if isinstance(models, dict) and models.get("compile") is True:
            models = {**models, "compile": values.get("batch_images", 8)}
            return {**values, "backbones": models}
        return values

    @model_validator(mode="wrap")
    @classmethod
    def _before_torch(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401
        """Refuse a wrong value before the precision asks the device: that imports PyTorch."""
        models = values.get("backbones") if isinstance(values, dict) else None
        if isinstance(models, dict) and models.get("precision", "auto") == "auto":
            handler({**values, "backbones": {**models, "precision": "float32"}})
        return handler(values)


PROPOSING = "Regions that SAM finds by itself"


class Thresholds(NamedTuple):
    """Least values of a mask that is kept; segment-anything's by default."""

    iou: float = 0.88
    """Predicted IoU"""
    stability: float = 0.95
    """IoU of the mask with itself when the logits' threshold moves by one"""


SAM_THRESHOLDS = Thresholds()
TINY_THRESHOLDS = Thresholds(iou=0.5, stability=0.7)
"""The tiny SAM's masks are less sure than a real one's: these find nearly every object."""


class ProposeConfig(Config):
    """Settings of SAM's own search for regions. A threshold of None is the model's own."""

    points_per_side: Annotated[int, Flag(panel=PROPOSING)] = Field(default=32, ge=1, le=256)
    """Points on a side of the grid that SAM is asked about."""
    iou_threshold: Annotated[
        float | None,
        Flag(panel=PROPOSING, default=f"{SAM_THRESHOLDS.iou}, of tiny {TINY_THRESHOLDS.iou}"),
    ] = Field(default=None, ge=0, le=1)
    """Least predicted IoU of a mask that is kept."""
    stability_threshold: Annotated[
        float | None,
        Flag(
            panel=PROPOSING,
            default=f"{SAM_THRESHOLDS.stability}, of tiny {TINY_THRESHOLDS.stability}",
        ),
    ] = Field(default=None, ge=0, le=1)
    """Least stability of a mask: its IoU with itself when the logits' threshold moves."""
