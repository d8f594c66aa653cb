"""Which frozen models a head is evaluated with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regionspot_core.checkpoint import read_record
from regionspot_core.errors import InputError


def backbones_of_head(
    head: Path, values: dict[str, Any], *, sam: str | None, clip: str | None
) -> dict[str, Any]:
    """The models that are asked for, or else those that the head says it was trained on.

    Args:
        head: Its folder.
        values: Everything else of a :class:`BackboneConfig`.
        sam: The SAM that is asked for.
        clip: The CLIP that is asked for.

    Raises:
        CheckpointError: There is no head.
        InputError: The head was imported and does not name them.
    """
    trained_on = read_record(head).backbones
    sam = sam or trained_on.get("region_encoder", {}).get("name")
    clip = clip or trained_on.get("image_text_encoder", {}).get("name")
    missing = [option for option, name in (("--sam", sam), ("--clip", clip)) if name is None]
    if missing:
        raise InputError(
            f"{head}: the head was imported and does not say which models it was trained on; "
            f"give {' and '.join(missing)}"
        )
    return {**values, "sam": sam, "clip": clip}
