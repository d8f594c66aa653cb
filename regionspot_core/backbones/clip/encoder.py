"""CLIP's Vision Transformers as image and text encoders, built on open_clip's modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from regionspot_core.backbones.clip.patches import project_tokens, projects_patches
from regionspot_core.backbones.clip.region_views import (
    EncodedBlocks,
    RegionViews,
    region_obstacle,
)
from regionspot_core.backbones.clip.towers import sequence_first, tower_shape, tower_tokens
from regionspot_core.backbones.patch_grid import PatchGrid
from regionspot_core.backbones.runtime import Runtime, hash_weights, upload
from regionspot_core.imaging.transforms import ResizeSquare, RGBImage

Tokenizer = Callable[[list[str]], torch.Tensor]


class ClipEncoder:
    """A frozen ``open_clip`` CLIP with a ViT tower behind the image-text protocol."""

    token_order = "last block before ln_post, CLS then patches"

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - an open_clip CLIP; the package is untyped
        tokenizer: Tokenizer,
        *,
        name: str,
        runtime: Runtime,
        weight_hash: str | None = None,
    ) -> None:
        """Take a loaded model.

        Args:
            model: With its weights.
            tokenizer: Texts to token numbers (N, context length).
            name: As the registry has it.
            runtime: Where it runs; the model is moved there.
            weight_hash: Of the weights as trained, where the model was given another input
                size since: interpolation need not be the same to the bit on every machine.
        """
        self.name = name
        self._runtime = runtime
        self._trained_hash = weight_hash
        self._tokenizer = tokenizer
        self._model = model.eval().requires_grad_(False).to(runtime.device)
        if runtime.precision != "float32" and runtime.device.type == "cpu":
            sequence_first(self._model.visual)
            sequence_first(self._model)
        self._tokens = runtime.kernels(partial(tower_tokens, self._model.visual))
        shape = tower_shape(self._model.visual, name=name)
        self.token_count = shape.token_count
        self.token_width = shape.width
        self.text_width = _text_width(self._model)
        self.logit_scale = float(self._model.logit_scale.exp())
        self._resize = ResizeSquare(shape.side)
        self._prefix_tokens = prefix = shape.prefix_tokens
        self.patch_grid: PatchGrid | None = PatchGrid(shape.grid, shape.patch / shape.side)
        self.embeds_patches = projects_patches(self._model.visual)
        self.region_obstacle = region_obstacle(self._model.visual, prefix_tokens=prefix)
        self._region_views = RegionViews(self._model.visual, prefix_tokens=prefix)
        mean, std = _pixel_statistics(self._model.visual)
        red, green, blue = (round(255 * value) for value in mean)
        self.mean_colour = (red, green, blue)
        self._mean = torch.tensor(mean, device=runtime.device).view(3, 1, 1)
        self._std = torch.tensor(std, device=runtime.device).view(3, 1, 1)

    def fingerprint(self) -> dict[str, Any]:
        """Name, weight hash, and how an image reaches the model."""
        return {
            "name": self.name,
            "weights": self._weight_hash,
            "input": self._resize.side,
            "resize": "square, bilinear",
            "mean": [round(value, 8) for value in self._mean.flatten().tolist()],
            "std": [round(value, 8) for value in self._std.flatten().tolist()],
            "activation": _activation(self._model),
        }

    @cached_property
    def _weight_hash(self) -> str:
        return self._trained_hash or hash_weights(self._model)

    def prepare(self, image: RGBImage) -> torch.Tensor:
        """Squash to the square input: uint8 (3, side, side)."""
        resized = self._resize.image(image)
        return torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))

    @torch.inference_mode()
    def image_tokens(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return tokens (B, T, C) float32: CLS where there is one, then patches in row order."""
        with self._runtime.autocast():
            tokens = self._tokens(self._normalise(images))
        return tokens.float()

    @torch.inference_mode()
    def encode(self, images: Sequence[torch.Tensor]) -> EncodedBlocks:
        """Return the same tokens, and what :meth:`region_embeddings` needs of the images.

        That is what enters every block: (blocks, B, T, C) float32. Compiled kernels are not used.
        """
        pixels = self._normalise(images)
        with self._runtime.autocast():
            encoded = self._region_views.encode(lambda: tower_tokens(self._model.visual, pixels))
        return EncodedBlocks(encoded.tokens_BTC.float(), encoded.inputs)

    @torch.inference_mode()
    def region_embeddings(
        self, encoded: EncodedBlocks, seen: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Return embeddings (N, D) float32 of all regions, image after image, length 1."""
        seen_BRP = upload(
            pad_sequence(list(seen), batch_first=True).numpy(), self._runtime.device, torch.bool
        )
        with self._runtime.autocast():
            embedded_BRD = self._region_views.embed(encoded, seen_BRP)
        rows = [each[: len(own)] for each, own in zip(embedded_BRD, seen, strict=True)]
        return F.normalize(torch.cat(rows).float(), dim=-1)

    @torch.inference_mode()
    def image_embeddings(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return embeddings (B, D) float32, length 1."""
        with self._runtime.autocast():
            embeddings = self._model.encode_image(self._normalise(images))
        return F.normalize(embeddings.float(), dim=-1)

    @torch.inference_mode()
    def patch_embeddings(self, tokens_BTC: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, g², D) float32, not normalised, where patches have any."""
        with self._runtime.autocast():
            patches = tokens_BTC[:, self._prefix_tokens :]
            embeddings = project_tokens(self._model.visual, patches)
        return embeddings.float()

    @torch.inference_mode()
    def text_embeddings(self, texts: Sequence[str]) -> torch.Tensor:
        """Return embeddings (N, D) float32, not normalised."""
        tokens = self._tokenizer(list(texts)).to(self._runtime.device)
        with self._runtime.autocast():
            # CoCa normalises unless it is told not to.
            embeddings: torch.Tensor = self._model.encode_text(tokens, normalize=False)
        return embeddings.float()

    def _normalise(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        pixels = torch.stack(list(images)).to(self._runtime.device).float() / 255
        return (pixels - self._mean) / self._std


def _text_width(model: Any) -> int:  # noqa: ANN401 - an open_clip CLIP
    text = getattr(model, "text", None)
    if text is not None:  # a text tower of its own: SigLIP, EVA, CoCa
        return int(text.output_dim)
    projection = model.text_projection
    if isinstance(projection, torch.nn.Linear):
        return projection.out_features
    return int(projection.shape[1])


def _activation(model: torch.nn.Module) -> str:
    kinds = {type(module).__name__ for module in model.modules()}
    return "QuickGELU" if "QuickGELU" in kinds else "GELU"


def _pixel_statistics(visual: torch.nn.Module) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of RGB in [0, 1]; a tower that says none takes OpenAI's."""
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    mean = getattr(visual, "image_mean", None) or OPENAI_DATASET_MEAN
    return mean, getattr(visual, "image_std", None) or OPENAI_DATASET_STD
