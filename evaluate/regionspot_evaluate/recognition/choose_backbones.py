"""Which frozen models a head is evaluated with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regionspot_core.errors import InputError
from regionspot_core.heads.checkpoint import read_record


def backbones_of_head(
    head: Path, asked: dict[str, Any], *, sam: str | None, clip: str | None
) -> dict[str, Any]:
    """Return the settings of the asked models, or else of those the head was trained on.

    Args:
        head: Its folder.
        asked: Everything else of a :class:`BackboneConfig`; an input size of None is the head's.
        sam: The SAM that is asked for.
        clip: The CLIP that is asked for.

    Raises:
        CheckpointError: If there is no head.
        InputError: If the head was imported and does not name them.
    """
    trained_on = read_record(head).backbones
    chosen, missing = dict(asked), []
    for option, name, part in (
        ("sam", sam, "region_encoder"),
        ("clip", clip, "image_text_encoder"),
    ):
        recorded = trained_on.get(part, {})
        chosen[option] = name or recorded.get("name")
        if chosen[option] is None:
            missing.append(f"--{option}")
        if chosen[option] == recorded.get("name") and asked.get(f"{option}_input") is None:
            chosen[f"{option}_input"] = recorded.get("input")
    if missing:
        raise InputError(
            f"{head}: the head was imported and does not say which models it was trained on; "
            f"give {' and '.join(missing)}"
        )
    return chosen
