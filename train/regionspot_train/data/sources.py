"""The caches of a run, each with its own vocabulary, checked before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from regionspot_core.cache.location import Location
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.split import Split
from regionspot_core.errors import CacheError, ConfigError, FingerprintError
from regionspot_core.fingerprint import require_equal
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.heads.trained_on import TrainedClasses
from regionspot_core.text.class_bank import ClassBank
from regionspot_train.config import DataConfig, LossConfig
from regionspot_train.data.repeat import repeat_factors


@dataclass(frozen=True, eq=False)
class Source:
    """One cache that a run learns from."""

    cache: FeatureCache
    bank: ClassBank
    """Class embeddings of the cache's own vocabulary."""
    images: NDArray[np.int64]
    """(I,) indices of the images with regions that the run learns from."""
    class_regions: NDArray[np.int64]
    """(K,) regions of each class in these images; 0 of classes that are held out."""
    region_counts: NDArray[np.int64]
    """(len(cache),) regions of each image, without those of held-out classes."""
    repeat: NDArray[np.float64] | None
    """(I,) how often each comes an epoch; None: once."""
    weight: float
    """Weight of this cache in the sampling mix."""
    split: Split | None = None
    """Images that are held out of ``images``; None: none are."""
    held_out_classes: HeldOutClasses | None = None
    """Classes that are held out of training, regions and names; None: none are."""

    @property
    def name(self) -> str:
        """Path or URL of the store."""
        return str(self.cache.stores[0].store)

    @cached_property
    def learnt_classes(self) -> NDArray[np.bool_]:
        """(K,) whether each class is learnt, not held out."""
        if self.held_out_classes is None:
            return np.ones(len(self.class_regions), dtype=bool)
        return ~self.held_out_classes.among(self.cache.vocabulary.names)

    @cached_property
    def record(self) -> dict[str, Any]:
        """The cache's data set and vocabulary, for the record of a head that learnt from it."""
        classes = TrainedClasses.of(
            self.cache.vocabulary, self.class_regions.tolist(), self.learnt_classes.tolist()
        )
        held_out = {"split": self.split, "held_out_classes": self.held_out_classes}
        return {
            "store": self.name,
            **self.cache.fingerprint["dataset"],
            "classes": classes.model_dump(mode="json"),
            "files": self.cache.file_sample(),
            **{key: each.model_dump(mode="json") for key, each in held_out.items() if each},
        }


def open_sources(stores: Location | Sequence[Location], config: DataConfig) -> tuple[Source, ...]:
    """Open the caches of a run.

    Raises:
        CacheError: If a cache is missing, unfinished, empty or without regions, or has regions of
            classes that its vocabulary lacks.
        ConfigError: If weights or views do not fit the caches.
        FingerprintError: If they are of different backbones or different CLIPs' texts.
    """
    several = [stores] if isinstance(stores, Location) else list(stores)
    if not several:
        raise ConfigError("expected at least one --cache to learn from, got none")
    if config.weights and len(config.weights) != len(several):
        raise ConfigError(
            f"data.weights: expected a number for each of {len(several)} caches, got "
            f"{len(config.weights)}"
        )
    if not all(weight > 0 for weight in config.weights):
        raise ConfigError(f"data.weights: expected numbers above 0, got {list(config.weights)}")
    if config.split is not None and len(several) > 1:
        raise ConfigError(
            f"a split is of one cache, got {len(several)}; leave out --split (data.split) and give "
            f"--val a store to validate on"
        )
    weights = config.weights or [None] * len(several)
    labels = [_read_labels(store, config) for store in several]
    held_out_classes = _held_out_classes(labels, config)
    sources = tuple(
        _source(each, weight, config, held_out_classes)
        for each, weight in zip(labels, weights, strict=True)
    )
    for other in sources[1:]:
        _require_alike(sources[0], other)
    return sources


def require_labels(sources: Sequence[Source], loss: LossConfig) -> None:
    """Refuse caches that lack the labels of a loss.

    Raises:
        CacheError: If the loss is federated, and a cache has no negative classes of its images.
    """
    for source in sources if loss.federated else ():
        if source.cache.negative is None:
            raise CacheError(
                f"{source.name}: loss.federated needs each image's negative classes, and the store "
                f"has none; extract annotations that have them (LVIS's neg_category_ids), or leave "
                f"loss.federated out"
            )


