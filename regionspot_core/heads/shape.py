"""The shape of a head: the inputs it needs, and the widths of inputs and outputs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field, JsonValue

from regionspot_core.config import Config
from regionspot_core.region_tokens import EmbeddingSource, TokenChoice
from regionspot_core.support.named_objects import is_object_name

BUILT_IN = "fusion"
"""Kind of the built-in head."""
WIDEST = 65_536
MOST_TOKENS = 65_536


def _require_kind(name: str) -> str:
    if name != BUILT_IN and not is_object_name(name):
        raise ValueError(
            f"expected {BUILT_IN}, or a class of your own as module:Class, got {name[:80]!r}"
        )
    return name


KindName = Annotated[str, AfterValidator(_require_kind)]
"""``fusion``, or a class as ``module:Class``. The module is not imported to check it."""


class HeadNeeds(NamedTuple):
    """Inputs that a head asks for, beside the image tokens and the mask of real regions."""

    region_tokens: TokenChoice = "paper"
    """SAM's tokens of a region; ``masks`` and ``all`` need a store of ``--sam-tokens all``."""
    boxes: bool = False
    """Whether it takes the regions' boxes."""
    region_embeddings: bool = False
    """Whether it takes CLIP's own embeddings of the regions, which a store has that was extracted
    with ``--region-embedding``."""
    region_masks: bool = False
    """Whether it takes SAM's masks of the regions, which a store has that was extracted with
    ``--region-masks``."""


class HeadShape(Config):
    """Everything that builds a head: its widths, here, and the options that its kind adds.

    The widths follow from the frozen models and the store; the defaults are the paper's.
    """

    region_tokens: TokenChoice = "paper"
    """SAM's tokens of a region that the head sees, side by side."""
    region_width: int = Field(default=256, ge=1, le=WIDEST)
    """S, the SAM token width."""
    region_token_count: int = Field(default=1, ge=1, le=1024)
    """N, how many of a region's tokens are seen."""
    image_width: int = Field(default=768, ge=1, le=WIDEST)
    """C, the CLIP token width."""
    image_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    """T, CLIP tokens an image; None: any. A head with ``image_positions`` takes no other number."""
    text_width: int = Field(default=512, ge=1, le=WIDEST)
    """D, the class embeddings' width."""
    region_embeddings: EmbeddingSource | None = None
    """How CLIP embedded the regions for a head that takes it; None for one that does not."""

    @property
    def kind_name(self) -> str:
        """Name of the head's kind."""
        return BUILT_IN

    @property
    @abstractmethod
    def needs(self) -> HeadNeeds:
        """Tokens and boxes that the head takes of a batch."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """The head in a few words, for a table."""


class CustomShape(HeadShape):
    """Everything that builds a head whose class is named as ``module:Class``."""

    kind: KindName
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Options of the class, with its defaults."""
    boxes: bool = False
    """Whether the head takes the regions' boxes."""
    region_masks: bool = False
    """Whether the head takes the regions' masks."""

    @property
    def kind_name(self) -> str:
        """Name of the head's kind: its class."""
        return self.kind

    @property
    def needs(self) -> HeadNeeds:
        """Tokens and boxes that the head takes of a batch."""
        takes_embeddings = self.region_embeddings is not None
        return HeadNeeds(self.region_tokens, self.boxes, takes_embeddings, self.region_masks)

    @property
    def summary(self) -> str:
        """The class and its options."""
        return ", ".join([self.kind, *(f"{name}={value}" for name, value in self.options.items())])
