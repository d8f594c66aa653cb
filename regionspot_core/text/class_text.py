"""From class names to the texts that CLIP embeds.

A text is a *template* (``a photo of a {}.``) filled with a *word*: the class's name, raw or
cleaned, and where asked its synonyms too. A class may have *descriptions* of its own beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from regionspot_core.config import Config
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError
from regionspot_core.support.arguments import existing_file
from regionspot_core.support.input_files import read_lines
from regionspot_core.support.options import Flag
from regionspot_core.support.records import shown

PLACE = "{}"
"""Place of the word in a template."""


class TextConfig(Config):
    """Settings of how classes are put into words. The defaults are the paper's."""

    templates: Annotated[str, Flag(metavar="NAME|FILE")] = "paper"
    """Templates: `paper` (81), `openai` (80), `simple` (7), or a file with one a line."""
    wording: Annotated[Literal["raw", "cleaned"], Flag()] = "raw"
    """Class names as the file spells them (`dining_table`), or cleaned (`dining table`)."""
    synonyms: Annotated[bool, Flag()] = False
    """Average over the annotation file's synonyms as well, where it has any (LVIS has)."""
    descriptions: Annotated[Path | None, Flag(metavar="FILE.json", check=existing_file)] = None
    """Sentences about classes, as language models write them: `{"name": ["sentence", …], …}`."""
    description_share: Annotated[float, Flag()] = Field(default=0.5, gt=0, le=1)
    """Share of the sentences in a class's embedding beside the templates; 1: in their place."""


@dataclass(frozen=True)
class ClassText:
    """The texts of K classes: every word of a class in every template."""

    words: tuple[tuple[str, ...], ...]
    """K times at least one word."""
    templates: tuple[str, ...]
    wording: str
    synonyms: bool
    descriptions: tuple[tuple[str, ...], ...] = ()
    """K times any number of sentences, in which ``{}`` stands for a word; empty: no class has."""
    description_share: float = 1.0
    """Share of a class's sentences in its embedding, where it has any."""

    @classmethod
    def create(
        cls,
        vocabulary: Vocabulary,
        templates: Sequence[str],
        config: TextConfig,
        descriptions: Sequence[Sequence[str]] = (),
    ) -> ClassText:
        """Return the texts of a vocabulary.

        Args:
            vocabulary: The K classes.
            templates: The templates.
            config: Whether names are cleaned, and so on.
            descriptions: K classes' sentences, or none at all.
        """
        words = tuple(
            _words(name, synonyms if config.synonyms else (), config.wording)
            for name, synonyms in zip(vocabulary.names, vocabulary.synonyms, strict=True)
        )
        text = cls(words, tuple(templates), config.wording, config.synonyms)
        if not descriptions:
            return text
        sentences = tuple(map(tuple, descriptions))
        return replace(text, descriptions=sentences, description_share=config.description_share)

    def texts(self, index: int) -> list[str]:
        """Return one class's filled templates, word by word; empty where sentences replace them."""
        if self.description_share == 1 and self.sentences(index):
            return []
        return fill_templates(self.words[index], self.templates)

    def sentences(self, index: int) -> list[str]:
        """Return the sentences about one class; empty where it has none."""
        described = self.descriptions[index] if self.descriptions else ()
        return list(dict.fromkeys(fill_templates(self.words[index], described)))

    def recipe(self) -> dict[str, Any]:
        """Return everything that tells these texts from others, as plain values."""
        recipe = {
            "templates": len(self.templates),
            "templates_sha256": _sha256(self.templates),
            "wording": self.wording,
            "synonyms": self.synonyms,
        }
        if self.descriptions:
            recipe |= {
                "descriptions": sum(map(len, self.descriptions)),
                "descriptions_sha256": _sha256(self.descriptions),
                "description_share": self.description_share,
            }
        return recipe


def fill_templates(words: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Return all texts, word by word: ``len(words) × len(templates)`` strings."""
    return [template.replace(PLACE, word) for word in words for template in templates]


def clean_name(name: str) -> str:
    """Turn ``dining_table`` into ``dining table``, ``bat_(animal)`` into ``bat (animal)``."""
    return " ".join(name.replace("_", " ").split())


def name_as_read(name: str) -> str:
    """Return a name as CLIP reads it: ``dining_table`` and ``Dining table`` are one class."""
    return clean_name(name).lower()


def read_templates(path: Path) -> tuple[str, ...]:
    """Read the templates in a text file, one a line; empty lines are left out.

    Raises:
        InputError: The file is missing, empty or not UTF-8, or a line has no ``{}``.
    """
    lines = read_lines(path, what="a file of templates")
    for number, line in lines:
        if PLACE not in line:
            raise InputError(
                f"{path}: line {number}: expected a template with {PLACE} for the name, "
                f"got {shown(line)}"
            )
    return tuple(line for _, line in lines)


def _sha256(texts: object) -> str:
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode()).hexdigest()


def _words(name: str, synonyms: Sequence[str], wording: str) -> tuple[str, ...]:
    words = (name, *synonyms)
    if wording == "cleaned":
        words = tuple(clean_name(word) for word in words)
    return tuple(dict.fromkeys(words))
