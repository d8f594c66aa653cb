"""A process of this machine for each of several devices."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from regionspot_core.distributed.shares import (
    Job,
    Ledger,
    Message,
    Shard,
    Worker,
    sending_progress,
    shown,
)
from regionspot_core.errors import RegionSpotError, WorkerError

_SPAWN = multiprocessing.get_context("spawn")


class Processes:
    """Launches a process for each device, and ends all where one dies.

    Args:
        devices: PyTorch's names; one may be given several times.
    """

    is_main = True
    patience = 0.0

    def __init__(self, devices: Sequence[str]) -> None:
        self._devices = devices

    def run(self, job: Job) -> None:
        """See :class:`Launcher`."""
        children: list[_Child] = []
        try:
            with shown(job, job.amount()) as advance:
                children.extend(_start(job, self._devices[: job.most_workers]))
                _listen(children, Ledger(job, advance))
        finally:
            for child in children:
                child.process.terminate()
            for child in children:
                child.process.join()
                child.pipe.close()


@dataclass
class _Child:
    """The parent's end of a process."""

    number: int
    device: str
    process: BaseProcess
    pipe: Connection


class _Done:
    """The last message of a process that has done its work."""


@dataclass(frozen=True)
class _Failure:
    """Error that stopped a process."""

    error: RegionSpotError | OSError | None
    """Raised here as it is; None stands for a fault of ours."""
    text: str = ""
    """The traceback of a fault: its exception may not survive the way."""


def _start(job: Job, devices: Sequence[str]) -> Iterator[_Child]:
    """Start a process for each device."""
    on_cpu = sum(device == "cpu" for device in devices)
    # As many as here where they have the processor for themselves: it decides the last bits.
    threads = max(1, torch.get_num_threads() // max(1, on_cpu))
    for number, device in enumerate(devices):
        ours, theirs = _SPAWN.Pipe()
        worker = Worker(share=Shard(index=number + 1, of=len(devices)), device=device)
        process = _SPAWN.Process(target=_work, args=(job.run, worker, threads, theirs), daemon=True)
        with _interrupts_ignored():
            process.start()
        theirs.close()
        yield _Child(number, device, process, ours)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let a process that starts inherit that it ignores Ctrl-C: its parent ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _listen(children: Sequence[_Child], ledger: Ledger) -> None:
    """Take messages until every process has done its work."""
    busy = {child.pipe: child for child in children}
    while busy:
        for pipe in wait(list(busy)):
            child = busy[pipe]  # type: ignore[index]  # it waits for nothing else
            try:
                message = child.pipe.recv()
            except (EOFError, OSError):
                raise _died(child, ledger) from None
            if isinstance(message, Message):
                ledger.note(child.number, message)
            elif isinstance(message, _Failure):
                fault = RuntimeError(f"the process on {child.device} failed:\n{message.text}")
                raise message.error or fault
            else:
                del busy[child.pipe]


def _died(child: _Child, ledger: Ledger) -> WorkerError:
    """Return the error that names a process, its last item and the reason of its end."""
    child.process.join()
    code = child.process.exitcode
    how = f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
    items = ", ".join(map(str, ledger.underway[child.number]))
    at = f"at {ledger.job.item} {items}" if items else "while it loaded the models"
    return WorkerError(
        f"the process on {child.device} died {at} ({how}); the same command goes on. If it was "
        f"short of memory, give a smaller --batch or fewer --workers"
    )


def _work(run: Callable[[Worker], object], worker: Worker, threads: int, pipe: Connection) -> None:
    """Do the job in a process, until it is done or the parent ends it or is gone."""
    lock = threading.Lock()

    def send(message: Message | _Done | _Failure) -> None:
        try:
            with lock:
                pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(1)  # The parent was killed. What is written stays.

    torch.set_num_threads(threads)
    try:
        run(replace(worker, send=send, show=sending_progress(send)))
        send(_Done())
    except (RegionSpotError, OSError) as error:
        send(_Failure(error))
    except Exception:  # whatever it is, the parent raises it
        send(_Failure(None, traceback.format_exc()))
