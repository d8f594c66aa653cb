"""Stored features are the straightforward loop's: odd sizes, no region and many, any batch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip import CLIP, CLIPTextCfg, CLIPVisionCfg
from PIL import Image
from segment_anything.build_sam import _build_sam

from regionspot_bench.extract.loops import Loop, Models
from regionspot_core.backbones.clip.encoder import ClipEncoder
from regionspot_core.backbones.loading import Backbones
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.backbones.sam.encoder import SamEncoder
from regionspot_core.backbones.sam.input import resize_sam_input
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.tiny.models import load_tiny_clip, load_tiny_sam, tiny_tokenizer
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction

CPU = Runtime.create("cpu")
IMAGES = [
    # height, width, regions
    (1, 1, 1),
    (60, 10_000, 2),
    (5_000, 7_000, 1),
    (96, 96, 0),
    (97, 63, 1),
    (64, 80, 500),
    (30, 41, 3),
]
LONG = 1
"""The picture so long that a tiny SAM's input has one row of it; 50 pixels high with a larger."""


def tiny() -> Models:
    return Models(load_tiny_sam(), load_tiny_clip())


def small() -> Models:
    """SAM's and CLIP's own modules, window and global attention, positions drawn; random."""
    torch.manual_seed(0)
    sam = _build_sam(64, 2, 2, [1])
    resize_sam_input(sam, 256, name="small")
    clip = CLIP(
        64,
        CLIPVisionCfg(layers=2, width=64, head_width=32, patch_size=16, image_size=64),
        CLIPTextCfg(context_length=16, width=32, heads=2, layers=1),
        quick_gelu=True,
    )
    with torch.no_grad():
        for name, value in sam.named_parameters():
            if "pos" in name:
                value.normal_(std=0.02)
    return Models(sam.eval(), clip.eval())


class Extracted:
    """A data set of :data:`IMAGES`, and its stores by one pair of models."""

    def __init__(self, folder: Path, models: Models, long_height: int) -> None:
        self.folder, self.models = folder, models
        self.images: list[Path] = []
        self.boxes: list[np.ndarray] = []
        records, annotations = [], []
        (folder / "images").mkdir()
        for index, (height, width, regions) in enumerate(IMAGES):
            height = long_height if index == LONG else height
            self.images.append(folder / "images" / f"{index}.jpg")
            rng = np.random.default_rng(index)
            coarse = rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((width, height)).save(self.images[-1])
            corners = rng.random((regions, 2)) * (0.5 * width, 0.5 * height)
            xywh = np.column_stack([corners, rng.uniform(0.2, 0.5, (regions, 2)) * (width, height)])
            self.boxes.append(np.column_stack([corners, corners + xywh[:, 2:]]))
            records.append(
                {"id": index, "file_name": f"{index}.jpg", "height": height, "width": width}
            )
            annotations += [
                {"id": 1_000 * index + n, "image_id": index, "category_id": 1, "bbox": box}
                for n, box in enumerate(xywh.tolist())
            ]
        content = {"images": records, "annotations": annotations}
        self.annotations = folder / "annotations.json"
        self.annotations.write_text(json.dumps(content | {"categories": [{"id": 1, "name": "a"}]}))

    def features(self, batch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Image and region tokens of each image, through a store."""
        store = self.folder / f"{batch}.zarr"
        if not store.exists():
            config = ExtractConfig(
                images=self.folder / "images",
                annotations=self.annotations,
                out=store,
                batch_images=batch,
                part_images=4,
            )
            sam = SamEncoder(self.models.sam, name="sam", runtime=CPU)
            clip = ClipEncoder(self.models.clip, tiny_tokenizer(), name="clip", runtime=CPU)
            run_extraction(config, backbones=Backbones(sam, clip))
        cache = FeatureCache(store)
        batches = [cache.read([index]) for index in range(len(IMAGES))]
        return [
            (np.asarray(b.image_tokens[0]), np.asarray(b.region_tokens[b.mask])) for b in batches
        ]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((tiny, 60), id="tiny"),
        pytest.param((small, 50), id="small", marks=pytest.mark.slow),
    ],
)
def extracted(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    build: Callable[[], Models]
    build, long_height = request.param
    return Extracted(tmp_path_factory.mktemp("extracted"), build(), long_height)


def test_features_are_the_loops(extracted: Extracted) -> None:
    found = extracted.features(batch=3)
    loop = Loop(extracted.models, CPU.device, "float32")
    for index, (image_tokens, region_tokens) in enumerate(found):
        boxes = extracted.boxes[index]
        assert len(region_tokens) == len(boxes)
        # The predictor takes no empty list of boxes.
        expected = loop.features(extracted.images[index], boxes if len(boxes) else np.ones((1, 4)))
        # float16 keeps 11 bits.
        np.testing.assert_allclose(image_tokens, expected.image_tokens, rtol=2e-3, atol=2e-3)
        if len(boxes):
            np.testing.assert_allclose(region_tokens, expected.region_tokens, rtol=2e-3, atol=2e-3)


def test_features_do_not_depend_on_the_batch(extracted: Extracted) -> None:
    for one, many in zip(extracted.features(batch=1), extracted.features(batch=7), strict=True):
        for alone, together in zip(one, many, strict=True):
            np.testing.assert_allclose(alone, together, rtol=1e-3, atol=1e-3)
