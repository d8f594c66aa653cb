"""Who does the parts. An engine tries each part once; :func:`do_parts` sees that all are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from regionspot_core.cache.layout.plan import Part
from regionspot_core.cache.storage.claims import until_none_is_held
from regionspot_core.cache.storage.markers import Marker, read_marker
from regionspot_core.cache.writer import CacheWriter, StoredPart
from regionspot_extract.encoding import stages
from regionspot_extract.encoding.allocator import freed_memory_kept
from regionspot_extract.encoding.pictures import UNKNOWN
from regionspot_extract.prepare import Extraction

OnImages = Callable[[int], None]
"""Called with how many more images are done, failed ones included."""


@dataclass(frozen=True)
class Attempt:
    """What came of trying to do a part."""

    part: Part
    marker: Marker | None = None
    """Of a part that was done here."""
    held: bool = False
    """Whether another run holds it. A part neither held nor done here was there already."""


TryParts = Callable[[Sequence[Part]], Iterable[Attempt]]
"""Tries every part once, in any order."""
Engine = Callable[[Extraction, CacheWriter, OnImages], AbstractContextManager[TryParts]]


def do_parts(try_parts: TryParts, parts: Sequence[Part]) -> list[Marker]:
    """Do all parts; those that another run holds are left to it, and waited for.

    Returns the markers of the parts that were done here.
    """
    done: list[Marker] = []

    def attempt(waiting: Sequence[Part]) -> list[Part]:
        attempts = list(try_parts(waiting))
        done.extend(attempt.marker for attempt in attempts if attempt.marker is not None)
        return [attempt.part for attempt in attempts if attempt.held]

    until_none_is_held(parts, attempt, what="extract")
    return done


@contextmanager
def local_engine(
    extraction: Extraction, writer: CacheWriter, on_images: OnImages
) -> Iterator[TryParts]:
    """Parts one after another, in this process."""
    yield lambda parts: in_turn(extraction, writer, parts, on_images)


@dataclass(frozen=True)
class _Taken:
    """A part that this run has taken up, with its claim on it."""

    part: Part
    claim: ExitStack
    attempt: Attempt | None
    """What came of it, where there is nothing to do."""


def in_turn(
    extraction: Extraction, writer: CacheWriter, parts: Iterable[Part], on_images: OnImages
) -> Iterator[Attempt]:
    """Encode and commit parts, unless another run holds or has done them.

    The models never wait: images are decoded ahead of them, those of the next part too, and a part
    is written while the next one is encoded. A part is claimed when its first image is read, and
    its claim is let go when it is committed. At most two parts' features are in memory.

    Args:
        extraction: What to do.
        writer: Of the store.
        parts: Which; each is asked for when its first image is due to be read.
        on_images: Told how it goes on.
    """
    planned_bytes = writer.image_bytes.copy()
    with (
        ExitStack() as claims,
        _WriteBehind(extraction, writer) as behind,
        ExitStack() as stack,
    ):

        def take(part: Part) -> _Taken:
            claim = claims.enter_context(ExitStack())
            if not claim.enter_context(writer.claim(part)):
                return _Taken(part, claim, Attempt(part, held=True))
            marker = read_marker(writer.store, writer.plan, part.index)
            if marker is not None and not (marker.failed and extraction.config.retry_failed):
                return _Taken(part, claim, Attempt(part))
            if marker is not None:
                # An image that could not be read is mended by another file, of another size.
                planned_bytes[[failure.position for failure in marker.failed]] = UNKNOWN
                writer.uncommit([part.index])
            return _Taken(part, claim, None)

        def work() -> Iterator[tuple[_Taken, int | None]]:
            for taken in map(take, parts):
                images: Iterable[int | None] = (None,) if taken.attempt else taken.part.images
                yield from ((taken, position) for position in images)

        def advance(count: int) -> None:
            behind.raise_failure()
            on_images(count)

        stack.enter_context(freed_memory_kept(extraction.device))
        read = stack.enter_context(
            closing(extraction.pictures.read(work(), planned_bytes=planned_bytes))
        )
        for taken, pictures in groupby(read, key=itemgetter(0)):
            if taken.attempt is None:
                features = extraction.encoder.encode_part(
                    taken.part,
                    (picture for _, picture in pictures if picture is not None),
                    batch_images=extraction.config.batch_images,
                    on_images=advance,
                )
                yield from behind.write(taken, features)
                continue
            taken.claim.close()
            if not taken.attempt.held:
                on_images(len(taken.part.images))
            yield taken.attempt
        yield from behind.written()


class _WriteBehind:
    """Writes one part in a thread, while the caller makes the next."""

    def __init__(self, extraction: Extraction, writer: CacheWriter) -> None:
        self._clock = extraction.clock
        self._writer = writer
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._underway: tuple[_Taken, Future[Marker]] | None = None

    def __enter__(self) -> _WriteBehind:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def write(self, taken: _Taken, features: StoredPart) -> Iterator[Attempt]:
        """Begin to write a part; what came of the one before."""
        yield from self.written()
        self._underway = taken, self._pool.submit(self._write, taken.part, features)

    def written(self) -> Iterator[Attempt]:
        """What came of the part that is being written, once it is; nothing where none is."""
        if self._underway is not None:
            taken, future = self._underway
            self._underway = None
            marker = future.result()
            taken.claim.close()
            yield Attempt(taken.part, marker)

    def raise_failure(self) -> None:
        """Raise what has stopped the writing, if something has: no need to finish the next part."""
        if self._underway is not None and self._underway[1].done():
            self._underway[1].result()

    def _write(self, part: Part, features: StoredPart) -> Marker:
        with self._clock(stages.WRITE):
            return self._writer.write_stored(part, features)
