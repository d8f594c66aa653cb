"""The story of a tuning: a head and CLIP on held-out classes, and the numbers that suit both."""

from __future__ import annotations

from pathlib import Path

from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import CacheError, InputError
from regionspot_core.fingerprint import require_equal
from regionspot_core.heads.checkpoint import HeadRecord, read_record, weights_sum
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.heads.score_fusion import FUSION, ScoreFusion, Tuning, save_fusion
from regionspot_core.heads.unknown_classes import (
    UNKNOWN,
    UnknownThreshold,
    auroc,
    best_threshold,
    known_scores,
    save_threshold,
)
from regionspot_evaluate.recognition.cached_head import stored_opinion
from regionspot_evaluate.tuning.config import TuneConfig
from regionspot_evaluate.tuning.report import TuneReport
from regionspot_evaluate.tuning.scores import score_regions
from regionspot_evaluate.tuning.search import (
    CLIP_ALONE,
    HEAD_ALONE,
    OBJECTIVE,
    RegionScores,
    figures,
    search,
)


def run_tuning(config: TuneConfig) -> TuneReport:
    """Find a fusion's numbers and a threshold for unknown classes; write them beside a head.

    Raises:
        CacheError: If the store is missing or unfinished, or lacks what is to be tuned on.
        CheckpointError: If a head cannot be read, or its logits are not finite.
        FingerprintError: If a head belongs to other frozen models than the store.
        InputError: If the head held no classes out, or learnt from all images of the store.
    """
    into = config.into or config.head
    cache, record, receiver = (
        FeatureCache(config.cache),
        read_record(config.head),
        read_record(into),
    )
    held_out = _held_out_classes(config.head, record)
    require_equal(
        record.backbones,
        receiver.backbones,
        what=f"{into} was trained on other frozen models than {config.head}",
        advice="Tune with a head of the same --sam and --clip",
    )
    cache.require_labels("tune on")
    opinion = stored_opinion(cache)
    if opinion is None:
        raise CacheError(
            f"{config.cache}: expected a store that keeps CLIP's own embeddings of regions, and "
            f"this one keeps none; extract it with --region-embedding crop or tokens"
        )
    scored = score_regions(config, cache, record, held_out)
    numbers = search(scored.scores)
    found = {
        name: figures(scored.scores, each)
        for name, each in (("head", HEAD_ALONE), (opinion, CLIP_ALONE), ("fused", numbers))
    }
    seen, regions = int(scored.scores.seen_N.sum()), len(scored.scores.true_N)
    fusion = ScoreFusion(
        opinion=opinion,
        **numbers._asdict(),
        tuned=Tuning(
            cache=cache.fingerprint["dataset"],
            head=weights_sum(config.head),
            held_out_classes=held_out,
            images=scored.images,
            regions={"seen": seen, "held_out": regions - seen},
            objective=OBJECTIVE,
            before=found["head"],
            after=found["fused"],
        ),
    )
    unknown = _threshold(config, cache, held_out, scored.scores)
    files = []
    if config.only != "threshold":
        save_fusion(into, fusion)
        files.append(into / FUSION)
    if config.only != "fusion":
        save_threshold(into, unknown)
        files.append(into / UNKNOWN)
    return TuneReport(fusion, found, unknown, scored.left_out, tuple(files))


def _threshold(
    config: TuneConfig, cache: FeatureCache, held_out: HeldOutClasses, scores: RegionScores
) -> UnknownThreshold:
    """Return the threshold that parts both groups best, where only seen classes have names."""
    sure = known_scores(scores.head_NK[:, scores.seen_K]).numpy()
    seen = scores.seen_N.numpy()
    known, unknown = sure[seen], sure[~seen]
    return UnknownThreshold(
        **best_threshold(known, unknown)._asdict(),
        cache=cache.fingerprint["dataset"],
        head=weights_sum(config.head),
        held_out_classes=held_out,
        regions={"seen": len(known), "held_out": len(unknown)},
        auroc=auroc(known, unknown),
    )


def _held_out_classes(head: Path, record: HeadRecord) -> HeldOutClasses:
    if record.held_out_classes is None:
        raise InputError(
            f"{head}: expected a head that held classes out of its training, since weights for "
            f"unseen classes cannot be found on classes that it has seen; train one with "
            f"`regionspot train fit --hold-out-classes 0.1 --split 0.1`, and give this one as "
            f"--into"
        )
    return record.held_out_classes
