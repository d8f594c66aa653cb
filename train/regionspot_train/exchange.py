"""Heads in and out of the published checkpoints' layout."""

from __future__ import annotations

from pathlib import Path

from regionspot_core import __version__
from regionspot_core.checkpoint import RECORD, WEIGHTS, HeadRecord, load_head, save_head
from regionspot_core.errors import CheckpointError
from regionspot_core.files import file_sha256
from regionspot_core.published import (
    PublishedHead,
    published_backbones,
    read_published,
    write_published,
)
from regionspot_train.record.claim import require_empty


def import_head(file: Path, out: Path, *, sam: str | None, clip: str | None) -> PublishedHead:
    """Write the head of a published checkpoint into the folder ``out``, as ``fit`` would.

    Args:
        file: The published checkpoint.
        out: A folder that holds no head yet.
        sam: Which SAM it was trained on, ``vit_b`` say, where that is known.
        clip: Which CLIP of OpenAI's, ``ViT-L-14-336`` say. Evaluation then takes these two.

    Raises:
        WeightsError: The file is missing, truncated, or holds code.
        CheckpointError: It holds no whole head, or ``out`` holds one already.
        InputError: The models named are not those of published heads, or do not fit this one.
    """
    if (out / RECORD).exists():
        raise CheckpointError(f"{out}: expected a new folder for the head; choose another --out")
    require_empty(out, but=(WEIGHTS, RECORD))
    published = read_published(file)
    backbones = published_backbones(published.head.config, sam=sam, clip=clip)
    origin = {
        "imported": {"file": file.name, "sha256": file_sha256(file)},
        "version": __version__,
    }
    save_head(out, published.head, HeadRecord(published.head.config, backbones, origin))
    return published


def export_head(folder: Path, out: Path) -> None:
    """Write the head in ``folder`` as a published checkpoint, every value bit for bit.

    Raises:
        CheckpointError: There is no head, the layout cannot hold it, or ``out`` exists.
    """
    if out.exists():
        raise CheckpointError(f"{out}: already exists; choose another --out")
    if not out.parent.is_dir():
        raise CheckpointError(f"{out}: the folder {out.parent} does not exist; make it first")
    write_published(out, load_head(folder))
