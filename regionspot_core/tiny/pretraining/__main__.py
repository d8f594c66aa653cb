"""Pretrain the tiny backbones: `python -m regionspot_core.tiny.pretraining --out DIR`.

Takes 5 GB of memory and, as measured on two busy CPU cores, 12 minutes for SAM (one thread) and 40
for CLIP; another program on the same cores slows it out of proportion. Gates to expect: mask IoU
from exact boxes 0.925 (0.75 from one point); CLIP on crops 0.66, with 81 templates 0.67; ridge on
patch tokens 0.31.

Writes `DIR/sam.safetensors` and `DIR/clip.safetensors` (float16), which are shipped as
`regionspot_core/tiny/weights/`. An interrupted run continues from its checkpoints in DIR when the
same command is given again.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from open_clip import OPENAI_IMAGENET_TEMPLATES

from regionspot_core.tiny.models import build_tiny_clip, build_tiny_sam
from regionspot_core.tiny.pretraining.captions import CaptionBank
from regionspot_core.tiny.pretraining.gates import class_embeddings, crop_accuracy, ridge_accuracy
from regionspot_core.tiny.pretraining.pool import make_pool
from regionspot_core.tiny.pretraining.pretrain_clip import clip_loss, initialise_clip
from regionspot_core.tiny.pretraining.pretrain_sam import box_iou_of_masks, initialise_sam, sam_loss
from regionspot_core.tiny.pretraining.training_loop import (
    Schedule,
    decoupled_adamw,
    run_training,
    save_weights,
)
from regionspot_core.tiny.scenes import Scene, make_scene, scene_generator

SAM_STEPS, SAM_SCENES = 2000, 20_000
CLIP_STEPS, CLIP_SCENES = 3400, 60_000
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.05
GATE_SEED = 9_999

log = logging.getLogger(__name__)


def pretrain_sam(
    out: Path, *, steps: int, scenes: int, seed: int, stop_after: int | None = None
) -> None:
    """Train the tiny SAM for `steps` on a pool of `scenes` and write `out/sam.safetensors`.

    Continues from `out/sam.pt`. `stop_after` ends the run at that step, as an interruption would:
    with a checkpoint and without weights.
    """
    pool = make_pool(scenes, seed=seed)
    torch.manual_seed(seed)
    sam = build_tiny_sam()
    initialise_sam(sam)
    run_training(
        model=sam,
        optimizer=decoupled_adamw(sam, WEIGHT_DECAY, BETAS),
        schedule=Schedule(steps=steps),
        loss_at=lambda step: sam_loss(sam, pool, seed, step),
        checkpoint=out / "sam.pt",
        stop_after=stop_after,
    )
    if stop_after is None:
        save_weights(sam, out / "sam.safetensors")


def pretrain_clip(
    out: Path, *, steps: int, scenes: int, seed: int, stop_after: int | None = None
) -> None:
    """Train the tiny CLIP for `steps` on a pool of `scenes` and write `out/clip.safetensors`.

    Continues from `out/clip.pt`; `stop_after` as in `pretrain_sam`.
    """
    pool = make_pool(scenes, seed=seed)
    captions = CaptionBank()
    torch.manual_seed(seed)
    clip = build_tiny_clip()
    initialise_clip(clip)
    run_training(
        model=clip,
        optimizer=decoupled_adamw(clip, WEIGHT_DECAY, BETAS),
        schedule=Schedule(steps=steps),
        loss_at=lambda step: clip_loss(clip, pool, captions, seed=seed, step=step, steps=steps),
        checkpoint=out / "clip.pt",
        stop_after=stop_after,
    )
    if stop_after is None:
        save_weights(clip, out / "clip.safetensors")


def log_sam_gate(out: Path) -> None:
    """Log the mask IoU of `out/sam.pt` on unseen scenes."""
    sam = build_tiny_sam()
    sam.load_state_dict(torch.load(out / "sam.pt", weights_only=True)["model"])
    log.info("gate: mask IoU from exact boxes %.3f", box_iou_of_masks(sam, _gate_scenes(0, 300)))


def log_clip_gates(out: Path) -> None:
    """Log the figures of `gates` for `out/clip.pt`, which may be of an unfinished run."""
    clip = build_tiny_clip()
    clip.load_state_dict(torch.load(out / "clip.pt", weights_only=True)["model"])
    fitted, tested = _gate_scenes(300, 2300), _gate_scenes(0, 300)
    log.info("gate: ridge on patch tokens %.3f", ridge_accuracy(clip, fitted, tested))
    for label, templates in {
        "plain names": ["{}".format],
        "81 templates": [*OPENAI_IMAGENET_TEMPLATES, "{}.".format],
    }.items():
        accuracy = crop_accuracy(clip, tested, class_embeddings(clip, templates))
        log.info("gate: CLIP on crops, %s %.3f", label, accuracy)


def main(arguments: Sequence[str] | None = None) -> None:
    """Return the command line of this module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints and weights"
    )
    parser.add_argument("--only", choices=["sam", "clip"], help="pretrain one of the two")
    parser.add_argument(
        "--steps", type=int, help=f"instead of {SAM_STEPS} (SAM) and {CLIP_STEPS} (CLIP)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    # The fused attention's backward is slow on CPUs: with math attention a step took a third of the
    # time.
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    if options.only != "clip":
        pretrain_sam(
            options.out, steps=options.steps or SAM_STEPS, scenes=SAM_SCENES, seed=options.seed
        )
        log_sam_gate(options.out)
    if options.only != "sam":
        pretrain_clip(
            options.out, steps=options.steps or CLIP_STEPS, scenes=CLIP_SCENES, seed=options.seed
        )
        log_clip_gates(options.out)


def _gate_scenes(start: int, end: int) -> list[Scene]:
    """Return scenes that no training uses: of the validation stream, with a seed of their own."""
    return [make_scene(scene_generator(GATE_SEED, "val", index)) for index in range(start, end)]


if __name__ == "__main__":
    main()
