"""The story of an evaluation without backbones: a cache's tokens through heads, scored."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core import __version__
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.cache.location import Location
from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.read_ahead import ReadAhead
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.reading import read_table
from regionspot_core.errors import CacheError, InputError
from regionspot_core.heads.checkpoint import HeadRecord, read_record
from regionspot_core.scoring.box_precision import BoxPrecision, plan_store_scoring
from regionspot_core.scoring.training_groups import group_precision
from regionspot_core.support.files import require_folder_or_nothing, write_json
from regionspot_core.support.progress import progress_line
from regionspot_core.text.alike import warn_of_alike
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.config import CachedConfig
from regionspot_evaluate.folder.detections import (
    DETECTIONS,
    ResultsFile,
    image_detections,
    results_names,
)
from regionspot_evaluate.folder.folder import CACHED_RECORD, IMAGES, METRICS, RUN_RECORD
from regionspot_evaluate.folder.json_records import read_json_record
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.recognition.cached_head import CachedHead
from regionspot_evaluate.recognition.head_fusion import HeadFusion, choose_fusion, warn_of_tuning
from regionspot_evaluate.recognition.head_names import head_names
from regionspot_evaluate.recognition.held_out import images_learnt_from, images_to_score
from regionspot_evaluate.recognition.which_head import say_which_heads
from regionspot_evaluate.reports.cached import CachedReport, HeadFigures
from regionspot_evaluate.scoring.classification import RegionNaming
from regionspot_evaluate.scoring.figures import PROTOCOL_TITLES
from regionspot_evaluate.scoring.table_scorer import TableScorer
from regionspot_evaluate.scoring.unknown import UnknownClasses
from regionspot_evaluate.trained_images import warn_of_trained_images

_FOREIGN = ("zarr.json", RUN_RECORD, IMAGES)
"""Files of a store, or of a folder of `evaluate run`."""
_OWN = (*results_names(), METRICS)
"""Files that `evaluate cached` writes for each head."""


def run_cached_evaluation(config: CachedConfig) -> CachedReport:
    """Score heads on a cache that is read once; no frozen model is loaded or needed.

    Raises:
        CacheError: If the store is missing or unfinished, or has no region.
        CheckpointError: If there is no readable head, or its logits are not finite.
        FingerprintError: If a head or the class bank belongs to other frozen models.
        InputError: If another input is wrong.
    """
    names = head_names(config.heads)
    say_which_heads(config.heads)
    fusions = [choose_fusion(config.fuse, head) for head in config.heads]
    if config.out is not None:
        _require_place(config.out, names)
    cache = FeatureCache(config.cache)
    cache.require_labels("score by")
    if not cache.region_counts.any():
        raise CacheError(f"{config.cache}: no image has a region, so there is nothing to score")
    bank = _class_bank(config, cache)
    device = Runtime.create(config.device).device
    heads = [
        CachedHead(head, cache, bank, device=device, fusion=fusion)
        for head, fusion in zip(config.heads, fusions, strict=True)
    ]
    sha256 = cache.fingerprint["dataset"]["annotations_sha256"]
    scored = images_to_score(config.heads, sha256, cache.image_ids, all_images=config.all_images)
    file_bytes = cache.stores[0].file_bytes()
    warn_of_trained_images(
        config.heads, sha256, file_bytes, file_bytes.get, source=f"--cache {config.cache}"
    )
    warn_of_tuning(dict(zip(names, fusions, strict=True)), sha256)
    images = np.flatnonzero(scored & (cache.region_counts > 0))
    if not len(images):
        raise CacheError(f"{config.cache}: no image that was held out has a region to score")
    scorer = _scorer(config, cache, scored)
    plan = scorer.plan if scorer else plan_store_scoring(cache, config.protocol)
    with _folder(config, scorer) as folder:
        with ExitStack() as files:
            records = [read_record(head) for head in config.heads]
            tallies = [
                _Tally(config, cache, images, record, _results(folder, name, names, files))
                for name, record in zip(names, records, strict=True)
            ]
            _name_regions(config, cache, images, heads, tallies, device)
            if config.out is not None:
                # Before anything there gets its name.
                _record(config, config.out, names, fusions, cache.image_ids[scored])
        report = CachedReport(
            heads={
                name: tally.figures(scorer, record.training_counts())
                for name, record, tally in zip(names, records, tallies, strict=True)
            },
            fusions=dict(zip(names, fusions, strict=True)),
            cache=_absolute(config.cache),
            annotations=_absolute(config.annotations),
            images=int(scored.sum()),
            regions=int(cache.region_counts[images].sum()),
            failed=len(cache.failed),
            plan=plan,
        )
    if config.out is not None:
        config.out.mkdir(parents=True, exist_ok=True)
        for name in names:
            write_json(_own(config.out, name, names) / METRICS, report.to_json(name))
    return report


def _require_place(out: Path, names: list[str]) -> None:
    """Refuse a folder of something else, and one whose files of these names are not ours."""
    require_folder_or_nothing(out)
    for name in names:
        own = _own(out, name, names)
        ours = (own / CACHED_RECORD).exists() or _was_scored_from_a_cache(own / METRICS)
        foreign = _FOREIGN if ours else (*_FOREIGN, *_OWN)
        found = next((p for f in foreign for p in {out / f, own / f} if os.path.lexists(p)), None)
        if found is not None:
            raise InputError(
                f"--out {out}: expected a new folder, or one of `evaluate cached`; this one has "
                f"{found.relative_to(out)}. Choose another"
            )


def _was_scored_from_a_cache(metrics: Path) -> bool:
    """Return whether an earlier version, which left no record, wrote these figures."""
    return metrics.exists() and "cache" in read_json_record(metrics)


def _record(
    config: CachedConfig,
    out: Path,
    names: list[str],
    fusions: list[HeadFusion | None],
    scored: NDArray[np.int64],
) -> None:
    """Write each head's record into its folder, with the ids of the images that are scored."""
    for name, head, fusion in zip(names, config.heads, fusions, strict=True):
        configuration = {
            "cache": _absolute(config.cache), "head": _absolute(head),
            "annotations": _absolute(config.annotations), "bank": _absolute(config.bank),
        }  # fmt: skip
        write_json(
            _own(out, name, names) / CACHED_RECORD,
            {
                "configuration": configuration,
                "fusion": fusion and fusion.settings.to_json(),
                "scored_images": scored.tolist(),
                "version": __version__,
            },
        )


