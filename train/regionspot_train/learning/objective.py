"""A head and its loss on a cached batch, as one module that one process or several train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn

from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.errors import ConfigError
from regionspot_core.heads.cached import embed
from regionspot_core.heads.head import Head
from regionspot_core.region_tokens import KeptTokens
from regionspot_core.support.compiling import compile_obstacle
from regionspot_train.config import LossConfig
from regionspot_train.learning.losses import counted_classes, loss_of, reduce_losses


@dataclass(frozen=True)
class Classes:
    """Classes of a batch's logits."""

    embeddings_KD: torch.Tensor
    clip_scale: float
    """Scale of the frozen CLIP's logits."""
    place: torch.Tensor | None = None
    """Place of each class of the vocabulary among these; None: these are the whole vocabulary."""
    drawn_K: torch.Tensor | None = None
    """Mask of the vocabulary's classes that are among these; None: all are."""

    @property
    def vocabulary(self) -> int:
        """K, the number of the vocabulary's classes, drawn or not."""
        return len(self.embeddings_KD if self.drawn_K is None else self.drawn_K)

    def only(self, drawn_K: torch.Tensor) -> Classes:
        """Return some classes of a whole vocabulary, those that (K,) bool ``drawn_K`` marks."""
        return Classes(self.embeddings_KD[drawn_K], self.clip_scale, drawn_K.cumsum(0) - 1, drawn_K)

    def drawn(
        self,
        present_K: torch.Tensor,
        negatives: int,
        seed: tuple[int, ...],
        *,
        among_K: torch.Tensor | None = None,
    ) -> Classes:
        """Return the classes that a batch has, and ``negatives`` others drawn by the seed.

        Args:
            present_K: (K,) bool, True for classes of the batch's regions.
            negatives: Number of other classes; all where there are fewer.
            seed: The same seed, the same others.
            among_K: (K,) bool, True for other classes that may be drawn; None: all.
        """
        order = np.random.default_rng(seed).permutation(len(present_K))
        drawn = present_K.clone()
        shuffled = torch.from_numpy(order).to(drawn.device)
        allowed = ~present_K if among_K is None else among_K & ~present_K
        drawn[shuffled[allowed[shuffled]][:negatives]] = True
        return self.only(drawn)


class Objective(nn.Module):
    """The loss of a head.

    Args:
        head: The head that learns.
        config: The loss and its options.
        kept: SAM's tokens that the caches keep.
        device: Device of the head.
        compiled: Whether ``torch.compile`` makes its kernels, at the first batch.

    Raises:
        ConfigError: If kernels cannot be compiled on this machine, or there is no such loss.
    """

    def __init__(
        self,
        head: Head,
        config: LossConfig,
        *,
        kept: KeptTokens,
        device: torch.device,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.head = head
        self._run = _compiled(head, device) if compiled else head
        self._config = config
        self._losses = loss_of(config)
        self.kept: KeptTokens = kept
        self._device = device

    def forward(self, batch: FeatureBatch, classes: Classes, regions: int) -> torch.Tensor:
        """Return the loss of a part of a batch; the sum over all parts is the batch's.

        Args:
            batch: The part's images.
            classes: Classes of the logits.
            regions: Number of regions of the whole batch.
        """
        embedded, mask = embed(self._run, batch, self.kept, self._device)
        return self.of_embedded(embedded, mask, batch, classes, regions)

    def of_embedded(
        self,
        embedded_BRD: torch.Tensor,
        mask_BR: torch.Tensor,
        batch: FeatureBatch,
        classes: Classes,
        regions: int,
    ) -> torch.Tensor:
        """Return the loss of regions that the head has embedded."""
        true = batch.classes.to(self._device).clamp(min=0)
        if classes.place is not None:
            true = classes.place[true]
        logits = self.head.logits(embedded_BRD, classes.embeddings_KD, classes.clip_scale)
        counted = None
        if self._config.federated:
            counted = counted_classes(batch, classes.vocabulary).to(self._device)
            counted = counted if classes.drawn_K is None else counted[:, classes.drawn_K]
        losses = self._losses(logits, true, counted)
        return reduce_losses(losses, mask_BR, self._config, regions=regions)


def _compiled(head: Head, device: torch.device) -> Head:
    if reason := compile_obstacle(device):
        raise ConfigError(
            f"compile=true: torch.compile cannot make kernels here ({reason}); install a C++ "
            f"compiler (g++ or clang++), or set compile=false"
        )
    return cast(Head, torch.compile(head, dynamic=True))
