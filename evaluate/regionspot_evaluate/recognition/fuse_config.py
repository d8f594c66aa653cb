"""Settings of the fusion of a head's scores with CLIP's. Nothing heavy is imported here."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from regionspot_core.config import Config
from regionspot_core.support.options import Flag
from regionspot_evaluate.recognition.baselines.names import (
    BASELINE_TABLE,
    NO_BASELINE,
    BaselineName,
)

FUSING = "Score fusion"
WEIGHT_SEEN, WEIGHT_UNSEEN = 0.3, 0.4
Weight = Annotated[float | None, Field(ge=0, le=1)]
Temperature = Annotated[float | None, Field(gt=0, le=1e6)]


class FuseConfig(Config):
    """CLIP's own opinion that a head's scores are joined with, and its share."""

    opinion: Annotated[
        BaselineName | None,
        Flag(name="--fuse", metavar="NAME", panel=FUSING, default="as HEAD/fusion.json says"),
    ] = None
    """Join the head's scores with CLIP's own, of a baseline: region-crop, region-masked-crop,
    region-tokens, clip-crop, clip-masked-crop, clip-pool, or none. Without it a head that `evaluate
    tune` wrote a fusion.json for has that one, any other none."""
    weight_seen: Annotated[
        Weight, Flag(name="--fuse-weight-seen", panel=FUSING, default=str(WEIGHT_SEEN))
    ] = None
    """Share of CLIP's opinion, 0 to 1, on classes with a region in the head's training."""
    weight_unseen: Annotated[
        Weight, Flag(name="--fuse-weight-unseen", panel=FUSING, default=str(WEIGHT_UNSEEN))
    ] = None
    """Share of CLIP's opinion, 0 to 1, on all other classes."""
    head_temperature: Annotated[
        Temperature, Flag(name="--fuse-head-temperature", panel=FUSING, default="1")
    ] = None
    """Number that the head's logits are divided by."""
    clip_temperature: Annotated[
        Temperature, Flag(name="--fuse-clip-temperature", panel=FUSING, default="1")
    ] = None
    """Number that CLIP's logits are divided by."""

    @field_validator("opinion")
    @classmethod
    def _is_in_the_table(cls, name: str | None) -> str | None:
        if name is not None and name not in (*BASELINE_TABLE, NO_BASELINE):
            raise ValueError(f"expected {', '.join((*BASELINE_TABLE, NO_BASELINE))}; got {name!r}")
        return name

    @model_validator(mode="after")
    def _numbers_are_of_an_opinion(self) -> Self:
        given = [
            name.replace("_", "-")
            for name, value in self
            if name != "opinion" and value is not None
        ]
        if given and self.opinion in (None, NO_BASELINE):
            raise ValueError(
                f"--fuse-{given[0]} says how scores are joined; name what they are joined with, "
                f"--fuse clip-crop say"
            )
        return self
