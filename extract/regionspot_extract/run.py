"""The story of an extraction: plan, then encode and commit what is not there yet."""

from __future__ import annotations

from dataclasses import dataclass

from regionspot_core.backbones.loading import Backbones
from regionspot_core.cache.layout.plan import Part
from regionspot_core.cache.layout.schema import GROUP
from regionspot_core.cache.storage.markers import FailedImage, failed_images
from regionspot_core.cache.storage.store import FolderStore, Location, open_store
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.distributed.ray import require_answer, require_ray
from regionspot_core.errors import InputError
from regionspot_core.support.files import require_folder_or_nothing
from regionspot_core.support.progress import progress_line, say
from regionspot_extract.config import ExtractConfig
from regionspot_extract.encoding.stages import Clock, no_clock
from regionspot_extract.engine import Engine, do_parts, local_engine
from regionspot_extract.prepare import Extraction, open_writer, prepare


@dataclass(frozen=True)
class ExtractionReport:
    """What a run found and did."""

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
    """Those of them that this run tried."""
    dropped: dict[str, int]
    """What was left out of the annotations, by reason."""


def run_extraction(
    config: ExtractConfig, *, backbones: Backbones | None = None, clock: Clock = no_clock
) -> ExtractionReport:
    """Fill the store at ``config.out``; run again after an interruption, it goes on.

    Args:
        config: What is asked.
        backbones: Loaded models to use instead of those ``config`` names; the local engine only.
        clock: Told of every stage; the local engine only.

    Raises:
        InputError: An input is wrong.
        FingerprintError: The store there was made with other models, annotations or options.
        ImageError: A feature is not finite; the part is not written.
        CacheError: The store cannot be written.
        DeviceMemoryError: Not even one image fits in the device's memory.
        ClusterError: The cluster is not there, or its workers died again and again.
        WorkerError: The process of one of several devices died.
    """
    engine = find_engine(config)
    if backbones is not None and engine is not local_engine:
        raise InputError(
            "several processes: expected models that the configuration names, got loaded ones; "
            "workers load theirs themselves. Use engine local on one device"
        )
    _require_place(config.out)
    extraction = prepare(config, backbones=backbones, clock=clock)
    writer = open_writer(extraction)
    share = [part for part in extraction.plan.parts() if config.shard.has(part.index)]
    return fill(extraction, writer, share, engine)


def find_engine(config: ExtractConfig) -> Engine:
    """The engine that the configuration names.

    Raises:
        InputError: It needs a package that is not installed.
        ClusterError: Its cluster does not answer.
    """
    if config.devices:
        from regionspot_extract.process_engine import process_engine

        return process_engine
    if config.engine == "local":
        return local_engine
    require_ray()
    from regionspot_extract.ray_engine import ray_engine

    require_answer(config.ray.address)
    return ray_engine


def _require_place(out: Location) -> None:
    """Refuse, before models are loaded, a place where no store is and none can be made.

    Raises:
        InputError: It is a file, a folder of something else, or not ours to write to.
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
    extraction: Extraction, writer: CacheWriter, share: list[Part], engine: Engine = local_engine
) -> ExtractionReport:
    """Do those of a share of the parts that are not committed yet, or are to be done again."""
    plan = extraction.plan
    due = {part.index for part in writer.pending()}
    if extraction.config.retry_failed:
        again = {part.index for part in share}.intersection(writer.failed_parts())
        if again:
            writer.uncommit(())  # the store is not complete; each part is, until it is begun
        due |= again
    pending = [part for part in share if part.index in due]
    total = sum(len(part.images) for part in share)
    done = total - sum(len(part.images) for part in pending)
    if len(pending) not in (0, len(share)):
        there = len(share) - len(pending)
        say(f"extract: {there:,} of {len(share):,} parts are there already; going on with the rest")
    with (
        progress_line("extract", total=total, unit="images", start=done) as advance,
        engine(extraction, writer, advance) as try_parts,
    ):
        markers = do_parts(try_parts, pending)
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
