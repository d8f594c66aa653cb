"""Encoding parts and committing them: images read ahead, one part written behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from regionspot_core.cache.layout.plan import Part
from regionspot_core.cache.storage.claims import retry_held
from regionspot_core.cache.storage.markers import Marker, read_marker
from regionspot_core.cache.writer import CacheWriter, StoredPart
from regionspot_core.distributed.shares import Worker
from regionspot_extract.encoding import stages
from regionspot_extract.encoding.allocator import freed_memory_kept
from regionspot_extract.encoding.pictures import UNKNOWN
from regionspot_extract.prepare import Extraction

OnImages = Callable[[int], None]
"""Called with how many more images are done, failed ones included."""


class Outcome(NamedTuple):
    """The end of an attempt at a part."""

    part: Part
    marker: Marker | None = None
    """Marker of a part that was done here."""
    held: bool = False
    """Whether another run holds it. A part neither held nor done here was there already."""


def do_parts(
    extraction: Extraction,
    writer: CacheWriter,
    parts: Sequence[Part],
    on_images: OnImages,
    *,
    worker: Worker | None = None,
) -> list[Marker]:
    """Do all parts; those that another run holds are left to it, and waited for.

    Args:
        extraction: What to do.
        writer: Of the store.
        parts: Which.
        on_images: Told of images that are encoded, or were there already.
        worker: This process among others on the store, which tell of what they do themselves.

    Returns:
        The markers of the parts that were done here.
    """
    done: list[Marker] = []

    def attempt(waiting: Sequence[Part]) -> list[Part]:
        held = []
        for outcome in encode_parts(extraction, writer, waiting, on_images, worker=worker):
            if outcome.held:
                held.append(outcome.part)
            elif outcome.marker is not None:
                done.append(outcome.marker)
            elif worker is None:
                on_images(len(outcome.part.images))
        return held

    for index in worker.alone if worker else ():
        attempt([part for part in parts if part.index == index])
    retry_held(parts, attempt, what=None if worker else "extract")
    extraction.pictures.say_ambiguous()
    return done


class _Taken(NamedTuple):
    """A part that this run has taken up, with its claim on it."""

    part: Part
    claim: ExitStack
    outcome: Outcome | None
    """Result of a part that needs no work."""


def encode_parts(
    extraction: Extraction,
    writer: CacheWriter,
    parts: Iterable[Part],
    on_images: OnImages,
    *,
    worker: Worker | None = None,
) -> Iterator[Outcome]:
    """Encode and commit parts, unless another run holds or has done them.

    The models never wait: images are decoded ahead of them, those of the next part too, and a part
    is written while the next one is encoded. A part is claimed when its first image is read, and
    its claim is let go when it is committed. At most two parts' features are in memory.

    Args:
        extraction: What to do.
        writer: Of the store.
        parts: Which; each is asked for when its first image is due to be read.
        on_images: Told of images that are encoded.
        worker: Told of each part that is taken up and committed.
    """
    worker = worker or Worker()
    planned_bytes = writer.image_bytes.copy()
    with (
        ExitStack() as claims,
        _WriteBehind(extraction, writer, worker) as behind,
        ExitStack() as stack,
    ):

        def take(part: Part) -> _Taken:
            claim = claims.enter_context(ExitStack())
            if not claim.enter_context(writer.claim(part)):
                return _Taken(part, claim, Outcome(part, held=True))
            marker = read_marker(writer.store, writer.plan, part.index)
            if marker is not None and not (marker.failed and extraction.config.retry_failed):
                return _Taken(part, claim, Outcome(part))
            worker.begun(part.index)
            if marker is not None:
                # An image that could not be read is mended by another file, of another size.
                planned_bytes[[failure.position for failure in marker.failed]] = UNKNOWN
                writer.uncommit([part.index])
            return _Taken(part, claim, None)

        def work() -> Iterator[tuple[_Taken, int | None]]:
            for taken in map(take, parts):
                images: Iterable[int | None] = (None,) if taken.outcome else taken.part.images
                yield from ((taken, position) for position in images)

        def advance(count: int) -> None:
            behind.raise_failure()
            on_images(count)

        stack.enter_context(freed_memory_kept(extraction.device))
        read = stack.enter_context(
            closing(extraction.pictures.read(work(), planned_bytes=planned_bytes))
        )
        for taken, pictures in groupby(read, key=itemgetter(0)):
            if taken.outcome is None:
                features = extraction.encoder.encode_part(
                    taken.part,
                    (picture for _, picture in pictures if picture is not None),
                    batch_images=extraction.config.batch_images,
                    on_images=advance,
                )
                yield from behind.write(taken, features)
                continue
            taken.claim.close()
            yield taken.outcome
        yield from behind.written()


@dataclass(frozen=True)
class _Underway:
    """A part that is being written."""

    taken: _Taken
    marker: Future[Marker]


class _WriteBehind:
    """Writer of one part in a thread, while the caller makes the next."""

    def __init__(self, extraction: Extraction, writer: CacheWriter, worker: Worker) -> None:
        self._clock = extraction.clock
        self._writer = writer
        self._worker = worker
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._underway: _Underway | None = None

    def __enter__(self) -> _WriteBehind:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def write(self, taken: _Taken, features: StoredPart) -> Iterator[Outcome]:
        """Begin to write a part; yield the outcome of the one before."""
        yield from self.written()
        self._underway = _Underway(taken, self._pool.submit(self._write, taken.part, features))

    def written(self) -> Iterator[Outcome]:
        """Wait for the part that is being written, if there is one, and yield its outcome."""
        if self._underway is not None:
            taken, marker = self._underway.taken, self._underway.marker
            self._underway = None
            outcome = Outcome(taken.part, marker.result())
            taken.claim.close()
            yield outcome

    def raise_failure(self) -> None:
        """Raise what has stopped the writing, if something has: no need to finish the next part."""
        if self._underway is not None and self._underway.marker.done():
            self._underway.marker.result()

    def _write(self, part: Part, features: StoredPart) -> Marker:
        with self._clock(stages.WRITE):
            marker = self._writer.write_stored(part, features)
        self._worker.finished(part.index)
        return marker
