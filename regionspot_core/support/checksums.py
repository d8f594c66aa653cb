"""Checksums that tell whether a file, or a small JSON file's values, are as they were written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import google_crc32c
import xxhash
from pydantic import ConfigDict

from regionspot_core.support.records import KNOWN_KEYS_ONLY, Count, Xxh3

SEAL = "crc32c"
"""Key of a sealed JSON file's own checksum."""


@dataclass(frozen=True)
class FileSum:
    """Size and checksum of a file.

    Not a CRC: one of content that ends in its own CRC, as every chunk of ours does, is the same
    number whatever the content, so that two parts' files would have the same sum.
    """

    __pydantic_config__: ClassVar[ConfigDict] = KNOWN_KEYS_ONLY

    size: Count
    """Bytes."""
    xxh3: Xxh3
    """XXH3 of the whole file, 64 bits in 16 hexadecimal digits (xxhash.com)."""

    @classmethod
    def of(cls, pieces: Iterable[Any]) -> FileSum:
        """Return the sum of a file's content, given piece by piece as buffers of bytes."""
        size, total = 0, xxhash.xxh3_64()
        for piece in pieces:
            size += len(piece)
            total.update(piece)
        return cls(size, total.hexdigest())


def sealed(values: dict[str, Any]) -> bytes:
    """Return a JSON file's content: the values and the checksum of their text."""
    return _text(values | {SEAL: seal_of(values)})


def is_sealed(values: dict[str, Any], content: bytes) -> bool:
    """Return whether a file's content is, byte for byte, what :func:`sealed` makes of its values.

    Args:
        values: The content's values, without the checksum's.
        content: The content, checksum and all.
    """
    try:
        return sealed(values) == content
    except UnicodeEncodeError:  # half of a surrogate pair: nothing of ours has one
        return False


def seal_of(values: dict[str, Any]) -> str:
    """Return the checksum that :func:`sealed` adds."""
    return f"{google_crc32c.value(_text(values)):08x}"


def _text(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()
