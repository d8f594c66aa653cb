"""From the journals of all shares to each head's files."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.distributed.journal import Done
from regionspot_core.errors import InputError
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.support.files import written_aside
from regionspot_core.support.lettering import Lettering
from regionspot_core.support.optional_picture import optional_picture
from regionspot_core.support.progress import say
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.folder.detections import DETECTIONS, ResultsFile
from regionspot_evaluate.folder.folder import GALLERY, IMAGES, RunFolder
from regionspot_evaluate.folder.records import Answer, ImageRecord, RecordForm
from regionspot_evaluate.pictures import Picture, draw_gallery, names_shown, shrunk
from regionspot_evaluate.recognition.baselines.names import BaselineName, results_file
from regionspot_evaluate.scoring.classification import RegionNaming
from regionspot_evaluate.scoring.unknown import UnknownClasses


def gather(
    config: EvaluateConfig,
    images: ImageSource,
    annotations: AnnotationSet,
    names: list[str],
    folder: RunFolder,
    done: Done,
    form: RecordForm,
) -> None:
    """Write each head's detections, gallery and image list, images in the annotations' order.

    The image lists get their names last, so that a folder with one has the rest.
    """
    shown = _shown_images(len(annotations), config.gallery)
    pictures: list[list[Picture]] = [[] for _ in names]
    heads = [folder.of_head(name) for name in names]
    for head in heads:
        head.mkdir(parents=True, exist_ok=True)
    with ExitStack() as lists:
        image_lists = [_open_list(head, lists) for head in heads]
        with ExitStack() as results:
            detections = [
                results.enter_context(ResultsFile.written(head / DETECTIONS)) for head in heads
            ]
            baselines = {
                name: results.enter_context(ResultsFile.written(folder.path / results_file(name)))
                for name in config.baselines
            }
            for number in sorted(done.batches):
                for record in done.batches[number].records(form):
                    _write(record, annotations, detections, baselines, image_lists)
                    if record.position in shown and len(record.boxes):
                        with optional_picture(folder.path / GALLERY):
                            of_image = [
                                _picture(config, images, annotations, record, answer)
                                for answer in record.heads
                            ]
                            for of_head, picture in zip(pictures, of_image, strict=True):
                                of_head.append(picture)
        _draw_galleries(heads, pictures)
        folder.record_heads()


@dataclass
class ImageList:
    """Sums over a head's image list."""

    images: int
    without_proposals: int
    """Images with nothing to name."""
    cut: int
    """Images with more pairs of region and class than were kept."""
    failed: list[str]
    """Images that could not be read, with the reason."""
    naming: RegionNaming
    unknown: UnknownClasses | None
    """Regions of learnt and of other classes; None where a list of an earlier version has none."""
    baselines: dict[BaselineName, RegionNaming]


class _ImageLine(msgspec.Struct):
    """One image's line of the list."""

    image_id: int
    failed: str | None = None
    regions: int = 0
    true: list[int] = []
    """Class indices of the regions whose class is known."""
    ranks: list[int] = []
    """Places that the head gave their true classes."""
    known: list[float] = []
    """Their scores of being one of the names that the head learnt, where it says what it learnt."""
    baseline_ranks: dict[str, list[int]] = {}


def read_image_list(
    config: EvaluateConfig, path: Path, annotations: AnnotationSet, learnt_K: NDArray[np.bool_]
) -> ImageList:
    """Sum up the list that :func:`gather` wrote.

    Args:
        config: Settings of the evaluation.
        path: The list.
        annotations: The images and boxes.
        learnt_K: Whether the head learnt from a region of each class.

    Raises:
        InputError: If the list is damaged, or of other images than the annotations'.
    """
    vocabulary = annotations.vocabulary
    baselines = {name: RegionNaming(vocabulary) for name in config.baselines}
    unknown = UnknownClasses(learnt_K)
    total = ImageList(0, 0, 0, [], RegionNaming(vocabulary), unknown, baselines)
    decode = msgspec.json.Decoder(_ImageLine).decode
    with path.open("rb") as file:
        for line in file:
            try:
                image = decode(line)
                _require_fit(image, annotations, total.images, config)
            except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors too
                raise _damaged(path, f"line {total.images + 1}: {error}") from None
            total.images += 1
            if image.failed is not None:
                total.failed.append(image.failed)
                continue
            total.without_proposals += not image.regions
            total.cut += image.regions * len(vocabulary) > config.limit
            total.naming.add_ranks(image.ranks, image.true)
            if image.known:
                unknown.add_scores(image.known, image.true)
            elif image.true:
                total.unknown = None
            for name, naming in baselines.items():
                naming.add_ranks(image.baseline_ranks[name], image.true)
    if total.images != len(annotations):
        raise _damaged(path, f"it has {total.images:,} of {len(annotations):,} images")
    return total


