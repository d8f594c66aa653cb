"""What `regionspot evaluate score` is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from regionspot_core.config import Config
from regionspot_evaluate.scoring.figures import Iou, Protocol, ScorerName


def _split(value: Any) -> Any:  # noqa: ANN401 - whatever is given
    """A text with commas as its parts, each once."""
    return tuple(dict.fromkeys(value.split(","))) if isinstance(value, str) else value


Ious = Annotated[tuple[Iou, ...], Field(min_length=1), BeforeValidator(_split)]
Protocols = Annotated[tuple[Protocol, ...], Field(min_length=1), BeforeValidator(_split)]


class ScoreConfig(Config):
    """One scoring of one results file."""

    annotations: Path
    detections: Path
    iou: Ious = ("bbox",)
    protocol: Protocol = "standard"
    scorer: ScorerName = "fast"
    check: bool = False
    """Whether the LVIS API scores too, and how far the two are apart is told."""
    json_file: Path | None = None

    @model_validator(mode="after")
    def _coco_has_one_protocol(self) -> ScoreConfig:
        if self.scorer == "coco" and self.protocol != "standard":
            raise ValueError("expected protocol standard with scorer coco: fixed AP is LVIS's")
        if self.scorer == "coco" and self.check:
            raise ValueError("expected scorer fast or lvis with check, which is LVIS's")
        return self
