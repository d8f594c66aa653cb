"""The published RegionSpot checkpoints' layout, read into a fusion head and written back.

The file is a dict with the key ``model``; in it ``model.to_clip``, ``model.decoder`` and
``model.projector`` are the head, beside the frozen ``model.sam`` and ``model.clip_model``. The
outer dict and the prefix ``model.`` may be missing (arXiv 2311.01373's released files).
"""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from regionspot_core.errors import CheckpointError, InputError
from regionspot_core.heads.fusion import FusionConfig, FusionHead, FusionOptions
from regionspot_core.heads.head import Head
from regionspot_core.support.files import written_aside
from regionspot_core.support.weight_files import read_state_dict, state_problems

PREFIX = "model."
HEAD_PIECES = ("to_clip", "decoder", "projector")
PROBLEMS_SHOWN = 8
_LAYER = re.compile(r"decoder\.layers\.([0-9]{1,4})\.")
"""Name of a layer's tensor; no head has a layer of more digits."""
NOT_IN_THE_LAYOUT = {"layers", "ffn_width", "dropout", "initial_scale", "initial_bias"}
"""Options that a reader sees in the tensors' shapes, or that matter in training alone. All others
are the paper's in every published file."""
REGION_ENCODERS = {name: {"name": name, "input": 1024} for name in ("vit_b", "vit_l", "vit_h")}
"""The SAMs of published heads, as fingerprints name them."""
_CLIPS = {
    "ViT-B-16": (768, 512, 224),
    "ViT-L-14": (1024, 768, 224),
    "ViT-L-14-336": (1024, 768, 336),
}
IMAGE_TEXT_ENCODERS = {
    name + suffix: {"name": name + suffix, "input": side, "activation": "QuickGELU"}
    for name, (_, _, side) in _CLIPS.items()
    for suffix in ("", "-quickgelu")
}
"""The CLIPs of published heads: OpenAI's, whose activation is QuickGELU."""


@dataclass(frozen=True)
class PublishedHead:
    """A head out of a published file."""

    head: FusionHead
    """float32, in eval mode."""
    ignored: dict[str, int]
    """Number of other tensors in the file, by the first word of their names: ``sam``, …"""
    converted: tuple[str, ...]
    """Types other than float32 that the file's head had, ``float16`` say; values are converted."""


def published_backbones(
    config: FusionConfig, *, sam: str | None, clip: str | None
) -> dict[str, dict[str, Any]]:
    """Return fingerprints of the frozen models that a published head was trained on, as named.

    Raises:
        InputError: If a name is not of a published head's model, or its widths are not the head's.
    """
    known = {}
    for option, name, part, names in (
        ("--sam", sam, "region_encoder", REGION_ENCODERS),
        ("--clip", clip, "image_text_encoder", IMAGE_TEXT_ENCODERS),
    ):
        if name is None:
            continue
        if name not in names:
            raise InputError(
                f"{option} {name}: expected one that published heads were trained on "
                f"({', '.join(n for n in names if not n.endswith('-quickgelu'))}); leave it out "
                f"for any other, and name that when the head is evaluated"
            )
        known[part] = names[name]
    if clip is not None:
        width, text_width, _ = _CLIPS[clip.removesuffix("-quickgelu")]
        if (width, text_width) != (config.image_width, config.text_width):
            raise InputError(
                f"--clip {clip}: has tokens of width {width} and texts of {text_width}, the head "
                f"takes {config.image_width} and {config.text_width}"
            )
    return known


