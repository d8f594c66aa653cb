"""A head that learns: its weights, its optimiser, and the rest that decides its next step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import CheckpointError
from regionspot_core.heads.head import Head
from regionspot_core.heads.registry import build_head, head_kind
from regionspot_core.heads.shape import HeadShape
from regionspot_core.heads.stored import require_stored, stored_embeddings
from regionspot_core.region_tokens import chosen_count
from regionspot_core.support.fault_points import reach
from regionspot_core.text.class_bank import ClassBank
from regionspot_train.config import TrainConfig
from regionspot_train.data.loader import TrainBatch
from regionspot_train.data.sources import Source, require_labels
from regionspot_train.learning.losses import counted_classes
from regionspot_train.learning.objective import Classes, Objective
from regionspot_train.learning.optimiser import make_optimiser, rate_factor
from regionspot_train.learning.randomness import RandomStream
from regionspot_train.processes import Processes

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
RANK_SEEDS = 1_000_003
"""Difference between the seeds of two processes' dropout."""


@dataclass(frozen=True)
class StepResult:
    """A step that was taken."""

    loss: torch.Tensor
    """Loss of the whole batch."""
    gradient_norm: torch.Tensor
    """Norm before clipping."""
    lr: float


@dataclass(frozen=True)
class StepFailure:
    """A step that could not be taken: the head's numbers are no longer finite."""

    reason: str


