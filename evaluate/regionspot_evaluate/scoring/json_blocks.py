"""A JSON list of objects in pieces that a fast parser takes one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 8 * 1024**2
_BETWEEN = re.compile(rb"\}[ \t\n\r]*,[ \t\n\r]*(?=\{)")
_SEARCHED = 64 * 1024


def list_blocks(path: Path, *, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Cut the file of a list of objects between two of them, into JSON lists.

    Cuts are found by their look, ``}, {``, so one may be inside an element. Then neither side is
    JSON: where every block is, they are the list's elements, in order.

    Raises:
        ValueError: The file's bytes do not begin and end as a list.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        rest = file.read(block_bytes).removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\n\r")
        if not rest.startswith(b"["):
            raise ValueError("no list")
        yield from _blocks(file, rest[1:], block_bytes)


def _blocks(file: BinaryIO, rest: bytes, block_bytes: int) -> Iterator[bytes]:
    while more := file.read(block_bytes):
        cut = _last_between(rest)
        if cut is not None:
            end, begin = cut
            yield b"[" + rest[:end] + b"]"
            rest = rest[begin:]
        rest += more
    while (cut := _last_between(rest)) is not None and len(rest) > block_bytes:
        yield b"[" + rest[: cut[0]] + b"]"
        rest = rest[cut[1] :]
    yield b"[" + rest


def _last_between(text: bytes) -> tuple[int, int] | None:
    """Where the last object but one ends, and where the last begins."""
    window = _SEARCHED
    while True:
        begin = max(0, len(text) - window)
        match = None
        for match in _BETWEEN.finditer(text, begin):  # noqa: B007
            pass
        if match is not None:
            return match.start() + 1, match.end()
        if begin == 0:
            return None
        window *= 8
