"""The straightforward loop: segment-anything's predictor and open_clip, one image at a time.

Written as one who knows both packages would in an afternoon. The tokens are caught by hooks: SAM's
where its mask decoder's transformer returns, CLIP's where its last norm begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image
from segment_anything import SamPredictor
from torchvision import transforms

from regionspot_bench.extract.config import Shape
from regionspot_core.backbones.clip.open_clip_models import build_untrained
from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.tiny.models import load_tiny_clip, load_tiny_sam


@dataclass(frozen=True)
class Models:
    """Both packages' own models with random weights: they cost what trained ones cost."""

    sam: Any
    clip: Any

    @classmethod
    def build(cls, shape: Shape, device: torch.device) -> Models:
        """Build the models, the same ones every time."""
        torch.manual_seed(0)
        if shape.sam == "tiny":
            models = cls(load_tiny_sam(), load_tiny_clip())
        else:
            from segment_anything import sam_model_registry

            sam = sam_model_registry[shape.sam]()
            models = cls(sam, build_untrained(shape.clip, device="cpu"))
        for model in (models.sam, models.clip):
            model.eval().requires_grad_(False).to(device)
        return models


@dataclass(frozen=True)
class ImageFeatures:
    """Features of one image, float32."""

    image_tokens: NDArray[np.float32]
    """(T, C)"""
    region_tokens: NDArray[np.float32]
    """(R, M, S)"""


class Loop:
    """Features of one image after another."""

    def __init__(self, models: Models, device: torch.device, precision: str) -> None:
        """Take models.

        Args:
            models: In float32.
            device: Where they are.
            precision: What autocast is to; float32 does without.
        """
        self._models = models
        self._device = device
        self._autocast = None if precision == "float32" else getattr(torch, precision)
        self._predictor = SamPredictor(models.sam)
        visual = models.clip.visual
        side = visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size
        mean = getattr(visual, "image_mean", OPENAI_DATASET_MEAN)
        std = getattr(visual, "image_std", OPENAI_DATASET_STD)
        self._preprocess = transforms.Compose(
            [
                transforms.Resize((side, side), transforms.InterpolationMode.BILINEAR),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def features(self, path: Path, boxes: FloatArray) -> ImageFeatures:
        """Return the tokens of an image file and its boxes (R, 4), xyxy in its pixels."""
        caught: dict[str, torch.Tensor] = {}
        sam, visual = self._models.sam, self._models.clip.visual
        rows = 1 + sam.mask_decoder.num_mask_tokens

        def catch_regions(_: Any, __: Any, output: Any) -> None:  # noqa: ANN401 - a hook's
            caught["regions"] = output[0][:, :rows]

        def catch_image(_: Any, inputs: Any) -> None:  # noqa: ANN401 - a hook's
            caught["image"] = inputs[0][0]

        hooks = [
            sam.mask_decoder.transformer.register_forward_hook(catch_regions),
            visual.ln_post.register_forward_pre_hook(catch_image),
        ]
        picture = Image.open(path).convert("RGB")
        cast = torch.autocast(self._device.type, self._autocast, self._autocast is not None)
        with torch.no_grad(), cast:
            image = np.asarray(picture)
            self._predictor.set_image(image)
            prompts = torch.as_tensor(boxes, device=self._device, dtype=torch.float32)
            prompts = self._predictor.transform.apply_boxes_torch(prompts, image.shape[:2])
            self._predictor.predict_torch(None, None, boxes=prompts, multimask_output=False)
            self._models.clip.encode_image(self._preprocess(picture)[None].to(self._device))
        for hook in hooks:
            hook.remove()
        return ImageFeatures(*(caught[n].float().cpu().numpy() for n in ("image", "regions")))
