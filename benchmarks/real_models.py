"""The real architectures end to end on a few photographs: seconds and peak memory.

    python benchmarks/real_models.py --images DIR --annotations FILE --out DIR

Runs each command as a user would, with SAM ViT-B and CLIP ViT-B/16 (QuickGELU, as OpenAI's).
Their weights, and a fusion head in the published checkpoints' layout, are saved state dicts of the
random initialisation, which cost what the real ones cost; the names that come out mean nothing.
`--precision bfloat16` is what a CPU that has it wants.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from measure import measure
from regionspot_core.imaging.boxes import xywh_to_xyxy

CLIP = "ViT-B-16-quickgelu"
MODELS = ["--sam", "vit_b", "--clip", CLIP]


def save_random_weights(sam: Path, clip: Path, published: Path) -> None:
    """Write both models' state dicts and a published head.

    In a process of its own: a child counts its parent's memory as its own peak.
    """
    import open_clip
    import torch
    from segment_anything import sam_model_registry

    from regionspot_core.heads.fusion import FusionConfig, FusionHead
    from regionspot_core.heads.published import write_published

    torch.manual_seed(0)
    torch.save(sam_model_registry["vit_b"]().state_dict(), sam)
    torch.save(open_clip.create_model(CLIP, load_weights=False).state_dict(), clip)
    write_published(published, FusionHead(FusionConfig()))


def save_proposals(folder: Path, content: dict[str, Any]) -> None:
    """Write the annotated boxes in both layouts of detectors' files."""
    listed = [
        {"image_id": a["image_id"], "bbox": a["bbox"], "score": 0.9} for a in content["annotations"]
    ]
    by_image: dict[str, dict[str, list[Any]]] = {}
    for entry in listed:
        of_image = by_image.setdefault(
            str(entry["image_id"]), {"boxes": [], "scores": [], "labels": []}
        )
        of_image["boxes"].append(xywh_to_xyxy(entry["bbox"]).tolist())
        of_image["scores"].append(0.9)
        of_image["labels"].append(1)
    (folder / "coco_results.json").write_text(json.dumps(listed))
    (folder / "by_image.json").write_text(json.dumps(by_image))


def save_mask(folder: Path, image: dict[str, Any], box: list[float]) -> None:
    """Write a mask picture: the ellipse in a box (x, y, width, height)."""
    rows, columns = np.mgrid[: image["height"], : image["width"]]
    x, y = (columns - box[0]) / box[2], (rows - box[1]) / box[3]
    inside = (2 * x - 1) ** 2 + (2 * y - 1) ** 2 <= 1
    Image.fromarray(inside).save(folder / "mask.png")


def run(name: str, *arguments: str) -> None:
    """Run one command of `regionspot`."""
    measure(name, ["-m", "regionspot.cli", *arguments])


def main() -> None:
    """Run the commands in the order of the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True)
    content = json.loads(arguments.annotations.read_text())
    sam, clip, published = (out / name for name in ("sam.pth", "clip.pt", "published.pth"))
    saving = multiprocessing.get_context("spawn").Process(
        target=save_random_weights, args=(sam, clip, published)
    )
    saving.start()
    saving.join()
    files = ["--sam-checkpoint", str(sam), "--clip-pretrained", str(clip)]
    weights = [*files, "--precision", arguments.precision]
    save_proposals(out, content)

    data = ["--images", str(arguments.images), "--annotations", str(arguments.annotations)]
    frozen, small, store = [*MODELS, *weights], ["--batch", "1"], str(out / "store.zarr")
    run("extract plan", "extract", "plan", *data, *frozen, *small)
    run(
        "extract text", "extract", "text", "--vocabulary", str(arguments.annotations),
        "--out", str(out / "classes.h5"), *MODELS[2:], *weights[2:],
    )  # fmt: skip
    extract = ["extract", "run", *data, *frozen, *small, "--bank", str(out / "classes.h5")]
    run("extract run", *extract, "--out", store)
    run("extract run, again", *extract, "--out", store)
    run(
        "train fit, 20 steps", "train", "fit", "--config", "paper-bb", "--set", "steps=20",
        "--set", "log_every=5", "--cache", store, "--out", str(out / "run"),
    )  # fmt: skip
    head = str(out / "head")
    run("train import", "train", "import", str(published), "--out", head, *MODELS)
    evaluate = ["evaluate", "run", *data, "--head", head, *weights, *small]
    looking = ["--points-per-side", "4", "--iou-threshold", "0", "--stability-threshold", "0"]
    for name, proposals in {
        "gt": ["gt"],
        "COCO results": [str(out / "coco_results.json")],
        "boxes by image": [str(out / "by_image.json")],
        "auto, 4 × 4 points": ["auto", *looking],
    }.items():
        results = str(out / f"results {name}")
        run(f"evaluate run, {name}", *evaluate, "--out", results, "--proposals", *proposals)

    image, annotation = content["images"][0], content["annotations"][0]
    save_mask(out, image, annotation["bbox"])
    x1, y1, x2, y2 = xywh_to_xyxy(annotation["bbox"]).tolist()
    predict = [
        "evaluate", "predict", str(arguments.images / image["file_name"]), "--head", head, *weights,
        "--names", "dog,bicycle,truck,tree", "--out", str(out / "predict"),
    ]  # fmt: skip
    prompts = {
        "a box": ["--box", f"{x1},{y1},{x2},{y2}"],
        "a point": ["--point", f"{(x1 + x2) / 2},{(y1 + y2) / 2}"],
        "a mask": ["--mask", str(out / "mask.png")],
        "no prompt, 4 × 4 points": looking,
    }
    for name, given in prompts.items():
        run(f"evaluate predict, {name}", *predict, *given)


if __name__ == "__main__":
    main()
