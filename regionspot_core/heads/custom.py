"""A head of the user's own: a class named as ``module:Class``, used like the built-in one."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regionspot_core.config import Config
from regionspot_core.errors import ConfigError
from regionspot_core.heads.head import Head
from regionspot_core.heads.options import HeadOptions
from regionspot_core.heads.shape import CustomShape, HeadNeeds, HeadShape
from regionspot_core.support.named_objects import load_class, place_of


class HeadClass(Protocol):
    """A class that ``head.kind=module:Class`` names: a ``torch.nn.Module`` with these two methods.

    The class may also have:

    - ``Options``, a :class:`~regionspot_core.config.Config` that checks ``head.options``; without
      it they are given as a dict, as they are;
    - ``needs``, a :class:`~regionspot_core.heads.shape.HeadNeeds`; without it the head gets the
      paper's region token and no boxes;
    - ``logits(region_embeddings_BRD, class_embeddings_KD, clip_scale) -> (B, R, K)``; without it
      they are cosines times CLIP's scale, as the paper's.
    """

    def __init__(self, shape: HeadShape, options: Any) -> None:  # noqa: ANN401 - Options, or a dict
        """Build the head: ``shape`` has the widths of what comes in and goes out."""
        ...

    def forward(
        self,
        region_tokens: Tensor,
        image_tokens: Tensor,
        region_mask: Tensor,
        boxes: Tensor,
        clip_embeddings: Tensor,
        region_masks: Tensor,
    ) -> Tensor:
        """Return region embeddings (B, R, D), D = ``shape.text_width``.

        Args:
            region_tokens: (B, R, N·S) float32, N = ``shape.region_token_count`` of SAM's tokens
                of width S = ``shape.region_width``.
            image_tokens: (B, T, C) float32, C = ``shape.image_width``.
            region_mask: (B, R) bool, False where a row is padding.
            boxes: (B, R, 4) float32 xyxy in 0 … 1 of the image; only given where ``needs`` has
                boxes.
            clip_embeddings: (B, R, D) float32, CLIP's own of each region, of length 1; only given
                where ``needs`` has ``region_embeddings``, by its name.
            region_masks: (B, R, 16, 16) float32 in 0 … 1, SAM's mask of each region inside its
                box; only given where ``needs`` has ``region_masks``, by its name.
        """
        ...


class CustomHead(Head):
    """A module of the user's class, whose results are checked."""

    config: CustomShape

    def __init__(self, config: CustomShape, module: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.module = module

    def forward(
        self,
        region_tokens: Tensor,
        image_tokens: Tensor,
        region_mask: Tensor | None = None,
        boxes: Tensor | None = None,
        clip_embeddings: Tensor | None = None,
        region_masks: Tensor | None = None,
    ) -> Tensor:
        """Embed regions; see :meth:`Head.forward`.

        Raises:
            ConfigError: If the user's module returns anything but (B, R, D).
        """
        if region_mask is None:
            region_mask = torch.ones_like(region_tokens[..., 0], dtype=torch.bool)
        given = (boxes,) if self.config.boxes else ()
        named = {}
        if self.config.region_embeddings is not None:
            named["clip_embeddings"] = clip_embeddings
        if self.config.region_masks:
            named["region_masks"] = region_masks
        embedded: Tensor = self.module(region_tokens, image_tokens, region_mask, *given, **named)
        self._require(embedded, "forward", "(B, R, D)", *region_mask.shape, self.config.text_width)
        return embedded.float()

    def logits(
        self, region_embeddings: Tensor, class_embeddings: Tensor, clip_scale: float
    ) -> Tensor:
        """Return logits: the user's, or else CLIP's scaled cosines; see :meth:`Head.logits`.

        Raises:
            ConfigError: If the user's module returns anything but (B, R, K).
        """
        own = getattr(self.module, "logits", None)
        if own is None:
            return F.normalize(region_embeddings, dim=-1) @ class_embeddings.T * clip_scale
        logits: Tensor = own(region_embeddings, class_embeddings, clip_scale)
        shape = (*region_embeddings.shape[:2], len(class_embeddings))
        self._require(logits, "logits", "(B, R, K)", *shape)
        return logits

    def _require(self, value: object, method: str, legend: str, *shape: int) -> None:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if found != shape:
            raise ConfigError(
                f"head.kind={self.config.kind}: {method} must return a tensor {legend} = {shape}, "
                f"got {found}; mend the class"
            )


class CustomKind:
    """The kind of head that a class makes; the class is imported when it is first asked.

    Args:
        name: ``module:Class``. It is imported as :func:`load_class` does.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def needs(self, options: HeadOptions) -> HeadNeeds:
        """Return the inputs that the class asks for.

        Raises:
            ConfigError: If there is no such class, or its ``needs`` is no ``HeadNeeds``.
        """
        needs = getattr(self._class(), "needs", HeadNeeds())
        if not isinstance(needs, HeadNeeds):
            raise self._error(
                f"its needs must be a HeadNeeds of regionspot_core.heads.shape, got {needs!r:.80}"
            )
        return needs

    def shape(self, options: HeadOptions, widths: dict[str, Any]) -> CustomShape:
        """Return the whole shape of a head.

        Raises:
            ConfigError: If there is no such class, or it has not these options.
        """
        needs, checked = self.needs(options), self._options(options.options)
        own = checked.to_json() if isinstance(checked, Config) else checked
        values = {**needs._asdict(), **widths, "kind": self._name, "options": own}
        return CustomShape.parse(values, source=f"head.kind={self._name}")

    def build(self, shape: HeadShape) -> CustomHead:
        """Return a head of fresh weights.

        Raises:
            ConfigError: If there is no such class, or it cannot be built.
        """
        assert isinstance(shape, CustomShape)
        make, options = self._class(), self._options(shape.options)
        try:
            module = make(shape, options)
        except Exception as error:  # whatever a user's constructor raises
            raise self._error(f"it cannot be built: {place_of(error)}") from error
        return CustomHead(shape, module)

    def unallocated(self, shape: HeadShape) -> None:
        """Return None: only the user's code knows the weights, and to read a file runs none."""

    def _class(self) -> type[nn.Module]:
        try:
            return load_class(self._name, nn.Module)
        except ValueError as error:
            raise self._error(str(error)) from None

    def _options(self, values: dict[str, Any]) -> Config | dict[str, Any]:
        options = getattr(self._class(), "Options", None)
        if options is None:
            return dict(values)
        if not (isinstance(options, type) and issubclass(options, Config)):
            raise self._error(
                f"its Options must be a subclass of regionspot_core.config.Config, got "
                f"{options!r:.80}"
            )
        return options.parse(values, source=f"head.options of {self._name}")

    def _error(self, problem: str) -> ConfigError:
        return ConfigError(f"head.kind={self._name}: {problem}")
