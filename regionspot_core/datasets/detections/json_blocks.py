"""A JSON list of objects in pieces that a fast parser takes one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import msgspec

BLOCK_BYTES = 8 * 1024**2
_BETWEEN = re.compile(rb"\}[ \t\n\r]*,[ \t\n\r]*(?=\{)")
_SEARCHED = 64 * 1024


class Block(NamedTuple):
    """A piece of a list."""

    begin: int
    """Offset in the file of the piece's first byte."""
    length: int
    """Number of the piece's bytes in the file."""
    text: bytes
    """The piece as a JSON list of its own."""


def list_blocks(file: BinaryIO, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Cut the file of a list of objects between two of them, into JSON lists.

    Cuts are found by their look, ``}, {``, so one may be inside an element. Then neither side is
    JSON: where every block is, they are the list's elements, in order.

    Raises:
        ValueError: If the file's bytes do not begin and end as a list.
        OSError: If it cannot be read.
    """
    raw = file.read(block_bytes)
    rest = raw.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\n\r")
    if not rest.startswith(b"["):
        raise ValueError("no list")
    begin, rest = len(raw) - len(rest) + 1, rest[1:]
    while more := file.read(block_bytes):
        if (cut := _last_between(rest)) is not None:
            yield Block(begin, cut.end, b"[" + rest[: cut.end] + b"]")
            begin, rest = begin + cut.begin, rest[cut.begin :]
        rest += more
    while (cut := _last_between(rest)) is not None and len(rest) > block_bytes:
        yield Block(begin, cut.end, b"[" + rest[: cut.end] + b"]")
        begin, rest = begin + cut.begin, rest[cut.begin :]
    yield Block(begin, len(rest), b"[" + rest)


def pick_elements(text: bytes, places: Sequence[int], *, of: int) -> bytes:
    """Return a JSON list of some elements of a block.

    Args:
        text: The block's bytes, with the list's closing bracket.
        places: Places of the elements in it.
        of: Number of the block's elements.
    """
    elements = _BETWEEN.split(text)
    if len(elements) != of:  # something inside of an element looks like a cut
        elements = [msgspec.json.encode(each)[:-1] for each in msgspec.json.decode(b"[" + text)]
    else:
        elements[-1] = elements[-1].rstrip(b" \t\n\r]")[:-1]
    return b"[" + b",".join(elements[place] + b"}" for place in places) + b"]"


class _Cut(NamedTuple):
    end: int
    """Offset where the last object but one ends."""
    begin: int
    """Offset where the last object begins."""


def _last_between(text: bytes) -> _Cut | None:
    """Return where a text can be cut last; None for nowhere."""
    window = _SEARCHED
    while True:
        begin = max(0, len(text) - window)
        match = None
        for match in _BETWEEN.finditer(text, begin):  # noqa: B007
            pass
        if match is not None:
            return _Cut(match.start() + 1, match.end())
        if begin == 0:
            return None
        window *= 8
