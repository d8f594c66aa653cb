"""Vocabularies as users give them: names on the command line, a text file, an annotation file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from regionspot_core.datasets.reading import annotation_suffixes, read_vocabulary
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError
from regionspot_core.support.input_files import read_lines


def load_vocabulary(*, names: str | None = None, file: Path | None = None) -> Vocabulary:
    """Return the vocabulary that one of the two arguments gives.

    Args:
        names: Class names with commas between.
        file: A text file with one name a line, or an annotation file or folder, whose categories
            are taken with their ids.

    Raises:
        InputError: If not exactly one is given, the file is missing or malformed, or a name comes
            twice.
    """
    if (names is None) == (file is None):
        raise InputError("give the class names as either --names A,B,C or --vocabulary FILE")
    if file is not None and (file.is_dir() or file.suffix.lower() in annotation_suffixes()):
        return read_vocabulary(file)
    if file is not None:
        return _from_names(
            str(file), [n for _, n in read_lines(file, what="one class name a line")]
        )
    assert names is not None
    return _from_names("--names", [name.strip() for name in names.split(",") if name.strip()])


def _from_names(source: str, names: Sequence[str]) -> Vocabulary:
    if not names:
        raise InputError(f"{source}: expected at least one class name, got none")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{source}: expected different class names, got {twice[0]!r} twice")
    return Vocabulary.from_names(names)
