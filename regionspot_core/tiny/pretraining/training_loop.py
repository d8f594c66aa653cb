"""The resumable loop that pretrains the tiny backbones.

A step's batch is a function of the step number alone, so the state of a run is the model, the
optimiser and the step: a run that was interrupted gives the same weights as one that was not.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

CHECKPOINT_SECONDS = 120.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Return learning rate of a run: linear warm-up, then half a cosine to zero over `steps`."""

    steps: int
    peak: float = 1e-3
    warmup: int = 200

    def rate(self, step: int) -> float:
        """Return learning rate of the given step, counted from 0."""
        warm = min(1.0, (step + 1) / max(1, min(self.warmup, self.steps // 4)))
        return self.peak * warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))


def decoupled_adamw(
    model: torch.nn.Module, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """Return AdamW that decays matrices only: no biases, norms, position tables or embeddings."""
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim >= 2 and "embedding" not in name and "pos_embed" not in name
        (decayed if is_matrix else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True)


def run_training(
    *,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    loss_at: Callable[[int], torch.Tensor],
    checkpoint: Path,
    stop_after: int | None = None,
    report_every: int = 50,
) -> None:
    """Train `model` in place to the end of `schedule`, from `checkpoint` where that file exists.

    Args:
        loss_at: the loss of a step (counted from 0); must draw everything random from the step
            number.
        checkpoint: written every two minutes and at the end, aside and then renamed.
        stop_after: end at this step instead, as an interruption would, with a checkpoint.
        report_every: steps between progress lines.
    """
    first = _restore(model, optimizer, checkpoint)
    last = schedule.steps if stop_after is None else min(stop_after, schedule.steps)
    started = saved = time.monotonic()
    model.train()
    for step in range(first, last):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        loss = loss_at(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        now = time.monotonic()
        if (step + 1) % report_every == 0 or step + 1 == last:
            pace = (now - started) / (step + 1 - first)
            left = pace * (last - step - 1)
            log.info(
                "step %d/%d, loss %.4f, %.0f ms a step, %.0f s left",
                *(step + 1, last, loss.item(), 1000 * pace, left),
            )
        if now - saved > CHECKPOINT_SECONDS or step + 1 == last:
            _save(model, optimizer, step + 1, checkpoint)
            saved = now
    model.eval()


def save_weights(model: torch.nn.Module, path: Path) -> None:
    """Write the model's state as float16 safetensors, aside and then renamed."""
    state = {
        name: value.detach().to(torch.float16).contiguous()
        for name, value in model.state_dict().items()
    }
    aside = path.with_suffix(".partial")
    save_file(state, aside)
    aside.replace(path)


def _save(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int, checkpoint: Path
) -> None:
    aside = checkpoint.with_suffix(".partial")
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, aside
    )
    aside.replace(checkpoint)


def _restore(model: torch.nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path) -> int:
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    step = int(state["step"])
    log.info("continuing from step %d", step)
    return step
