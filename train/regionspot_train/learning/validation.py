"""Validation of a head while it is being trained: on another cache, or on images held out."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from regionspot_core.cache.location import Location
from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.split import Split
from regionspot_core.errors import CacheError, CheckpointError, ConfigError
from regionspot_core.fingerprint import require_equal
from regionspot_core.heads.cached import embed
from regionspot_core.heads.head import Head
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.heads.shape import HeadShape
from regionspot_core.heads.stored import require_stored
from regionspot_core.scoring.box_precision import BoxPrecision, plan_store_scoring
from regionspot_core.support.files import written_aside
from regionspot_core.support.progress import say_once
from regionspot_core.support.tables import counted
from regionspot_train.config import TrainConfig, ValidationConfig
from regionspot_train.data.sources import Source

VALIDATION = "validation.jsonl"
PRECISION = {"ap": "AP", "ap_r": "APr", "ap_c": "APc", "ap_f": "APf"}
"""Figures of average precision that are kept, each with its name at the scorers."""
MANY_REGIONS = 400
"""Regions from which on the standard error of top-1 is below 2.5 %."""
FREQUENCIES = {"f": "frequent", "c": "common", "r": "rare"}


@dataclass(frozen=True)
class Accuracy:
    """Shares of regions whose highest class, of the whole vocabulary, is the true one.

    With ``validation.ap`` also box average precision with the annotated boxes as proposals, by
    LVIS's rules or COCO's: of all classes, and by LVIS's of rare, common and frequent ones. None:
    not measured, or no such class.
    """

    step: int
    top1: float
    """Share of all regions."""
    class_mean: float
    """Mean share over the classes that have regions: rare ones count as much as frequent ones."""
    by_frequency: dict[str, float] = field(default_factory=dict)
    """Share of the regions of LVIS's frequent, common and rare classes, if there are any."""
    held_out: float | None = None
    """Share of the regions of classes that ``data.hold_out_classes`` held out of training; None:
    there are none."""
    ap: float | None = None
    ap_r: float | None = None
    ap_c: float | None = None
    ap_f: float | None = None


_ACCURACY = TypeAdapter(Accuracy)


def accuracy(
    step: int,
    predicted: NDArray[np.int64],
    true: NDArray[np.int64],
    frequencies: tuple[str, ...],
    held_out_K: NDArray[np.bool_],
) -> Accuracy:
    """Compare predicted class indices (N,) with the true ones.

    Args:
        step: Step of the head.
        predicted: (N,) class indices.
        true: (N,) class indices.
        frequencies: K of LVIS's letters, or empty texts.
        held_out_K: (K,) classes that are held out of training.
    """
    right, held_out = predicted == true, held_out_K[true]
    regions = np.bincount(true, minlength=len(frequencies))
    hits = np.bincount(true, weights=right, minlength=len(frequencies))
    present = regions > 0
    group = np.array(frequencies)[true]
    return Accuracy(
        step=step,
        top1=float(right.mean()),
        class_mean=float((hits[present] / regions[present]).mean()),
        by_frequency={
            name: float(right[group == letter].mean())
            for letter, name in FREQUENCIES.items()
            if (group == letter).any()
        },
        held_out=float(right[held_out].mean()) if held_out.any() else None,
    )


