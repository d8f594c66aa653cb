"""Small JSON files that tell when a single byte of them has changed."""

from __future__ import annotations

from typing import Any

from regionspot_core.cache.storage.store import Store
from regionspot_core.errors import CacheDamagedError
from regionspot_core.support.checksums import SEAL, sealed
from regionspot_core.support.records import parse_object


def write_sealed(store: Store, key: str, values: dict[str, Any]) -> None:
    """Write values with the checksum of their text."""
    store.write(key, [sealed(values)])


def read_sealed(store: Store, key: str) -> dict[str, Any] | None:
    """Read the values of a file that :func:`write_sealed` wrote; None if there is no file.

    Raises:
        CacheDamagedError: If the file is not, byte for byte, what was written.
    """
    content = store.read(key)
    return None if content is None else unsealed(content, name=f"{store}: {key}")


def unsealed(content: bytes, *, name: str) -> dict[str, Any]:
    """Parse the values in a file's content; ``name`` is the file's in the message.

    Raises:
        CacheDamagedError: If it is not, byte for byte, what was written.
    """
    values: dict[str, Any] = {}
    try:
        values = parse_object(content)
        del values[SEAL]
        whole = sealed(values) == content
    except (ValueError, KeyError):
        whole = False
    if not whole:
        raise CacheDamagedError(
            f"{name} is damaged; `regionspot extract verify` tells what else is"
        )
    return values
