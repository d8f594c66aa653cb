"""All encodings by name: those of this folder, and those that others register."""

from __future__ import annotations

from regionspot_core.cache.layout.encodings.encoding import Encoding
from regionspot_core.cache.layout.encodings.float16 import FLOAT16
from regionspot_core.cache.layout.encodings.int8 import INT8
from regionspot_core.support.named_objects import load_object

ENCODINGS: dict[str, Encoding] = {each.name: each for each in (FLOAT16, INT8)}


def register_encoding(encoding: Encoding) -> None:
    """Add an encoding; ``--dtype NAME`` then takes it, and stores of it can be read.

    It replaces one of the same name. A process that has not called this needs ``--dtype
    MODULE:NAME``.
    """
    ENCODINGS[encoding.name] = encoding


def find_encoding(name: str) -> Encoding:
    """Return the encoding called ``name``, or the one in a module: ``my_package.encodings:MINE``.

    Raises:
        ValueError: If there is none.
    """
    if name in ENCODINGS:
        return ENCODINGS[name]
    if ":" in name:
        return load_object(name, Encoding)
    raise ValueError(f"expected {', '.join(ENCODINGS)} or MODULE:NAME")
