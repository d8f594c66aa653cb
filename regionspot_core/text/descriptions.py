"""Sentences about classes, as language models write them when asked what a thing looks like.

Their embeddings, each of length 1, are averaged (Menon and Vondrick 2023, arXiv 2210.07183; Pratt
et al. 2023, arXiv 2209.03320).
"""

from __future__ import annotations

from pathlib import Path

from regionspot_core.datasets.vocabulary import Vocabulary, is_text
from regionspot_core.errors import InputError
from regionspot_core.support.records import read_json_object, shown
from regionspot_core.text.match_names import match_names

EXPECTED = 'sentences by class name, {"name": ["sentence", …], …}'


def read_descriptions(path: Path, vocabulary: Vocabulary) -> tuple[tuple[str, ...], ...]:
    """Return the sentences about each of K classes; none for a class that the file lacks.

    Args:
        path: A JSON object of lists of sentences by class name. ``{}`` in a sentence stands for
            the name.
        vocabulary: The classes.

    Raises:
        InputError: If the file is missing or holds anything else, or a name is of no class.
    """
    try:
        content = read_json_object(path)
    except FileNotFoundError:
        raise InputError(f"{path}: expected {EXPECTED}; got no such file") from None
    sentences = {name: _sentences(path, name, value) for name, value in content.items()}
    if not sentences:
        raise InputError(f"{path}: expected {EXPECTED}; got no name")
    listed = tuple(sentences.values())
    places = match_names(vocabulary, tuple(sentences), source=str(path))
    return tuple(() if place is None else listed[place] for place in places)


def _sentences(path: Path, name: str, value: object) -> tuple[str, ...]:
    """Return the sentences about a class, stripped.

    Raises:
        InputError: If the value is not a list of texts.
    """
    found = value if isinstance(value, list) else []
    stripped = tuple(each.strip() for each in found if isinstance(each, str))
    if not stripped or len(stripped) < len(found) or not all(map(_is_sentence, stripped)):
        raise InputError(f"{path}: {shown(name)}: expected a list of sentences, got {shown(value)}")
    return stripped


def _is_sentence(text: str) -> bool:
    return bool(text) and is_text(text)
