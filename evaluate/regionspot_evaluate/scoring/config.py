"""Settings of `regionspot evaluate score`, and those of all commands that score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from regionspot_core.config import Config
from regionspot_core.support.arguments import existing_file, existing_path
from regionspot_core.support.options import Flag
from regionspot_evaluate.scoring.figures import Iou, Protocol, ScorerName
from regionspot_evaluate.scoring.registry import SCORER_TABLE, require_scorer


def _split(value: Any) -> Any:  # noqa: ANN401 - whatever is given
    """Return the parts of a text with commas, each once."""
    return tuple(dict.fromkeys(value.split(","))) if isinstance(value, str) else value


Ious = Annotated[tuple[Iou, ...], Field(min_length=1), BeforeValidator(_split)]
Protocols = Annotated[tuple[Protocol, ...], Field(min_length=1), BeforeValidator(_split)]
IousOption = Annotated[
    Ious,
    Flag(metavar="bbox,segm", text=True),
    Field(description="What is scored: boxes, masks, or both."),
]
ProtocolOption = Annotated[
    Protocol,
    Flag(),
    Field(
        description="Detections that count: the best 300 of an image, or the best 10,000 of a "
        "class (LVIS fixed AP)."
    ),
]
ScorerOption = Annotated[
    ScorerName,
    Flag(metavar="|".join(SCORER_TABLE)),
    Field(
        description="Package that scores: hotcoco, LVIS's own, or pycocotools for COCO and ODinW."
    ),
]
JsonFile = Annotated[
    Path | None,
    Flag(name="--json", metavar="FILE"),
    Field(description="JSON file to write the figures to."),
]


class ScoreConfig(Config):
    """One scoring of one results file."""

    annotations: Annotated[Path, Flag(metavar="FILE", check=existing_path)]
    """LVIS annotation JSON; COCO's for --scorer coco."""
    detections: Annotated[Path, Flag(metavar="FILE", check=existing_file)]
    """Results JSON, LVIS's or COCO's."""
    iou: IousOption = ("bbox",)
    protocol: ProtocolOption = "standard"
    scorer: ScorerOption = "fast"
    check: Annotated[bool, Flag()] = False
    """Let LVIS's own package score too, and say how far the two are apart."""
    json_file: JsonFile = None

    @model_validator(mode="after")
    def _scorer_can(self) -> ScoreConfig:
        require_scorer(self.scorer, (self.protocol,))
        if self.check and not SCORER_TABLE[self.scorer].has_reference:
            raise ValueError("expected scorer fast or lvis with check, which is LVIS's")
        return self
