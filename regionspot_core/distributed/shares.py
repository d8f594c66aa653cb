"""Splitting of work: shares of it, the processes that do them, and their launchers.

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
    """A worker began an item, such as a part of a store."""
    FINISHED = "finished"
    """The item is done and written."""
    ADVANCED = "advanced"
    """A number of images is done."""


class Message(NamedTuple):
    """An event, of an item or of a number of images."""

    event: Event
    number: int


Send = Callable[[Message], None]


def discard(message: Message) -> None:
    """Do nothing: no other process launched this one."""


@dataclass(frozen=True)
class Worker:
    """A process of several that share a job, as the job's function knows it."""

    share: Shard = field(default_factory=Shard)
    """Fixed share, for work whose items cannot be claimed."""
    device: str | None = None
    """The device to compute on; None leaves it to the configuration."""
    alone: tuple[int, ...] = ()
    """Items of a worker that died, to be done first and one at a time."""
    patience: float = 0.0
    """Seconds that files of another process may take to be seen by this one."""
    send: Send = discard
    """Sends a message to the process that launched this one; any thread may call it."""
    show: ShowProgress = no_progress_line

    def begun(self, item: int) -> None:
        """Report that an item has begun."""
        self.send(Message(Event.BEGUN, item))

    def finished(self, item: int) -> None:
        """Report that an item is done."""
        self.send(Message(Event.FINISHED, item))


def sending_progress(send: Send) -> ShowProgress:
    """Return a function that sends a worker's progress, in place of its progress line."""

    @contextmanager
    def show(what: str, *, total: int, unit: str, start: int = 0) -> Iterator[Advance]:
        yield lambda amount=1, note="": send(Message(Event.ADVANCED, amount))

    return show


class Amount(NamedTuple):
    """Amount of a job that is done."""

    done: int
    total: int

    @property
    def left(self) -> int:
        """Return the amount that is left."""
        return self.total - self.done


def _reason_to_stop(items: Sequence[int], deaths: int, reason: str) -> str:
    return f"a share of the work was stopped: {deaths} workers died of it ({reason})"


@dataclass(frozen=True)
class Job:
    """A piece of work that several processes share."""

    name: str
    """Word that begins its lines on the screen."""
    run: Callable[[Worker], object]
    """Work of each process. It is pickled, and runs in the folder where it was launched."""
    amount: Callable[[], Amount]
    """Counts the images, before the first process starts."""
    most_workers: int = MOST_SHARES
    """Number of workers that have something to do."""
    item: str = "item"
    """Word for an item."""
    reason_to_stop: Callable[[Sequence[int], int, str], str] = _reason_to_stop
    """Makes the message of a job that is given up, from the items that workers died of, the number
    of deaths, and the reason of the last one."""
    on_message: Callable[[Message, WorkerAddress | None], None] = lambda message, address: None
    """Called with each event, its item and the worker's address."""
    poll: Callable[[], None] = lambda: None
    """Called about once a second where workers are on a cluster."""


class Launcher(Protocol):
    """A way to do a job by several processes."""

    is_main: bool
    """Whether this process continues once the job is done; False if another does."""
    patience: float
    """Seconds that files of a worker may take to be seen by this process."""

    def run(self, job: Job) -> None:
        """Do the job, and return once it is done.

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
        self.job.on_message(message, address)


@contextmanager
def shown(job: Job, images: Amount) -> Iterator[Advance]:
    """Show the progress of all workers in one line, which ends complete: other runs may help."""
    left = images.left

    def count(amount: int = 1, note: str = "") -> None:
        nonlocal left
        amount = min(amount, left)  # an item whose worker died is begun again
        left -= amount
        advance(amount, note)

    with progress_line(job.name, total=images.total, unit="images", start=images.done) as advance:
        yield count
        if left:
            advance(left)


def wait_until_visible(seconds: float, is_visible: Callable[[], bool]) -> bool:
    """Wait for a file of another machine, since a shared folder shows it late.

    Returns:
        Whether it was seen in time.
    """
    began = time.monotonic()
    while not is_visible():
        if time.monotonic() - began >= seconds:
            return False
        time.sleep(POLL_SECONDS)
    return True
