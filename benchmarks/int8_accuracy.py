"""What int8 tokens cost in accuracy: AP and logits on the tiny world, and real activations.

    python benchmarks/int8_accuracy.py --out DIR [--seeds 2] [--scenes 3000]

For each seed the tiny world is extracted in float16 and in int8, and a head trained on each. Each
head then names the validation boxes from the cached tokens of both encodings; AP is LVIS box AP
with ground-truth boxes, from the official scorer. The tokens of a randomly initialised CLIP
ViT-B-16, of the real architecture, follow, as they are and with planted outliers: a few channels a
hundred times the rest.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import open_clip
import torch

from regionspot_core.backbones.clip.encoder import ClipEncoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.cache.layout.encodings.int8 import INT8
from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.heads.checkpoint import load_head
from regionspot_core.heads.fusion import FusionHead
from regionspot_core.tiny.world import World, write_world
from regionspot_evaluate.folder.detections import image_detections
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.scoring.scorer import LvisScorer
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.run import run_training

DTYPES = ("float16", "int8")
OUTLIERS = (7, 100, 401, 633)


@torch.inference_mode()
def cached_logits(head: FusionHead, cache: FeatureCache) -> list[torch.Tensor]:
    """Return (regions, K) logits of each image, from its cached tokens alone."""
    bank = cache.class_bank()
    classes = torch.from_numpy(bank.embeddings)
    logits_of_images = []
    for index in range(len(cache)):
        batch = cache.read([index])
        regions = batch.region_tokens[:, :, cache.plan.paper_token].float()
        embedded = head(regions, batch.image_tokens.float(), batch.mask)
        logits_of_images.append(head.logits(embedded, classes, bank.logit_scale)[0, batch.mask[0]])
    return logits_of_images


def box_ap(cache: FeatureCache, logits: list[torch.Tensor], annotations: Path, out: Path) -> float:
    """Return the LVIS box AP of naming the annotated boxes, in points."""
    entries = []
    for index, scores in enumerate(logits):
        batch = cache.read([index])
        boxes = batch.boxes[batch.mask].numpy()
        known = Proposals(boxes, np.ones(len(boxes), np.float32), batch.classes[batch.mask].numpy())
        entries += image_detections(
            int(batch.image_ids[0]),
            known,
            scores.softmax(-1).numpy(),
            vocabulary=cache.vocabulary,
            limit=300,
        )
    out.write_text(json.dumps(entries))
    return 100 * (LvisScorer(annotations).score(out, iou="bbox")["AP"] or 0.0)


def measure_world(out: Path, world: World, seed: int) -> None:
    """Print AP by the encoding trained on and the encoding read, and the logits' error."""
    caches = {}
    heads = {}
    for dtype in DTYPES:
        keep = Keep(dtype=dtype)
        stores = out / f"train_{seed}_{dtype}.zarr", out / f"val_{seed}_{dtype}.zarr"
        sources = (
            (world.train_images, world.train_annotations),
            (world.val_images, world.val_annotations),
        )
        for store, (images, file) in zip(stores, sources, strict=True):
            run_extraction(ExtractConfig(images=images, annotations=file, out=store, keep=keep))
        run = out / f"run_{seed}_{dtype}"
        run_training(
            TrainConfig.load(recipe_or_file("demo"), [f"seed={seed}"]), store=stores[0], out=run
        )
        heads[dtype] = load_head(run)
        caches[dtype] = FeatureCache(stores[1])
    for trained, head in heads.items():
        logits = {dtype: cached_logits(head, cache) for dtype, cache in caches.items()}
        ap = {
            dtype: box_ap(caches[dtype], logits[dtype], world.val_annotations, out / "ap.json")
            for dtype in DTYPES
        }
        exact, rounded = torch.cat(logits["float16"]), torch.cat(logits["int8"])
        error = (rounded - exact).abs()
        same = (rounded.argmax(1) == exact.argmax(1)).float().mean()
        print(
            f"seed {seed}, head trained on {trained}: AP reading float16 {ap['float16']:.2f}, "
            f"int8 {ap['int8']:.2f}; logits' error mean {error.mean():.4f}, "
            f"99.9 % {error.flatten().kthvalue(int(0.999 * error.numel())).values:.3f}, "
            f"largest {error.max():.3f}, of logits spread {exact.std():.2f}; "
            f"same first name {100 * same:.2f} %",
            flush=True,
        )


@torch.inference_mode()
def measure_real_architecture() -> None:
    """Print how far int8 tokens of CLIP ViT-B-16 are off, by what shares a scale."""
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16-quickgelu").eval()
    encoder = ClipEncoder(
        model, open_clip.get_tokenizer("ViT-B-16"), name="B/16", runtime=Runtime.create("cpu")
    )
    images = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    smooth = [np.cumsum(image, axis=0).astype(np.uint8) for image in images]
    tokens = encoder.image_tokens([encoder.prepare(image) for image in smooth]).half().numpy()
    planted = tokens.copy()
    planted[..., OUTLIERS] *= 100
    for name, values in (("as they are", tokens), ("planted outliers", planted)):
        for axis, sharing in ((1, "image and channel"), (2, "token")):
            steps, scales = INT8.encode(torch.from_numpy(values), axis=axis)
            assert scales is not None
            back = INT8.decoded(steps.numpy(), scales.numpy(), axis=axis).astype(np.float64)
            wide = values.astype(np.float64)
            rest = np.setdiff1d(np.arange(values.shape[-1]), OUTLIERS)
            error = np.linalg.norm((back - wide)[..., rest], axis=-1)
            relative = error / np.linalg.norm(wide[..., rest], axis=-1)
            print(
                f"ViT-B-16 tokens {name}, a scale for each {sharing}: relative error of the "
                f"other channels {relative.mean():.4f}, worst token {relative.max():.4f}",
                flush=True,
            )


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--scenes", type=int, default=3_000)
    arguments = parser.parse_args()
    measure_real_architecture()
    for seed in range(arguments.seeds):
        folder = arguments.out / f"world_{seed}"
        world = write_world(folder, train_scenes=arguments.scenes, val_scenes=600, seed=seed)
        measure_world(arguments.out, world, seed)


if __name__ == "__main__":
    main()
