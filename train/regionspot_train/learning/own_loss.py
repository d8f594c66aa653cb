"""A loss of the user's own: a function named as ``module:function``, used like a built-in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from regionspot_core.errors import ConfigError
from regionspot_core.support.named_objects import load_object, place_of
from regionspot_train.config import LossConfig

FUNCTION: Any = Callable
"""What is looked for: an object that can be called."""


class LossFunction(Protocol):
    """A function that ``loss.kind=module:function`` names."""

    def __call__(
        self,
        logits: torch.Tensor,
        classes: torch.Tensor,
        counted: torch.Tensor,
        **options: Any,  # noqa: ANN401 - the user's own
    ) -> torch.Tensor:
        """Return the loss of every region, (B, R), which ``loss.reduction`` makes one number.

        Args:
            logits: (B, R, K) float32, scores before any sigmoid or softmax.
            classes: (B, R) int64, class indices in 0 … K - 1; a padded region's is 0, and its
                loss is left out.
            counted: (B, R, K) bool, the classes that the loss is to be over: all, or with
                ``loss.federated`` those that an image is labelled for, and the region's own.
            options: ``loss.options``.
        """
        ...


class OwnLoss:
    """A function of the user's, whose results are checked.

    Args:
        config: The loss and its options.

    Raises:
        ConfigError: If there is no such function.
    """

    def __init__(self, config: LossConfig) -> None:
        self._config = config
        try:
            self._function: Callable[..., object] = load_object(config.kind, FUNCTION)
        except ValueError as error:
            raise self._error(str(error)) from None

    def __call__(
        self, logits_BRK: torch.Tensor, classes_BR: torch.Tensor, counted_BRK: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of every region, (B, R).

        Raises:
            ConfigError: If the function cannot be called so, or returns anything but (B, R) with a
                gradient.
        """
        try:
            losses = self._function(logits_BRK, classes_BR, counted_BRK, **self._config.options)
        except Exception as error:  # whatever a user's function raises
            raise self._error(f"it cannot be computed: {place_of(error)}") from error
        found = tuple(losses.shape) if isinstance(losses, torch.Tensor) else type(losses).__name__
        expected = tuple(classes_BR.shape)
        if not isinstance(losses, torch.Tensor) or found != expected:
            raise self._error(f"it must return a tensor (B, R) = {expected}, got {found}")
        if logits_BRK.requires_grad and not losses.requires_grad:
            raise self._error("its result has no gradient; compute it from the logits by PyTorch")
        return losses.float()

    def _error(self, problem: str) -> ConfigError:
        return ConfigError(f"loss.kind={self._config.kind}: {problem}")
