"""An evaluation of LVIS val's size, generated: annotations, images, a journal, a head, a store.

    python benchmarks/val_size_contents.py FOLDER IMAGES

What an image holds is drawn for ``VARIANTS`` images and then repeated, farther apart than any
compression of a file looks back. No frozen model works: the journal says what one would have said.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as codec

from regionspot_bench.extract.contents import photograph
from regionspot_core.backbones.config import BackboneConfig
from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.cache.layout.keep import Keep, TokenShape
from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.distributed.journal import WHOLE, open_journal
from regionspot_core.distributed.work import image_batches
from regionspot_core.heads.checkpoint import HeadRecord, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.testing import make_bank, make_features
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.folder.folder import RunFolder
from regionspot_evaluate.folder.records import Answer, ImageRecord
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.recognition.choose_backbones import backbones_of_head

Json = dict[str, Any]
WIDTH, HEIGHT = 640, 480
CLASSES, REGIONS, BOXES, DETECTIONS = 1_203, 12, 300, 300
"""LVIS v1's classes and regions an image, a detector's boxes, and what an image keeps."""
PRESENT, NEGATIVE = 4, 10
VARIANTS, PHOTOGRAPHS = 200, 8
SMALL_IMAGES = 600
"""Images of the run on annotated boxes, with every baseline."""
BASELINES = ("clip-crop", "clip-masked-crop", "clip-pool")
TOKENS = 5
"""CLIP's tokens of an image in the store: few, since they are streamed and not kept."""


@dataclass(frozen=True)
class Variant:
    """One image's regions, and what a detector and a head say of it."""

    true_box: NDArray[np.float64]
    """(REGIONS, 4) xyxy, pixels."""
    true_class: NDArray[np.int64]
    rings: list[list[float]]
    """Outlines of the annotated regions."""
    negative: list[int]
    proposals: Proposals
    masks: list[Json]
    answer: Answer

    @classmethod
    def draw(cls, seed: int, *, annotated: bool) -> Variant:
        """Draw an image; its proposals are the annotated boxes, or a detector's."""
        random = np.random.default_rng(seed)
        mixed = random.permutation(CLASSES)
        true_box, true_class = _boxes(random, REGIONS), random.choice(mixed[:PRESENT], REGIONS)
        box, named = true_box, true_class
        if not annotated:
            near = random.integers(0, REGIONS, 2 * REGIONS)
            box = np.concatenate(
                [true_box[near] + random.normal(0, 4, (len(near), 4)), _boxes(random, BOXES)]
            )[:BOXES]
            named = np.concatenate([true_class[near], random.integers(0, CLASSES, BOXES)])[:BOXES]
            box = np.clip(np.sort(box.reshape(-1, 2, 2), axis=1).reshape(-1, 4), 0, WIDTH)
            box = np.minimum(box, [WIDTH, HEIGHT] * 2)
        sure = np.ones(len(box)) if annotated else random.beta(1, 6, len(box))
        known = true_class if annotated else np.full(len(box), -1)
        proposals = Proposals(box.astype(np.float32), sure.astype(np.float32), known)
        logits = random.normal(0, 1.5, (len(box), CLASSES)).astype(np.float32)
        logits[np.arange(len(box)), named] += random.normal(6, 2, len(box))
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        return cls(
            true_box,
            true_class,
            [_ring(random, each) for each in true_box],
            mixed[PRESENT : PRESENT + NEGATIVE].tolist(),
            proposals,
            [_mask(_ring(random, each)) for each in box],
            Answer.create(proposals, logits, shares, limit=DETECTIONS),
        )

    def record(self, position: int, *, baselines: Sequence[str] = ()) -> ImageRecord:
        """Return the record of one of the images that look like this."""
        return ImageRecord(
            position,
            boxes=self.proposals.boxes,
            true=self.proposals.classes.tolist(),
            masks=list(self.masks),
            heads=[self.answer],
            baselines=dict.fromkeys(baselines, self.answer),
        )


