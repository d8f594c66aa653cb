"""Backbones by name. A new one is a file with a loader and a line here."""

from __future__ import annotations

from pathlib import Path

from regionspot_core.backbones.protocols import ImageTextEncoder, RegionEncoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.errors import InputError

TINY = "tiny"
"""The embedded models: no download, for the demo, tests and a first look."""


def load_region_encoder(
    name: str, *, checkpoint: Path | None = None, runtime: Runtime
) -> RegionEncoder:
    """The frozen region encoder called ``name``: ``tiny``, ``vit_b``, ``vit_l`` or ``vit_h``.

    Raises:
        InputError: The name is unknown or its weights are not named.
        WeightsError: The weight file does not fit.
    """
    from regionspot_core.backbones import sam, tiny

    if name == TINY:
        _refuse_weights("--sam", checkpoint)
        return tiny.load_sam(runtime=runtime)
    if name in sam.ARCHITECTURES:
        return sam.load_sam(name, checkpoint=checkpoint, runtime=runtime)
    known = ", ".join((TINY, *sam.ARCHITECTURES))
    raise InputError(f"--sam {name!r}: no such region encoder; expected one of {known}")


def load_image_text_encoder(
    name: str, *, pretrained: str | None = None, runtime: Runtime
) -> ImageTextEncoder:
    """The frozen image and text encoder called ``name``: ``tiny`` or one of open_clip's ViTs.

    Raises:
        InputError: The name is unknown or its weights are not named.
        WeightsError: The weights are not found or do not fit.
    """
    from regionspot_core.backbones import clip, tiny

    if name == TINY:
        _refuse_weights("--clip", pretrained)
        return tiny.load_clip(runtime=runtime)
    return clip.load_clip(name, pretrained=pretrained, runtime=runtime)


def _refuse_weights(option: str, weights: object) -> None:
    if weights is not None:
        raise InputError(f"{option} {TINY} brings its own weights; leave out {weights}")
