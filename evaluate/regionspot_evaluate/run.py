"""The story of an evaluation: heads and frozen models together, detections out, scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.usable import require_usable
from regionspot_core.distributed.journal import Done
from regionspot_core.distributed.shares import Amount
from regionspot_core.distributed.work import Work
from regionspot_core.heads.checkpoint import read_record
from regionspot_core.imaging.sources import ImageSource, open_images
from regionspot_core.support.files import require_folder_or_nothing, write_json
from regionspot_core.support.progress import ShowProgress, progress_line
from regionspot_core.text.class_bank import ClassBank
from regionspot_core.text.embed import build_class_bank, load_class_bank
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.folder.detections import DETECTIONS, find_results
from regionspot_evaluate.folder.folder import IMAGES, METRICS, RunFolder
from regionspot_evaluate.folder.gather import ImageList, gather, read_image_list
from regionspot_evaluate.folder.records import RecordForm
from regionspot_evaluate.predictions import Classifiers
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.proposals.sources import load_proposals
from regionspot_evaluate.recognition.baselines.load import load_baselines
from regionspot_evaluate.recognition.baselines.names import BASELINE_TABLE, results_file
from regionspot_evaluate.recognition.head_fusion import HeadFusion, choose_fusion, warn_of_tuning
from regionspot_evaluate.recognition.head_names import head_names
from regionspot_evaluate.recognition.held_out import images_to_score
from regionspot_evaluate.recognition.recognizer import Recognizer
from regionspot_evaluate.recognition.which_head import say_which_heads
from regionspot_evaluate.reports.printing import EvaluationReport, Figures, ShareReport
from regionspot_evaluate.scoring.figures import Iou, Protocol, Score
from regionspot_evaluate.scoring.table_scorer import TableScorer
from regionspot_evaluate.trained_images import warn_of_trained_images


def run_evaluation(
    config: EvaluateConfig, *, backbones: Backbones | None = None
) -> EvaluationReport:
    """Run :func:`run_evaluations`, and return the report of the first head."""
    return next(iter(run_evaluations(config, backbones=backbones).values()))


def run_evaluations(
    config: EvaluateConfig, *, backbones: Backbones | None = None
) -> dict[str, EvaluationReport]:
    """Name the proposals of every image, write detections into ``config.out`` and score them.

    What an interrupted evaluation, or a share of one, has done in that folder is not done again.

    Args:
        config: Settings of the command.
        backbones: Loaded models to use instead of those ``config`` names.

    Returns:
        The figures of each head, by its name.

    Raises:
        InputError: If an input file is wrong.
        FingerprintError: If a head was trained on other frozen models than these, or the folder is
            of another evaluation.
        CheckpointError: If there is no readable head.
    """
    evaluation = prepare_evaluation(config)
    evaluation.name_images(backbones)
    return replace(evaluation, proposals=None).score()  # scoring needs their memory


def run_share(
    config: EvaluateConfig,
    *,
    backbones: Backbones | None = None,
    show: ShowProgress = progress_line,
) -> ShareReport:
    """Do the share ``config.shard`` of the images; :func:`run_evaluations` gathers all shares.

    Args:
        config: Settings of the command.
        backbones: Loaded models to use instead of those ``config`` names.
        show: Function that shows the progress.

    Raises:
        InputError: If an input file is wrong, or another process does this share.
        FingerprintError: As for :func:`run_evaluations`.
        CheckpointError: Likewise.
    """
    evaluation = prepare_evaluation(config)
    work, batches = evaluation.work, evaluation.form.batches
    images = work.images_of(config.shard)
    if not evaluation.folder.finished:
        with work.named(config.shard, partial(evaluation.load, backbones), show) as done:
            if done is not None:
                left = sum(len(batch) for n, batch in enumerate(batches) if n not in done.batches)
                return ShareReport(images, done.failures(evaluation.form), left)
    return ShareReport(images, tuple(evaluation.image_list(evaluation.names[0]).failed), 0)


def prepare_evaluation(config: EvaluateConfig) -> Evaluation:
    """Read and check everything that needs no model.

    Raises:
        InputError: If an input file is wrong.
        FingerprintError: If the folder is of another evaluation.
        CheckpointError: If a head has no weights.
    """
    require_folder_or_nothing(config.out)
    names = head_names(config.heads)
    fusions = [choose_fusion(config.fuse, head) for head in config.heads]
    say_which_heads(config.heads)
    images = open_images(config.images)
    table = read_table(config.annotations, images=images, masks=True)
    scored = images_to_score(
        config.heads, table.sha256, table.image_id, all_images=config.all_images
    )
    proposals = load_proposals(config.proposals, table.regions())
    if not scored.all():
        table = table.only(scored)
        proposals = proposals and list(compress(proposals, scored))
    annotations = table.regions()
    scorer = TableScorer(table, protocols=config.protocol, package=config.scorer)
    require_usable(annotations, images, strict=config.strict)
    warn_of_trained_images(
        config.heads,
        annotations.sha256,
        annotations.image_file,
        images.file_bytes,
        source=f"--images {images.location}",
    )
    if config.bank is not None:
        ClassBank.load(config.bank)  # it is looked at again with the models there
    scored_ids = None if scored.all() else table.image_id
    warn_of_tuning(dict(zip(names, fusions, strict=True)), annotations.sha256)
    fused = {n: fusion.settings for n, fusion in zip(names, fusions, strict=True) if fusion}
    folder = RunFolder(config, names, annotations, scored_ids, fused)
    if config.retry_failed:
        folder.take_up()
    form = RecordForm.create(config, annotations)
    return Evaluation(config, images, annotations, scorer, proposals, names, fusions, folder, form)


@dataclass(frozen=True)
class Evaluation:
    """Everything that is read and checked before any model is loaded."""

    config: EvaluateConfig
    images: ImageSource
    annotations: AnnotationSet
    scorer: TableScorer
    proposals: list[Proposals] | None
    names: list[str]
    fusions: list[HeadFusion | None]
    """How each head's scores are joined with CLIP's."""
    folder: RunFolder
    form: RecordForm

    @property
    def work(self) -> Work:
        """Return the images as batches, and how far they are."""
        config = self.config
        return Work(
            "evaluate", "image", self.folder, self.form, config.retry_failed, config.workers
        )

    def amount(self) -> Amount:
        """Count the images that all shares together have done."""
        return Amount(self.work.images_done(), len(self.annotations))

    def name_images(self, backbones: Backbones | None = None) -> None:
        """Name what is left, and write each head's files."""
        self.work.finish(partial(self.load, backbones), self._gather)

    def load(self, backbones: Backbones | None) -> Classifiers:
        """Load the models, unless ``backbones`` are loaded ones to use instead."""
        config, vocabulary = self.config, self.annotations.vocabulary
        backbones = backbones or load_backbones(config.backbones)
        clip = backbones.image_text_encoder
        bank = (
            load_class_bank(config.bank, clip, vocabulary)
            if config.bank
            else build_class_bank(clip, vocabulary)
        )
        device = Runtime.create(config.backbones.device).device
        # The first head's recognizer encodes the images for all.
        opinions = [fusion.settings.opinion for fusion in self.fusions if fusion is not None]
        baselines = list(dict.fromkeys([*config.baselines, *opinions]))
        sources = [BASELINE_TABLE[name].region_embeddings for name in baselines]
        sources += [read_record(head).config.region_embeddings for head in config.heads]
        embed_regions = {source for source in sources if source is not None}
        return Classifiers(
            config,
            self.images,
            self.annotations,
            self.proposals,
            backbones,
            tuple(
                Recognizer.load(
                    head, backbones, bank, device=device, embed_regions=embed_regions, fusion=fusion
                )
                for head, fusion in zip(config.heads, self.fusions, strict=True)
            ),
            tuple(map(self._classes_learnt, config.heads)),
            load_baselines(baselines, clip, bank),
        )

    def score(self) -> dict[str, EvaluationReport]:
        """Score every head's files, and put its figures beside them."""
        config, folder, scorer = self.config, self.folder, self.scorer

        def score_files(own: Path, name: str) -> dict[Protocol, dict[Iou, Score]]:
            return scorer.score(find_results(own, name) or own / name)

        baselines = {
            name: score_files(folder.path, results_file(name)) for name in config.baselines
        }
        reports = {}
        for name, head, fusion in zip(self.names, config.heads, self.fusions, strict=True):
            own = folder.of_head(name)
            images = self.image_list(name)
            scores = score_files(own, DETECTIONS)
            reports[name] = EvaluationReport(
                head=Figures(
                    scores,
                    images.naming.figures(),
                    scorer.groups(scores, read_record(head).training_counts()),
                ),
                baselines={
                    baseline: Figures(found, images.baselines[baseline].figures())
                    for baseline, found in baselines.items()
                },
                proposals=config.proposals,
                limit=config.limit,
                images=len(self.annotations),
                without_proposals=images.without_proposals,
                cut=images.cut,
                dropped=self.annotations.dropped,
                failed=tuple(images.failed),
                plan=scorer.plan,
                fusion=fusion,
                unknown=None if images.unknown is None else images.unknown.figures(),
            )
            write_json(own / METRICS, reports[name].to_json())
        return reports

    def image_list(self, name: str) -> ImageList:
        """Return the sums of a head's list of images, once all are classified."""
        head = self.config.heads[self.names.index(name)]
        return read_image_list(
            self.config,
            self.folder.of_head(name) / IMAGES,
            self.annotations,
            self._classes_learnt(head),
        )

    def _classes_learnt(self, head: Path) -> NDArray[np.bool_]:
        """Return (K,) whether a head learnt from a region of each class."""
        return read_record(head).classes_learnt(self.annotations.vocabulary.names)

    def _gather(self, done: Done) -> None:
        gather(self.config, self.images, self.annotations, self.names, self.folder, done, self.form)
