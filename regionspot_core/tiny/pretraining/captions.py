"""Captions that the tiny CLIP learns from: every name in every template, and with every place."""

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import OPENAI_IMAGENET_TEMPLATES

from regionspot_core.tiny.models import tiny_tokenizer
from regionspot_core.tiny.names import CLASSES
from regionspot_core.tiny.scenes import IMAGE_SIZE

PLACES = (
    "top left",
    "top",
    "top right",
    "left",
    "centre",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
"""Thirds of the image, in row order."""
PLAIN_SHARE = 0.4
"""Share of the names in a step's bank; the others stand in a template drawn at random."""


class CaptionBank:
    """All captions as token tables.

    Attributes:
        templated: int64 [81, 252, 16], open_clip's ImageNet templates and "{}." around each name.
        plain: int64 [252, 16], the names themselves.
        placed: int64 [252 * 9, 16], "striped red star top left"; class slowest, `PLACES` fastest.
    """

    def __init__(self) -> None:
        tokenizer = tiny_tokenizer()
        names = [tiny_class.name for tiny_class in CLASSES]
        templates = [*OPENAI_IMAGENET_TEMPLATES, "{}.".format]
        self.templated = torch.stack(
            [tokenizer([template(name) for name in names]) for template in templates]
        )
        self.plain = tokenizer(names)
        self.placed = tokenizer([f"{name} {place}" for name in names for place in PLACES])

    def sample(self, rng: np.random.Generator) -> torch.Tensor:
        """Return one caption for each class, int64 [252, 16]: plain or in a random template."""
        count = len(self.plain)
        chosen = torch.from_numpy(rng.integers(0, len(self.templated), count))
        captions = self.templated[chosen, torch.arange(count)]
        plain = torch.from_numpy(rng.random(count) < PLAIN_SHARE)
        return torch.where(plain[:, None], self.plain, captions)


def place_index(boxes: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return index into `PLACES` of the centre of each xyxy pixel box [..., 4]."""
    third = IMAGE_SIZE / 3
    columns = ((boxes[..., 0] + boxes[..., 2]) / 2 / third).astype(np.int64).clip(0, 2)
    rows = ((boxes[..., 1] + boxes[..., 3]) / 2 / third).astype(np.int64).clip(0, 2)
    index: NDArray[np.int64] = 3 * rows + columns
    return index