def _absolute(place: Location | None) -> str | None:
    """Return an absolute path, or the URL as it is."""
    if place is None:
        return None
    return str(place) if "://" in str(place) else str(Path(place).absolute())


def _scorer(
    config: CachedConfig, cache: FeatureCache, scored: NDArray[np.bool_]
) -> TableScorer | None:
    if config.annotations is None:
        return None
    table = read_table(config.annotations)
    missing = np.setdiff1d(cache.image_ids, table.image_id)
    if len(missing):
        raise InputError(
            f"--annotations {config.annotations}: expected the file that {config.cache} was "
            f"extracted with; {len(missing):,} of the store's {len(cache):,} images are not in it "
            f"(id {missing[0]}, …)"
        )
    if not scored.all():  # images that the store lacks may have been held out, or not
        sha256 = cache.fingerprint["dataset"]["annotations_sha256"]
        learnt = images_learnt_from(config.heads, sha256, table.image_id)
        new: NDArray[np.bool_] = ~np.any(learnt, axis=0)
        table = table.only(new)
    protocols = None if config.protocol is None else (config.protocol,)
    return TableScorer(table, protocols=protocols, ious=("bbox",), package=config.scorer)


def _class_bank(config: CachedConfig, cache: FeatureCache) -> ClassBank:
    if config.bank is None:
        return cache.class_bank()
    bank, what = ClassBank.load(config.bank), f"--bank {config.bank}"
    bank.require_clip(cache.fingerprint["backbones"]["image_text_encoder"], what=what)
    bank.require_vocabulary(cache.vocabulary, what=what)
    warn_of_alike(bank)
    return bank


@contextmanager
def _folder(config: CachedConfig, scorer: TableScorer | None) -> Iterator[Path | None]:
    """Yield the folder for detections: ``out``, a temporary one for the scorer, or None."""
    if config.out is not None:
        yield config.out
    elif scorer is not None:
        with tempfile.TemporaryDirectory(prefix="regionspot-") as folder:
            yield Path(folder)
    else:
        yield None


