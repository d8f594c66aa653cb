"""The story of an evaluation: head and frozen models together, detections out, scored."""

from __future__ import annotations

from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.backbones.text import build_class_bank, load_class_bank
from regionspot_core.datasets import read_annotations
from regionspot_core.files import require_folder_or_nothing, write_json
from regionspot_core.images import require_images
from regionspot_evaluate.clip_crop import ClipCrop
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.detections import DETECTIONS
from regionspot_evaluate.gallery import draw_gallery
from regionspot_evaluate.predictions import BASELINE_DETECTIONS, predict
from regionspot_evaluate.proposal_sources import load_proposals
from regionspot_evaluate.recognizer import Recognizer
from regionspot_evaluate.report import Baseline, EvaluationReport
from regionspot_evaluate.scoring import LvisScorer


def run_evaluation(
    config: EvaluateConfig, *, backbones: Backbones | None = None
) -> EvaluationReport:
    """Name the proposals of every image, write detections into ``config.out`` and score them.

    Args:
        config: What is asked.
        backbones: Loaded models to use instead of those ``config`` names.

    Raises:
        InputError: An input file is wrong.
        FingerprintError: The head was trained on other frozen models than these.
        CheckpointError: There is no readable head.
    """
    require_folder_or_nothing(config.out)
    annotations = read_annotations(config.annotations, images=config.images)
    scorer = LvisScorer(config.annotations)
    require_images(config.images, annotations.image_file)
    proposals = load_proposals(config.proposals, annotations)
    backbones = backbones or load_backbones(config.backbones)
    clip = backbones.image_text_encoder
    bank = (
        load_class_bank(config.bank, clip, annotations.vocabulary)
        if config.bank
        else build_class_bank(clip, annotations.vocabulary)
    )
    device = Runtime.create(config.backbones.device).device
    recognizer = Recognizer.load(config.head, backbones, bank, device=device)

    config.out.mkdir(parents=True, exist_ok=True)
    crops = ClipCrop(clip, bank) if config.with_baseline else None
    predictions = predict(config, annotations, proposals, recognizer, crops)
    draw_gallery(predictions.pictures, config.out / "predictions.png")
    detections, baseline = config.out / DETECTIONS, config.out / BASELINE_DETECTIONS
    beside = None
    if crops is not None:
        beside = Baseline(scorer.score(baseline, iou="bbox"), predictions.baseline_top1.figures())
    report = EvaluationReport(
        box=scorer.score(detections, iou="bbox"),
        mask=scorer.score(detections, iou="segm"),
        region=predictions.top1.figures(),
        baseline=beside,
        proposals=config.proposals,
        images=len(annotations),
        without_proposals=predictions.without_proposals,
        dropped=annotations.dropped,
        failed=tuple(predictions.failed),
    )
    write_json(config.out / "metrics.json", report.to_json())
    return report
