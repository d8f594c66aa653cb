"""The losses, over real regions only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from regionspot_train.config import LossConfig


def region_losses(
    logits_BRK: torch.Tensor, classes_BR: torch.Tensor, config: LossConfig
) -> torch.Tensor:
    """The loss of every region, (B, R).

    ``focal`` is the sigmoid focal loss of Lin et al. 2017 (arXiv 1708.02002) against one-hot
    targets, summed over the K classes. ``softmax`` is cross-entropy over the vocabulary.

    Args:
        logits_BRK: Scores before any sigmoid or softmax.
        classes_BR: Class indices; a padded region's -1 gives a value that means nothing.
        config: Which loss.
    """
    classes_BR = classes_BR.clamp(min=0)
    if config.kind == "softmax":
        return F.cross_entropy(
            logits_BRK.transpose(1, 2),
            classes_BR,
            reduction="none",
            label_smoothing=config.label_smoothing,
        )
    targets = F.one_hot(classes_BR, logits_BRK.shape[-1]).to(logits_BRK)
    focal: torch.Tensor = sigmoid_focal_loss(
        logits_BRK, targets, alpha=config.alpha, gamma=config.gamma, reduction="none"
    )
    return focal.sum(-1)


def reduce_losses(
    losses_BR: torch.Tensor, mask_BR: torch.Tensor, config: LossConfig, *, regions: int
) -> torch.Tensor:
    """One number from the losses of regions; padding counts for nothing.

    Summed over the pieces of a batch it is the batch's. An image without regions adds 0 to the
    paper's reduction.

    Args:
        losses_BR: What :func:`region_losses` gave.
        mask_BR: True where there is a region.
        config: Which reduction.
        regions: How many the whole batch has, of which these may be some.
    """
    losses = losses_BR.masked_fill(~mask_BR, 0.0)
    if config.reduction == "mean":
        return losses.sum() / max(1, regions)
    return (losses.sum(1) / mask_BR.sum(1).clamp(min=1)).sum()
