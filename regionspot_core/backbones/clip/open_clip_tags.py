"""Weights that open_clip itself knows where to get: its tags."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from regionspot_core.errors import DownloadError, InputError, WeightsError
from regionspot_core.support.error_text import first_line
from regionspot_core.support.progress import say


def find_tag(name: str, tag: str) -> str:
    """Return the source of the weights ``tag`` of ``name``: a URL, or a repository of the hub.

    Raises:
        InputError: The model has no such tag.
    """
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        known = ", ".join(tags) or "none"
        raise InputError(f"--clip-pretrained {tag}: expected a tag of {name} ({known})")
    config = open_clip.get_pretrained_cfg(name, tag)
    hub = config.get("hf_hub", "").rstrip("/")
    return f"hf-hub:{hub}" if hub else str(config.get("url", ""))


def download_tag(name: str, tag: str) -> Path:
    """Fetch the weights ``tag`` of ``name`` to open_clip's cache, in open_clip's own way.

    Raises:
        DownloadError: They cannot be had.
    """
    import open_clip

    say(f"CLIP {name}: the weights {tag!r} from {find_tag(name, tag)}")
    try:
        with quiet():
            return Path(open_clip.download_pretrained(open_clip.get_pretrained_cfg(name, tag)))
    except Exception as error:  # whatever the network leads the hub's client to
        raise DownloadError(
            f"CLIP {name}: the weights {tag!r} cannot be downloaded ({first_line(error)}); on a "
            f"machine with network fetch them from {find_tag(name, tag)} and "
            f"{as_a_file(name, tag)}"
        ) from None


def model_of_tag(name: str, tag: str) -> torch.nn.Module:
    """Build the architecture with a tag's weights and the activation they were trained with.

    Raises:
        WeightsError: They are in none of the usual folders and cannot be downloaded.
    """
    import open_clip

    config = open_clip.get_pretrained_cfg(name, tag)
    say(f"CLIP {name}: the weights {tag!r} from open_clip's cache, or its hub")
    try:
        with quiet():
            model: torch.nn.Module = open_clip.create_model(
                name, pretrained=tag, force_quick_gelu=bool(config.get("quick_gelu", False))
            )
    except Exception as error:
        fetch = f"regionspot extract weights --clip {name} --clip-pretrained {tag}"
        raise WeightsError(
            f"CLIP {name}: the weights {tag!r} are not in the usual folders and cannot be "
            f"downloaded ({first_line(error)}); see `{fetch} --list`, or {as_a_file(name, tag)}"
        ) from None
    return model


def as_a_file(name: str, tag: str) -> str:
    """Return how the tag's file is given; the file itself does not say its activation."""
    import open_clip

    quick = open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False)
    spelled = f"{name}-quickgelu" if quick and not name.endswith("-quickgelu") else name
    return f"give --clip {spelled} --clip-pretrained FILE"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence open_clip's words on random weights, and the hub's on every attempt.

    What fails still raises.
    """
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
