"""The losses, over real regions only."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_train.config import BUILT_IN_LOSSES, LossConfig
from regionspot_train.learning.own_loss import OwnLoss

RegionLosses = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""Logits (B, R, K), classes (B, R) and counted classes (B, K) or None to losses (B, R)."""


def loss_of(config: LossConfig) -> RegionLosses:
    """Return the loss of every region by the settings: a built-in one, or the user's own.

    Raises:
        ConfigError: If there is no such function.
    """
    if config.kind in BUILT_IN_LOSSES:
        return lambda logits, classes, counted: region_losses(logits, classes, config, counted)
    own = OwnLoss(config)

    def losses(
        logits_BRK: torch.Tensor, classes_BR: torch.Tensor, counted_BK: torch.Tensor | None
    ) -> torch.Tensor:
        classes_BR = classes_BR.clamp(min=0)
        if counted_BK is None:
            return own(logits_BRK, classes_BR, torch.ones_like(logits_BRK, dtype=torch.bool))
        return own(logits_BRK, classes_BR, _counted(classes_BR, counted_BK))

    return losses


def region_losses(
    logits_BRK: torch.Tensor,
    classes_BR: torch.Tensor,
    config: LossConfig,
    counted_BK: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return a built-in loss of every region, (B, R).

    ``focal`` is the sigmoid focal loss of Lin et al. 2017 (arXiv 1708.02002) against one-hot
    targets, summed over the K classes. ``softmax`` is cross-entropy over the vocabulary.

    Args:
        logits_BRK: Scores before any sigmoid or softmax.
        classes_BR: Class indices; a padded region's -1 gives a value that means nothing.
        config: The loss and its options.
        counted_BK: Result of :func:`counted_classes`: the loss is over an image's counted classes,
            the region's own among them. None: over all classes.
    """
    classes_BR = classes_BR.clamp(min=0)
    if counted_BK is not None:
        return _federated(logits_BRK, classes_BR, config, _counted(classes_BR, counted_BK))
    if config.kind == "softmax":
        return F.cross_entropy(
            logits_BRK.transpose(1, 2),
            classes_BR,
            reduction="none",
            label_smoothing=config.label_smoothing,
        )
    return _focal(logits_BRK, classes_BR, config).sum(-1)


def _counted(classes_BR: torch.Tensor, counted_BK: torch.Tensor) -> torch.Tensor:
    """Return (B, R, K) bool: the image's counted classes, and each region's own.

    With its own class a padded region has one too: over none at all, softmax is no number.
    """
    return counted_BK[:, None] | F.one_hot(classes_BR, counted_BK.shape[-1]).bool()


def _federated(
    logits_BRK: torch.Tensor,
    classes_BR: torch.Tensor,
    config: LossConfig,
    counted_BRK: torch.Tensor,
) -> torch.Tensor:
    if config.kind == "focal":
        return _focal(logits_BRK, classes_BR, config).masked_fill(~counted_BRK, 0.0).sum(-1)
    log_p = logits_BRK.masked_fill(~counted_BRK, -torch.inf).log_softmax(-1)
    own = -log_p.gather(-1, classes_BR[..., None])[..., 0]
    if not config.label_smoothing:
        return own
    # F.cross_entropy would spread the share over the classes at -inf as well.
    mean = -log_p.masked_fill(~counted_BRK, 0.0).sum(-1) / counted_BRK.sum(-1)
    return torch.lerp(own, mean, config.label_smoothing)


def _focal(logits_BRK: torch.Tensor, classes_BR: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """Return the sigmoid focal loss (B, R, K) against one-hot targets.

    Lin et al. 2017 (arXiv 1708.02002), equation 5: -α_t (1 - p_t)^γ log p_t. Its operations stand
    in torchvision's order, so that heads are the same to the bit.
    """
    targets = F.one_hot(classes_BR, logits_BRK.shape[-1]).to(logits_BRK)
    negatives = 1 - targets
    p = logits_BRK.sigmoid()
    p_t = p * targets + (1 - p) * negatives
    alpha_t = config.alpha * targets + (1 - config.alpha) * negatives
    cross_entropy = F.binary_cross_entropy_with_logits(logits_BRK, targets, reduction="none")
    return alpha_t * (cross_entropy * (1 - p_t) ** config.gamma)


def counted_classes(batch: FeatureBatch, count: int) -> torch.Tensor:
    """Return (B, K) the classes that an image is labelled for: annotated in it, or known absent.

    Of other classes nothing is known, as LVIS's annotators were not asked for them (Gupta et al.
    2019, arXiv 1908.03195).

    Zhou et al. 2021 (CenterNet2, arXiv 2103.07461) draw the negatives of their federated loss from
    all classes by frequency, the same for all images of a batch; these are each image's verified
    ones, all of them.

    Args:
        batch: The images, with their negative classes.
        count: K, the number of classes.
    """
    known = torch.cat([batch.classes, batch.negative_classes], dim=1)
    counted = torch.zeros(len(known), count + 1, dtype=torch.bool, device=known.device)
    # Padding goes to a column of its own, behind the classes.
    counted.scatter_(1, known.masked_fill(known < 0, count), True)
    return counted[:, :count]


def reduce_losses(
    losses_BR: torch.Tensor, mask_BR: torch.Tensor, config: LossConfig, *, regions: int
) -> torch.Tensor:
    """Reduce the losses of regions to one number, without padding.

    The sum over a batch's pieces is the batch's loss. An image without regions adds 0 to the
    paper's reduction.

    Args:
        losses_BR: Result of :func:`region_losses`.
        mask_BR: True where there is a region.
        config: The reduction.
        regions: Number of regions of the whole batch, of which these may be a part.
    """
    losses = losses_BR.masked_fill(~mask_BR, 0.0)
    if config.reduction == "mean":
        return losses.sum() / max(1, regions)
    return (losses.sum(1) / mask_BR.sum(1).clamp(min=1)).sum()
