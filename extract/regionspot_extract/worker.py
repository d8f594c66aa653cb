"""What a worker does, on a Ray cluster or on one device of a machine. Nothing here knows which."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from regionspot_core.cache.layout.plan import Part
from regionspot_core.cache.layout.schema import GROUP
from regionspot_core.cache.storage.store import FolderStore, open_store
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.distributed.ray_crew import models_anywhere
from regionspot_core.errors import CacheError
from regionspot_extract.config import ExtractConfig
from regionspot_extract.engine import Attempt, OnImages, in_turn
from regionspot_extract.prepare import Extraction, open_writer, prepare

SHARE = "it must be on a disk that all machines of the cluster share, or at a URL"
SEEN_SECONDS = 90.0
"""How late a shared folder's news may be: NFS keeps what a folder holds for 60 s by default."""
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Place:
    """Where a worker runs."""

    host: str
    process: int

    def __str__(self) -> str:
        return f"on {self.host} (process {self.process})"


class PartWorker:
    """Both models in a process of their own; does the parts it is handed."""

    def __init__(self) -> None:
        self._opened: tuple[Extraction, CacheWriter] | None = None

    def load(self, config: ExtractConfig, *, threads: int) -> Place:
        """Load the models and open the store, which must be there.

        Args:
            config: The run's, as :func:`anywhere` gives it.
            threads: PyTorch's; their number may decide the last bit of a feature.

        Raises:
            CacheError: The store is not to be seen here.
            RegionSpotError: As of a local run: what this machine has is not what the run needs.
        """
        torch.set_num_threads(threads)
        place = Place(socket.gethostname(), os.getpid())
        store = open_store(config.out)
        if not _within_patience(lambda: store.read(GROUP) is not None):
            raise CacheError(f"{store}: the store is not to be seen {place}; {SHARE}")
        extraction = prepare(config)
        # Also sees that this machine's weights and annotations are the ones of the plan.
        self._opened = extraction, open_writer(extraction)
        return place

    def attempt(self, part: Part) -> Attempt:
        """Do one part. Two threads may: one then writes while the models work for the other."""
        (attempt,) = self.attempts([part], lambda count: None)
        return attempt

    def attempts(self, parts: Iterable[Part], on_images: OnImages) -> Iterator[Attempt]:
        """See :func:`regionspot_extract.engine.in_turn`."""
        assert self._opened is not None
        return in_turn(*self._opened, parts, on_images)


def require_seen(writer: CacheWriter, part: Part, *, where: str) -> None:
    """See that a part which a worker committed is to be seen from here.

    Raises:
        CacheError: It is not, even after a shared folder's longest delay.
    """
    if not _within_patience(lambda: writer.is_committed(part)):
        raise CacheError(
            f"{writer.store}: part {part.index}, committed {where}, is not to be seen here; {SHARE}"
        )


def anywhere(config: ExtractConfig, *, on_gpu: bool) -> ExtractConfig:
    """The configuration with paths that do not depend on the working folder.

    Args:
        config: The driver's.
        on_gpu: Whether the worker has a GPU.
    """
    store = open_store(config.out)
    return config.model_copy(
        update={
            "images": config.images.absolute(),
            "annotations": config.annotations.absolute(),
            "out": store.folder.absolute() if isinstance(store, FolderStore) else config.out,
            "bank": config.bank and config.bank.absolute(),
            "backbones": models_anywhere(config.backbones, on_gpu=on_gpu),
        }
    )


def _within_patience(seen: Callable[[], bool]) -> bool:
    began = time.monotonic()
    while not seen():
        if time.monotonic() - began > SEEN_SECONDS:
            return False
        time.sleep(LOOK_SECONDS)
    return True
