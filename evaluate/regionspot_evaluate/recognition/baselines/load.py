"""Baselines by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.recognition.baselines.clip_crop import ClipCrop
from regionspot_evaluate.recognition.baselines.clip_masked_crop import ClipMaskedCrop
from regionspot_evaluate.recognition.baselines.clip_pool import ClipPool
from regionspot_evaluate.recognition.baselines.names import BaselineName
from regionspot_evaluate.recognition.baselines.protocol import Baseline

_KINDS: dict[BaselineName, Callable[[ImageTextEncoder, ClassBank], Baseline]] = {
    "clip-crop": ClipCrop,
    "clip-masked-crop": ClipMaskedCrop,
    "clip-pool": ClipPool,
}


def load_baselines(
    names: Sequence[BaselineName], encoder: ImageTextEncoder, bank: ClassBank
) -> dict[BaselineName, Baseline]:
    """The named ones, on the CLIP and the vocabulary that the head has.

    Raises:
        InputError: A baseline cannot work with this CLIP.
    """
    return {name: _KINDS[name](encoder, bank) for name in names}
