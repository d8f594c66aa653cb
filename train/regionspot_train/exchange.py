"""Heads in and out of the published checkpoints' layout."""

from __future__ import annotations

from pathlib import Path

from regionspot_core import __version__
from regionspot_core.errors import CheckpointError
from regionspot_core.heads.checkpoint import (
    RECORD,
    WEIGHTS,
    HeadRecord,
    load_head,
    read_record,
    save_head,
    verify_head,
)
from regionspot_core.heads.published import (
    PublishedHead,
    published_backbones,
    published_content,
    read_published,
    write_published,
)
from regionspot_core.support.files import (
    file_sha256,
    folder_written_aside,
    require_empty_folder,
    require_place_for_file,
)
from regionspot_train.record.claim import BEGUN


def import_head(file: Path, out: Path, *, sam: str | None, clip: str | None) -> PublishedHead:
    """Write the head of a published checkpoint into the folder ``out``, as ``fit`` would.

    Args:
        file: The published checkpoint.
        out: A folder that holds no head yet.
        sam: SAM that it was trained on, ``vit_b`` say; None: unknown.
        clip: OpenAI's CLIP that it was trained on, ``ViT-L-14-336`` say; None: unknown. Evaluation
            takes the models that are named.

    Raises:
        WeightsError: If the file is missing, truncated, or holds code.
        CheckpointError: If it holds no whole head, or ``out`` holds one already.
        InputError: If the models named are not those of published heads, or do not fit this one.
    """
    require_empty_folder(out, but=(WEIGHTS, RECORD, *BEGUN))
    published = read_published(file)
    backbones = published_backbones(published.head.config, sam=sam, clip=clip)
    origin = {
        "imported": {"file": file.name, "sha256": file_sha256(file)},
        "version": __version__,
    }
    record = HeadRecord(published.head.config, backbones, origin)
    if (out / RECORD).exists():
        _require_same(out, record)
    elif out.exists():
        save_head(out, published.head, record)
    else:
        with folder_written_aside(out) as folder:
            save_head(folder, published.head, record)
    return published


def _require_same(folder: Path, record: HeadRecord) -> None:
    """Refuse a folder with a head, unless an import that was killed made the same head."""
    found = read_record(folder)
    if (found.config, found.backbones) != (record.config, record.backbones) or (
        found.training.get("imported") != record.training["imported"]
    ):
        raise CheckpointError(
            f"{folder}: expected a new folder for the head, found another head; choose another "
            f"--out"
        )
    verify_head(folder)


def export_head(folder: Path, out: Path) -> None:
    """Write the head in ``folder`` as a published checkpoint, every value bit for bit.

    A file that holds the same head already is left as it is.

    Raises:
        CheckpointError: If there is no head, the layout cannot hold it, or ``out`` is another file.
        InputError: If the folder of ``out`` does not exist or cannot be written.
    """
    require_place_for_file(out, option="--out")
    head = load_head(folder)
    if not out.is_file():
        write_published(out, head)
    elif out.read_bytes() != published_content(head):
        raise CheckpointError(f"{out}: already exists; choose another --out")
