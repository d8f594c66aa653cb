"""Parts done by workers on a Ray cluster, each a process with the models in it.

The driver plans the store, creates it and hands out parts; a worker encodes a part, writes it and
commits it. So features never travel: the store and the images must lie where all machines reach
them. The driver loads the models too: their shapes make the plan, their weights' hashes the
fingerprint, and CLIP's text tower the class bank.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from ray.exceptions import ObjectLostError, RayActorError, RayError, RayTaskError

from regionspot_core.cache.layout.plan import Part
from regionspot_core.cache.storage.markers import read_marker
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.distributed.ray import connected, first_words
from regionspot_core.distributed.ray_crew import Crew, cluster_nodes
from regionspot_core.errors import ClusterError, RegionSpotError
from regionspot_core.support.progress import say
from regionspot_extract.engine import Attempt, OnImages, TryParts
from regionspot_extract.prepare import Extraction
from regionspot_extract.worker import PartWorker, Place, anywhere, require_seen

AT_ONCE = 2
"""Parts that a worker has: one is written while the next is encoded."""
TRIES = 3
"""Workers that may die of one part, or one after another while they load the models."""
PATIENCE_SECONDS = 30.0
"""After this long without any worker, the run says what it is waiting for."""
_LOST = (RayActorError, ObjectLostError)
"""What Ray raises of a worker that died with its process or its machine, or was cut off."""


@contextmanager
def ray_engine(
    extraction: Extraction, writer: CacheWriter, on_images: OnImages
) -> Iterator[TryParts]:
    """Parts on a Ray cluster; the workers start with the first parts and end with the run.

    Raises:
        ClusterError: No cluster answers, or workers died again and again.
    """
    with _Pool(extraction, writer, on_images) as pool:
        yield pool.try_parts


@dataclass
class _Slot:
    """One worker's place in the crew; when the worker dies, another takes it."""

    actor: Any = None
    loading: Any = None
    """What the worker answers once it has the models; None when it has."""
    place: Place | None = None
    given: deque[tuple[Part, Any]] = field(default_factory=deque)
    """Its parts, in its order, each with what it will answer."""
    deaths_loading: int = 0

    @property
    def next_answer(self) -> Any:  # noqa: ANN401 - a reference of Ray's
        """What it answers next; None where it was asked nothing."""
        if self.loading is not None:
            return self.loading
        return self.given[0][1] if self.given else None