class ValidationSet:
    """Cache whose regions heads classify, to measure how good they are.

    Args:
        config: The figures to measure.
        store: A cache of the same backbones. Regions are classified in its own vocabulary.
        backbones: The fingerprint of the training cache's backbones.
        batch_images: Images at a time.
        device: Device of the heads.
        split: Split of the training cache's own images, of which those held out are classified;
            None: all images of the store.
        held_out_classes: Classes that are held out of training, which then have a figure of their
            own.

    Raises:
        CacheError: If the cache is missing, unfinished or has no regions.
        FingerprintError: If it was made by other backbones; the message names the fields.
    """

    def __init__(
        self,
        config: ValidationConfig,
        store: Location,
        backbones: dict[str, Any],
        *,
        batch_images: int,
        device: torch.device,
        split: Split | None = None,
        held_out_classes: HeldOutClasses | None = None,
    ) -> None:
        self.config = config
        self._cache = FeatureCache(store)
        self._cache.require_labels("validate on")
        require_equal(
            backbones,
            self._cache.fingerprint["backbones"],
            what=f"{store}, to validate on, was made by other backbones than the training cache",
            advice="Extract it with the same --sam and --clip",
        )
        counts = self._cache.region_counts
        if split is not None:
            counts = counts * split.held_out(self._cache.image_ids)
        self._images, self._regions = np.flatnonzero(counts), int(counts.sum())
        if not len(self._images):
            raise CacheError(f"{store}: no image has a region, so there is nothing to validate on")
        bank = self._cache.class_bank()
        self._classes_KD = torch.from_numpy(bank.embeddings).to(device)
        self._clip_scale = bank.logit_scale
        if config.ap:
            say_once(f"validate: {plan_store_scoring(self._cache).line}")
        self._split = split
        names = self._cache.vocabulary.names
        self._held_out_K = np.zeros(len(names), dtype=bool)
        if held_out_classes is not None:
            self._held_out_K = held_out_classes.among(names)
        self._batch_images = batch_images
        self._device = device

    @property
    def data(self) -> dict[str, Any]:
        """Settings and data set of the figures, for the run's record."""
        dataset = self._cache.fingerprint["dataset"]
        if self._split is not None:
            dataset = dataset | {"images": len(self._images), "regions": self._regions}
        return {"settings": self.config.to_json(), "dataset": dataset}

    @property
    def note(self) -> str | None:
        """One line that says how little is known of few regions; None where they are many."""
        if self._regions >= MANY_REGIONS:
            return None
        error = 0.5 / math.sqrt(self._regions)
        return (
            f"validating on {counted(len(self._images), 'image')} with "
            f"{counted(self._regions, 'region')}: top-1 may be {error:.0%} off by chance, and so "
            f"may be which head is the best"
        )

    def require_inputs(self, head: HeadShape) -> None:
        """Refuse a head that needs inputs which the cache does not keep.

        Raises:
            InputError: If the cache lacks them.
        """
        require_stored(head, self._cache.plan, of=str(self._cache.stores[0].store))

    @torch.inference_mode()
    def measure(self, heads: Sequence[Head], steps: Sequence[int]) -> list[Accuracy]:
        """Measure each head after its steps; the cache is read once for all of them."""
        tallies = [
            _Tally(self._cache, self._images, self._held_out_K, ap=self.config.ap) for _ in heads
        ]
        training = [head.training for head in heads]
        kept = self._cache.plan.keep.sam_tokens
        for part in np.array_split(self._images, math.ceil(len(self._images) / self._batch_images)):
            batch = self._cache.read(part)
            features = batch.as_float(self._device)
            for head, tally in zip(heads, tallies, strict=True):
                embedded, _ = embed(head.eval(), features, kept, self._device)
                logits = head.logits(embedded, self._classes_KD, self._clip_scale)
                tally.add(batch, logits)
        for head, before in zip(heads, training, strict=True):
            head.train(before)
        return [tally.figures(step) for tally, step in zip(tallies, steps, strict=True)]


def open_validation(
    config: TrainConfig, sources: Sequence[Source], store: Location | None, device: torch.device
) -> ValidationSet | None:
    """Open what a run is validated on: a store, or the images that it holds out of its own.

    Args:
        config: The run's settings.
        sources: The caches that the run learns from.
        store: The store of ``--val``; None where there is none.
        device: Device of the heads.

    Returns:
        None if there is nothing to validate on.

    Raises:
        CacheError: As for :class:`ValidationSet`.
        ConfigError: If there are both a store and a split.
        FingerprintError: As for :class:`ValidationSet`.
    """
    split = sources[0].split
    if split is not None and store is not None:
        raise ConfigError(
            "--val and --split (data.split) both say what to validate on; leave one of them out"
        )
    if split is None and store is None:
        return None
    return ValidationSet(
        config.validation,
        sources[0].name if store is None else store,
        sources[0].cache.fingerprint["backbones"],
        batch_images=config.batch_images,
        device=device,
        split=split,
        held_out_classes=sources[0].held_out_classes,
    )


