"""Class embeddings from the frozen CLIP's text tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.class_bank import ClassBank, average_templates, fill_templates
from regionspot_core.vocabulary import Vocabulary

PROMPTS_AT_ONCE = 2048


def build_class_bank(
    encoder: ImageTextEncoder, vocabulary: Vocabulary, templates: Sequence[str]
) -> ClassBank:
    """Embed every class name in every template and average: the paper's way.

    Names are used as the annotation file spells them.
    """
    prompts = fill_templates(vocabulary.names, templates)
    embedded = torch.cat(
        [
            encoder.text_embeddings(prompts[start : start + PROMPTS_AT_ONCE]).cpu()
            for start in range(0, len(prompts), PROMPTS_AT_ONCE)
        ]
    )
    per_class = embedded.view(len(vocabulary), len(templates), -1).numpy()
    return ClassBank(
        vocabulary=vocabulary,
        embeddings=average_templates(per_class),
        logit_scale=encoder.logit_scale,
        templates=tuple(templates),
        clip=encoder.fingerprint(),
    )
