"""The embedded tiny SAM and CLIP as backbones like the others: no download, for a first look."""

from __future__ import annotations

from regionspot_core.backbones.clip.encoder import ClipEncoder
from regionspot_core.backbones.clip.towers import resize_tower
from regionspot_core.backbones.config import TINY_THRESHOLDS
from regionspot_core.backbones.registry import TINY, Entry
from regionspot_core.backbones.runtime import Runtime, hash_weights
from regionspot_core.backbones.sam.encoder import SamEncoder
from regionspot_core.backbones.sam.input import resize_sam_input
from regionspot_core.errors import InputError


def load_tiny_region_encoder(
    name: str, *, weights: str | None, input_size: int | None, runtime: Runtime
) -> SamEncoder:
    """Load the tiny SAM with its shipped weights.

    Raises:
        InputError: Weights are named, or the input size is none it can take.
    """
    from regionspot_core.tiny.models import load_tiny_sam

    _refuse_weights("--sam", weights)
    model = load_tiny_sam()
    trained = hash_weights(model)
    if input_size is not None:
        resize_sam_input(model, input_size, name=name)
    return SamEncoder(
        model, name=name, runtime=runtime, weight_hash=trained, thresholds=TINY_THRESHOLDS
    )


def load_tiny_image_text_encoder(
    name: str, *, weights: str | None, input_size: int | None, runtime: Runtime
) -> ClipEncoder:
    """Load the tiny CLIP with its shipped weights.

    Raises:
        InputError: Weights are named, or the input size is none it can take.
    """
    from regionspot_core.tiny.models import load_tiny_clip, tiny_tokenizer

    _refuse_weights("--clip", weights)
    model = load_tiny_clip()
    trained = hash_weights(model)
    if input_size is not None:
        resize_tower(model, input_size, name=name)
    return ClipEncoder(model, tiny_tokenizer(), name=name, runtime=runtime, weight_hash=trained)


def _refuse_weights(option: str, weights: str | None) -> None:
    if weights is not None:
        raise InputError(f"{option} {TINY} brings its own weights; leave out {weights}")


REGION_ENCODER = Entry(lambda: (TINY,), load_tiny_region_encoder, examples=(TINY,))
IMAGE_TEXT_ENCODER = Entry(lambda: (TINY,), load_tiny_image_text_encoder, examples=(TINY,))
