"""The story of a repair: make again what a verification found damaged, and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from regionspot_core.backbones.loading import Backbones
from regionspot_core.cache.maintenance.restore import restore_plan_files
from regionspot_core.cache.maintenance.verify import Verification
from regionspot_core.cache.storage.claims import LOCKS
from regionspot_core.cache.storage.markers import FailedImage
from regionspot_core.cache.storage.store import open_store
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.imaging.sources import open_images
from regionspot_core.text.class_bank import ClassBank
from regionspot_extract.config import ExtractConfig
from regionspot_extract.prepare import ingredients, open_writer, prepare, read_regions
from regionspot_extract.run import fill
from regionspot_extract.stores.verify import verify_store


@dataclass(frozen=True)
class Repair:
    """Result of a repair."""

    found: Verification
    restored: tuple[str, ...]
    """Files of the plan that were put back."""
    parts: tuple[int, ...]
    """Parts that were done again."""
    deleted: tuple[str, ...]
    """Files that killed runs had left."""
    failed: tuple[FailedImage, ...]
    """Images that could not be read this time."""
    after: Verification
    """The store as it is now; of its parts, those that were done again were read again."""


def require_inputs(config: ExtractConfig) -> None:
    """Read what a repair is made from, before a store is read for hours only to need it.

    Raises:
        InputError: If the images, annotations, proposals or class bank cannot be read.
    """
    read_regions(config, open_images(config.images))
    if config.bank is not None:
        ClassBank.load(config.bank)


def repair_store(
    config: ExtractConfig, found: Verification, *, backbones: Backbones | None = None
) -> Repair:
    """Make again what ``found`` says is damaged in the store at ``config.out``, and nothing else.

    Args:
        config: What the store was made with.
        found: What is wrong with it.
        backbones: Loaded models to use instead of those ``config`` names.

    Raises:
        InputError: An input is wrong.
        FingerprintError: The store was made with other models, annotations or options.
        CacheError: It cannot be restored, or not be written.
    """
    extraction = prepare(config, backbones=backbones)
    store, restored = open_store(config.out), []
    wrong = found
    if found.plan_is_damaged:
        restored = restore_plan_files(store, **ingredients(extraction))
        if found.not_checked:
            wrong = verify_store(config.out)
    writer = open_writer(extraction)
    parts = wrong.damaged_parts
    if wrong.damages:
        writer.uncommit(parts)
    deleted = _delete_leftovers(writer, wrong.leftovers)
    report = fill(extraction, writer, [extraction.plan.part(part) for part in parts])
    return Repair(
        found=found,
        restored=tuple(restored),
        parts=tuple(parts),
        deleted=tuple(deleted),
        failed=report.failed_now,
        after=verify_store(config.out, parts),
    )


def _delete_leftovers(writer: CacheWriter, leftovers: Collection[str]) -> list[str]:
    """Delete what killed runs left, unless one is at work now: then it is that one's."""
    for key in leftovers:
        name = key.removeprefix(f"{LOCKS}/").removesuffix(".lock")
        if key.startswith(f"{LOCKS}/") and name.isdecimal():
            with writer.claim(writer.plan.part(int(name))) as mine:
                if not mine:
                    return []
    for key in leftovers:
        writer.store.delete(key)
    return sorted(leftovers)
