"""Settings of `regionspot evaluate score`, and those of all commands that score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from regionspot_core.config import Config
from regionspot_core.support.arguments import existing_file, existing_path
from regionspot_core.support.options import Flag
from regionspot_evaluate.scoring.figures import Iou, Package, Protocol
from regionspot_evaluate.scoring.registry import PROTOCOL_TABLE, require_protocol


def _split(value: Any) -> Any:  # noqa: ANN401 - whatever is given
    """Return the parts of a text with commas, each once."""
    return tuple(dict.fromkeys(value.split(","))) if isinstance(value, str) else value


Ious = Annotated[tuple[Iou, ...], Field(min_length=1), BeforeValidator(_split)]
KnownProtocol = Annotated[Protocol, AfterValidator(require_protocol)]
Protocols = Annotated[tuple[KnownProtocol, ...], Field(min_length=1), BeforeValidator(_split)]
IousOption = Annotated[
    Ious,
    Flag(metavar="bbox,segm", text=True),
    Field(description="What is scored: boxes, masks, or both."),
]
PLANNED = "LVIS's where the annotations have its lists of classes, else COCO's"
PlannedProtocol = Annotated[
    KnownProtocol | None,
    Flag(metavar="|".join(PROTOCOL_TABLE), default=PLANNED),
    Field(
        description="Rules of scoring: LVIS's with the best 300 detections of an image, LVIS's "
        "with the best 10,000 of a class (fixed AP), or COCO's."
    ),
]
ScorerOption = Annotated[
    Package,
    Flag(),
    Field(
        description="Package that scores: hotcoco, and the protocol's own where its figures would "
        "differ; or always that one: lvis, and pycocotools for COCO."
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
    """Annotation file of LVIS's or COCO's layout."""
    detections: Annotated[Path, Flag(metavar="FILE", check=existing_file)]
    """Results JSON, LVIS's or COCO's."""
    iou: IousOption = ("bbox",)
    protocol: PlannedProtocol = None
    scorer: ScorerOption = "fast"
    check: Annotated[bool, Flag()] = False
    """Let the protocol's own package score too, and say how far the two are apart."""
    json_file: JsonFile = None

    @model_validator(mode="after")
    def _has_reference(self) -> ScoreConfig:
        if self.check and self.protocol and not PROTOCOL_TABLE[self.protocol].has_reference:
            raise ValueError(f"expected no check with protocol {self.protocol}, of one package")
        return self
