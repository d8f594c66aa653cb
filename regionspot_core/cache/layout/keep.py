"""What a store keeps of the models' tokens, and the shapes of these: settings and plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from regionspot_core.cache.layout.encodings.encoding import Encoding
from regionspot_core.cache.layout.encodings.registry import find_encoding
from regionspot_core.config import Config
from regionspot_core.errors import InputError
from regionspot_core.region_tokens import EmbeddingSource, KeptTokens
from regionspot_core.support.options import Flag
from regionspot_core.support.records import KNOWN_KEYS_ONLY, Axis, LengthOrNone

MOST_VALUES = 1 << 27
"""Most values of an image's or region's tokens: two hundred times L/14's at 336 pixels."""
KEPT = "What is kept"
RegionEmbedding = Literal["auto", EmbeddingSource, "none"]


class Keep(Config):
    """The part of the models' output that a store keeps, and its encoding."""

    dtype: Annotated[str, Flag(panel=KEPT, metavar="float16|int8|MODULE:NAME")] = "float16"
    """Encoding of the stored tokens; `int8` takes half the bytes. One of your own is named by its
    module, such as `my_package.encodings:MINE`."""
    sam_tokens: Annotated[KeptTokens, Flag(panel=KEPT)] = "all"
    """SAM's tokens of a region: all five, or the paper's one."""
    region_embedding: Annotated[RegionEmbedding, Flag(panel=KEPT)] = "auto"
    """CLIP's own embedding of each region. `tokens`: a class token that sees the region's patches
    alone, in the pass that makes the image's tokens. `crop`: a pass of its own over a box 1.2
    times as large, which is dearer and names better. `masked-crop`: the same, all outside SAM's
    mask painted in CLIP's mean colour. `auto`: `tokens` where the tower can."""
    region_masks: Annotated[bool, Flag(panel=KEPT)] = False
    """Keep SAM's mask of each region too, at 16 × 16 points inside its box, in a byte each."""
    jitter: Annotated[int, Flag(panel=KEPT)] = Field(default=0, ge=0, le=64)
    """Jittered copies of each box."""
    flip: Annotated[bool, Flag(panel=KEPT)] = False
    """Keep the mirrored image and its boxes as well."""

    @property
    def encoding(self) -> Encoding:
        """Encoding that ``dtype`` names."""
        return find_encoding(self.dtype)

    @field_validator("dtype")
    @classmethod
    def _encoding_is_known(cls, name: str) -> str:
        find_encoding(name)
        return name


@dataclass(frozen=True)
class TokenShape:
    """The shapes of one image's and one region's tokens."""

    __pydantic_config__: ClassVar[ConfigDict] = KNOWN_KEYS_ONLY

    image_tokens: Axis
    """T"""
    image_width: Axis
    """C"""
    region_tokens: Axis
    """M"""
    region_width: Axis
    """S"""
    ious: Axis
    """Q, predicted IoUs of a region's mask tokens."""
    region_embedding: LengthOrNone = 0
    """D, values of CLIP's embedding of a region; 0 where none is kept."""

    def __post_init__(self) -> None:
        image, region = (
            self.image_tokens * self.image_width,
            self.region_tokens * self.region_width,
        )
        if max(image, region) > MOST_VALUES:
            raise InputError(
                f"expected at most {MOST_VALUES:,} values of an image or a region, got "
                f"{max(image, region):,}"
            )
