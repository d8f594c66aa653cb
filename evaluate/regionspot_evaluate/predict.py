"""The story of `evaluate predict`: one image, some prompts or none, and a name for each region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.backbones.registry import TINY
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.datasets.vocabulary_files import load_vocabulary
from regionspot_core.errors import InputError
from regionspot_core.imaging.drawing import draw_regions
from regionspot_core.imaging.images import read_image
from regionspot_core.imaging.prompts import BoxPrompts, MaskPrompts, PointPrompts, Prompts
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.files import require_folder_or_nothing, write_json
from regionspot_core.support.progress import say
from regionspot_core.support.tables import counted, show
from regionspot_core.text.class_bank import ClassBank
from regionspot_core.text.embed import build_class_bank, load_class_bank
from regionspot_evaluate.config import PredictConfig
from regionspot_evaluate.recognition.recognizer import Recognition, Recognizer
from regionspot_evaluate.reports.printing import titled_table
from regionspot_evaluate.scoring.overlaps import without_overlaps
from regionspot_evaluate.scoring.report import percent


@dataclass(frozen=True)
class NamedRegion:
    """One region and its best names."""

    prompt: str
    """``box``, ``point``, ``mask`` or ``auto``"""
    box: tuple[float, ...]
    """xyxy, original pixels"""
    predicted_iou: float
    """SAM's estimate of the mask's IoU."""
    names: tuple[tuple[str, float], ...]
    """The best names and their probabilities among the vocabulary's, best first."""
    mask: dict[str, Any]
    """COCO run-length encoding"""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "prompt": self.prompt,
            "box": [round(value, 2) for value in self.box],
            "predicted_iou": round(self.predicted_iou, 4),
            "names": [{"name": name, "probability": round(p, 6)} for name, p in self.names],
            "mask": self.mask,
        }


@dataclass(frozen=True)
class PredictReport:
    """Classified regions of an image, and the files they were written to."""

    size: Size
    regions: tuple[NamedRegion, ...]
    left_out: int
    """Regions whose best name was not probable enough."""
    overlapping: int
    """Regions that SAM found by itself and that overlapped a surer one."""
    json_file: Path
    picture_file: Path


def run_prediction(config: PredictConfig, *, backbones: Backbones | None = None) -> PredictReport:
    """Name an image's regions; write them as JSON and as a picture into ``config.out``.

    Args:
        config: Settings of the command.
        backbones: Loaded models to use instead of those ``config`` names.

    Raises:
        InputError: If the image, a prompt, the vocabulary or a weight file is wrong.
        FingerprintError: If the head or the class bank belongs to other models.
        CheckpointError: If there is no readable head.
    """
    require_folder_or_nothing(config.out)
    image = read_image(config.image, max_pixels=config.max_pixels)
    size = image.shape[:2]
    prompts = _prompts(config, size)
    make_bank = _bank_maker(config)
    if TINY in (config.backbones.sam, config.backbones.clip):
        say("predict: the tiny models know only the shapes that `regionspot demo` draws")
    backbones = backbones or load_backbones(config.backbones)
    recognizer = Recognizer.load(
        config.head,
        backbones,
        make_bank(backbones),
        device=Runtime.create(config.backbones.device).device,
    )
    (encoded,) = recognizer.encode([image])
    overlapping = 0
    if prompts:
        recognitions = {kind: recognizer.recognize(encoded, some) for kind, some in prompts.items()}
    else:
        segmented = recognizer.segment_everything(encoded, config.propose)
        distinct = without_overlaps(segmented, config.overlap)
        overlapping = len(segmented.masks) - len(distinct.masks)
        recognitions = {"auto": recognizer.classify([encoded], [distinct])[0]}
    found = [
        region
        for kind, recognition in recognitions.items()
        for region in _regions(kind, recognition, recognizer, config.top)
    ]
    if not prompts:
        found.sort(key=lambda region: -region.names[0][1])
    kept = [region for region in found if region.names[0][1] >= config.least]
    config.out.mkdir(parents=True, exist_ok=True)
    stem = config.out / f"{config.image.stem}.regions"
    report = PredictReport(
        size=size,
        regions=tuple(kept),
        left_out=len(found) - len(kept),
        overlapping=overlapping,
        json_file=stem.with_name(f"{stem.name}.json"),
        picture_file=stem.with_name(f"{stem.name}.png"),
    )
    write_json(report.json_file, _to_json(config, recognizer, report))
    draw_regions(
        report.picture_file,
        image,
        boxes=np.array([region.box for region in kept]).reshape(-1, 4),
        masks=[region.mask for region in kept],
        labels=[f"{region.names[0][0]} {region.names[0][1]:.0%}" for region in kept],
    )
    return report


