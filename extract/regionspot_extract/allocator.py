"""Memory that a model's activations leave, kept for the next batch's.

glibc's ``malloc`` gives large blocks back to the system when they are freed, and gets new ones that
the system fills with zeros, page by page: a fifth of a SAM-B's time on a CPU (benchmarks/LOG.md).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# From glibc's malloc.h, with its defaults.
_TRIM_THRESHOLD, _TRIM_DEFAULT = -1, 128 * 1024
_MMAP_MAX, _MMAP_DEFAULT = -4, 65_536
_NEVER = 2**31 - 1


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Let freed memory stay with this process meanwhile; does nothing but on a CPU with glibc."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" and device.type == "cpu" else None
    if libc is None or not hasattr(libc, "gnu_get_libc_version"):
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, _MMAP_DEFAULT)
        libc.mallopt(_TRIM_THRESHOLD, _TRIM_DEFAULT)
        libc.malloc_trim(0)
