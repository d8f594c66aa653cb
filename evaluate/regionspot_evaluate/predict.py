"""The story of `evaluate predict`: pictures, prompts or proposals, and a name for each region."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.backbones.registry import TINY
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.datasets.vocabulary_files import load_vocabulary
from regionspot_core.distributed.journal import BatchForm, Done
from regionspot_core.distributed.work import Work, image_batches
from regionspot_core.errors import InputError
from regionspot_core.support.files import require_folder_or_nothing, write_json
from regionspot_core.support.lettering import Lettering
from regionspot_core.support.progress import say
from regionspot_core.text.class_bank import ClassBank
from regionspot_core.text.embed import build_class_bank, load_class_bank
from regionspot_evaluate.config import PredictConfig
from regionspot_evaluate.predicting.batches import Namer, draw_named
from regionspot_evaluate.predicting.coco_file import read_predictions, write_coco
from regionspot_evaluate.predicting.folder import DRAWN, PredictFolder, drawn_before
from regionspot_evaluate.predicting.listing import (
    REGIONS,
    PictureList,
    find_alone,
    list_pictures,
)
from regionspot_evaluate.predicting.named_regions import (
    NamedRegion,
    PictureRecord,
    named_regions,
)
from regionspot_evaluate.predicting.prompts import read_prompts
from regionspot_evaluate.predicting.regions import FindRegions, find_regions
from regionspot_evaluate.predicting.summary import PicturesReport, PredictReport
from regionspot_evaluate.recognition.head_fusion import choose_fusion
from regionspot_evaluate.recognition.recognizer import Recognizer
from regionspot_evaluate.recognition.unknown_threshold import choose_threshold
from regionspot_evaluate.recognition.which_head import say_which_heads


def run_prediction(
    config: PredictConfig, *, backbones: Backbones | None = None
) -> PredictReport | PicturesReport:
    """Name the regions of one picture, or of several, and write them into ``config.out``.

    One file gives a JSON and a picture of its own; anything else gives ``predictions.json``, and
    what an interrupted call has done in the folder is not done again.

    Args:
        config: Settings of the command.
        backbones: Loaded models to use instead of those ``config`` names.

    Raises:
        InputError: If pictures, a prompt, the vocabulary or a weight file are wrong.
        FingerprintError: If the head or the class bank belongs to other models, or the folder is
            of other predictions.
        CheckpointError: If there is no readable head.
    """
    require_folder_or_nothing(config.out)
    if config.has_prompts and find_alone(config.pictures) is None:
        raise InputError(
            "--box, --point and --mask are in the pixels of one picture: expected one file, got "
            f"{', '.join(map(str, config.pictures[:3]))}; give --proposals FILE for many"
        )
    classes = _Classes(config)
    say_which_heads([config.head])
    listed = list_pictures(config.pictures, leave_out=drawn_before(config.out))
    if listed.alone is not None:
        return _predict_one(config, listed, classes, backbones)
    return _predict_many(config, listed, classes, backbones)


def _predict_one(
    config: PredictConfig, listed: PictureList, classes: _Classes, backbones: Backbones | None
) -> PredictReport:
    """Name one picture's regions; write them as JSON and as a picture."""
    assert listed.alone is not None
    image = listed.alone_pixels(config.max_pixels)
    prompts = read_prompts(config, image.shape[:2])
    namer = _load(config, listed, classes, find_regions(config, listed), backbones)
    if prompts:
        (encoded,) = namer.recognizer.encode([image])
        regions: list[NamedRegion] = []
        for kind, some in prompts.items():
            found = namer.recognizer.recognize(encoded, some)
            regions += named_regions(
                kind,
                found,
                namer.recognizer.vocabulary.names,
                config.top,
                threshold=classes.threshold,
            )
        record = PictureRecord.create(0, image.shape[:2], regions, least=config.least)
    else:
        record = namer.name_picture(image)
    config.out.mkdir(parents=True, exist_ok=True)
    stem = f"{listed.alone.stem}{REGIONS}"
    report = PredictReport(
        name=listed.alone.name,
        size=record.size,
        regions=record.regions,
        left_out=record.left_out,
        overlapping=record.overlapping,
        json_file=config.out / f"{stem}.json",
        picture_file=config.out / f"{stem}.png",
    )
    write_json(report.json_file, _one_as_json(config, namer, report))
    draw_named(report.picture_file, image, record.regions, namer.lettering)
    return report


