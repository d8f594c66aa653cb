"""Who does the parts. An engine tries each part once; :func:`do_parts` sees that all are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from regionspot_core.cache.claims import until_none_is_held
from regionspot_core.cache.markers import Marker
from regionspot_core.cache.plan import Part
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.ray_cluster import require_answer, require_ray
from regionspot_extract.config import ExtractConfig
from regionspot_extract.planning import Extraction

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


def find_engine(config: ExtractConfig) -> Engine:
    """The engine that the configuration names.

    Raises:
        InputError: It needs a package that is not installed.
        ClusterError: Its cluster does not answer.
    """
    if config.engine == "local":
        return local_engine
    require_ray()
    from regionspot_extract.ray_engine import ray_engine

    require_answer(config.ray.address)
    return ray_engine


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
    yield lambda parts: (try_part(extraction, writer, part, on_images) for part in parts)


def try_part(
    extraction: Extraction, writer: CacheWriter, part: Part, on_images: OnImages
) -> Attempt:
    """Encode and commit a part, unless another run holds or has done it."""
    with writer.claim(part) as mine:
        if not mine:
            return Attempt(part, held=True)
        if writer.is_committed(part):
            on_images(len(part.images))
            return Attempt(part)
        features = extraction.encoder.encode_part(
            part,
            extraction.pictures.read(part.images, planned_bytes=writer.image_bytes),
            batch_images=extraction.config.batch_images,
            on_images=on_images,
        )
        return Attempt(part, writer.write(part, features))
