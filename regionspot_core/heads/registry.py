"""Kinds of heads by name, and the one way to build a head."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from regionspot_core.errors import RegionSpotError
from regionspot_core.heads.custom import CustomKind
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.heads.head import Head
from regionspot_core.heads.options import HeadOptions
from regionspot_core.heads.shape import BUILT_IN, CustomShape, HeadNeeds, HeadShape


class HeadKind(Protocol):
    """A kind of head: its options, its inputs, and how one is built."""

    def needs(self, options: HeadOptions) -> HeadNeeds:
        """Return the inputs that a head of these options needs."""
        ...

    def shape(self, options: HeadOptions, widths: dict[str, Any]) -> HeadShape:
        """Return the whole shape of a head.

        Args:
            options: What the user asks for.
            widths: The fields of :class:`HeadShape` that follow from a store.

        Raises:
            ConfigError: If they do not fit together.
        """
        ...

    def build(self, shape: HeadShape) -> Head:
        """Return a head of fresh weights, drawn from PyTorch's random numbers."""
        ...

    def unallocated(self, shape: HeadShape) -> Head | None:
        """Return a head whose weights take no memory; None where only a user's code knows them."""
        ...


class FusionKind:
    """The built-in head."""

    def needs(self, options: HeadOptions) -> HeadNeeds:
        """Return the tokens, boxes and embeddings that the options ask for."""
        takes_embeddings = options.region_embedding is not None
        return HeadNeeds(
            options.region_tokens, options.box_geometry, takes_embeddings, options.mask_geometry
        )

    def shape(self, options: HeadOptions, widths: dict[str, Any]) -> FusionConfig:
        """Return the options and widths as one."""
        return FusionConfig.parse({**options.to_json(), **widths}, source="head")

    def build(self, shape: HeadShape) -> FusionHead:
        """Return a head of fresh weights."""
        assert isinstance(shape, FusionConfig)
        return FusionHead(shape)

    def unallocated(self, shape: HeadShape) -> FusionHead:
        """Return a head whose weights take no memory."""
        with torch.device("meta"):
            return self.build(shape)


HEADS: dict[str, HeadKind] = {BUILT_IN: FusionKind()}
"""The kinds that have a name; any other is a user's class."""


def head_kind(name: str) -> HeadKind:
    """Return the kind of a name: one of ``HEADS``, or a class, ``module:Class``.

    The class is imported when the kind is first asked for something.
    """
    return HEADS.get(name) or CustomKind(name)


def parse_shape(values: dict[str, Any], *, source: str, error: type[RegionSpotError]) -> HeadShape:
    """Return a head's shape out of plain values; nothing of a user's is imported.

    Raises:
        RegionSpotError: ``error``, if they are not a head's; ``source`` names where they are from.
    """
    kind = CustomShape if "kind" in values else FusionConfig
    return kind.parse(values, source=source, error=error)


def build_head(shape: HeadShape) -> Head:
    """Return a head of a shape, of fresh weights.

    Raises:
        ConfigError: If its class is a user's and cannot be imported or built.
    """
    return head_kind(shape.kind_name).build(shape)


def unallocated_head(shape: HeadShape) -> Head | None:
    """Return a head whose weights take no memory; None for a user's class, which is not imported.

    Weights out of a file are held against it before anything of their size is allocated.
    """
    return head_kind(shape.kind_name).unallocated(shape)
