"""Wall time and peak memory of a command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence


def measure(name: str, command: Sequence[str]) -> None:
    """Print a command's wall time and peak memory, as the system counts them.

    The system counts a child's peak from before it becomes the command, so what calls this should
    itself be small.
    """
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name}: exit code {os.waitstatus_to_exitcode(status)}")
    # ru_maxrss is in KiB on Linux and in bytes on macOS.
    mebibytes = usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    print(f"== {name}: {time.perf_counter() - began:.1f} s, {mebibytes:,.0f} MiB peak", flush=True)
