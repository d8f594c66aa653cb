"""What a cache was made from, and how two such records differ.

A fingerprint is a nested dict of plain values. Its ``backbones`` part decides what the tokens
mean: a head trained on one cache fits exactly the backbones with the same part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from regionspot_core.errors import FingerprintError

Fingerprint = dict[str, Any]
SHA256_DIGITS = 64
LONGEST_SHOWN = 200
"""Characters of a value that a message shows."""
CONTENT = {
    "annotations": "another annotation file",
    "bank": "other class embeddings",
    "classes": "other classes",
    "descriptions": "other descriptions",
    "examples": "other examples",
    "head": "another head",
    "pictures": "other pictures",
    "proposals": "other proposals",
    "templates": "other templates",
    "weights": "other weights",
}
"""What a hash stands for, by a word in its field's name."""
MOST_SHOWN = 12
"""Fields that a message names: a file of another kind differs in all."""


def differences(expected: Fingerprint, actual: Fingerprint) -> list[str]:
    """Return one line a differing field: ``path: expected …, found …``; empty where all agree."""
    left, right = dict(_flatten(expected)), dict(_flatten(actual))
    return [
        f"{key}: {_contrast(key, left.get(key), right.get(key))}"
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def require_equal(expected: Fingerprint, actual: Fingerprint, *, what: str, advice: str) -> None:
    """Refuse two fingerprints that differ.

    Args:
        expected: Record that is asked for, or needed.
        actual: Record of a file or folder, or of what was given.
        what: Begin of the message.
        advice: End of the message.

    Raises:
        FingerprintError: If they differ; the message names each field, or the first of many.
    """
    fields = differences(expected, actual)
    if len(fields) > MOST_SHOWN:
        fields = [*fields[:MOST_SHOWN], f"and {len(fields) - MOST_SHOWN} more fields"]
    if fields:
        raise FingerprintError(f"{what}: {'; '.join(fields)}. {advice}")


def is_labelled(fingerprint: Fingerprint) -> bool:
    """Return whether a store's regions have classes: those from proposals have none."""
    return fingerprint.get("dataset", {}).get("labelled", True) is not False


def _flatten(value: Fingerprint, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flatten(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _contrast(key: str, expected: object, found: object) -> str:
    """Return how two values differ; of hashes and long lists, what differs in words."""
    shown = f"expected {_show(expected)}, found {_show(found)}"
    if _is_sha256(expected) and _is_sha256(found):
        content = next((words for part, words in CONTENT.items() if part in key), "another file")
        return f"{shown} ({content})"
    if isinstance(expected, list) and isinstance(found, list) and len(shown) > LONGEST_SHOWN:
        both = zip(expected, found, strict=False)
        shorter = min(len(expected), len(found))
        place = next((n for n, (left, right) in enumerate(both) if left != right), shorter)
        first, other = (_show(each[place] if place < len(each) else None)
                        for each in (expected, found))  # fmt: skip
        return (
            f"expected {len(expected):,}, found {len(found):,}; number {place + 1:,} is the first "
            f"that differs: expected {first}, found {other}"
        )
    return shown


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and len(value) == SHA256_DIGITS and value.isalnum()


def _show(value: object) -> str:
    text = "nothing" if value is None else str(value)
    if _is_sha256(value):
        return f"{text[:12]}…"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
