"""Splitting of work: shares of it, the processes that do them, and what launches these.

A stage names what a process does (:class:`Job`), and a :class:`Launcher` has several processes do
it: `processes.py`, `torchrun.py` and `ray_tasks.py` each have one. A process does its fixed share,
or takes what no other has claimed. A job array's task is launched by nobody: it is given its share.
"""

from __future__ import annotations

import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from pydantic import Field

from regionspot_core.config import Config
from regionspot_core.errors import ConfigError
from regionspot_core.support.progress import (
    Advance,
    ShowProgress,
    no_progress_line,
    progress_line,
)

MOST_SHARES = 1_000_000
LONGEST_NUMBER = 20
"""Digits, leading zeros among them."""
POLL_SECONDS = 0.5


class Shard(Config):
    """A share, one of ``of`` equal ones, of the parts that a piece of work comes in."""

    index: int = Field(default=1, ge=1, le=MOST_SHARES)
    of: int = Field(default=1, ge=1, le=MOST_SHARES)

    @classmethod
    def from_text(cls, text: str) -> Shard:
        """Read a share from ``i/n``, i counted from 1.

        Raises:
            ConfigError: If the text has another form, or i is not within 1 … n.
        """
        first, slash, second = text.partition("/")
        if not (slash and _is_number(first) and _is_number(second)):
            raise ConfigError(
                f"--shard {text or '(empty)'}: expected i/n, as in 2/8 for the second of eight"
            )
        if not 1 <= int(first) <= int(second) <= MOST_SHARES:
            raise ConfigError(
                f"--shard {text}: expected i from 1 to n, as in 2/8, and n up to {MOST_SHARES:,}"
            )
        return cls(index=int(first), of=int(second))

    def has(self, part: int) -> bool:
        """Return whether this share has the part at an index, counted from 0."""
        return part % self.of == self.index - 1

    def divided(self, share: Shard) -> Shard:
        """Return a share of this share; shares of shares may be more than ``MOST_SHARES``."""
        index = self.index + self.of * (share.index - 1)
        return self.model_copy(update={"index": index, "of": self.of * share.of})


def _is_number(text: str) -> bool:
    """Return whether a text is a whole number of no more digits than a number of shares has."""
    return text.isdecimal() and len(text) < LONGEST_NUMBER


class WorkerAddress(NamedTuple):
    """Place in which a worker runs."""

    host: str
    process: int

    @classmethod
    def here(cls) -> WorkerAddress:
        """Return the address of this process."""
        return cls(socket.gethostname(), os.getpid())

    def __str__(self) -> str:
        return f"on {self.host} (process {self.process})"


class Event(Enum):
    """Kind of message about a worker's progress."""

    BEGUN = "begun"
    """It has taken up an item: a part of a store, say."""
    FINISHED = "finished"
    """The item is done, and written where others see it."""
    ADVANCED = "advanced"
    """The work has come further by a number of images."""


class Message(NamedTuple):
    """An event, of an item or of a number of images."""

    event: Event
    number: int


Tell = Callable[[Message], None]


def tell_nobody(message: Message) -> None:
    """Do nothing: no other process launched this one."""


@dataclass(frozen=True)
class Worker:
    """A process of several that share a job, as the job's function knows it."""

    share: Shard = field(default_factory=Shard)
    """Fixed share, for work whose items cannot be claimed."""
    device: str | None = None
    """The device to compute on; None leaves it to the configuration."""
    alone: tuple[int, ...] = ()
    """Items of a worker that died: the first to be done, and none beside another."""
    patience: float = 0.0
    """Seconds that files of another process may take to be seen by this one."""
    tell: Tell = tell_nobody
    """Tells the process that launched this one; may be called from any thread."""
    show: ShowProgress = no_progress_line

    def begun(self, item: int) -> None:
        """Tell that an item is taken up."""
        self.tell(Message(Event.BEGUN, item))

    def finished(self, item: int) -> None:
        """Tell that an item is done."""
        self.tell(Message(Event.FINISHED, item))


def telling_progress(tell: Tell) -> ShowProgress:
    """Return what tells how far a worker is, in place of its own progress line."""

    @contextmanager
    def show(what: str, *, total: int, unit: str, start: int = 0) -> Iterator[Advance]:
        yield lambda amount=1, note="": tell(Message(Event.ADVANCED, amount))

    return show


class Amount(NamedTuple):
    """Amount of a job that is done."""

    done: int
    total: int


def _reason_to_stop(items: Sequence[int], deaths: int, reason: str) -> str:
    return f"a share of the work was stopped: {deaths} workers died of it ({reason})"


@dataclass(frozen=True)
class Job:
    """A piece of work that several processes share."""

    name: str
    """The word that begins its lines on the screen."""
    run: Callable[[Worker], object]
    """Work of each process. It is pickled, and runs in the folder where it was launched."""
    amount: Callable[[], Amount]
    """Counts the images, before the first process starts."""
    most_workers: int = MOST_SHARES
    """The number of workers that find something to do."""
    item: str = "item"
    """The word for what a worker begins and finishes."""
    reason_to_stop: Callable[[Sequence[int], int, str], str] = _reason_to_stop
    """Says why the job is given up, from the items that workers died of, if they told any, the
    number of deaths, and why the last one died."""
    hear: Callable[[Message, WorkerAddress | None], None] = lambda message, address: None
    """Called with what workers begin and finish, and where."""
    look: Callable[[], None] = lambda: None
    """Called about once a second where workers are on a cluster."""


class Launcher(Protocol):
    """A way to have several processes do a job."""

    speaks: bool
    """Whether this process goes on once the job is done; False where another does."""
    patience: float
    """Seconds that files of a worker may take to be seen by this process."""

    def run(self, job: Job) -> None:
        """Have the job done, and return once it is.

        Raises:
            RegionSpotError: As the job's function in a worker.
            WorkerError: If a process died.
            ClusterError: If a cluster cannot be used, or its workers died again and again.
        """
        ...


@dataclass
class Ledger:
    """Record of the messages of a job's workers."""

    job: Job
    advance: Advance
    underway: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Items that a worker, by its number, has begun and not finished."""

    def note(self, worker: int, message: Message, address: WorkerAddress | None = None) -> None:
        """Take note of a message."""
        if message.event is Event.ADVANCED:
            self.advance(message.number)
            return
        if message.event is Event.BEGUN:
            self.underway[worker].append(message.number)
        elif message.number in self.underway[worker]:
            self.underway[worker].remove(message.number)
        self.job.hear(message, address)


@contextmanager
def shown(job: Job, images: Amount) -> Iterator[Advance]:
    """Show the progress of all workers in one line, which ends complete: other runs may help."""
    left = images.total - images.done

    def count(amount: int = 1, note: str = "") -> None:
        nonlocal left
        amount = min(amount, left)  # an item whose worker died is begun again
        left -= amount
        advance(amount, note)

    with progress_line(job.name, total=images.total, unit="images", start=images.done) as advance:
        yield count
        if left:
            advance(left)


def seen_within(seconds: float, is_seen: Callable[[], bool]) -> bool:
    """Wait for a file of another machine's: a shared folder's news may be late.

    Returns:
        Whether it was seen in time.
    """
    began = time.monotonic()
    while not is_seen():
        if time.monotonic() - began >= seconds:
            return False
        time.sleep(POLL_SECONDS)
    return True
