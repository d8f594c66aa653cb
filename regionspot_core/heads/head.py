"""Base of all heads: a module with a shape, region embeddings and logits."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from regionspot_core.errors import InputError
from regionspot_core.heads.shape import HeadShape


class Head(nn.Module, ABC):
    """A head of any kind, as training and evaluation use it."""

    config: HeadShape
    """Everything that builds it."""

    @abstractmethod
    def forward(
        self,
        region_tokens: Tensor,
        image_tokens: Tensor,
        region_mask: Tensor | None = None,
        boxes: Tensor | None = None,
        clip_embeddings: Tensor | None = None,
        region_masks: Tensor | None = None,
    ) -> Tensor:
        """Embed regions in the class embeddings' space.

        Args:
            region_tokens: (B, R, N·S), the tokens of SAM's that the head needs of each region, in
                a row (:func:`~regionspot_core.region_tokens.chosen_tokens`).
            image_tokens: (B, T, C), CLIP's tokens of each image.
            region_mask: (B, R) bool, False where a row is padding; None: all rows are regions.
            boxes: (B, R, 4) xyxy in 0 … 1 of the image, for a head that needs them.
            clip_embeddings: (B, R, D), CLIP's own of each region, of length 1, for a head that
                needs them.
            region_masks: (B, R, 16, 16) in 0 … 1, SAM's mask of each region inside its box, for a
                head that needs them.

        Returns:
            (B, R, D); a padded row's value means nothing.
        """

    @abstractmethod
    def logits(
        self, region_embeddings: Tensor, class_embeddings: Tensor, clip_scale: float
    ) -> Tensor:
        """Return the logits (B, R, K) of regions over classes.

        Args:
            region_embeddings: (B, R, D), what :meth:`forward` returned.
            class_embeddings: (K, D), the vocabulary's, each of length 1.
            clip_scale: The frozen CLIP's scale (``ClassBank.logit_scale``).
        """

    @property
    def attention_layers(self) -> int:
        """Return the number of layers that :meth:`image_attention` can be asked for; 0: none."""
        return 0

    def image_attention(
        self,
        region_tokens: Tensor,
        image_tokens: Tensor,
        region_mask: Tensor | None = None,
        boxes: Tensor | None = None,
        clip_embeddings: Tensor | None = None,
        region_masks: Tensor | None = None,
        *,
        layer: int,
    ) -> Tensor:
        """Return how much each region attends to each image token in one layer.

        Nothing of it is computed unless it is asked for. The arguments are :meth:`forward`'s, and:

        Args:
            layer: Layer, from 0 to :attr:`attention_layers` - 1.

        Returns:
            (B, R, T') float32, the mean over the layer's attention heads; rows sum to 1. The
            tokens are CLS, where there is one, then a square grid of patches in row order, which
            may be coarser than CLIP's.

        Raises:
            InputError: If the head has no such layers.
        """
        raise InputError(f"a head of {type(self).__name__} does not tell its attention")
