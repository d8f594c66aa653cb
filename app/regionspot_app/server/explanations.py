"""Why a region has its names, as the API answers it."""

from __future__ import annotations

from typing import Any

from regionspot_app.pictures import Pictures
from regionspot_app.workbench.neighbours import Nearest, Neighbour
from regionspot_core.errors import RegionSpotError
from regionspot_evaluate.recognition.attention_map import AttentionMap, NoAttentionError


def attention_values(head: str, found: AttentionMap | NoAttentionError) -> dict[str, Any]:
    """Return where a head attends to the picture, or a sentence that says why nothing is shown.

    Args:
        head: The head's name.
        found: Its attention.
    """
    if isinstance(found, NoAttentionError):
        return {"head": head, "attention": None, "note": str(found)}
    return {
        "head": head,
        "attention": [[round(each, 7) for each in row] for row in found.weights_GG.tolist()],
        "covered": found.covered,
        "class_token": round(found.class_token, 5),
        "layer": found.layer,
        "layers": found.layers,
        "note": None,
    }


def nearest_values(found: Nearest, pictures: Pictures) -> dict[str, Any]:
    """Return the nearest labelled regions, each with its picture if the app offers that.

    Args:
        found: The regions.
        pictures: Pictures that are offered.
    """
    return {
        "nearest": [
            {
                "name": each.name,
                "similarity": round(each.similarity, 4),
                "file": each.file,
                "box": [round(value, 2) for value in each.box],
                "store": each.store,
                "picture": _picture(each, pictures),
            }
            for each in found.neighbours
        ],
        "searched": found.searched,
        "labelled": found.labelled,
        "note": found.note,
    }


def _picture(neighbour: Neighbour, pictures: Pictures) -> int | None:
    """Return the number of an offered picture that is the neighbour's; None where none is.

    Two folders may have different files of one name: the file must be as long as the store says.
    """
    if neighbour.file not in pictures.names:
        return None
    try:
        size = len(pictures.read(neighbour.file))
    except RegionSpotError:
        return None
    if neighbour.file_bytes not in (None, size):
        return None
    return pictures.names.index(neighbour.file)
