"""Commands in processes that start at once, may be killed, and cannot take the machine with them.

A server has all modules loaded; each call is a fork of it, so that it begins after milliseconds
instead of the seconds that importing PyTorch takes. A call has a bound for its processor time, its
memory, the files that it writes and the time on the clock, and can write in its own folder only: a
command that would replace the machine's files, which the user root may, is refused it.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from campaign.confined import can_confine, confine

TESTS = Path(__file__).parents[1]
MODULES = (
    "campaign.calls",
    "open_clip",
    "segment_anything",
    "matplotlib.font_manager",
    "regionspot.cli",
    "regionspot_extract.run",
    "regionspot_extract.stores.exchange",
    "regionspot_train.run",
    "regionspot_train.exchange",
    "regionspot_train.sweep.run",
    "regionspot_evaluate.run",
    "regionspot_evaluate.cached",
    "regionspot_evaluate.reports.html",
    "regionspot_evaluate.reports.compare",
    "regionspot_evaluate.predict",
)
CPU_SECONDS, SECONDS = 30, 120
"""Of one call, where one or two are usual: more is a hang. The clock is for those that wait."""
MEMORY, FILE = 2 << 30, 1 << 28
"""Bytes of address space beyond the server's, and of one file."""


class Ended(NamedTuple):
    """How a call ended."""

    code: int
    """The exit code; of a call that a signal ended, the signal's number below zero."""
    stdout: bytes
    stderr: bytes
    seconds: float
    """Of processor time."""
    timed_out: bool

    @property
    def errors(self) -> str:
        """What came on standard error."""
        return self.stderr.decode(errors="backslashreplace")


class Forks:
    """The server, and what is asked of it.

    Args:
        folder: Where calls keep what they print.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("temporary", "matplotlib"):
            (folder / name).mkdir()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder / "temporary"),
            "MPLCONFIGDIR": str(folder / "matplotlib"),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "80",
            "TERM": "dumb",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(TESTS),
            "PYTHONFAULTHANDLER": "",
        }
        self._server = subprocess.Popen(
            [sys.executable, "-c", "from campaign import forks; forks.serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=folder,
        )

    def call(
        self,
        function: str,
        *,
        cwd: Path,
        writes: Path | None = None,
        cpu_seconds: float = CPU_SECONDS,
        **arguments: Any,
    ) -> Ended:
        """Run a function of `calls` in a process of its own.

        Args:
            function: Its name.
            cwd: Where it runs.
            writes: The folder that it can write in; None: ``cwd``.
            cpu_seconds: Processor time after which it is ended.
            arguments: The function's.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        request = {
            "function": function,
            "cwd": str(cwd),
            "writes": str(writes or cwd),
            "arguments": arguments,
            "cpu_seconds": cpu_seconds,
        }
        try:
            self._server.stdin.write(json.dumps(request).encode() + b"\n")
            self._server.stdin.flush()
            answer = self._server.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            raise RuntimeError(f"the server of the campaign ended with {self._server.wait(10)}")
        return Ended(
            stdout=(self.folder / "stdout").read_bytes(),
            stderr=(self.folder / "stderr").read_bytes(),
            **json.loads(answer),
        )

    def command(self, *words: str, cwd: Path, **arguments: Any) -> Ended:
        """Run a command of `regionspot`."""
        return self.call("command", cwd=cwd, words=list(words), **arguments)

    def close(self) -> None:
        """End the server."""
        self._server.communicate(timeout=60)


@contextmanager
def fork_server(folder: Path) -> Iterator[Forks]:
    """A server that ends with the context."""
    forks = Forks(folder)
    try:
        yield forks
    finally:
        forks.close()


# What follows runs in the server and in its forks.


def serve() -> None:
    """Answer requests from standard input, one after the other, until it ends."""
    for name in MODULES:
        importlib.import_module(name)
    _build_command_tree_once()
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)
        for name in Path("imported").read_text().split():
            with suppress(Exception):  # so that the next call need not
                importlib.import_module(name)


def _build_command_tree_once() -> None:
    """Spare each call the fifth of a second that Typer takes to make its commands."""
    import typer.main

    import regionspot.cli

    tree: Any = typer.main.get_command(regionspot.cli.app)
    for stage in regionspot.cli.STAGES:
        assert tree.commands[stage].commands  # made when they are first asked for
    typer.main.get_command = lambda app: tree


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    child = os.fork()
    if child == 0:
        _run(request)
    end = time.monotonic() + SECONDS
    timed_out = False
    while True:
        ended, status, used = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if not timed_out and time.monotonic() > end:
            timed_out = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.002)
    with suppress(ProcessLookupError):  # what the call had started itself
        os.killpg(child, signal.SIGKILL)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": used.ru_utime + used.ru_stime,
        "timed_out": timed_out,
    }


def _run(request: dict[str, Any]) -> NoReturn:
    """Do what is asked and end as the interpreter would."""
    code = 70
    try:
        os.setsid()
        seconds = int(request["cpu_seconds"])
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        space = MEMORY + resource.getpagesize() * int(
            Path("/proc/self/statm").read_text().split()[0]
        )
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number, name in ((0, os.devnull), (1, "stdout"), (2, "stderr")):
            flags = os.O_RDONLY if number == 0 else os.O_RDWR | os.O_CREAT | os.O_TRUNC
            descriptor = os.open(name, flags, 0o644)
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        imported, before = open("imported", "w"), set(sys.modules)  # noqa: SIM115, PTH123
        temporary = Path("temporary").resolve()
        os.chdir(request["cwd"])
        if can_confine():
            confine([Path(request["writes"]), temporary])
        calls = importlib.import_module("campaign.calls")
        code = _code_of(getattr(calls, request["function"]), request["arguments"])
        imported.write("\n".join(sys.modules.keys() - before))
        for file in (imported, sys.stdout, sys.stderr):
            file.flush()
    finally:
        os._exit(code)


def _code_of(function: Any, arguments: dict[str, Any]) -> int:
    try:
        function(**arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