class _Pool:
    """The crew at work."""

    def __init__(self, extraction: Extraction, writer: CacheWriter, on_images: OnImages) -> None:
        self._extraction = extraction
        self._writer = writer
        self._on_images = on_images
        self._crew: Crew | None = None
        self._slots: list[_Slot] = []
        self._todo: deque[Part] = deque()
        self._deaths: Counter[int] = Counter()
        self._seen: set[str] = set()
        self._connection = ExitStack()

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for slot in self._slots:
            if slot.actor is not None:
                ray.kill(slot.actor)
        self._connection.close()

    def try_parts(self, parts: Sequence[Part]) -> Iterator[Attempt]:
        """See :data:`regionspot_extract.engine.TryParts`."""
        if self._crew is None:
            self._crew = self._gather()
            self._slots = [_Slot() for _ in range(min(self._crew.actors, len(parts)))]
            for slot in self._slots:
                self._hire(slot)
        self._todo = deque(parts)
        last = None
        while self._todo or any(slot.given for slot in self._slots):
            self._hand_out()
            for slot in self._answering():
                attempt = self._hear(slot)
                if attempt is not None:
                    last = attempt if attempt.marker else last
                    yield attempt
        if last is not None:
            # Over a network a folder's news may be late: what comes now counts the markers.
            require_seen(self._writer, last.part, where="a worker")

    def _gather(self) -> Crew:
        config = self._extraction.config
        self._connection.enter_context(connected(config.ray.address))
        return Crew.plan(
            config.ray,
            cluster_nodes(),
            device=config.backbones.device,
            threads=torch.get_num_threads(),
        )

    def _hire(self, slot: _Slot) -> None:
        """Start a worker; it gets no parts before it has its models: it may wait for room."""
        assert self._crew is not None
        slot.actor = (
            ray.remote(PartWorker)
            .options(
                num_cpus=self._crew.cpus,
                num_gpus=self._crew.gpus,
                max_concurrency=AT_ONCE,
                max_restarts=0,
                scheduling_strategy="SPREAD",
            )
            .remote()
        )
        config = anywhere(self._extraction.config, on_gpu=self._crew.gpus > 0)
        slot.place = None
        slot.loading = slot.actor.load.remote(config, threads=self._crew.threads)

    def _hand_out(self) -> None:
        """Give every worker a part, and a second one, so that its models never wait."""
        ready = [slot for slot in self._slots if slot.loading is None]
        # Of the last parts nobody gets a second: another worker may be free sooner.
        for count in range(1, (AT_ONCE if len(self._todo) > len(self._slots) else 1) + 1):
            for slot in ready:
                if self._todo and len(slot.given) < count and self._may_join(slot):
                    part = self._todo.popleft()
                    slot.given.append((part, slot.actor.attempt.remote(part)))

    def _may_join(self, slot: _Slot) -> bool:
        """Whether a worker may have the next part beside those it has."""
        together = [part.index for part, _ in slot.given] + [self._todo[0].index]
        return len(together) == 1 or not any(self._deaths[index] for index in together)

    def _answering(self) -> list[_Slot]:
        """The workers that have answered; waits for one."""
        asked = {slot.next_answer: slot for slot in self._slots if slot.next_answer is not None}
        answers, _ = ray.wait(list(asked), timeout=PATIENCE_SECONDS)
        if not answers and all(slot.loading is not None for slot in self._slots):
            say(f"extract: no worker has its models yet; {self._wanted()}")
        return [asked[answer] for answer in answers]

    def _wanted(self) -> str:
        assert self._crew is not None
        has = ray.cluster_resources()
        return (
            f"one takes {self._crew.cpus} CPUs and {self._crew.gpus:g} GPUs of a cluster that has "
            f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g}"
        )

    def _hear(self, slot: _Slot) -> Attempt | None:
        """Take a worker's next answer; None where it was not of a part."""
        try:
            answer = ray.get(slot.next_answer)
        except _LOST as error:
            self._bury(slot, error)
            return None
        except RayTaskError as error:
            # Its own exception, as if raised here; a fault of ours keeps the worker's traceback.
            if isinstance(error.cause, (RegionSpotError, OSError)):
                raise error.cause from None
            raise
        except RayError as error:
            raise ClusterError(f"--engine ray: {first_words(error)}") from None
        if slot.loading is not None:
            slot.loading, slot.place, slot.deaths_loading = None, answer, 0
            return None
        slot.given.popleft()
        return self._checked(slot, answer)

    def _checked(self, slot: _Slot, attempt: Attempt) -> Attempt:
        if attempt.held:
            return attempt
        assert slot.place is not None
        if slot.place.host not in self._seen:
            require_seen(self._writer, attempt.part, where=str(slot.place))
            self._seen.add(slot.place.host)
        self._on_images(len(attempt.part.images))
        if attempt.marker is None and self._deaths[attempt.part.index]:
            # The worker committed it, and died before it said so.
            writer, part = self._writer, attempt.part
            return Attempt(part, read_marker(writer.store, writer.plan, part.index))
        return attempt

    def _bury(self, slot: _Slot, error: Exception) -> None:
        """Take a dead worker's parts back, and hire another."""
        parts = [part for part, _ in slot.given]
        slot.given.clear()
        ray.kill(slot.actor)  # it may only be cut off
        if parts:
            # Of two, nobody knows which one it died of: the next worker has each of them alone.
            self._deaths.update(part.index for part in parts)
            what = f"part {' or '.join(str(part.index) for part in parts)}"
            again = self._deaths[parts[0].index]
        else:
            slot.deaths_loading += 1
            what, again = "loading the models", slot.deaths_loading
        if again >= TRIES:
            raise ClusterError(self._hopeless(parts, error))
        say(f"extract: the worker {slot.place or ''} died at {what}; starting another")
        self._todo.extendleft(reversed(parts))
        self._hire(slot)

    def _hopeless(self, parts: list[Part], error: Exception) -> str:
        if not parts:
            return (
                f"{TRIES} workers in a row died while they loaded the models "
                f"({first_words(error)}); is there memory for them, and the same regionspot on "
                f"every machine?"
            )
        files = self._extraction.annotations.image_file
        first, last = files[parts[0].image_start], files[parts[0].image_stop - 1]
        return (
            f"part {parts[0].index} (images {first} … {last}) was stopped: {TRIES} workers died "
            f"of it ({first_words(error)}). Look for an image that needs more memory than there "
            f"is, or give a smaller --batch; the same command then goes on"
        )
