"""Bodies of the API's requests. What a model does not name is refused."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from regionspot_app.queue.listing import Only, Order
from regionspot_app.saved_labels import SavedRegion
from regionspot_app.workbench.prompts import Prompt
from regionspot_core.support.records import Record

MOST_PROMPTS = 1_000
MOST_TOP = 100
MOST_NEAREST = 50
Prompts = Annotated[tuple[Prompt, ...], Field(max_length=MOST_PROMPTS)]
ClassNames = Annotated[
    tuple[str, ...] | None, Field(description="Class names; without them, the app's own.")
]
PictureName = Annotated[str, Field(min_length=1, max_length=1_000)]


class Regions(Record):
    """Prompts to segment regions by."""

    prompts: Prompts
    candidates: bool = False
    """Whether SAM's three masks of each are wanted too."""


class Names(Record):
    """Prompts whose regions are classified, together."""

    prompts: Prompts
    names: ClassNames = None
    top: int = Field(default=5, ge=1, le=MOST_TOP)
    """Best names of each region and head."""
    least: float = Field(default=0.0, ge=0, le=1)
    """Probability of the best name below which a region is none of these, beside the rule of the
    head's own threshold."""
    picture: int | None = Field(default=None, ge=0)
    """Number of the offered picture that these are all regions of: the queue remembers the answers.
    """


class Why(Record):
    """A region among all that a picture has, whose names are to be explained."""

    prompts: Prompts
    """Prompts of all regions, as they are classified together."""
    region: int = Field(ge=0)
    """Which of them, from 0."""
    layer: int | None = Field(default=None, ge=0)
    """Layer of the heads, from 0; without it, the last of each."""
    nearest: int = Field(default=5, ge=0, le=MOST_NEAREST)
    """Labelled regions of the stores; with 0, none are looked for."""

    @model_validator(mode="after")
    def _region_has_a_prompt(self) -> Self:
        if self.region >= len(self.prompts):
            raise ValueError(
                f"expected a region from 0 to {len(self.prompts) - 1}, got {self.region}"
                if self.prompts
                else "expected at least one prompt"
            )
        return self


class Vocabulary(Record):
    """Class names to embed, so that the next question about them is answered at once."""

    names: tuple[str, ...]
    seconds: float | None = Field(default=None, ge=0, le=60, strict=False)
    """Time after which no more are begun: ask again until none is left. Without it, all are
    embedded."""


class Queue(Record):
    """A question for pictures: which are wanted, and in what order."""

    names: ClassNames = None
    only: Only = "all"
    """``open``: not done yet; ``differing``: with a region that two heads name differently."""
    name: str | None = Field(default=None, max_length=200)
    """Name that a region must have, among those saved and the heads' answers."""
    order: Order = "folder"
    """``least_sure`` or ``disagreement``, the largest first, as far as pictures were looked at."""


class LookAtAll(Record):
    """A look at all pictures to begin."""

    names: ClassNames = None
    again: bool = False
    """Whether pictures are looked at again that were looked at with these names."""


class Results(Record):
    """Prompts whose regions are wanted as COCO results."""

    prompts: Prompts
    names: ClassNames = None
    head: int = Field(default=0, ge=0)
    """Which of the heads, from 0."""
    image_id: int = Field(default=0, ge=0)


class Save(Record):
    """Regions of a picture to keep, as somebody left them."""

    picture: PictureName
    image: str = Field(min_length=1, max_length=64)
    """The encoded image's id."""
    regions: tuple[SavedRegion, ...] = Field(max_length=MOST_PROMPTS)
    done: bool = True
    revision: int | None = Field(default=None, ge=0)
    """Revision that the regions are a change of, as ``saved`` answered it; if another one is
    present, the answer is 409 ``changed``. Without it, the regions replace whatever is saved."""


class Teach(Record):
    """A lesson to begin."""

    names: ClassNames = None
    steps: int = Field(default=150, ge=1, le=10_000)
