"""The story of a training run: cached features in, a head out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from regionspot_core import __version__
from regionspot_core.cache.batch import FeatureBatch
from regionspot_core.cache.reader import FeatureCache
from regionspot_core.cache.store import Location
from regionspot_core.checkpoint import RECORD, HeadRecord, save_head
from regionspot_core.class_bank import ClassBank
from regionspot_core.errors import CacheError, CheckpointError
from regionspot_core.files import require_folder_or_nothing, write_json
from regionspot_core.fusion import FusionConfig, FusionHead
from regionspot_core.progress import progress_line
from regionspot_train.config import TrainConfig
from regionspot_train.loader import FeatureLoader
from regionspot_train.losses import reduce_losses, region_losses
from regionspot_train.meter import Meter
from regionspot_train.optimiser import make_optimiser, rate_factor
from regionspot_train.run_log import RunLog

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class TrainReport:
    """How a run ended."""

    steps: int
    loss: float
    """Mean over the last logged steps."""
    parameters: int
    seconds: float


def run_training(config: TrainConfig, *, store: Location, out: Path) -> TrainReport:
    """Train a head on the cache and write it, its record, log and curve into ``out``.

    Raises:
        CacheError: The cache is missing, unfinished, or has no regions to learn from.
        CheckpointError: ``out`` already holds a run.
    """
    cache = FeatureCache(store)
    bank = cache.class_bank()
    _require_trainable(cache)
    _claim(out)
    device = _device(config.device)

    torch.manual_seed(config.seed)
    head = FusionHead(_head_config(config, cache, bank)).to(device)
    classes_KD = torch.from_numpy(bank.embeddings).to(device)
    optimiser = make_optimiser(head, config.optimiser)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: rate_factor(step, config.steps, config.optimiser)
    )
    loader = FeatureLoader(
        cache,
        batch_images=config.batch_images,
        seed=config.seed,
        steps=config.steps,
        reading=config.reading,
    )
    write_json(out / "config.json", config.to_json())

    def record(step: int) -> HeadRecord:
        training = {
            "step": step,
            "config": config.to_json(),
            "caches": [{"store": str(store), **cache.fingerprint["dataset"]}],
            "version": __version__,
        }
        return HeadRecord(head.config, cache.fingerprint["backbones"], training)

    paper_token = cache.plan.paper_token
    began = time.perf_counter()
    meter = Meter()
    log = RunLog(out)
    with log, progress_line("train", total=config.steps, unit="steps") as advance:
        head.train()
        for step, batch in enumerate(meter.waiting(loader), start=1):
            with torch.autocast(
                device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"
            ):
                loss = _loss(head, batch, paper_token, classes_KD, bank.logit_scale, config, device)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            norm = torch.nn.utils.clip_grad_norm_(head.parameters(), config.optimiser.clip_norm)
            _require_finite(loss, norm, step, batch)
            optimiser.step()
            meter.add(loss, norm, batch)
            if step % config.log_every == 0 or step == config.steps:
                log.write(meter.line(step, optimiser.param_groups[0]["lr"]))
            schedule.step()
            if step % config.checkpoint_every == 0 and step < config.steps:
                save_head(out / CHECKPOINTS / f"step_{step:07d}", head, record(step))
            advance(1, f"loss {log.lines[-1].loss:.4g}" if log.lines else "")
    save_head(out, head, record(config.steps))
    return TrainReport(
        steps=config.steps,
        loss=log.lines[-1].loss,
        parameters=sum(p.numel() for p in head.parameters()),
        seconds=time.perf_counter() - began,
    )


def _loss(
    head: FusionHead,
    batch: FeatureBatch,
    paper_token: int,
    classes_KD: torch.Tensor,
    clip_scale: float,
    config: TrainConfig,
    device: torch.device,
) -> torch.Tensor:
    mask = batch.mask.to(device)
    embedded = head(
        batch.region_tokens[:, :, paper_token].to(device).float(),
        batch.image_tokens.to(device).float(),
        mask,
    )
    logits = head.logits(embedded, classes_KD, clip_scale)
    return reduce_losses(
        region_losses(logits, batch.classes.to(device), config.loss), mask, config.loss
    )


def _head_config(config: TrainConfig, cache: FeatureCache, bank: ClassBank) -> FusionConfig:
    widths = {
        "region_width": cache.plan.shape.region_width,
        "image_width": cache.plan.shape.image_width,
        "text_width": bank.embeddings.shape[1],
    }
    return FusionConfig.parse({**config.head.to_json(), **widths}, source="head")


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _require_trainable(cache: FeatureCache) -> None:
    if not (cache.region_counts > 0).any():
        raise CacheError(
            f"{cache.stores[0].store}: no image has a region, so there is nothing to learn from"
        )


def _claim(out: Path) -> None:
    require_folder_or_nothing(out)
    if (out / RECORD).exists() or (out / CHECKPOINTS).exists():
        raise CheckpointError(f"{out}: already holds a training run; choose another --out")
    out.mkdir(parents=True, exist_ok=True)


def _require_finite(loss: torch.Tensor, norm: torch.Tensor, step: int, batch: FeatureBatch) -> None:
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        images = ", ".join(str(int(image)) for image in batch.image_ids[:4])
        raise CheckpointError(
            f"step {step}: loss {loss.item()} and gradient norm {norm.item()} are not finite "
            f"(images {images}, …); lower optimiser.lr or use float32"
        )
