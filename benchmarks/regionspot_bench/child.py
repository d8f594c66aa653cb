"""Processes of a benchmark with their own memory; each prints its figures as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from regionspot_core.errors import WorkerError


def run_children(module: str, arguments: Sequence[Sequence[object]]) -> list[dict[str, Any]]:
    """Run a module with each list of arguments, all at once, and return the figures of each.

    Raises:
        WorkerError: If a process ends with another exit code than 0.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", module, *map(str, each)], stdout=subprocess.PIPE, text=True
        )
        for each in arguments
    ]
    try:
        outputs = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process in processes:
        if process.returncode:
            raise WorkerError(f"{module} in a process of its own ended with {process.returncode}")
    return [json.loads(output) for output in outputs]
