"""Class embeddings from the frozen CLIP's text tower."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.text.alike import warn_of_alike
from regionspot_core.text.class_bank import ClassBank, average_templates
from regionspot_core.text.class_text import ClassText, TextConfig
from regionspot_core.text.templates import load_templates

TEXTS_AT_ONCE = 2048
"""Texts embedded together, unless one class has more."""


def build_class_bank(
    encoder: ImageTextEncoder, vocabulary: Vocabulary, config: TextConfig | None = None
) -> ClassBank:
    """Embed every class in all its texts and average; by default the paper's way.

    Raises:
        InputError: The templates are neither a set nor a file of templates.
    """
    config = config or TextConfig()
    text = ClassText.create(vocabulary, load_templates(config.templates), config)
    rows = [embed_classes(encoder, text, classes) for classes in class_batches(text)]
    bank = ClassBank(
        vocabulary=vocabulary,
        embeddings=np.concatenate(rows),
        logit_scale=encoder.logit_scale,
        text=text,
        clip=encoder.fingerprint(),
    )
    warn_of_alike(bank)
    return bank


def paper_text(vocabulary: Vocabulary) -> ClassText:
    """Return the texts of the default bank, the paper's."""
    config = TextConfig()
    return ClassText.create(vocabulary, load_templates(config.templates), config)


def load_class_bank(
    file: Path, encoder: ImageTextEncoder, vocabulary: Vocabulary | None = None
) -> ClassBank:
    """Load a bank of `regionspot extract text` that fits this CLIP and these classes.

    Raises:
        InputError: The file is missing or is no bank.
        FingerprintError: It was made by another CLIP, or for other classes.
    """
    bank = ClassBank.load(file)
    bank.require_clip(encoder.fingerprint(), what=str(file))
    if vocabulary is not None:
        bank.require_vocabulary(vocabulary, what=str(file))
    warn_of_alike(bank)
    return bank


def class_batches(text: ClassText) -> Iterator[range]:
    """Yield runs of classes with about ``TEXTS_AT_ONCE`` texts; the same ones every time."""
    start, texts = 0, 0
    for index, words in enumerate(text.words):
        count = len(words) * len(text.templates)
        if texts and texts + count > TEXTS_AT_ONCE:
            yield range(start, index)
            start, texts = index, 0
        texts += count
    yield range(start, len(text.words))


def embed_classes(
    encoder: ImageTextEncoder, text: ClassText, classes: range
) -> NDArray[np.float32]:
    """Return the embeddings (len(classes), D) of a run of classes, each of length 1."""
    texts = [text.texts(index) for index in classes]
    embedded = encoder.text_embeddings([line for lines in texts for line in lines]).cpu().numpy()
    borders = np.cumsum([len(lines) for lines in texts])[:-1]
    each = np.split(embedded, borders)
    return np.concatenate([average_templates(rows[None]) for rows in each])