class Learner:
    """A head, freshly initialised by the seed, that learns from batches of a run's caches.

    Several may learn in turns in one process: each has its own random numbers.
    """

    def __init__(
        self,
        config: TrainConfig,
        sources: Sequence[Source],
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        self.step = 0
        """Number of steps that were taken."""
        self.config = config
        self.device = device
        self._processes = processes or Processes()
        require_labels(sources, config.loss)
        first = sources[0]
        stream = RandomStream(config.seed, device)
        with stream.drawn_from():
            self._learning = build_head(head_shape(config, first.cache, first.bank)).to(device)
        self._random = stream
        if self._processes.rank:
            # Heads begin alike; what is dropped of different images must not.
            self._random = RandomStream(config.seed + self._processes.rank * RANK_SEEDS, device)
        self._learning.train()
        self._average = _average(self._learning, config.optimiser.ema)
        self._names = [each.name for each in sources]
        self._classes = [
            Classes(torch.from_numpy(each.bank.embeddings).to(device), each.bank.logit_scale)
            for each in sources
        ]
        self._learnt = [torch.from_numpy(each.learnt_classes).to(device) for each in sources]
        self._learnt_classes = [
            whole if learnt.all() else whole.only(learnt)
            for whole, learnt in zip(self._classes, self._learnt, strict=True)
        ]
        self.objective = Objective(
            self._learning,
            config.loss,
            kept=first.cache.plan.keep.sam_tokens,
            device=device,
            compiled=config.compile,
        )
        self._parallel: torch.nn.Module = self.objective
        if self._processes.count > 1:
            self._parallel = DistributedDataParallel(self.objective)
        self._optimiser = make_optimiser(self._learning, config.optimiser)
        self._scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")

    @property
    def head(self) -> Head:
        """The head to keep: the one that learns, or the mean of its weights."""
        if self._average is None:
            return self._learning
        return cast(Head, self._average.module)

    @property
    def learning(self) -> Head:
        """The head that every step changes."""
        return self._learning

    @property
    def parameters(self) -> int:
        """Number of weights that are learnt."""
        return sum(parameter.numel() for parameter in self._learning.parameters())

    def start_from(self, weights: dict[str, torch.Tensor]) -> None:
        """Begin with the weights of another head instead of fresh ones."""
        self._learning.load_state_dict(weights)
        if self._average is not None:
            cast(Head, self._average.module).load_state_dict(weights)

    def learn(self, batch: TrainBatch) -> StepResult:
        """Take one step.

        Raises:
            CheckpointError: If the loss or its gradient is not finite; the message names images.
        """
        reach("train step", self.step)
        classes = self.classes(batch)
        pieces = _pieces(batch.features, self.config.pieces)
        self._optimiser.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.device)
        with self._random.drawn_from():
            for number, piece in enumerate(pieces, start=1):
                with ExitStack() as stack:
                    if self._processes.count > 1 and number < len(pieces):
                        stack.enter_context(cast(DistributedDataParallel, self._parallel).no_sync())
                    with self.autocast():
                        part = self._parallel(piece, classes, batch.regions)
                    # Parallel gradients are means over the processes; the loss is their sum.
                    self._scaler.scale(part * self._processes.count).backward()
                    loss += part.detach()
        return self.take_step(self._processes.all_reduce_sum(loss), batch)

    def try_to_learn(self, batch: TrainBatch) -> StepResult | StepFailure:
        """Take one step, and return a failure where :meth:`learn` would raise."""
        try:
            return self.learn(batch)
        except CheckpointError as error:
            return StepFailure(str(error))

    def classes(self, batch: TrainBatch) -> Classes:
        """Return the classes of a batch's logits: those that are learnt, or some drawn of them."""
        classes, negatives = self._classes[batch.source], self.config.loss.negatives
        if negatives is None:
            return self._learnt_classes[batch.source]
        present = torch.zeros(len(classes.embeddings_KD), device=self.device)
        present[batch.features.classes[batch.features.mask].to(self.device)] = 1
        present = self._processes.all_reduce_sum(present) > 0
        among = self._learnt[batch.source]
        if self.config.loss.federated:
            counted = counted_classes(batch.features, len(present)).any(0).to(present)
            among = among & (self._processes.all_reduce_sum(counted) > 0)
        return classes.drawn(present, negatives, (self.config.seed, self.step), among_K=among)

    def autocast(self) -> torch.autocast:
        """Return a context with the arithmetic of the head's forward pass."""
        kind = PRECISIONS.get(self.config.precision)
        return torch.autocast(self.device.type, dtype=kind, enabled=kind is not None)

    def take_step(self, loss: torch.Tensor, batch: TrainBatch) -> StepResult:
        """Change the weights by their gradients.

        Raises:
            CheckpointError: If a gradient or the loss is not finite.
        """
        self._scaler.unscale_(self._optimiser)
        norm = torch.nn.utils.clip_grad_norm_(
            self._learning.parameters(), self.config.optimiser.clip_norm
        )
        lr = self.config.optimiser.lr * rate_factor(
            self.step, self.config.steps, self.config.optimiser
        )
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        self.step += 1
        self._require_finite(loss, norm, batch)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._average is not None:
            self._average.update_parameters(self._learning)
        return StepResult(loss.detach(), norm.detach(), lr)

    def state(self) -> dict[str, Any]:
        """Return all but the head that decides the next steps, as tensors and plain values.

        Every process must call this; each gets the whole state.
        """
        state = {
            "step": self.step,
            "optimiser": self._optimiser.state_dict(),
            "random": self._processes.all_gather(self._random.state),
            "scaler": self._scaler.state_dict(),
        }
        if self._average is not None:
            state["learning"] = self._learning.state_dict()
            state["averaged"] = self._average.n_averaged
        return state

    def restore(self, weights: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
        """Take over the head and :meth:`state` of another learner of the same config.

        With another number of processes, dropout goes on with new random numbers.
        """
        self.head.load_state_dict(weights)
        if self._average is not None:
            self._learning.load_state_dict(state["learning"])
            self._average.n_averaged.copy_(state["averaged"])
        self.step = state["step"]
        # The groups' settings are the run's own; those of the file would be taken unchecked.
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict(
            {"state": state["optimiser"]["state"], "param_groups": groups}
        )
        self._scaler.load_state_dict(state["scaler"])
        if len(state["random"]) == self._processes.count:
            self._random.state = state["random"][self._processes.rank]

    def _require_finite(self, loss: torch.Tensor, norm: torch.Tensor, batch: TrainBatch) -> None:
        # float16's loss scale is lowered, and the step left out, where gradients overflow.
        overflow = self._scaler.is_enabled() and self._scaler.get_scale() > 1
        if torch.isfinite(loss) and (overflow or torch.isfinite(norm)):
            return
        images = ", ".join(str(int(image)) for image in batch.features.image_ids[:4])
        raise CheckpointError(
            f"step {self.step}: loss {loss.item()} and gradient norm {norm.item()} are not finite "
            f"(images {images}, … of {self._names[batch.source]}); lower optimiser.lr or use "
            f"float32"
        )


def head_shape(config: TrainConfig, cache: FeatureCache, bank: ClassBank) -> HeadShape:
    """Return the head's whole shape: what the user chose, and the widths of the cache's models.

    Raises:
        ConfigError: If they do not fit together.
        InputError: If the head needs tokens that the cache does not keep.
    """
    plan, kind = cache.plan, head_kind(config.head.kind)
    needs = kind.needs(config.head)
    store = str(cache.stores[0].store)
    widths = {
        "region_width": plan.shape.region_width,
        "region_token_count": chosen_count(
            needs.region_tokens, plan.shape.region_tokens, plan.keep.sam_tokens, of=store
        ),
        "image_width": plan.shape.image_width,
        "image_tokens": plan.shape.image_tokens,
        "text_width": bank.embeddings.shape[1],
        "region_embeddings": stored_embeddings(plan, of=store) if needs.region_embeddings else None,
    }
    shape = kind.shape(config.head, widths)
    require_stored(shape, plan, of=store)
    return shape


def _average(head: Head, decay: float | None) -> AveragedModel | None:
    if decay is None:
        return None
    # torch leaves it untyped
    return AveragedModel(head, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]


def _pieces(batch: FeatureBatch, count: int) -> list[FeatureBatch]:
    """Cut a batch by images into ``count`` pieces, fewer where it has fewer images."""
    if count == 1:
        return [batch]
    size = -(-len(batch) // count)
    return [batch.images(slice(at, at + size)) for at in range(0, len(batch), size)]
