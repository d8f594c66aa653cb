"""CLIP's Vision Transformers as image and text encoders, built on open_clip's modules.

Image tokens are the ViT's last block's output, *before* ``ln_post`` and the projection, CLS
first and then the patches in row order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from regionspot_core.backbones.runtime import Runtime, hash_weights
from regionspot_core.errors import InputError, WeightsError
from regionspot_core.transforms import ResizeSquare, RGBImage
from regionspot_core.weight_files import load_strictly, read_state_dict

Tokenizer = Callable[[list[str]], torch.Tensor]


class ClipEncoder:
    """A frozen ``open_clip`` CLIP with a ViT tower behind the image-text protocol."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - an open_clip CLIP; the package is untyped
        tokenizer: Tokenizer,
        *,
        name: str,
        runtime: Runtime,
    ) -> None:
        self.name = name
        self._runtime = runtime
        self._tokenizer = tokenizer
        self._model = model.eval().requires_grad_(False).to(runtime.device)
        visual = self._model.visual
        if not hasattr(visual, "conv1") or not hasattr(visual, "class_embedding"):
            raise InputError(
                f"CLIP {name!r}: expected a Vision Transformer with a class token (ViT-B-16, "
                f"ViT-L-14, ViT-L-14-336, …), got {type(visual).__name__}"
            )
        height, width = _pair(visual.image_size)
        if height != width:
            raise InputError(f"CLIP {name!r}: expected a square input, got {height} × {width}")
        grid = _pair(visual.grid_size)
        self.token_count = 1 + grid[0] * grid[1]
        self.token_width = int(visual.conv1.out_channels)
        self.text_width = int(visual.output_dim)
        self.logit_scale = float(self._model.logit_scale.exp())
        self._resize = ResizeSquare(height)
        mean, std = _pixel_statistics(visual)
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
        return hash_weights(self._model)

    def prepare(self, image: RGBImage) -> torch.Tensor:
        """Squash to the square input: uint8 (3, side, side)."""
        resized = self._resize.image(image)
        return torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))

    @torch.inference_mode()
    def image_tokens(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Tokens (B, T, C) float32: CLS, then patches in row order."""
        with self._runtime.autocast():
            out = self._model.visual.forward_intermediates(
                self._normalise(images),
                indices=1,
                normalize_intermediates=False,
                intermediates_only=True,
                output_fmt="NLC",
                output_extra_tokens=True,
            )
        parts = out["image_intermediates_prefix"][0], out["image_intermediates"][0]
        return torch.cat(parts, dim=1).float()

    @torch.inference_mode()
    def image_embeddings(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings (B, D) float32, length 1."""
        with self._runtime.autocast():
            embeddings = self._model.encode_image(self._normalise(images))
        return F.normalize(embeddings.float(), dim=-1)

    @torch.inference_mode()
    def text_embeddings(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings (N, D) float32, not normalised."""
        tokens = self._tokenizer(list(texts)).to(self._runtime.device)
        with self._runtime.autocast():
            embeddings: torch.Tensor = self._model.encode_text(tokens)
        return embeddings.float()

    def _normalise(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        pixels = torch.stack(list(images)).to(self._runtime.device).float() / 255
        return (pixels - self._mean) / self._std


def load_clip(name: str, *, pretrained: str | None, runtime: Runtime) -> ClipEncoder:
    """An open_clip ViT, with weights from a local file or one of open_clip's tags.

    A tag (``openai``) downloads to open_clip's cache where there is a network, and takes the
    activation its weights were trained with. A file is loaded as the architecture's name says:
    OpenAI's weights need ``ViT-B-16-quickgelu``.

    Raises:
        InputError: The architecture or tag is unknown, no weights are named, or the tower is
            not a ViT with a class token.
        WeightsError: The file is missing, truncated or of another architecture, or the tag's
            file can neither be found nor downloaded.
    """
    import open_clip

    if name not in open_clip.list_models():
        raise InputError(
            f"--clip {name!r}: no such model; expected 'tiny' or one of open_clip's, such as "
            f"ViT-B-16, ViT-L-14, ViT-L-14-336 (`open_clip.list_models()` lists them)"
        )
    if pretrained is None:
        raise InputError(f"CLIP {name} needs its weights: give --clip-pretrained openai|FILE")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained in tags and not Path(pretrained).is_file():
        model = _from_tag(name, pretrained)
    else:
        path = Path(pretrained)
        if not path.exists():
            known = ", ".join(tags) or "none"
            raise WeightsError(
                f"--clip-pretrained {pretrained}: neither a file nor a tag of {name} ({known})"
            )
        model = _untrained(name)
        load_strictly(model, read_state_dict(path), path=path, architecture=f"CLIP {name}")
    return ClipEncoder(model, open_clip.get_tokenizer(name), name=name, runtime=runtime)


def _untrained(name: str) -> torch.nn.Module:
    import open_clip

    # open_clip warns that the weights are random; they are loaded in the next moment.
    logging.disable(logging.WARNING)
    try:
        model: torch.nn.Module = open_clip.create_model(name, load_weights=False)
    finally:
        logging.disable(logging.NOTSET)
    return model


def _from_tag(name: str, tag: str) -> torch.nn.Module:
    import open_clip

    config = open_clip.get_pretrained_cfg(name, tag)
    try:
        model: torch.nn.Module = open_clip.create_model(
            name, pretrained=tag, force_quick_gelu=bool(config.get("quick_gelu", False))
        )
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"CLIP {name}: the weights {tag!r} are not in open_clip's cache and cannot be "
            f"downloaded ({reason}); give --clip-pretrained FILE instead"
        ) from None
    return model


def _activation(model: torch.nn.Module) -> str:
    kinds = {type(module).__name__ for module in model.modules()}
    return "QuickGELU" if "QuickGELU" in kinds else "GELU"


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _pixel_statistics(visual: torch.nn.Module) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of RGB in [0, 1]; a tower that says none takes OpenAI's."""
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    mean = getattr(visual, "image_mean", None) or OPENAI_DATASET_MEAN
    return mean, getattr(visual, "image_std", None) or OPENAI_DATASET_STD
