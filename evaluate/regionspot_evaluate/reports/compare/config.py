"""Settings of `regionspot evaluate compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from regionspot_core.config import Config
from regionspot_core.support.arguments import existing_path
from regionspot_core.support.options import Flag
from regionspot_evaluate.scoring.config import IousOption, JsonFile, ProtocolOption
from regionspot_evaluate.scoring.figures import LVIS_PROTOCOLS, Protocol


class CompareConfig(Config):
    """One table of several detectors on one annotation file."""

    runs: Annotated[tuple[str, ...], Flag(metavar="RUN", argument=True)] = Field(min_length=1)
    """Folders that `evaluate run` or `evaluate cached` wrote, or results files of any detector;
    NAME=PATH names the row."""
    annotations: Annotated[Path, Flag(metavar="FILE", check=existing_path)]
    """LVIS annotation JSON."""
    iou: IousOption = ("bbox",)
    protocol: ProtocolOption = "lvis"
    bootstrap: Annotated[int, Flag()] = Field(default=200, ge=0, le=5_000)
    """Draws of half of the images for 95 % intervals; 0: none."""
    seed: Annotated[int, Flag()] = Field(default=0, ge=0)
    """Seed of these draws."""
    published: Annotated[bool, Flag()] = False
    """Show papers' figures beside them, on LVIS v1 val or minival."""
    json_file: JsonFile = None

    @field_validator("protocol")
    @classmethod
    def _is_of_lvis(cls, protocol: Protocol) -> Protocol:
        if protocol not in LVIS_PROTOCOLS:
            raise ValueError(f"expected protocol {' or '.join(LVIS_PROTOCOLS)}, got {protocol}")
        return protocol
