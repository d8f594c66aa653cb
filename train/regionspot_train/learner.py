"""A head that learns: its weights, its optimiser, and all else that decides its next step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from regionspot_core.cache.batch import FeatureBatch
from regionspot_core.cache.reader import FeatureCache
from regionspot_core.class_bank import ClassBank
from regionspot_core.errors import CheckpointError
from regionspot_core.fusion import FusionConfig, FusionHead, normalised_boxes
from regionspot_core.region_tokens import KeptTokens, chosen_count, chosen_tokens
from regionspot_train.config import TrainConfig
from regionspot_train.losses import drawn_classes, reduce_losses, region_losses
from regionspot_train.optimiser import make_optimiser, rate_factor


@dataclass(frozen=True)
class Learnt:
    """What one step gave."""

    loss: torch.Tensor
    gradient_norm: torch.Tensor
    """Before clipping."""
    lr: float


class Learner:
    """A head, freshly initialised by the seed, that learns from batches of one cache."""

    def __init__(
        self, config: TrainConfig, cache: FeatureCache, bank: ClassBank, device: torch.device
    ) -> None:
        torch.manual_seed(config.seed)
        self._learning = FusionHead(head_config(config, cache, bank)).to(device).train()
        self._average: AveragedModel | None = None
        if config.optimiser.ema is not None:
            # torch leaves it untyped
            mean = get_ema_multi_avg_fn(config.optimiser.ema)  # type: ignore[no-untyped-call]
            self._average = AveragedModel(self._learning, multi_avg_fn=mean)
        self.step = 0
        """Steps learnt so far."""
        self._config = config
        self._device = device
        self._kept = cache.plan.keep.sam_tokens
        self._classes_KD = torch.from_numpy(bank.embeddings).to(device)
        self._clip_scale = bank.logit_scale
        self._optimiser = make_optimiser(self._learning, config.optimiser)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: rate_factor(step, config.steps, config.optimiser)
        )

    @property
    def head(self) -> FusionHead:
        """What has been learnt: the head, or the mean of its weights if that was asked for."""
        if self._average is None:
            return self._learning
        return cast(FusionHead, self._average.module)

    @property
    def parameters(self) -> int:
        """How many numbers are learnt."""
        return sum(parameter.numel() for parameter in self._learning.parameters())

    def learn(self, batch: FeatureBatch) -> Learnt:
        """Take one step.

        Raises:
            CheckpointError: The loss or its gradient is not finite; the images are named.
        """
        with torch.autocast(
            self._device.type, dtype=torch.bfloat16, enabled=self._config.precision == "bfloat16"
        ):
            loss = self._loss(batch)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        norm = torch.nn.utils.clip_grad_norm_(
            self._learning.parameters(), self._config.optimiser.clip_norm
        )
        self.step += 1
        _require_finite(loss, norm, self.step, batch)
        lr = float(self._optimiser.param_groups[0]["lr"])
        self._optimiser.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self._learning)
        return Learnt(loss.detach(), norm.detach(), lr)

    def state(self) -> dict[str, Any]:
        """All but the head that decides what the next steps give: tensors and plain values."""
        state = {
            "step": self.step,
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "random": torch.get_rng_state(),
        }
        if self._device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state(self._device)
        if self._average is not None:
            state["learning"] = self._learning.state_dict()
            state["averaged"] = self._average.n_averaged
        return state

    def restore(self, weights: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
        """Go on where another learner of the same config had this head and :meth:`state`."""
        self.head.load_state_dict(weights)
        if self._average is not None:
            self._learning.load_state_dict(state["learning"])
            self._average.n_averaged.copy_(state["averaged"])
        self.step = state["step"]
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        if "random_cuda" in state and self._device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"], self._device)

    def _loss(self, batch: FeatureBatch) -> torch.Tensor:
        embedded, mask = embed(self._learning, batch, self._kept, self._device)
        config, embeddings = self._config.loss, self._classes_KD
        classes = batch.classes.to(self._device)
        if config.negatives is not None:
            drawn, classes = drawn_classes(classes, mask, len(embeddings), config.negatives)
            embeddings = embeddings[drawn]
        logits = self._learning.logits(embedded, embeddings, self._clip_scale)
        return reduce_losses(region_losses(logits, classes, config), mask, config)


def embed(
    head: FusionHead, batch: FeatureBatch, kept: KeptTokens, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Region embeddings (B, R, D) of a cached batch, and its mask (B, R), both on the device.

    ``kept`` is what the cache keeps of SAM's tokens.
    """
    mask, boxes = batch.mask.to(device), None
    seen = chosen_tokens(batch.region_tokens, head.config.region_tokens, kept)
    if head.config.box_geometry:
        boxes = normalised_boxes(batch.boxes, batch.image_sizes).to(device)
    regions, image = seen.to(device).float(), batch.image_tokens.to(device).float()
    return head(regions, image, mask, boxes), mask


def head_config(config: TrainConfig, cache: FeatureCache, bank: ClassBank) -> FusionConfig:
    """The head's whole shape: what the user chose, and the widths of the cache's models.

    Raises:
        ConfigError: They do not fit together.
        InputError: The head is to see tokens that the cache does not keep.
    """
    plan, choice = cache.plan, config.head.region_tokens
    widths = {
        "region_width": plan.shape.region_width,
        "region_token_count": chosen_count(
            choice, plan.shape.region_tokens, plan.keep.sam_tokens, of=str(cache.stores[0].store)
        ),
        "image_width": plan.shape.image_width,
        "image_tokens": plan.shape.image_tokens,
        "text_width": bank.embeddings.shape[1],
    }
    return FusionConfig.parse({**config.head.to_json(), **widths}, source="head")


def _require_finite(loss: torch.Tensor, norm: torch.Tensor, step: int, batch: FeatureBatch) -> None:
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        images = ", ".join(str(int(image)) for image in batch.image_ids[:4])
        raise CheckpointError(
            f"step {step}: loss {loss.item()} and gradient norm {norm.item()} are not finite "
            f"(images {images}, …); lower optimiser.lr or use float32"
        )
