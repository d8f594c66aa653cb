"""A process that can write below some folders only, whoever it runs as.

By Linux's Landlock (kernel 5.13; https://docs.kernel.org/userspace-api/landlock.html), which asks
for no rights. Reading is as before.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_BENEATH, _VERSION, _NO_NEW_PRIVILEGES = 1, 1, 38
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
_CHANGE = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))
"""Writing, removing and making of files, folders, links, devices, sockets and pipes."""


def can_confine() -> bool:
    """Whether this system has Landlock."""
    return _version() >= 1


def confine(folders: Iterable[Path]) -> None:
    """Let this process, and those it starts, write below these folders only, and to /dev/null.

    Raises:
        OSError: The system does not do it.
    """
    version = _version()
    access = _CHANGE | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    rules = _called(_CREATE, ctypes.byref(ctypes.c_uint64(access)), 8, 0)
    for path in (*folders, Path(os.devnull)):
        opened = os.open(path, os.O_PATH)
        allowed = access if path.is_dir() else access & (_WRITE_FILE | _TRUNCATE)
        rule = allowed.to_bytes(8, "little") + opened.to_bytes(4, "little")
        _called(_ADD, rules, _BENEATH, rule, 0)
        os.close(opened)
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _called(_RESTRICT, rules, 0)
    os.close(rules)


def _version() -> int:
    return int(ctypes.CDLL(None).syscall(_CREATE, None, 0, _VERSION))


def _called(*arguments: object) -> int:
    done = int(ctypes.CDLL(None, use_errno=True).syscall(*arguments))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done
