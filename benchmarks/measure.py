"""Wall time and peak memory of a command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple


class Measured(NamedTuple):
    """Cost of one process."""

    seconds: float
    """Wall time."""
    processor_seconds: float
    bytes: int
    """Peak of resident memory."""


def measure(name: str, command: Sequence[str]) -> Measured:
    """Print and return a command's time and peak memory, as the system counts them.

    The system counts a child's peak from before it becomes the command, so what calls this should
    itself be small.
    """
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name}: exit code {os.waitstatus_to_exitcode(status)}")
    # ru_maxrss is in KiB on Linux and in bytes on macOS.
    peak = usage.ru_maxrss * (1024 if sys.platform == "linux" else 1)
    measured = Measured(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, peak)
    print(
        f"== {name}: {measured.seconds:.1f} s ({measured.processor_seconds:.1f} of processor), "
        f"{peak / 1024**2:,.0f} MiB peak",
        flush=True,
    )
    return measured
