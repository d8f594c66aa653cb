"""Parts done by several processes of this machine, one for each device.

Each has the models on its device and asks for a part when it is about to read the part's first
image, so that all share one queue and end together. It encodes, writes and commits its parts
itself; what comes back is how far it is. The first device also holds the models once more, which
made the plan.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from regionspot_core.cache.layout.plan import Part
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.errors import RegionSpotError, WorkerError
from regionspot_extract.config import ExtractConfig
from regionspot_extract.engine import Attempt, OnImages, TryParts
from regionspot_extract.prepare import Extraction
from regionspot_extract.worker import PartWorker

_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class _Images:
    """So many more images are done."""

    count: int


class _NextPart:
    """A worker asks for a part. It is answered at once: with None where there is none left."""


class _Idle:
    """A worker has done all parts that it was given."""


@dataclass(frozen=True)
class _Fault:
    """An exception that is nobody's mistake, as text: it may not survive the way."""

    text: str


@dataclass
class _Worker:
    """The parent's end of a process."""

    device: str
    process: BaseProcess
    pipe: Connection
    parts: list[Part]
    """What it was given and has not answered for."""


@contextmanager
def process_engine(
    extraction: Extraction, writer: CacheWriter, on_images: OnImages
) -> Iterator[TryParts]:
    """Parts on ``config.devices``; the processes start with the first parts, end with the run.

    Raises:
        WorkerError: A process died. The others are ended; what they had committed stays.
    """
    workers: list[_Worker] = []

    def try_parts(parts: Sequence[Part]) -> Iterator[Attempt]:
        if not workers:
            workers.extend(_start(extraction.config, len(parts)))
        return _hand_out(workers, parts, on_images)

    try:
        yield try_parts
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()
            worker.pipe.close()


def _start(config: ExtractConfig, parts: int) -> list[_Worker]:
    """A process for each device, as far as there are parts."""
    devices = config.devices[:parts]
    on_cpu = sum(device == "cpu" for device in devices)
    workers = []
    for device in devices:
        ours, theirs = _SPAWN.Pipe()
        models = config.backbones.model_copy(update={"device": device})
        # As many as here where they have the processor for themselves: it decides the last bits.
        threads = max(1, torch.get_num_threads() // max(1, on_cpu))
        process = _SPAWN.Process(
            target=_work,
            args=(config.model_copy(update={"backbones": models, "devices": ()}), threads, theirs),
            daemon=True,
        )
        with _deaf_to_interrupts():
            process.start()
        theirs.close()
        workers.append(_Worker(device, process, ours, []))
    return workers


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let a process that starts inherit that Ctrl-C is not for it: its parent ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _hand_out(
    workers: Sequence[_Worker], parts: Sequence[Part], on_images: OnImages
) -> Iterator[Attempt]:
    """Answer the workers until they have done all parts."""
    todo, busy = deque(parts), {worker.pipe: worker for worker in workers}
    for worker in workers:
        _send(worker, True)
    while busy:
        for pipe in wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]  # it waits for nothing else
            message = _hear(worker)
            if isinstance(message, _Images):
                on_images(message.count)
            elif isinstance(message, _NextPart):
                part = todo.popleft() if todo else None
                worker.parts += [part] if part else []
                _send(worker, part)
            elif isinstance(message, Attempt):
                worker.parts.remove(message.part)
                yield message
            else:
                del busy[worker.pipe]


def _hear(worker: _Worker) -> Any:  # noqa: ANN401 - one of the messages above
    """What a worker says; raises what stopped it."""
    try:
        message = worker.pipe.recv()
    except (EOFError, OSError):
        raise _died(worker) from None
    if isinstance(message, (RegionSpotError, OSError)):
        raise message
    if isinstance(message, _Fault):
        raise RuntimeError(f"the process on {worker.device} failed:\n{message.text}")
    return message


def _send(worker: _Worker, message: Part | bool | None) -> None:
    try:
        worker.pipe.send(message)
    except OSError:
        raise _died(worker) from None


def _died(worker: _Worker) -> WorkerError:
    worker.process.join()
    code = worker.process.exitcode
    how = f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
    parts = ", ".join(str(part.index) for part in worker.parts)
    at = f"at part {parts}" if parts else "while it loaded the models"
    return WorkerError(
        f"the process on {worker.device} died {at} ({how}); the same command goes on. If it was "
        f"short of memory, give a smaller --batch or fewer --workers"
    )


def _work(config: ExtractConfig, threads: int, pipe: Connection) -> None:
    """What a process does, until its parent ends it or is gone."""
    try:
        worker = PartWorker()
        worker.load(config, threads=threads)
        while pipe.recv():
            for attempt in worker.attempts(_asked(pipe), lambda n: pipe.send(_Images(n))):
                pipe.send(attempt)
            pipe.send(_Idle())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The parent was killed. What is committed stays.
        os._exit(1)
    except (RegionSpotError, OSError) as error:
        pipe.send(error)
    except Exception:  # whatever it is, the parent raises it
        pipe.send(_Fault(traceback.format_exc()))


def _asked(pipe: Connection) -> Iterator[Part]:
    """Parts from the queue, one when it is due."""
    while True:
        pipe.send(_NextPart())
        part = pipe.recv()
        if part is None:
            return
        yield part