def _boxes(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    sides = np.exp(random.uniform(np.log(10), np.log(120), (count, 2)))
    corners = random.random((count, 2)) * ((WIDTH, HEIGHT) - sides)
    return np.column_stack([corners, corners + sides]).round(2)


def _ring(random: np.random.Generator, box: NDArray[np.floating]) -> list[float]:
    """Return an uneven outline inside a box."""
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    reach = random.uniform(0.85, 1, len(turn))
    middle, half = (box[2:] + box[:2]) / 2, (box[2:] - box[:2]) / 2
    points = middle + half * np.column_stack([np.cos(turn), np.sin(turn)]) * reach[:, None]
    return [float(value) for value in points.round(2).ravel()]


def _mask(ring: list[float]) -> Json:
    rle = codec.merge(codec.frPyObjects([ring], HEIGHT, WIDTH))
    return {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode("ascii")}


def write_annotations(file: Path, images: int, variants: list[Variant]) -> None:
    """Write a file of LVIS's layout."""
    names = [f"thing_{k:04}" for k in range(CLASSES)]
    content = {
        "images": [
            {
                "id": n + 1,
                "width": WIDTH,
                "height": HEIGHT,
                "file_name": f"{n + 1:012}.jpg",
                "neg_category_ids": [k + 1 for k in variants[n % VARIANTS].negative],
                "not_exhaustive_category_ids": variants[n % VARIANTS].true_class[:1].tolist(),
            }
            for n in range(images)
        ],
        "annotations": list(_annotations(images, variants)),
        "categories": [
            {"id": k + 1, "name": name, "synonyms": [name], "frequency": "rcf"[k % 3]}
            for k, name in enumerate(names)
        ],
    }
    file.write_text(json.dumps(content))


def _annotations(images: int, variants: list[Variant]) -> Iterator[Json]:
    for n in range(images):
        each = variants[n % VARIANTS]
        sides = each.true_box[:, 2:] - each.true_box[:, :2]
        for r, (box, side) in enumerate(zip(each.true_box, sides, strict=True)):
            yield {
                "id": n * REGIONS + r + 1,
                "image_id": n + 1,
                "category_id": int(each.true_class[r]) + 1,
                "bbox": [*box[:2].tolist(), *side.round(2).tolist()],
                "area": float(side.prod().round(2)),
                "segmentation": [each.rings[r]],
            }


def write_proposals(file: Path, images: int, variants: list[Variant]) -> None:
    """Write a detector's boxes as COCO results."""
    with file.open("w") as out:
        for n in range(images):
            own = variants[n % VARIANTS].proposals
            xywh = np.column_stack([own.boxes[:, :2], own.boxes[:, 2:] - own.boxes[:, :2]])
            pairs = zip(xywh.round(2).tolist(), own.scores.round(4).tolist(), strict=True)
            lines = (
                f'{{"image_id":{n + 1},"category_id":1,"bbox":{box},"score":{score}}}'
                for box, score in pairs
            )
            out.write(("," if n else "[") + ",".join(lines))
        out.write("]")


def write_images(folder: Path, images: int) -> None:
    """Write a few photographs under as many names as there are images."""
    folder.mkdir()
    for n in range(images):
        path = folder / f"{n + 1:012}.jpg"
        if n < PHOTOGRAPHS:
            picture = photograph(np.random.default_rng(n), HEIGHT, WIDTH)
            Image.fromarray(picture).save(path, quality=85)
        else:
            os.link(folder / f"{n % PHOTOGRAPHS + 1:012}.jpg", path)


def write_head(folder: Path, models: Backbones) -> FusionConfig:
    """Write a head that has learnt nothing."""
    torch.manual_seed(0)
    shape = FusionConfig(
        region_width=models.region_encoder.token_width,
        image_width=models.image_text_encoder.token_width,
        text_width=models.image_text_encoder.text_width,
        layers=1,
        ffn_width=64,
    )
    save_head(folder, FusionHead(shape), HeadRecord(shape, models.fingerprint, {}))
    return shape


def write_journal(config: EvaluateConfig, models: Backbones, variants: list[Variant]) -> None:
    """Write what an evaluation keeps until it has named the last image: no model is then asked."""
    annotations = read_annotations(config.annotations)
    folder = RunFolder(config, [config.heads[0].name], annotations)
    folder.claim()
    with open_journal(folder.journals, WHOLE) as journal:
        journal.start(models.fingerprint)
        for number, batch in enumerate(image_batches(len(annotations), config.batch_images)):
            records = [variants[n % VARIANTS].record(n, baselines=config.baselines) for n in batch]
            journal.add(number, records)


def write_store(
    store: Path, annotations: AnnotationSet, shape: FusionConfig, models: Backbones
) -> None:
    """Write a store of the annotated boxes, with the head's widths and few tokens."""
    tokens = TokenShape(
        image_tokens=TOKENS,
        image_width=shape.image_width,
        region_tokens=models.region_encoder.token_count,
        region_width=shape.region_width,
        ious=models.region_encoder.token_count - 1,
    )
    plan = CachePlan(np.diff(annotations.region_start), tokens, 256, Keep())
    bank = make_bank(annotations.vocabulary, width=shape.text_width)
    writer = CacheWriter.open_or_create(
        store,
        plan=plan,
        annotations=annotations,
        make_bank=lambda: replace(bank, clip=models.fingerprint["image_text_encoder"]),
        fingerprint={"backbones": models.fingerprint, "dataset": annotations.fingerprint()},
    )
    for part in writer.pending():
        writer.write(part, make_features(plan, part.index))
    writer.finish()


def main(folder: Path, images: int) -> None:
    """Write everything."""
    models = load_backbones(BackboneConfig(device="cpu"))
    detected = [Variant.draw(seed, annotated=False) for seed in range(VARIANTS)]
    true = [Variant.draw(seed, annotated=True) for seed in range(VARIANTS)]
    write_annotations(folder / "annotations.json", images, detected)
    write_annotations(folder / "small.json", min(images, SMALL_IMAGES), true)
    write_proposals(folder / "proposals.json", images, detected)
    write_images(folder / "images", images)
    shape = write_head(folder / "head", models)
    annotations = read_annotations(folder / "annotations.json")
    write_store(folder / "store", annotations, shape, models)
    common: Json = {"images": folder / "images", "heads": [folder / "head"]}
    common["backbones"] = backbones_of_head(folder / "head", {}, sam=None, clip=None)
    large = {"annotations": annotations.path, "proposals": str(folder / "proposals.json")}
    small = {"annotations": folder / "small.json", "baseline": BASELINES}
    for out, settings, variants in (("run", large, detected), ("small", small, true)):
        values = common | settings | {"out": folder / out}
        write_journal(EvaluateConfig.parse(values, source="val_size"), models, variants)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