def _own(folder: Path, name: str, names: list[str]) -> Path:
    """Return a head's folder: below ``folder`` where there are several heads."""
    return folder if len(names) == 1 else folder / name


def _results(
    folder: Path | None, name: str, names: list[str], files: ExitStack
) -> ResultsFile | None:
    if folder is None:
        return None
    own = _own(folder, name, names)
    own.mkdir(parents=True, exist_ok=True)
    return files.enter_context(ResultsFile.written(own / DETECTIONS))


def _name_regions(
    config: CachedConfig,
    cache: FeatureCache,
    images: NDArray[np.int64],
    heads: list[CachedHead],
    tallies: list[_Tally],
    device: torch.device,
) -> None:
    """Read the images' tokens once, and have every head name their regions."""
    starts = range(0, len(images), config.batch_images)
    batches = ReadAhead(
        cache.read, (images[start : start + config.batch_images] for start in starts)
    )
    with progress_line("evaluate", total=len(images), unit="images") as advance:
        for batch in batches:
            features = batch.as_float(device)
            for head, tally in zip(heads, tallies, strict=True):
                own = head.own_logits(features)
                tally.add(batch, own, head.fused(features, own))
            advance(len(batch))


class _Tally:
    """Answers of one head, collected batch by batch."""

    def __init__(
        self,
        config: CachedConfig,
        cache: FeatureCache,
        images: NDArray[np.int64],
        record: HeadRecord,
        results: ResultsFile | None,
    ) -> None:
        self._vocabulary = cache.vocabulary
        self._limit = min(config.pairs, config.detections)
        self._naming = RegionNaming(cache.vocabulary)
        self._unknown = UnknownClasses(record.classes_learnt(cache.vocabulary.names))
        self._results = results
        self._precision: BoxPrecision | None = None
        if config.annotations is None:
            self._precision = BoxPrecision(
                cache, images, limit=self._limit, protocol=config.protocol
            )

    def add(self, batch: FeatureBatch, own_BRK: torch.Tensor, logits_BRK: torch.Tensor) -> None:
        """Add a batch of images.

        Args:
            batch: The images.
            own_BRK: The head's own logits.
            logits_BRK: Those that classes are ranked by: joined with CLIP's, or the same.
        """
        true = batch.classes[batch.mask].numpy()
        self._naming.add(logits_BRK[batch.mask].float().cpu().numpy(), true)
        self._unknown.add(own_BRK[batch.mask].float().cpu(), true)
        if self._precision is not None:
            self._precision.add(batch, logits_BRK)
        if self._results is not None:
            self._write(self._results, batch, logits_BRK.float().softmax(-1).cpu())

    def _write(
        self, results: ResultsFile, batch: FeatureBatch, probabilities_BRK: torch.Tensor
    ) -> None:
        for b, image_id in enumerate(batch.image_ids.tolist()):
            real = batch.mask[b]
            sure = np.ones(int(real.sum()), dtype=np.float32)
            known = Proposals(batch.boxes[b][real].numpy(), sure, batch.classes[b][real].numpy())
            results.add(
                image_detections(
                    image_id,
                    known,
                    probabilities_BRK[b][real].numpy(),
                    vocabulary=self._vocabulary,
                    limit=self._limit,
                )
            )

    def figures(self, scorer: TableScorer | None, counts: Mapping[str, int] | None) -> HeadFigures:
        """Return the figures, scored by the annotation file, or else by the cache.

        Args:
            scorer: Scorer of the annotation file.
            counts: Training regions of the head by class name; None where it does not say.
        """
        region, unknown = self._naming.figures(), self._unknown.figures()
        if self._precision is not None:
            (protocol,) = self._precision.plan.protocols
            found = self._precision.figures()
            groups = counts and group_precision(self._vocabulary.names, found.class_ap_K, counts)
            title = PROTOCOL_TITLES[protocol]
            return HeadFigures(found.values, region, title, groups or None, unknown)
        assert scorer is not None
        assert self._results is not None
        scores = scorer.score(self._results.path)
        ((protocol, of_ious),) = scores.items()
        of_groups = scorer.groups(scores, counts).get(protocol, {})
        score = of_ious["bbox"]
        return HeadFigures(score.values, region, score.protocol, of_groups.get("bbox"), unknown)
