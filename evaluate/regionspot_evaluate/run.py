"""The story of an evaluation: heads and frozen models together, detections out, scored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.usable import require_usable
from regionspot_core.distributed.shares import Shard
from regionspot_core.heads.checkpoint import read_record
from regionspot_core.imaging.sources import ImageSource, open_images
from regionspot_core.support.files import require_folder_or_nothing, write_json
from regionspot_core.support.progress import ShowProgress, progress_line, say
from regionspot_core.support.tables import counted
from regionspot_core.text.class_bank import ClassBank
from regionspot_core.text.embed import build_class_bank, load_class_bank
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.folder.detections import DETECTIONS, find_results
from regionspot_evaluate.folder.folder import IMAGES, METRICS, RunFolder
from regionspot_evaluate.folder.gather import ImageList, gather, read_image_list
from regionspot_evaluate.folder.journal import WHOLE, Done, open_journal, read_journals
from regionspot_evaluate.folder.records import RecordForm
from regionspot_evaluate.predictions import Classifiers, classify_batches, image_batches
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.proposals.sources import load_proposals
from regionspot_evaluate.recognition.baselines.load import load_baselines
from regionspot_evaluate.recognition.baselines.names import results_file
from regionspot_evaluate.recognition.head_names import head_names
from regionspot_evaluate.recognition.held_out import images_to_score
from regionspot_evaluate.recognition.recognizer import Recognizer
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
    evaluation = _prepare(config)
    folder, annotations = evaluation.folder, evaluation.annotations
    if folder.finished:
        folder.clear_left()
        say(f"evaluate: {counted(len(annotations), 'image')} are there already; scoring them")
    else:
        with _named(evaluation, WHOLE, backbones) as done:
            if done is not None:
                gather(
                    config,
                    evaluation.images,
                    annotations,
                    evaluation.names,
                    folder,
                    done,
                    evaluation.form,
                )
                if done.failed:  # with --retry-failed these batches are done again
                    folder.set_aside()
                else:
                    folder.clear()
    evaluation = replace(evaluation, proposals=None)  # scoring needs their memory
    return _score(evaluation)


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
    evaluation = _prepare(config)
    batches = evaluation.form.batches
    images = sum(len(batch) for number, batch in enumerate(batches) if config.shard.has(number))
    if not evaluation.folder.finished:
        with _named(evaluation, config.shard, backbones, show) as done:
            if done is not None:
                return ShareReport(
                    images=images,
                    failed=done.failures(evaluation.form),
                    images_left=sum(len(b) for n, b in enumerate(batches) if n not in done.batches),
                )
    return ShareReport(images, tuple(evaluation.image_list(evaluation.names[0]).failed), 0)


def images_done(config: EvaluateConfig) -> tuple[int, int]:
    """Return the number of images that all shares together have done, and of all images.

    Raises:
        InputError: If an input file is wrong.
        FingerprintError: If the folder is of another evaluation.
        CheckpointError: If a head has no weights.
    """
    evaluation = _prepare(config)
    total = len(evaluation.annotations)
    if evaluation.folder.finished:
        return total, total
    batches = evaluation.form.batches
    done = read_journals(evaluation.folder.journals)
    finished = [n for n in range(len(batches)) if _is_done(done, n, again=config.retry_failed)]
    return sum(len(batches[number]) for number in finished), total


@dataclass(frozen=True)
class _Evaluation:
    """Everything that is read and checked before any model is loaded."""

    config: EvaluateConfig
    images: ImageSource
    annotations: AnnotationSet
    scorer: TableScorer
    proposals: list[Proposals] | None
    names: list[str]
    folder: RunFolder
    form: RecordForm

    def image_list(self, name: str) -> ImageList:
        """Return the sums of a head's list of images, once all are classified."""
        return read_image_list(self.config, self.folder.of_head(name) / IMAGES, self.annotations)


