"""Heads in and out of the published checkpoints' layout."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from regionspot_core import __version__
from regionspot_core.checkpoint import RECORD, HeadRecord, load_head, save_head
from regionspot_core.errors import CheckpointError
from regionspot_core.published import PublishedHead, read_published, write_published


def import_head(file: Path, out: Path, *, sam: str | None, clip: str | None) -> PublishedHead:
    """Write the head of a published checkpoint into the folder ``out``, as ``fit`` would.

    Args:
        file: The published checkpoint.
        out: A folder that holds no head yet.
        sam: Which SAM it was trained on, ``vit_b`` say, where that is known.
        clip: Which CLIP, ``ViT-L-14-336`` say. Evaluation then asks for these two.

    Raises:
        WeightsError: The file is missing, truncated, or holds code.
        CheckpointError: It holds no whole head, or ``out`` holds one already.
    """
    if (out / RECORD).exists() or out.is_file():
        raise CheckpointError(f"{out}: expected a new folder for the head; choose another --out")
    published = read_published(file)
    names = {"region_encoder": sam, "image_text_encoder": clip}
    backbones: dict[str, Any] = {part: {"name": name} for part, name in names.items() if name}
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    origin = {"imported": {"file": file.name, "sha256": digest}, "version": __version__}
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
