"""Cheap figures that tell whether a tiny CLIP is fit for use, long before a head is trained."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import CLIP, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from regionspot_core.tiny.models import GRID, PATCH_SIZE, tiny_tokenizer
from regionspot_core.tiny.names import CLASSES
from regionspot_core.tiny.pretraining.clip_batches import enlarged
from regionspot_core.tiny.scenes import Scene

_MEAN = torch.tensor(OPENAI_DATASET_MEAN).view(3, 1, 1)
_STD = torch.tensor(OPENAI_DATASET_STD).view(3, 1, 1)
RIDGE = 1.0


@torch.inference_mode()
def class_embeddings(clip: CLIP, templates: Sequence[Callable[[str], str]]) -> torch.Tensor:
    """Return class embeddings [252, 128]: averages over the templates, then L2 normalised."""
    tokenizer = tiny_tokenizer()
    names = [tiny_class.name for tiny_class in CLASSES]
    embedded = [
        clip.encode_text(tokenizer([template(name) for name in names])) for template in templates
    ]
    return F.normalize(torch.stack(embedded).mean(dim=0), dim=-1)


@torch.inference_mode()
def crop_predictions(clip: CLIP, scenes: Sequence[Scene], embeddings: torch.Tensor) -> torch.Tensor:
    """Return the category id [N] that CLIP gives each true box, cut out and squashed to 96 pixels.

    The id is that of the nearest of the class embeddings [252, 128].
    """
    crops = torch.stack(
        [enlarged(_normalised(scene), box) for scene in scenes for box in scene.boxes]
    )
    logits: torch.Tensor = clip.encode_image(crops, normalize=True) @ embeddings.T
    return 1 + logits.argmax(dim=1)


def crop_accuracy(clip: CLIP, scenes: Sequence[Scene], embeddings: torch.Tensor) -> float:
    """Return Top-1 of CLIP-on-crop over all objects of the scenes, out of 252 classes."""
    truth = torch.from_numpy(np.concatenate([scene.class_ids for scene in scenes]))
    return float((crop_predictions(clip, scenes, embeddings) == truth).float().mean())


def ridge_accuracy(clip: CLIP, fitted: Sequence[Scene], tested: Sequence[Scene]) -> float:
    """Return Top-1, out of 252, of a ridge regression on the mean patch token inside each true box.

    Fitted and tested on different scenes. It rises with what the patch tokens tell about their
    surroundings, which is what a fusion head has to read.
    """
    features, labels = _box_features(clip, fitted)
    test_features, test_labels = _box_features(clip, tested)
    mean, deviation = features.mean(dim=0), features.std(dim=0)
    inputs, test_inputs = (features - mean) / deviation, (test_features - mean) / deviation
    targets = F.one_hot(labels - 1, len(CLASSES)).double()
    gram = inputs.T @ inputs + RIDGE * torch.eye(inputs.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, inputs.T @ (targets - targets.mean(dim=0)))
    return float(((test_inputs @ weights).argmax(dim=1) == test_labels - 1).double().mean())


@torch.inference_mode()
def _box_features(clip: CLIP, scenes: Sequence[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each object's mean patch token, float64 [N, 128], and category id, int64 [N]."""
    centres = (torch.arange(GRID) + 0.5) * PATCH_SIZE
    features = []
    for scene in scenes:
        output = clip.visual.forward_intermediates(
            _normalised(scene)[None], indices=1, output_fmt="NLC"
        )
        tokens = output["image_intermediates"][0][0].double()
        x1, y1, x2, y2 = torch.from_numpy(scene.boxes)[..., None].unbind(dim=1)
        inside = ((centres > y1) & (centres < y2))[:, :, None] & ((centres > x1) & (centres < x2))[
            :, None, :
        ]
        weights = inside.flatten(1).double()
        features.append(weights @ tokens / weights.sum(dim=1, keepdim=True).clamp(min=1))
    return torch.cat(features), torch.from_numpy(
        np.concatenate([scene.class_ids for scene in scenes])
    )


def _normalised(scene: Scene) -> torch.Tensor:
    image = torch.from_numpy(scene.image).permute(2, 0, 1).float().div(255)
    return (image - _MEAN) / _STD