def _require_fit(
    image: _ImageLine, annotations: AnnotationSet, place: int, config: EvaluateConfig
) -> None:
    """Refuse what :func:`gather` cannot have written of the image at this place."""
    if place >= len(annotations) or image.image_id != annotations.image_id[place]:
        raise ValueError(f"image {image.image_id} is not the next of the annotations")
    if image.failed is not None:
        return
    classes = len(annotations.vocabulary)
    ranks = [image.ranks, *(image.baseline_ranks.get(name, []) for name in config.baselines)]
    if any(len(each) != len(image.true) for each in ranks):
        raise ValueError("expected a rank for each true class")
    if image.known and len(image.known) != len(image.true):
        raise ValueError("expected a score for each true class")
    if not all(0 <= value < classes for each in (image.true, *ranks) for value in each):
        raise ValueError(f"expected true classes and ranks from 0 to {classes - 1}")


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: it is damaged ({why}); delete it, and the same command names the images again"
    )


def _draw_galleries(heads: list[Path], pictures: list[list[Picture]]) -> None:
    """Draw each head's gallery; the evaluation goes on where one cannot be drawn."""
    lettering = Lettering.of(name for of_head in pictures for name in names_shown(of_head))
    if lettering.advice:
        say(lettering.advice)
    for head, of_head in zip(heads, pictures, strict=True):
        if of_head:
            path = head / GALLERY
            with optional_picture(path), written_aside(path) as partial:
                draw_gallery(of_head, partial, lettering=lettering)


def _open_list(head: Path, stack: ExitStack) -> IO[str]:
    partial = stack.enter_context(written_aside(head / IMAGES))
    return stack.enter_context(partial.open("w", encoding="utf-8"))


def _write(
    record: ImageRecord,
    annotations: AnnotationSet,
    detections: list[ResultsFile],
    baselines: dict[BaselineName, ResultsFile],
    image_lists: list[IO[str]],
) -> None:
    image_id = int(annotations.image_id[record.position])
    if record.failed is not None:
        for image_list in image_lists:
            _write_line(image_list, {"image_id": image_id, "failed": record.failed})
        return
    vocabulary = annotations.vocabulary
    for head, results, image_list in zip(record.heads, detections, image_lists, strict=True):
        results.add(head.pairs.entries(image_id, record.boxes, vocabulary, record.masks))
        known = [r for r, true in enumerate(record.true) if true >= 0]
        line: dict[str, Any] = {
            "image_id": image_id,
            "regions": len(record.boxes),
            "true": [record.true[r] for r in known],
            "ranks": [head.ranks[r] for r in known],
            "known": [head.known[r] for r in known] if head.known else [],
            "baseline_ranks": {
                name: [answer.ranks[r] for r in known] for name, answer in record.baselines.items()
            },
        }
        _write_line(image_list, line)
    for name, results in baselines.items():
        pairs = record.baselines[name].pairs
        results.add(pairs.entries(image_id, record.boxes, vocabulary, record.masks))


def _write_line(file: IO[str], values: dict[str, Any]) -> None:
    file.write(json.dumps(values) + "\n")


def _shown_images(count: int, shown: int) -> frozenset[int]:
    return frozenset(np.linspace(0, count - 1, min(count, shown)).astype(int).tolist())


def _picture(
    config: EvaluateConfig,
    images: ImageSource,
    annotations: AnnotationSet,
    record: ImageRecord,
    answer: Answer,
) -> Picture:
    name = annotations.image_file[record.position]
    size = annotations.size(record.position)
    names, frequencies = annotations.vocabulary.names, annotations.vocabulary.frequencies
    return Picture(
        image=shrunk(images.read(name, size=size, max_pixels=config.max_pixels)),
        size=size,
        boxes=record.boxes,
        masks=[mask for mask in record.masks if mask is not None],
        predicted=[names[index] for index in answer.best],
        confidence=answer.confidence,
        true=[names[index] if index >= 0 else None for index in record.true],
        rare=[index >= 0 and frequencies[index] == "r" for index in record.true],
    )