class _Labels(NamedTuple):
    """A cache, and the classes of its regions."""

    cache: FeatureCache
    bank: ClassBank
    place: NDArray[np.int64]
    """(R,) the image of each region."""
    classes: NDArray[np.int64]
    """(R,) the class index of each region."""


def _read_labels(store: Location, config: DataConfig) -> _Labels:
    """Open a cache, and refuse one that there is nothing to learn from."""
    cache = FeatureCache(store)
    cache.require_labels("learn from")
    if not cache.region_counts.any():
        what = "it holds no image" if not len(cache) else "no image has a region"
        raise CacheError(
            f"{store}: {what}, so there is nothing to learn from; `regionspot extract check` says "
            f"what its annotations hold, and why boxes are dropped"
        )
    keep = cache.plan.keep
    for wanted, kept, name in (
        (config.jitter, keep.jitter, "jitter"),
        (config.flip, keep.flip, "flip"),
    ):
        if wanted and not kept:
            raise ConfigError(
                f"data.{name}: {store} keeps no such view; extract it with --{name}, or set "
                f"data.{name}=false"
            )
    bank = cache.class_bank()
    place, classes = cache.region_classes()
    if classes.max() >= len(bank.embeddings) or classes.min() < 0:
        raise CacheError(
            f"{store}: expected classes of 0 … {len(bank.embeddings) - 1}, its vocabulary's, found "
            f"{classes.min()} … {classes.max()}; extract it again"
        )
    return _Labels(cache, bank, place, classes)


def _held_out_classes(labels: Sequence[_Labels], config: DataConfig) -> HeldOutClasses | None:
    """Return the classes that are held out of all caches, chosen among all that are labelled."""
    if config.hold_out_classes is None:
        return None
    labelled = {
        each.cache.vocabulary.names[index] for each in labels for index in np.unique(each.classes)
    }
    return HeldOutClasses.of(labelled, share=config.hold_out_classes, seed=config.hold_out_seed)


def _source(
    labels: _Labels,
    weight: float | None,
    config: DataConfig,
    held_out_classes: HeldOutClasses | None,
) -> Source:
    cache, bank, place, classes = labels
    region_counts = cache.region_counts
    split, learnt = None, np.ones(len(cache), dtype=bool)
    if config.split is not None:
        annotated = cache.image_ids[region_counts > 0]
        split = Split.of(annotated, share=config.split, seed=config.split_seed)
        learnt = ~split.held_out(cache.image_ids)
    if held_out_classes is not None:
        kept = ~held_out_classes.among(cache.vocabulary.names)[classes]
        place, classes = place[kept], classes[kept]
        region_counts = np.bincount(place, minlength=len(cache))
    images = np.flatnonzero(learnt & (region_counts > 0))
    if not len(images):
        raise CacheError(
            f"{cache.stores[0].store}: every region that is not held out as an image's is of a "
            f"class that is (data.hold_out_classes), which leaves none to learn from; use smaller "
            f"shares"
        )
    place, classes = place[learnt[place]], classes[learnt[place]]
    repeat = None
    if config.repeat_threshold is not None:
        number = np.cumsum(learnt) - 1  # of each image among those that are learnt from
        repeat = repeat_factors(
            number[place], classes, images=int(learnt.sum()), threshold=config.repeat_threshold
        )[number[images]]
    class_regions = np.bincount(classes, minlength=len(bank.embeddings))
    own_weight = len(images) if weight is None else weight
    return Source(
        cache, bank, images, class_regions, region_counts, repeat, float(own_weight), split,
        held_out_classes,
    )  # fmt: skip


def _require_alike(first: Source, other: Source) -> None:
    require_equal(
        _common(first),
        _common(other),
        what=f"{first.name} and {other.name} cannot be learnt from together",
        advice="Extract both with the same --sam and --clip",
    )
    try:
        first.bank.require_clip(other.bank.clip, what=f"{first.name}'s class bank")
    except FingerprintError as error:
        raise FingerprintError(
            f"{other.name}: its class embeddings are of another CLIP. {error}"
        ) from None


def _common(source: Source) -> dict[str, Any]:
    shape = source.cache.plan.shape
    return {
        "backbones": source.cache.fingerprint["backbones"],
        "image_tokens": shape.image_tokens,
        "image_width": shape.image_width,
        "region_width": shape.region_width,
        "sam_tokens": source.cache.plan.keep.sam_tokens,
    }
