"""Runs of an extraction in processes that can be killed at any moment, and start at once.

A fork server has all modules loaded; each run is a fork of it, so that it begins after
milliseconds instead of the seconds that importing PyTorch takes.
"""

import multiprocessing
import os
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from regionspot_extract.config import ExtractConfig

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["regionspot_extract.run", "open_clip", "segment_anything"])


def start(config: ExtractConfig, log: Path) -> BaseProcess:
    """Begin a run. ``log`` gets its standard error, and a line for every part it begins."""
    process = _FORKS.Process(target=_extract, args=(config.model_dump(mode="json"), log))
    process.start()
    return process


def parts_begun(log: Path) -> list[int]:
    """The parts that a run began to encode."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [int(line.removeprefix("begun ")) for line in lines if line.startswith("begun ")]


def _extract(config: dict[str, Any], log: Path) -> None:
    from regionspot_extract.encoding.encode import Encoder
    from regionspot_extract.run import run_extraction

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    original = Encoder.encode_part

    def encode_part(self: Encoder, part: Any, *arguments: Any, **named: Any) -> Any:
        os.write(descriptor, f"begun {part.index}\n".encode())
        return original(self, part, *arguments, **named)

    Encoder.encode_part = encode_part  # type: ignore[method-assign]
    run_extraction(ExtractConfig.parse(config, source="test"))
