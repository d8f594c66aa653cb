"""One store filled by several processes, each of which runs an extraction on a share of its parts.

In a folder all share one queue: each claims a part when it is about to read the part's first image,
so that they end together. Where nothing can be claimed, each has a fixed share. The first process
plans and creates the store; the others load the models for themselves, and features never travel.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from regionspot_core.cache.layout.plan import Part
from regionspot_core.cache.layout.schema import GROUP
from regionspot_core.cache.storage.markers import Marker, read_markers
from regionspot_core.cache.storage.store import FolderStore, open_store
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.distributed.shares import (
    Amount,
    Event,
    Job,
    Launcher,
    Message,
    Worker,
    WorkerAddress,
    wait_until_visible,
)
from regionspot_core.errors import CacheError
from regionspot_extract.config import ExtractConfig
from regionspot_extract.parts import do_parts
from regionspot_extract.prepare import Extraction, open_writer, prepare

SHARED = "it must be on a disk that all machines of the cluster share, or at a URL"


def own_parts(extraction: Extraction) -> list[Part]:
    """Return the parts of an extraction's share."""
    shard = extraction.config.shard
    return [part for part in extraction.plan.parts() if shard.has(part.index)]


def pending_parts(extraction: Extraction, writer: CacheWriter, share: Sequence[Part]) -> list[Part]:
    """Return the parts of a share that are not committed yet, or are to be done again."""
    due = {part.index for part in writer.pending()}
    if extraction.config.retry_failed:
        again = {part.index for part in share}.intersection(writer.failed_parts())
        if again:
            writer.uncommit(())  # the store is not complete; each part is, until it is begun
        due |= again
    return [part for part in share if part.index in due]


def run_share(config: ExtractConfig, worker: Worker) -> None:
    """Do parts in one of several processes.

    Args:
        config: The configuration of the whole run, whose store is there.
        worker: This process among the others.

    Raises:
        CacheError: If the store is not to be seen here, or cannot be written.
        RegionSpotError: If what this machine has is not what the run needs.
    """
    store = open_store(config.out)
    if not wait_until_visible(worker.patience, lambda: store.read(GROUP) is not None):
        here = WorkerAddress.here()
        raise CacheError(f"{store}: the store is not to be seen {here}; {SHARED}")
    # Failed parts would be done again by every process that comes upon them.
    is_fixed = config.retry_failed or not isinstance(store, FolderStore)
    shard = config.shard.divided(worker.share) if is_fixed else config.shard
    models = config.backbones.on_device(worker.device)
    extraction = prepare(
        config.model_copy(update={"shard": shard, "backbones": models, "devices": ()})
    )
    writer = open_writer(extraction)  # sees that weights and annotations are those of the plan
    pending = pending_parts(extraction, writer, own_parts(extraction))
    total = sum(len(part.images) for part in pending)
    with worker.show("extract", total=total, unit="images") as advance:
        do_parts(extraction, writer, pending, advance, worker=worker)


def launch_shares(
    extraction: Extraction,
    writer: CacheWriter,
    pending: Sequence[Part],
    amount: Amount,
    launcher: Launcher,
) -> list[Marker]:
    """Have the pending parts done by the processes of a launcher.

    Returns:
        The markers of the parts that were begun there.

    Raises:
        CacheError: If a part that was committed by a worker is not to be seen here.
    """
    plan, files = extraction.plan, extraction.annotations.image_file
    begun: set[int] = set()
    seen_from: set[str] = set()

    def require_seen(parts: Collection[int], where: str) -> None:
        def missing() -> list[int]:
            return sorted({part.index for part in writer.pending()}.intersection(parts))

        if not wait_until_visible(launcher.patience, lambda: not missing()):
            raise CacheError(
                f"{writer.store}: part {missing()[0]}, committed {where}, is not to be seen here; "
                f"{SHARED}"
            )

    def on_message(message: Message, address: WorkerAddress | None) -> None:
        if message.event is Event.BEGUN:
            begun.add(message.number)
        elif address is not None and address.host not in seen_from:
            require_seen([message.number], str(address))
            seen_from.add(address.host)

    def reason_to_stop(items: Sequence[int], deaths: int, reason: str) -> str:
        if not items:
            return (
                f"{deaths} workers in a row died while they loaded the models ({reason}); is there "
                f"memory for them, and the same regionspot on every machine?"
            )
        parts = [plan.part(item) for item in items]
        named = " or ".join(
            f"part {part.index} (images {files[part.image_start]} … {files[part.image_stop - 1]})"
            for part in parts
        )
        return (
            f"{named} was stopped: {deaths} workers died of it ({reason}). Look for an image that "
            f"needs more memory than there is, or give a smaller --batch; the same command then "
            f"goes on"
        )

    launcher.run(
        Job(
            "extract",
            run=partial(run_share, extraction.config),
            amount=lambda: amount,
            most_workers=len(pending),
            item="part",
            reason_to_stop=reason_to_stop,
            on_message=on_message,
        )
    )
    # Over a network a folder's news may be late: what comes now counts the markers.
    require_seen([part.index for part in pending], "by a worker")
    markers = read_markers(writer.store, plan)
    return [marker for marker in markers if marker is not None and marker.part in begun]
