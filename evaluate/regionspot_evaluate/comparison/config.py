"""What `regionspot evaluate compare` is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from regionspot_core.config import Config
from regionspot_evaluate.scoring.figures import Iou, Protocol


class CompareConfig(Config):
    """One table of several detectors on one annotation file."""

    runs: tuple[str, ...] = Field(min_length=1)
    """``PATH`` or ``NAME=PATH``: folders of ``evaluate run`` or ``evaluate cached``, or results
    files of any detector."""
    annotations: Path
    iou: tuple[Iou, ...] = Field(("bbox",), min_length=1)
    protocol: Protocol = "standard"
    bootstrap: int = Field(200, ge=0, le=5_000)
    """How often the images are drawn anew for the intervals; 0: no intervals."""
    seed: int = Field(0, ge=0)
    """Of the draws."""
    published: bool = False
    """Whether the paper's own figures stand beside them."""
    json_file: Path | None = None

    @field_validator("iou", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:  # noqa: ANN401 - whatever is given
        return tuple(dict.fromkeys(value.split(","))) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _published_by_one_protocol(self) -> CompareConfig:
        if self.published and self.protocol != "standard":
            raise ValueError(
                "expected protocol standard with published: the paper's figures are not fixed AP"
            )
        return self
