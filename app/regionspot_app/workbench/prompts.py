"""A prompt as programs give it: a box, some points or a mask, in original pixels."""

from __future__ import annotations

import hashlib
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle_codec
from pydantic import Field, model_validator

from regionspot_core.errors import InputError
from regionspot_core.imaging.prompts import BoxPrompts, MaskPrompts, PointPrompts, Prompts
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.records import Record

CANDIDATES = 3
"""Masks that SAM offers for an ambiguous prompt."""
MOST_POINTS = 64
MOST_RUN_LENGTH_BYTES = 4 * 1024**2
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]


class RunLengths(Record):
    """A mask as COCO's compressed run-length encoding."""

    size: tuple[int, int]
    """(height, width)"""
    counts: str = Field(min_length=1, max_length=MOST_RUN_LENGTH_BYTES)

    def decoded(self, size: Size) -> NDArray[np.bool_]:
        """Return the mask (H, W).

        Raises:
            InputError: If it is no mask of an image of that size.
        """
        if tuple(self.size) != size:
            raise InputError(
                f"mask: expected one of {size[0]} × {size[1]} pixels, as high and wide as the "
                f"image; got {self.size[0]} × {self.size[1]}"
            )
        if sum(_run_lengths(self.counts)) != size[0] * size[1]:
            raise InputError("mask: expected run lengths that add up to the image's pixels")
        values = {"size": list(self.size), "counts": self.counts.encode("ascii")}
        mask: NDArray[np.bool_] = rle_codec.decode(values).astype(bool)
        return mask


def _run_lengths(counts: str) -> list[int]:
    """Return the lengths in a text of COCO's compressed encoding; pycocotools trusts them blindly.

    Each is a number of groups of five bits, lowest first, and from the third on the difference to
    the one two before (pycocotools, maskApi.c, rleFrString).

    Raises:
        InputError: If it is no such text.
    """
    lengths: list[int] = []
    value, shift = 0, 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise InputError("mask: expected COCO's compressed run lengths, got another text")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            if len(lengths) > 2:
                value += lengths[-2]
            if value < 0:
                raise InputError("mask: expected run lengths of 0 or more, got a negative one")
            lengths.append(value)
            value, shift = 0, 0
    if shift:
        raise InputError("mask: expected COCO's compressed run lengths, got a cut one")
    return lengths


class Prompt(Record):
    """A pointer at one region: exactly one of a box, points and a mask. Original pixels."""

    box: tuple[Number, Number, Number, Number] | None = None
    """x1, y1, x2, y2."""
    points: tuple[tuple[Number, Number], ...] | None = Field(
        default=None, min_length=1, max_length=MOST_POINTS
    )
    """x, y of each point."""
    inside: tuple[bool, ...] | None = None
    """Whether each point lies on the region or beside it; without it, all lie on it."""
    mask: RunLengths | None = None
    choice: int | None = Field(default=None, ge=0, lt=CANDIDATES)
    """Which of SAM's three masks is meant; the region is then the box around it."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(each is not None for each in (self.box, self.points, self.mask)) != 1:
            raise ValueError("expected exactly one of box, points and mask")
        if self.inside is not None and self.points is None:
            raise ValueError("expected points with inside")
        if self.choice is not None and self.mask is not None:
            raise ValueError("expected no choice with a mask, which says itself what is meant")
        return self

    @property
    def kind(self) -> str:
        """Return ``box``, ``points`` or ``mask``."""
        return next(kind for kind in ("box", "points", "mask") if getattr(self, kind) is not None)

    @property
    def key(self) -> str:
        """Return a short text that is the same for the same prompt: a checksum of it."""
        return hashlib.sha256(self.model_dump_json(exclude_none=True).encode()).hexdigest()

    def for_image(self, size: Size) -> Prompts:
        """Return what the region encoder takes, for an image of a size (height, width).

        Raises:
            InputError: If it is outside the image, empty, or of another size.
        """
        if self.box is not None:
            return BoxPrompts.create([self.box], size)
        if self.points is not None:
            inside = None if self.inside is None else [self.inside]
            return PointPrompts.create([self.points], size, inside=inside)
        assert self.mask is not None
        return MaskPrompts.create(self.mask.decoded(size)[None], size)
