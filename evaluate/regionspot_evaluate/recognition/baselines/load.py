"""Baselines by their names."""

from __future__ import annotations

from collections.abc import Iterable

from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.recognition.baselines.names import BASELINE_TABLE, BaselineName
from regionspot_evaluate.recognition.baselines.protocol import Baseline


def load_baselines(
    names: Iterable[BaselineName], encoder: ImageTextEncoder, bank: ClassBank
) -> dict[BaselineName, Baseline]:
    """Return the named baselines, on the CLIP and the vocabulary that the head has.

    Raises:
        InputError: If a baseline cannot work with this CLIP.
    """
    return {name: BASELINE_TABLE[name].create(encoder, bank) for name in names}