def _prepare(config: EvaluateConfig) -> _Evaluation:
    require_folder_or_nothing(config.out)
    names = head_names(config.heads)
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
    warn_of_trained_images(config.heads, annotations, images)
    if config.bank is not None:
        ClassBank.load(config.bank)  # it is looked at again with the models there
    scored_ids = None if scored.all() else table.image_id
    folder = RunFolder(config, names, annotations, scored_ids)
    if config.retry_failed:
        folder.take_up()
    form = RecordForm.create(config, annotations, image_batches(config, annotations))
    return _Evaluation(config, images, annotations, scorer, proposals, names, folder, form)


@contextmanager
def _named(
    evaluation: _Evaluation,
    share: Shard,
    backbones: Backbones | None,
    show: ShowProgress = progress_line,
) -> Iterator[Done | None]:
    """Name what of a share is not named yet; what all shares have done, held while it is used.

    None where another process finished everything while this one loaded the models.
    """
    config, annotations, folder = evaluation.config, evaluation.annotations, evaluation.folder
    batches = evaluation.form.batches

    def pending_batches(done: Done) -> dict[int, range]:
        return {
            number: batch
            for number, batch in enumerate(batches)
            if share.has(number) and not _is_done(done, number, again=config.retry_failed)
        }

    done = read_journals(folder.journals)
    classifiers = _load_classifiers(evaluation, backbones) if pending_batches(done) else None
    if classifiers is not None:
        done.require_models(classifiers.backbones.fingerprint, what=folder.path)
    folder.claim()
    with open_journal(folder.journals, share) as journal:
        if folder.finished:
            folder.leave()
            yield None
            return
        pending = pending_batches(read_journals(folder.journals))
        if classifiers is not None and pending:
            total = sum(len(batch) for number, batch in enumerate(batches) if share.has(number))
            start = total - sum(len(batch) for batch in pending.values())
            if start:
                say(f"evaluate: {start:,} of {counted(total, 'image')} are there already")
            journal.start(classifiers.backbones.fingerprint)
            with show("evaluate", total=total, unit="images", start=start) as advance:
                classify_batches(
                    config,
                    evaluation.images,
                    annotations,
                    evaluation.proposals,
                    classifiers,
                    pending,
                    journal,
                    advance,
                )
        yield read_journals(folder.journals)


def _is_done(done: Done, number: int, *, again: bool) -> bool:
    """Return whether a batch is done; with ``again``, one with an unreadable image is not."""
    batch = done.batches.get(number)
    return batch is not None and not (again and batch.failed)


def _load_classifiers(evaluation: _Evaluation, backbones: Backbones | None) -> Classifiers:
    config, vocabulary = evaluation.config, evaluation.annotations.vocabulary
    backbones = backbones or load_backbones(config.backbones)
    clip = backbones.image_text_encoder
    bank = (
        load_class_bank(config.bank, clip, vocabulary)
        if config.bank
        else build_class_bank(clip, vocabulary)
    )
    device = Runtime.create(config.backbones.device).device
    return Classifiers(
        backbones,
        tuple(Recognizer.load(head, backbones, bank, device=device) for head in config.heads),
        load_baselines(config.baselines, clip, bank),
    )


def _score(evaluation: _Evaluation) -> dict[str, EvaluationReport]:
    """Score every head's files, and put its figures beside them."""
    config, folder, scorer = evaluation.config, evaluation.folder, evaluation.scorer

    def score(own: Path, name: str) -> dict[Protocol, dict[Iou, Score]]:
        return scorer.score(find_results(own, name) or own / name)

    baselines = {name: score(folder.path, results_file(name)) for name in config.baselines}
    reports = {}
    for name, head in zip(evaluation.names, config.heads, strict=True):
        own = folder.of_head(name)
        images = evaluation.image_list(name)
        scores = score(own, DETECTIONS)
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
            images=len(evaluation.annotations),
            without_proposals=images.without_proposals,
            cut=images.cut,
            dropped=evaluation.annotations.dropped,
            failed=tuple(images.failed),
            plan=scorer.plan,
        )
        write_json(own / METRICS, reports[name].to_json())
    return reports
