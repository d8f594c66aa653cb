"""Batches of images that models do into a folder's journals, until all are done and gathered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from regionspot_core.distributed.journal import (
    WHOLE,
    Done,
    Form,
    Journal,
    Recorded,
    open_journal,
    read_journals,
)
from regionspot_core.distributed.journal_folder import JournalledFolder
from regionspot_core.distributed.shares import Shard
from regionspot_core.fingerprint import Fingerprint
from regionspot_core.support.prefetch import map_ahead
from regionspot_core.support.progress import Advance, ShowProgress, progress_line, say
from regionspot_core.support.tables import counted

Read = TypeVar("Read")


class BatchNamer(Protocol[Read]):
    """Loaded models that name the regions of images."""

    @property
    def models(self) -> Fingerprint:
        """Fingerprint of the frozen models."""
        ...

    def read(self, position: int) -> Read:
        """Decode and resize an image, in a thread."""
        ...

    def records(self, read: dict[int, Read]) -> Sequence[Recorded]:
        """Return the records of images, by position, that the models take together."""
        ...


Load = Callable[[], BatchNamer[Any]]
"""Function that loads the models; called only where something is left to name."""


def image_batches(images: int, batch_images: int) -> list[range]:
    """Return the images that the models take together, the same however the work is split.

    An image's figures depend in their last bits on the other images of its batch.
    """
    return [range(images)[start : start + batch_images] for start in range(0, images, batch_images)]


@dataclass(frozen=True)
class Work:
    """Batches of images, and the folder that keeps those that are named."""

    command: str
    """Word that begins its lines on the screen: ``evaluate``."""
    noun: str
    """Word for an image."""
    folder: JournalledFolder
    form: Form[Recorded]
    again: bool
    """Whether batches with an image that could not be read are to be done again."""
    workers: int
    """Number of threads that read images."""

    def images_of(self, share: Shard = WHOLE) -> int:
        """Return the number of images of a share."""
        return sum(len(batch) for n, batch in enumerate(self.form.batches) if share.has(n))

    def images_done(self) -> int:
        """Return the number of images that all shares together have done."""
        if self.folder.finished:
            return self.images_of()
        left = self._pending(WHOLE, read_journals(self.folder.journals))
        return self.images_of() - sum(map(len, left.values()))

    def finish(self, load: Load, write: Callable[[Done], None]) -> None:
        """Name what is left, and have the results written; nothing where both are done.

        Raises:
            FingerprintError: If what is done is of other frozen models.
            InputError: If a journal is damaged, or another process is at work.
        """
        if self.folder.finished:
            self.folder.clear_left()
            say(f"{self.command}: {counted(self.images_of(), self.noun)} are there already")
            return
        with self.named(WHOLE, load) as done:
            if done is None:
                return
            write(done)
            if done.failed:  # with --retry-failed these batches are done again
                self.folder.set_aside()
            else:
                self.folder.clear()

    @contextmanager
    def named(
        self, share: Shard, load: Load, show: ShowProgress = progress_line
    ) -> Iterator[Done | None]:
        """Name what of a share is left; yield what all shares have done, held while it is used.

        None where another process finished everything while this one loaded the models.
        """
        folder = self.folder
        done = read_journals(folder.journals)
        namer = load() if self._pending(share, done) else None
        if namer is not None:
            done.require_models(namer.models, what=folder.path)
        folder.claim()
        with open_journal(folder.journals, share) as journal:
            if folder.finished:
                folder.leave()
                yield None
                return
            done = read_journals(folder.journals)
            pending = self._pending(share, done)
            if namer is not None and pending:
                done.require_models(namer.models, what=folder.path)
                total, left = self.images_of(share), sum(map(len, pending.values()))
                if left < total:
                    images = counted(total, self.noun)
                    say(f"{self.command}: {total - left:,} of {images} are there already")
                journal.start(namer.models)
                unit = f"{self.noun}s"
                with show(self.command, total=total, unit=unit, start=total - left) as advance:
                    self._name_batches(namer, pending, journal, advance)
                done = read_journals(folder.journals)
            yield done

    def _pending(self, share: Shard, done: Done) -> dict[int, range]:
        """Return the batches of a share that are left, by number."""
        whole = {n for n, batch in done.batches.items() if not (self.again and batch.failed)}
        return {
            n: batch for n, batch in enumerate(self.form.batches) if share.has(n) and n not in whole
        }

    def _name_batches(
        self,
        namer: BatchNamer[Read],
        batches: dict[int, range],
        journal: Journal,
        advance: Advance,
    ) -> None:
        """Name batches, by number, in their order; images are read ahead."""
        positions = [position for batch in batches.values() for position in batch]
        images = map_ahead(namer.read, positions, workers=self.workers)
        for number, batch in batches.items():
            read = dict(zip(batch, islice(images, len(batch)), strict=True))
            journal.add(number, namer.records(read))
            advance(len(batch))
