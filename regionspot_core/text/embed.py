"""Class embeddings from the frozen CLIP's text tower."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.text.alike import warn_of_alike
from regionspot_core.text.class_bank import ClassBank, average_templates, mix, unit_mean
from regionspot_core.text.class_text import ClassText, TextConfig
from regionspot_core.text.descriptions import read_descriptions
from regionspot_core.text.templates import load_templates

TEXTS_AT_ONCE = 2048
"""Texts embedded together, unless one class has more."""


def build_class_bank(
    encoder: ImageTextEncoder, vocabulary: Vocabulary, config: TextConfig | None = None
) -> ClassBank:
    """Embed every class in all its texts and average; by default the paper's way.

    Raises:
        InputError: As :func:`load_class_text`.
    """
    text = load_class_text(vocabulary, config or TextConfig())
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
    return load_class_text(vocabulary, TextConfig())


def load_class_text(vocabulary: Vocabulary, config: TextConfig) -> ClassText:
    """Return a vocabulary's texts, of the templates and descriptions that are asked for.

    Raises:
        InputError: If the templates are neither a set nor a file of templates, or the descriptions
            are not a file of the vocabulary's.
    """
    templates = load_templates(config.templates)
    if config.descriptions is None:
        return ClassText.create(vocabulary, templates, config)
    descriptions = read_descriptions(config.descriptions, vocabulary)
    return ClassText.create(vocabulary, templates, config, descriptions)


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
    for index in range(len(text.words)):
        count = len(text.texts(index)) + len(text.sentences(index))
        if texts and texts + count > TEXTS_AT_ONCE:
            yield range(start, index)
            start, texts = index, 0
        texts += count
    yield range(start, len(text.words))


def embed_classes(
    encoder: ImageTextEncoder, text: ClassText, classes: range
) -> NDArray[np.float32]:
    """Return the embeddings (len(classes), D) of a run of classes, each of length 1."""
    groups = [lines for index in classes for lines in (text.texts(index), text.sentences(index))]
    embedded = encoder.text_embeddings([line for lines in groups for line in lines]).cpu().numpy()
    each = np.split(embedded, np.cumsum([len(lines) for lines in groups])[:-1])
    return np.stack(
        [
            _class_embedding(filled, sentences, text.description_share)
            for filled, sentences in zip(each[::2], each[1::2], strict=True)
        ]
    )


def _class_embedding(
    filled_PD: NDArray[np.floating], sentences_ND: NDArray[np.floating], share: float
) -> NDArray[np.float32]:
    """Return a class's embedding (D,), of length 1, from those of its texts."""
    described = unit_mean(sentences_ND) if len(sentences_ND) else None
    if described is not None and not len(filled_PD):
        return described
    named: NDArray[np.float32] = average_templates(filled_PD[None])[0]
    return named if described is None else mix(named, described, share=share)