def read_published(path: Path) -> PublishedHead:
    """Read the fusion head in a published checkpoint. No code in the file is run.

    Widths, depth and feed-forward size are read off the tensors; the number of attention heads
    cannot be, and is the paper's 8.

    Raises:
        WeightsError: If the file is missing, truncated, or holds code.
        CheckpointError: If tensors of the head are missing, unknown or misshapen; they are listed.
    """
    weights = read_state_dict(path, pieces=HEAD_PIECES, usual_key="model", usual_prefix=PREFIX)
    state = {name.removeprefix(PREFIX): value for name, value in weights.items()}
    own = {name: value for name, value in state.items() if _piece(name) in HEAD_PIECES}
    if not own:
        found = ", ".join(sorted({_piece(name) for name in state})[:PROBLEMS_SHOWN]) or "nothing"
        raise CheckpointError(
            f"{path}: expected a RegionSpot checkpoint with tensors of "
            f"{', '.join(HEAD_PIECES)}, found {found}"
        )
    config = _infer_config(path, own)
    _require_fit(path, own, config)
    head = FusionHead(config)
    head.load_state_dict(own, strict=True)
    others = Counter(_piece(name) for name in state if name not in own)
    types = {str(value.dtype).removeprefix("torch.") for value in own.values()} - {"float32"}
    return PublishedHead(head.eval(), dict(sorted(others.items())), tuple(sorted(types)))


def published_content(head: Head) -> bytes:
    """Return a head's file as published: ``{"model": {"model.to_clip.weight": …}}``.

    The same head gives the same bytes.

    Raises:
        CheckpointError: If the layout has no place for the head's kind or for one of its options.
    """
    if not isinstance(head, FusionHead):
        raise CheckpointError(
            f"a head of the class {head.config.kind_name} cannot be exported: the published layout "
            f"is the built-in head's; share the run's folder and the class instead"
        )
    without_place = _options_without_place(head.config)
    if without_place:
        raise CheckpointError(
            f"a head with {', '.join(without_place)} cannot be exported: readers of the published "
            f"layout take every head for one with the paper's options"
        )
    weights = {f"{PREFIX}{name}": v.detach().cpu() for name, v in head.state_dict().items()}
    file = io.BytesIO()
    torch.save({"model": weights}, file)
    return file.getvalue()


def write_published(path: Path, head: Head) -> None:
    """Write a head as the published files have it.

    Raises:
        CheckpointError: If the layout has no place for the head's kind or for one of its options.
    """
    content = published_content(head)
    with written_aside(path) as partial:
        partial.write_bytes(content)


def _options_without_place(config: FusionConfig) -> list[str]:
    """Return the options, as ``--set`` takes them, that the published layout has no place for."""
    # A width that is CLIP's is the paper's, whether it is given or not.
    paper = FusionOptions(width=config.image_width)
    given = config.model_copy(update={"width": config.inner_width})
    return [
        f"head.{name}={str(getattr(given, name)).lower()}"
        for name in FusionOptions.model_fields
        if name not in NOT_IN_THE_LAYOUT and getattr(given, name) != getattr(paper, name)
    ]


def _piece(name: str) -> str:
    return name.split(".", 1)[0]


def _infer_config(path: Path, state: dict[str, torch.Tensor]) -> FusionConfig:
    """Return the shape of a head with these weights; the paper's where a tensor is missing."""
    numbers = {int(m[1]) for name in state if (m := _LAYER.match(name))}
    lengths = {
        "region_width": _length(state, "to_clip.weight", 1),
        "image_width": _length(state, "to_clip.weight", 0),
        "text_width": _length(state, "projector.weight", 0),
        "ffn_width": _length(state, "decoder.layers.0.linear1.weight", 0),
        "layers": max(numbers) + 1 if numbers else None,
    }
    known = {name: value for name, value in lengths.items() if value is not None}
    # The paper lists no bias of to_clip: a file without it is whole.
    return FusionConfig.parse(
        known | {"region_bias": "to_clip.bias" in state or "to_clip.weight" not in state},
        source=str(path),
    )


def _length(state: dict[str, torch.Tensor], name: str, axis: int) -> int | None:
    matrix = state.get(name)
    return int(matrix.shape[axis]) if matrix is not None and matrix.ndim == 2 else None


def _require_fit(path: Path, state: dict[str, torch.Tensor], config: FusionConfig) -> None:
    with torch.device("meta"):
        expected = FusionHead(config).state_dict()
    problems = state_problems(state, expected)
    if problems:
        left = len(problems) - PROBLEMS_SHOWN
        more = f" and {left} more" if left > 0 else ""
        raise CheckpointError(
            f"{path}: not a whole RegionSpot head: {'; '.join(problems[:PROBLEMS_SHOWN])}{more}"
        )
