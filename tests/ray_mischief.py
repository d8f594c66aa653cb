"""What goes wrong in the workers of a Ray cluster, as a folder tells them; and the models `plain`.

``install`` runs in every worker as it starts. From then on, before a worker encodes the batch that
begins with the image at position P, it looks into the folder for

- ``kill-P``: it kills itself with SIGKILL; ``kill-once-P``: and takes the file away first;
- ``nan-P``: a feature of the batch is no number;
- ``hold-NODE``, with the id of the worker's own machine: it waits until it is killed; with that of
  another machine: it waits until a worker there does.

It leaves a file ``begun-P-PID`` for every batch, and ``held-NODE``.

The models called `plain` need no package of their own: half of a worker's start is otherwise the
import of open_clip.
"""

import atexit
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from regionspot_core.backbones.loading import Backbones
from regionspot_core.backbones.protocols import RegionTokens
from regionspot_core.backbones.registry import (
    Entry,
    register_image_text_encoder,
    register_region_encoder,
    unregister,
)
from regionspot_core.support.fault_points import at_points

FOLDER = "REGIONSPOT_MISCHIEF"


def install() -> None:
    import ray

    folder, node = Path(os.environ[FOLDER]), ray.get_runtime_context().get_node_id()
    images = PlainImages()

    def step_in(point: str, first: int) -> None:
        if point != "encode batch":
            return
        (folder / f"begun-{first}-{os.getpid()}").touch()
        if (folder / f"hold-{node}").exists():
            (folder / f"held-{node}").touch()
            time.sleep(600)
        for hold in folder.glob("hold-*"):
            while not (folder / hold.name.replace("hold", "held")).exists():
                time.sleep(0.01)
        if (folder / f"kill-once-{first}").exists():
            (folder / f"kill-once-{first}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (folder / f"kill-{first}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        images.spoilt = (folder / f"nan-{first}").exists()

    until_the_end = ExitStack()
    until_the_end.enter_context(at_points(step_in))
    until_the_end.enter_context(plain_models(images))
    atexit.register(until_the_end.close)


@contextmanager
def plain_models(images: "PlainImages | None" = None) -> Iterator[None]:
    """Let both models be found under the name `plain`."""
    regions_entry = Entry(lambda: ("plain",), lambda *_, **__: PlainRegions())
    images_entry = Entry(lambda: ("plain",), lambda *_, **__: images or PlainImages())
    register_region_encoder(regions_entry)
    register_image_text_encoder(images_entry)
    try:
        yield
    finally:
        unregister(regions_entry)
        unregister(images_entry)


def plain_backbones() -> Backbones:
    """Two models whose tokens are sums of colours and coordinates."""
    return Backbones(PlainRegions(), PlainImages())  # type: ignore[arg-type]


class Plain:
    name = "plain"

    def fingerprint(self) -> dict[str, Any]:
        return {"name": self.name, "weights": "0" * 64}

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image.mean((0, 1), dtype=np.float64)).float()


class PlainRegions(Plain):
    token_order, paper_token = "plain", 1
    token_count, token_width = 3, 4

    def embed(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack(list(images))

    def decode(
        self, embeddings: torch.Tensor, boxes: Sequence[np.ndarray], sizes: Sequence[object]
    ) -> RegionTokens:
        colour = embeddings.sum(1).repeat_interleave(torch.tensor([len(each) for each in boxes]))
        corners = torch.from_numpy(np.concatenate(boxes)).float().reshape(-1, 4)
        tokens = colour[:, None, None] + corners[:, None] * torch.arange(1, 4)[:, None]
        return RegionTokens(tokens, tokens[:, 1:, 0] / 1000)


class PlainImages(Plain):
    token_order = "plain"
    token_count, token_width, text_width, logit_scale = 2, 5, 6, 10.0
    embeds_patches, region_obstacle = False, "its tokens are colours"
    spoilt = False

    def image_tokens(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        colour = torch.stack(list(images)).mean(1)
        tokens = colour[:, None, None] * torch.arange(10).reshape(2, 5)
        if self.spoilt:
            tokens[-1, 1, 3] = torch.nan
        return tokens

    def text_embeddings(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([[len(text), *range(1, 6)] for text in texts]).float()
