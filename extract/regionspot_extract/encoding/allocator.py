"""Memory that a model's activations leave, kept for the next batch's.

glibc's ``malloc`` gives large blocks back to the system when they are freed, and gets new ones that
the system fills with zeros, page by page: a fifth of a SAM-B's time on a CPU (benchmarks/LOG.md).
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Numbers from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_MEANWHILE = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
# glibc raises its thresholds up to these by itself, as large blocks are freed, but never again once
# it was told any.
_AFTERWARDS = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 32 * 1024**2, _TRIM_THRESHOLD: 64 * 1024**2}
_within = 0
_lock = threading.Lock()


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Let freed memory stay with this process meanwhile; does nothing but on a CPU with glibc.

    Several threads may be within: the last one out ends it.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" and device.type == "cpu" else None
    if libc is None or not hasattr(libc, "gnu_get_libc_version"):
        yield
        return
    _step(libc, 1)
    try:
        yield
    finally:
        _step(libc, -1)


def _step(libc: ctypes.CDLL, by: int) -> None:
    """Count a thread in or out; the first one in and the last one out tell glibc."""
    global _within
    with _lock:
        _within += by
        if (_within, by) == (1, 1):
            for what, value in _MEANWHILE.items():
                libc.mallopt(what, value)
        elif _within == 0:
            for what, value in _AFTERWARDS.items():
                libc.mallopt(what, value)
            libc.malloc_trim(0)
