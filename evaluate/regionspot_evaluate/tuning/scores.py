"""The scores of a store's regions by a head and by CLIP alone, where neither has an advantage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.backbones.runtime import Runtime
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import CacheError, InputError
from regionspot_core.heads.checkpoint import HeadRecord
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.heads.score_fusion import LEAST
from regionspot_core.support.progress import progress_line
from regionspot_evaluate.recognition.baselines.zero_shot import ZeroShot
from regionspot_evaluate.recognition.cached_head import CachedHead
from regionspot_evaluate.tuning.config import TuneConfig
from regionspot_evaluate.tuning.search import RegionScores

MOST_VALUES = 2**25
"""Most scores that are looked at: those of further images would change the numbers little."""


class Scored(NamedTuple):
    """Regions of images that a head learnt nothing of."""

    scores: RegionScores
    images: int
    left_out: int
    """Regions of classes that were neither learnt nor held out."""


def score_regions(
    config: TuneConfig, cache: FeatureCache, record: HeadRecord, held_out: HeldOutClasses
) -> Scored:
    """Score the regions of seen and of held-out classes, in images that the head did not learn.

    Raises:
        CacheError: If the store has no regions of one kind.
        CheckpointError: If the head cannot be read, or its logits are not finite.
        FingerprintError: If the head belongs to other frozen models than the store.
        InputError: If the head learnt from all images.
    """
    names, bank = cache.vocabulary.names, cache.class_bank()
    seen_K = record.classes_learnt(names)
    usable_K = seen_K | held_out.among(names)
    images = _images(config, cache, record, usable_K)
    device = Runtime.create(config.device).device
    head, clip = CachedHead(config.head, cache, bank, device=device), ZeroShot(bank)
    found: list[tuple[torch.Tensor, ...]] = []
    left_out = 0
    with progress_line("tune", total=len(images), unit="images") as advance:
        for start in range(0, len(images), config.batch_images):
            batch = cache.read(images[start : start + config.batch_images])
            usable = batch.mask & torch.from_numpy(usable_K)[batch.classes.clamp(min=0)]
            logits = head.logits(batch.as_float(device)).float().cpu()[usable]
            shares = torch.from_numpy(clip.probabilities(batch.region_embeddings[usable].float()))
            found.append((logits, shares.clamp(min=LEAST).log(), batch.classes[usable]))
            left_out += int((batch.mask & ~usable).sum())
            advance(len(batch))
    head_NK, clip_NK, true_N = map(torch.cat, zip(*found, strict=True))
    scores = RegionScores(head_NK, clip_NK, true_N, torch.from_numpy(seen_K))
    _require_both(config, scores)
    return Scored(scores, len(images), left_out)


def _images(
    config: TuneConfig, cache: FeatureCache, record: HeadRecord, usable_K: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return images that the head learnt nothing of, in random order and not too many."""
    sha256 = cache.fingerprint["dataset"]["annotations_sha256"]
    new = ~record.images_learnt_from(sha256, cache.image_ids)
    if not new.any():
        raise InputError(
            f"{config.head}: it learnt from all images of {config.cache}, so what it says of them "
            f"is remembered; train it with --split too, or give a store of other images"
        )
    place, classes = cache.region_classes()
    images = np.unique(place[new[place] & usable_K[classes]])
    if not len(images):
        raise CacheError(
            f"{config.cache}: none of the images that {config.head} did not learn from has a "
            f"region of a class that it learnt or held out; give a store of its own data set"
        )
    images = np.random.default_rng(0).permutation(images)
    values = np.cumsum(cache.region_counts[images]) * len(cache.vocabulary)
    return images[: max(1, int((values <= MOST_VALUES).sum()))]


def _require_both(config: TuneConfig, scores: RegionScores) -> None:
    seen = int(scores.seen_N.sum())
    for count, what in ((seen, "learnt"), (len(scores.true_N) - seen, "held out")):
        if not count:
            raise CacheError(
                f"{config.cache}: expected regions of classes that {config.head} {what}, in images "
                f"that it did not learn from; found none. Give a larger store, or hold more out"
            )
