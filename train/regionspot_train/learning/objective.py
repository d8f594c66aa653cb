"""A head and its loss on a cached batch, as one module: what learns, on one process or several."""

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
from regionspot_train.learning.losses import counted_classes, reduce_losses, region_losses


@dataclass(frozen=True)
class Classes:
    """The classes that a batch's regions are told apart by."""

    embeddings_KD: torch.Tensor
    clip_scale: float
    """Of the frozen CLIP's logits."""
    place: torch.Tensor | None = None
    """Each class index of the vocabulary as a place among these, where they are not all of it."""
    drawn_K: torch.Tensor | None = None
    """Which of the vocabulary's classes they are, likewise."""

    @property
    def vocabulary(self) -> int:
        """K, how many classes there are, drawn or not."""
        return len(self.embeddings_KD if self.drawn_K is None else self.drawn_K)

    def drawn(
        self,
        own_K: torch.Tensor,
        negatives: int,
        seed: tuple[int, ...],
        *,
        among_K: torch.Tensor | None = None,
    ) -> Classes:
        """Those that a batch has and ``negatives`` others by the seed; all where they are fewer.

        Args:
            own_K: (K,) bool, which of the vocabulary's classes the batch's regions have.
            negatives: How many of the others.
            seed: The same seed, the same others.
            among_K: (K,) bool, which of the others may be drawn; None: all.
        """
        order = np.random.default_rng(seed).permutation(len(own_K))
        drawn = own_K.clone()
        others = torch.from_numpy(order).to(drawn.device)
        may = ~own_K if among_K is None else among_K & ~own_K
        drawn[others[may[others]][:negatives]] = True
        return Classes(self.embeddings_KD[drawn], self.clip_scale, drawn.cumsum(0) - 1, drawn)


class Objective(nn.Module):
    """The loss of a head.

    Args:
        head: What learns.
        config: Which loss.
        kept: What the caches keep of SAM's tokens.
        device: Where the head is.
        compiled: Whether ``torch.compile`` makes its kernels, at the first batch.

    Raises:
        ConfigError: They are to be made, and cannot be here.
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
        self.kept: KeptTokens = kept
        self._device = device

    def forward(self, batch: FeatureBatch, classes: Classes, regions: int) -> torch.Tensor:
        """The loss of some of a whole batch's images: their sum over all of it is the batch's.

        Args:
            batch: The images.
            classes: What their regions are told apart by.
            regions: How many the whole batch has.
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
        """The same for regions that the head has embedded."""
        true = batch.classes.to(self._device).clamp(min=0)
        if classes.place is not None:
            true = classes.place[true]
        logits = self.head.logits(embedded_BRD, classes.embeddings_KD, classes.clip_scale)
        counted = None
        if self._config.federated:
            counted = counted_classes(batch, classes.vocabulary).to(self._device)
            counted = counted if classes.drawn_K is None else counted[:, classes.drawn_K]
        losses = region_losses(logits, true, self._config, counted)
        return reduce_losses(losses, mask_BR, self._config, regions=regions)


def _compiled(head: Head, device: torch.device) -> Head:
    if reason := compile_obstacle(device):
        raise ConfigError(
            f"compile=true: torch.compile cannot make kernels here ({reason}); install a C++ "
            f"compiler (g++ or clang++), or set compile=false"
        )
    return cast(Head, torch.compile(head, dynamic=True))