class _Tally:
    """Predictions of one head, batch by batch."""

    def __init__(
        self,
        cache: FeatureCache,
        images: NDArray[np.int64],
        held_out_K: NDArray[np.bool_],
        *,
        ap: bool,
    ) -> None:
        self._frequencies = cache.vocabulary.frequencies
        self._held_out_K = held_out_K
        self._precision = BoxPrecision(cache, images) if ap else None
        self._predicted: list[NDArray[np.int64]] = []
        self._true: list[NDArray[np.int64]] = []

    def add(self, batch: FeatureBatch, logits_BRK: torch.Tensor) -> None:
        self._predicted.append(logits_BRK.argmax(-1).cpu()[batch.mask].numpy())
        self._true.append(batch.classes[batch.mask].numpy())
        if self._precision is not None:
            self._precision.add(batch, logits_BRK)

    def figures(self, step: int) -> Accuracy:
        predicted, true = np.concatenate(self._predicted), np.concatenate(self._true)
        measured: dict[str, Any] = {}
        if self._precision is not None:
            precision = self._precision.figures().values
            measured = {ours: precision.get(theirs) for ours, theirs in PRECISION.items()}
        measured_by_name = accuracy(step, predicted, true, self._frequencies, self._held_out_K)
        return replace(measured_by_name, **measured)


class Validator:
    """A run's validations in order, the best of them, and whether to go on."""

    def __init__(self, config: ValidationConfig) -> None:
        self.config = config
        self.history: list[Accuracy] = []

    @property
    def best(self) -> Accuracy | None:
        """Return the best validation so far, the first where several are equal."""
        return max(self.history, key=self.figure, default=None)

    @property
    def patience_is_lost(self) -> bool:
        """Return whether the last ``patience`` validations brought no better one."""
        if self.config.patience is None or self.best is None:
            return False
        return len(self.history) - 1 - self.history.index(self.best) >= self.config.patience

    def due(self, step: int, last: int) -> bool:
        """Return whether a step is followed by a validation; the last one always is."""
        return step % self.config.every == 0 or step == last

    def add(self, accuracy: Accuracy) -> bool:
        """Add a validation, and return whether it is the best so far."""
        before = self.best
        self.history.append(accuracy)
        return before is None or self.figure(accuracy) > self.figure(before)

    def figure(self, each: Accuracy) -> float:
        """Return the figure that ``validation.best_by`` ranks heads by."""
        return float(getattr(each, self.config.best_by))

    def keep(self, folder: Path, step: int) -> None:
        """Take over the history up to a step that an interrupted run left in its folder.

        Raises:
            CheckpointError: If the history is damaged.
        """
        path = folder / VALIDATION
        lines = path.read_bytes().splitlines() if path.exists() else []
        try:
            history = [_ACCURACY.validate_json(line) for line in lines]
        except ValidationError as error:
            raise CheckpointError(
                f"{path}: damaged, expected a validation a line ({error.errors()[0]['msg']}); "
                f"delete it, and --resume chooses the best head among those from here on"
            ) from None
        self.history = [each for each in history if each.step <= step]

    def write(self, folder: Path) -> None:
        """Write the history into a run's folder, a JSON line each; whole or not at all."""
        with written_aside(folder / VALIDATION) as partial:
            partial.write_text("".join(map(_line, self.history)), encoding="utf-8")


def _line(each: Accuracy) -> str:
    """Return a validation as a JSON line, without figures that were not measured."""
    measured = {name: value for name, value in asdict(each).items() if value is not None}
    return json.dumps(measured) + "\n"