def _one_as_json(config: PredictConfig, namer: Namer, report: PredictReport) -> dict[str, Any]:
    recognizer = namer.recognizer
    return {
        "image": str(config.pictures[0]),
        "height": report.size[0],
        "width": report.size[1],
        "head": str(config.head),
        "fusion": recognizer.fusion and recognizer.fusion.settings.to_json(),
        "unknown_threshold": namer.threshold,
        "classes": list(recognizer.vocabulary.names),
        "regions": [region.to_json() for region in report.regions],
    }


def _predict_many(
    config: PredictConfig, listed: PictureList, classes: _Classes, backbones: Backbones | None
) -> PicturesReport:
    """Name the regions of several pictures, batch by batch; write them as one file."""
    find = find_regions(config, listed)
    folder = PredictFolder(
        config, listed.names, classes.vocabulary, find.source, classes.fusion, classes.threshold
    )
    if config.retry_failed:
        folder.take_up()
    form = BatchForm(PictureRecord, image_batches(len(listed.pictures), config.batch_images))
    Work("predict", "picture", folder, form, config.retry_failed, config.workers).finish(
        lambda: _load(config, listed, classes, find, backbones),
        lambda done: _write(config, folder, listed, classes, lambda: _records(done, form)),
    )
    return PicturesReport(
        read_predictions(folder.results),
        listed.root,
        folder.results,
        folder.path / DRAWN if config.draw else None,
    )


def _records(done: Done, form: BatchForm[PictureRecord]) -> Iterator[PictureRecord]:
    for number in range(len(form.batches)):
        yield from done.batches[number].records(form)


def _write(
    config: PredictConfig,
    folder: PredictFolder,
    listed: PictureList,
    classes: _Classes,
    records: Callable[[], Iterator[PictureRecord]],
) -> None:
    info = {
        "description": "regionspot evaluate predict",
        "images": str(listed.root),
        "head": str(config.head.absolute()),
        "fusion": classes.fusion and classes.fusion.settings.to_json(),
        "unknown_threshold": classes.threshold,
        "proposals": config.proposals,
        "left_out": sum(record.left_out for record in records()),
        "overlapping": sum(record.overlapping for record in records()),
    }
    write_coco(folder.results, info, listed, classes.vocabulary, records)


class _Classes:
    """The classes that the user gives, and how regions are scored by them.

    All is checked here, before any model is loaded.
    """

    def __init__(self, config: PredictConfig) -> None:
        given = [config.names is not None, config.vocabulary is not None, config.bank is not None]
        if sum(given) != 1:
            raise InputError("give the class names as one of --names A,B,C, --vocabulary or --bank")
        self.fusion = choose_fusion(config.fuse, config.head)
        if self.fusion is not None:
            say(f"predict: {self.fusion.settings.line}")
        self.threshold = choose_threshold(config.unknown_threshold, config.head)
        self._bank = config.bank
        self.vocabulary = (
            load_vocabulary(names=config.names, file=config.vocabulary)
            if config.bank is None
            else ClassBank.load(config.bank).vocabulary
        )

    def bank(self, backbones: Backbones) -> ClassBank:
        """Return the classes' embeddings by these models."""
        clip = backbones.image_text_encoder
        if self._bank is not None:
            return load_class_bank(self._bank, clip)
        return build_class_bank(clip, self.vocabulary)


def _load(
    config: PredictConfig,
    listed: PictureList,
    classes: _Classes,
    find: FindRegions,
    backbones: Backbones | None,
) -> Namer:
    """Load the models, once for all pictures."""
    if TINY in (config.backbones.sam, config.backbones.clip):
        say("predict: the tiny models know only the shapes that `regionspot demo` draws")
    backbones = backbones or load_backbones(config.backbones)
    recognizer = Recognizer.load(
        config.head,
        backbones,
        classes.bank(backbones),
        device=Runtime.create(config.backbones.device).device,
        fusion=classes.fusion,
    )
    lettering = Lettering.of(recognizer.vocabulary.names)
    if lettering.advice and (config.draw or listed.alone):
        say(lettering.advice)
    return Namer(config, listed, backbones, recognizer, find, lettering, classes.threshold)
