"""The story of an extraction: plan, then encode and commit what is not there yet."""

from __future__ import annotations

from dataclasses import dataclass

from regionspot_core.backbones.loading import Backbones
from regionspot_core.cache.layout.plan import Part
from regionspot_core.cache.layout.schema import GROUP
from regionspot_core.cache.location import Location
from regionspot_core.cache.storage.markers import FailedImage, failed_images
from regionspot_core.cache.storage.store import FolderStore, open_store
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.distributed.launchers import choose_launcher
from regionspot_core.distributed.shares import Amount, Launcher
from regionspot_core.errors import InputError
from regionspot_core.support.files import require_folder_or_nothing
from regionspot_core.support.progress import progress_line, say
from regionspot_extract.config import ExtractConfig
from regionspot_extract.encoding.stages import Clock, no_clock
from regionspot_extract.parts import do_parts
from regionspot_extract.prepare import Extraction, open_writer, prepare
from regionspot_extract.shares import launch_shares, own_parts, pending_parts


@dataclass(frozen=True)
class ExtractionReport:
    """The figures of a run."""

    images: int
    regions: int
    parts: int
    parts_resumed: int
    """Parts of this run's share that were committed before it."""
    parts_done: int
    """Parts that this run encoded and committed."""
    complete: bool
    """Whether every part of the store is committed now."""
    failed: tuple[FailedImage, ...]
    """Images of the whole store that could not be read, as far as its parts are committed."""
    failed_now: tuple[FailedImage, ...]
    """Failed images that this run tried."""
    dropped: dict[str, int]
    """Annotations that were left out, counted by reason."""


def run_extraction(
    config: ExtractConfig,
    *,
    backbones: Backbones | None = None,
    clock: Clock = no_clock,
    launcher: Launcher | None = None,
) -> ExtractionReport:
    """Fill the store at ``config.out``; run again after an interruption, it goes on.

    Args:
        config: The run's configuration.
        backbones: Loaded models to use instead of those ``config`` names; in one process only.
        clock: Told of every stage; in one process only.
        launcher: Has several processes do the parts, instead of what ``config`` names.

    Raises:
        InputError: If an input is wrong.
        FingerprintError: If the store there was made with other models, annotations or options.
        ImageError: If a feature is not finite; the part is not written.
        CacheError: If the store cannot be written.
        DeviceMemoryError: If not even one image fits in the device's memory.
        ClusterError: If the cluster is not there, or its workers died again and again.
        WorkerError: If the process of one of several devices died.
    """
    launcher = launcher or choose_launcher(
        config.engine, config.ray, config.backbones.device, devices=config.devices
    )
    if backbones is not None and launcher is not None:
        raise InputError(
            "several processes: expected models that the configuration names, got loaded ones; "
            "workers load theirs themselves. Use engine local on one device"
        )
    _require_place(config.out)
    extraction = prepare(config, backbones=backbones, clock=clock)
    writer = open_writer(extraction)
    return fill(extraction, writer, own_parts(extraction), launcher)


def _require_place(out: Location) -> None:
    """Refuse, before models are loaded, a place where no store is and none can be made.

    Raises:
        InputError: If it is a file, a folder of something else, or cannot be written to.
    """
    store = open_store(out)
    if isinstance(store, FolderStore) and store.read(GROUP) is None:
        require_folder_or_nothing(store.folder)
        if store.folder.is_dir():
            raise InputError(
                f"--out {out}: expected a store or a new name for one, found a folder that is no "
                f"store; give a name in it, such as {store.folder / 'store.zarr'}"
            )


def fill(
    extraction: Extraction,
    writer: CacheWriter,
    share: list[Part],
    launcher: Launcher | None = None,
) -> ExtractionReport:
    """Do those of a share of the parts that are not committed yet, or are to be done again.

    Args:
        extraction: What to do.
        writer: Of the store.
        share: The parts.
        launcher: Has several processes do them; None does them here.
    """
    plan = extraction.plan
    pending = pending_parts(extraction, writer, share)
    total = sum(len(part.images) for part in share)
    done = total - sum(len(part.images) for part in pending)
    if len(pending) not in (0, len(share)):
        resumed = len(share) - len(pending)
        say(
            f"extract: {resumed:,} of {len(share):,} parts are there already; going on with the "
            f"rest"
        )
    if launcher is not None and pending:
        markers = launch_shares(extraction, writer, pending, Amount(done, total), launcher)
    else:
        with progress_line("extract", total=total, unit="images", start=done) as advance:
            markers = do_parts(extraction, writer, pending, advance)
    return ExtractionReport(
        images=plan.image_count,
        regions=int(plan.region_count.sum()),
        parts=plan.part_count,
        parts_resumed=len(share) - len(pending),
        parts_done=len(markers),
        complete=writer.finish(),
        failed=failed_images(writer.store, plan),
        failed_now=tuple(failure for marker in markers for failure in marker.failed),
        dropped=extraction.annotations.dropped,
    )
