"""What `regionspot doctor` looks at: versions, devices, weights and the disk of this machine."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from regionspot_core import __version__
from regionspot_core.errors import InputError
from regionspot_core.support.error_text import reason_of
from regionspot_core.support.tables import facts_table, format_bytes, show, show_unbroken

WHOLE = "regionspot"
EXTRAS = ("app", "ray", "parquet", "tensorboard", "wandb")
"""Extras that a user may want; without one its own commands say so."""
DISK_BYTES = 128 * 1024**2
"""Size of the file that is written and read."""

State = Literal["ok", "optional", "missing"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    state: State = "ok"
    """``optional``: not there, and not needed by all; ``missing``: nothing works without it."""
    mend: str | None = None
    """Command that gets what is not there."""


@dataclass(frozen=True)
class Diagnosis:
    """All findings, by the headings they are shown under."""

    findings: dict[str, tuple[Finding, ...]]

    @property
    def is_well(self) -> bool:
        """Return whether everything is there that all commands need."""
        return all(each.state != "missing" for group in self.findings.values() for each in group)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        groups = {name: [asdict(each) for each in group] for name, group in self.findings.items()}
        return {"version": __version__, "ok": self.is_well, "findings": groups}

    def show(self) -> None:
        """Print a table for each heading, and a command for each thing that is not there."""
        for heading, group in self.findings.items():
            show(facts_table(heading, {each.what: each.found for each in group}))
        for state, words in (("missing", "to mend"), ("optional", "to add, if it is wanted")):
            commands = {
                each.mend: each.what
                for group in self.findings.values()
                for each in group
                if each.state == state and each.mend
            }
            if commands:
                show(f"{words}:")
                for command in commands:
                    show_unbroken(f"  {command}")
        show("everything that all commands need is here" if self.is_well else "not well: see above")


def examine(folder: Path) -> Diagnosis:
    """Look at everything.

    Args:
        folder: Where stores will lie: its disk is measured.

    Raises:
        InputError: If nothing can be written into the folder.
    """
    return Diagnosis(
        {
            "Packages": (_python(), *_packages()),
            "Devices": tuple(_devices()),
            "Weights": tuple(_weights()),
            f"Disk of {folder.resolve()}": tuple(_disk(folder)),
        }
    )


def _python() -> Finding:
    return Finding("python", f"{platform.python_version()}, {platform.platform(terse=True)}")


def _packages() -> Iterator[Finding]:
    """Yield regionspot's requirements, and those of its extras, as far as they are not there."""
    yield Finding(WHOLE, __version__)
    missing_of: dict[str, list[str]] = {}
    for text in metadata.requires(WHOLE) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        extra = next((e for e in EXTRAS if marker and marker.evaluate({"extra": e})), None)
        if marker is not None and extra is None:
            continue  # for those who work on it
        found = _installed(requirement.name)
        fits = found is not None and requirement.specifier.contains(found, prereleases=True)
        if extra is not None:
            missing_of.setdefault(extra, [])
            if not fits:
                missing_of[extra].append(requirement.name)
        elif fits:
            yield Finding(requirement.name, str(found))
        else:
            wanted = f"{requirement.name}{requirement.specifier}"
            state = f"{found or 'not installed'}, expected {requirement.specifier}"
            yield Finding(requirement.name, state, "missing", f"pip install '{wanted}'")
    for extra, missing in missing_of.items():
        if missing:
            words = f"not installed: {', '.join(missing)}"
            yield Finding(f"[{extra}]", words, "optional", f"pip install 'regionspot[{extra}]'")
        else:
            yield Finding(f"[{extra}]", "installed")


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cpu", f"{cores} cores, {torch.get_num_threads()} threads of PyTorch")
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        memory = format_bytes(facts.total_memory)
        yield Finding(f"cuda:{number}", f"{facts.name}, {memory}, CUDA {torch.version.cuda}")
    if torch.backends.mps.is_available():
        yield Finding("mps", "Apple's")
    elif not torch.cuda.is_available():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for CPUs alone"
        yield Finding("gpu", f"none that PyTorch ({built}) can use: everything runs on the CPU")


def _weights() -> Iterator[Finding]:
    """Yield the official files by whether they are where the other commands look."""
    from regionspot_core.backbones.weights.official import SAM_FILES, openai_file, sam_file

    files = {f"--sam {name}": sam_file(name) for name in SAM_FILES}
    files |= {
        f"--clip {name}": file
        for name in ("ViT-B-16", "ViT-L-14", "ViT-L-14-336")
        if (file := openai_file(name)) is not None
    }
    yield Finding("tiny models", "in the package; they know the demo's world alone")
    for option, file in files.items():
        if not file.path.is_file():
            fetch = f"regionspot extract weights {option}"
            yield Finding(file.what, "not there", "optional", fetch)
        elif file.size not in (None, size := file.path.stat().st_size):
            found = f"{file.path}: {size:,} bytes, expected {file.size:,}"
            yield Finding(file.what, found, "optional", f"regionspot extract weights {option}")
        else:
            yield Finding(file.what, str(file.path))


def _disk(folder: Path) -> Iterator[Finding]:
    """Yield free space, and the speed of writing a file and of reading it again."""
    block = os.urandom(1024**2)
    try:
        usage = os.statvfs(folder) if hasattr(os, "statvfs") else None
        if usage is not None:
            yield Finding("free", format_bytes(usage.f_bavail * usage.f_frsize))
        with tempfile.TemporaryFile(dir=folder) as file:
            began = time.perf_counter()
            for _ in range(DISK_BYTES // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            written = time.perf_counter() - began
            cold = hasattr(os, "posix_fadvise")
            if cold:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            began = time.perf_counter()
            while file.read(len(block)):
                pass
            read = time.perf_counter() - began
    except OSError as error:
        raise InputError(
            f"--dir {folder}: expected a folder that {format_bytes(DISK_BYTES)} can be written "
            f"into, got: {reason_of(error)}"
        ) from None
    yield Finding("writes", f"{format_bytes(DISK_BYTES / written)}/s, synced")
    reads = "" if cold else ", out of memory where the system keeps files there"
    yield Finding("reads", f"{format_bytes(DISK_BYTES / read)}/s{reads}")