def _bank_maker(config: PredictConfig) -> Callable[[Backbones], ClassBank]:
    """Return a function from backbones to a class bank; the user's input is checked here."""
    given = [config.names is not None, config.vocabulary is not None, config.bank is not None]
    if sum(given) != 1:
        raise InputError("give the class names as one of --names A,B,C, --vocabulary or --bank")
    bank = config.bank
    if bank is not None:
        ClassBank.load(bank)
        return lambda backbones: load_class_bank(bank, backbones.image_text_encoder)
    vocabulary = load_vocabulary(names=config.names, file=config.vocabulary)
    return lambda backbones: build_class_bank(backbones.image_text_encoder, vocabulary)


def _prompts(config: PredictConfig, size: Size) -> dict[str, Prompts]:
    """Return the prompts by kind; empty where none is given."""
    prompts: dict[str, Prompts] = {}
    if config.boxes:
        boxes = [_numbers("--box", text, "x1,y1,x2,y2") for text in config.boxes]
        prompts["box"] = BoxPrompts.create(boxes, size)
    if config.points:
        points = [_numbers("--point", text, "x,y") for text in config.points]
        prompts["point"] = PointPrompts.create(points, size)
    if config.masks:
        masks = [_read_mask(path, size, config.max_pixels) for path in config.masks]
        prompts["mask"] = MaskPrompts.create(np.stack(masks), size)
    return prompts


def _numbers(option: str, text: str, form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != form.count(",") + 1:
        raise InputError(f"{option} {text!r}: expected {form} in the image's pixels")
    return numbers


def _read_mask(path: Path, size: Size, max_pixels: int) -> NDArray[np.bool_]:
    gray = read_image(path, max_pixels=max_pixels).max(axis=2)
    mask = gray > gray.max() / 2  # a JPEG's black is not all zeros
    if mask.shape != size or not mask.any():
        height, width = mask.shape
        found = "a black one" if mask.shape == size else f"{width} × {height}"
        raise InputError(
            f"--mask {path}: expected a picture of {size[1]} × {size[0]} pixels, as the image, "
            f"with the region not black; got {found}"
        )
    return np.asarray(mask)


def _regions(
    kind: str, recognition: Recognition, recognizer: Recognizer, top: int
) -> list[NamedRegion]:
    names, probabilities = recognizer.vocabulary.names, recognition.probabilities
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        NamedRegion(
            prompt=kind,
            box=tuple(float(value) for value in recognition.boxes[i]),
            predicted_iou=float(recognition.predicted_iou[i]),
            names=tuple((names[k], float(probabilities[i, k])) for k in best[i]),
            mask=recognition.masks[i],
        )
        for i in range(len(best))
    ]


def _to_json(
    config: PredictConfig, recognizer: Recognizer, report: PredictReport
) -> dict[str, Any]:
    return {
        "image": str(config.image),
        "height": report.size[0],
        "width": report.size[1],
        "head": str(config.head),
        "classes": list(recognizer.vocabulary.names),
        "regions": [region.to_json() for region in report.regions],
    }


def print_prediction(image: Path, report: PredictReport) -> None:
    """Print one image's regions, and the files they were written to."""
    height, width = report.size
    table = titled_table(f"{image.name}, {width} × {height}")
    for column in ("", "name", "%", "others, %", "box (x1 y1 x2 y2)", "SAM's IoU"):
        right = column in ("", "%", "SAM's IoU")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for number, region in enumerate(report.regions, 1):
        (name, probability), *next_best = region.names
        table.add_row(
            str(number),
            name,
            percent(probability),
            ", ".join(f"{other} {percent(share)}" for other, share in next_best),
            " ".join(f"{value:.0f}" for value in region.box),
            f"{region.predicted_iou:.2f}",
        )
    if report.regions:
        show(table)
    elif not report.left_out:
        show(
            f"{image.name}: no region found; try a lower --iou-threshold or more --points-per-side"
        )
    if report.left_out:
        show(f"{counted(report.left_out, 'region')} left out: no name so probable")
    if report.overlapping:
        show(f"{counted(report.overlapping, 'region')} left out: a surer one overlaps (--overlap)")
    show(f"written: {report.json_file}, {report.picture_file}")
