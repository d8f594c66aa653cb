"""The models that open_clip lists, built by name and filled with weights from a tag or a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from regionspot_core.backbones.clip.encoder import ClipEncoder
from regionspot_core.backbones.clip.open_clip_tags import model_of_tag, quiet
from regionspot_core.backbones.clip.tokenizer import NamedTokenizer
from regionspot_core.backbones.clip.towers import resize_tower, tower_shape
from regionspot_core.backbones.clip.weights import named_for, read_clip_weights
from regionspot_core.backbones.registry import Entry
from regionspot_core.backbones.runtime import Runtime, hash_weights
from regionspot_core.backbones.weights.official import OPENAI, openai_file, or_fetch_again
from regionspot_core.errors import InputError, WeightsError
from regionspot_core.support.error_text import first_line
from regionspot_core.support.weight_files import load_strictly

EXAMPLES = ("ViT-B-16", "ViT-L-14", "ViT-L-14-336")
TAGS_SHOWN = 5
"""Tags of a model that a message names; some have dozens."""


def list_names() -> Sequence[str]:
    """Return all architectures that open_clip lists, those without a ViT tower too."""
    import open_clip

    names: Sequence[str] = open_clip.list_models()
    return names


def load_clip(
    name: str, *, weights: str | None, input_size: int | None = None, runtime: Runtime
) -> ClipEncoder:
    """Load an open_clip ViT, with weights from a local file or one of open_clip's tags.

    A tag takes the activation its weights were trained with, and downloads to open_clip's cache
    where there is a network; ``openai`` first looks for OpenAI's own file in the usual folder.
    A file of OpenAI's gets QuickGELU; any other is taken as the architecture's name says
    (``ViT-B-16-quickgelu``).

    Args:
        name: One of ``list_names()``.
        weights: The tag or the file.
        input_size: Side of the square input in pixels; None is the pretraining one.
        runtime: Where it runs.

    Raises:
        InputError: The tower is not a ViT, no weights are named, or the tag or input size is
            wrong.
        WeightsError: The file is missing, truncated or of another architecture, or the tag's
            file can neither be found nor downloaded.
    """
    check_name(name)
    if weights is None:
        raise InputError(f"CLIP {name} needs its weights: give --clip-pretrained openai|FILE")
    path = _weight_file(name, weights)
    if path is None:
        model = model_of_tag(name, weights)
    else:
        of_a_tag = path != Path(weights)
        with or_fetch_again(f"--clip {name}") if of_a_tag else nullcontext():
            model = _from_file(name, path)
    trained = None
    if input_size is not None:
        trained = hash_weights(model)
        resize_tower(model, input_size, name=name)
    return ClipEncoder(model, NamedTokenizer(name), name=name, runtime=runtime, weight_hash=trained)


def check_name(name: str) -> None:
    """Refuse a tower that cannot work, without taking weights or memory.

    Raises:
        InputError: open_clip has no such model, cannot build it here, or its tower is no ViT.
    """
    if name not in list_names():
        raise InputError(
            f"--clip {name}: expected one of open_clip's ViTs, such as {', '.join(EXAMPLES)}"
        )
    tower_shape(build_untrained(name, device="meta").visual, name=name)


def _weight_file(name: str, weights: str) -> Path | None:
    """Return the local file that ``weights`` means; None for a tag that open_clip resolves."""
    import open_clip

    path, tags = Path(weights), open_clip.list_pretrained_tags_by_model(name)
    if path.is_file() or (path.exists() and weights not in tags):
        return path
    if weights not in tags:
        more = f" and {len(tags) - TAGS_SHOWN} more" if len(tags) > TAGS_SHOWN else ""
        known = f"{', '.join(tags[:TAGS_SHOWN]) or 'none'}{more}"
        raise WeightsError(
            f"--clip-pretrained {weights}: neither a file nor a tag of {name} ({known})"
        )
    official = openai_file(name) if weights == OPENAI else None
    return official.path if official is not None and official.path.is_file() else None


def _from_file(name: str, path: Path) -> torch.nn.Module:
    weights = read_clip_weights(path)
    model: torch.nn.Module = build_untrained(name, device="cpu", quick_gelu=weights.openai)
    state = named_for(model, weights.state)
    load_strictly(model, state, path=path, architecture=f"CLIP {name}")
    return model


def build_untrained(name: str, *, device: str, quick_gelu: bool = False) -> Any:  # noqa: ANN401 - untyped
    """Build the architecture with random weights, or on ``meta`` with none."""
    import open_clip

    with quiet(), torch.device(device):
        try:
            model: Any = open_clip.create_model(
                name,
                load_weights=False,
                pretrained_text=False,
                device=device,
                force_quick_gelu=quick_gelu,
                force_preprocess_cfg=_preprocessing(name),
            )
        except Exception as error:  # a missing package, or the text tower's files
            raise InputError(
                f"CLIP {name}: open_clip cannot build it here ({first_line(error)})"
            ) from None
    return model


def _preprocessing(name: str) -> dict[str, Any]:
    """Mean and standard deviation that most of the architecture's tags were trained with."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    configs = [open_clip.get_pretrained_cfg(name, tag) for tag in tags]
    known = Counter((tuple(config["mean"]), tuple(config["std"])) for config in configs)
    if not known:
        return {}
    (mean, std), _ = known.most_common(1)[0]
    return {"mean": mean, "std": std}


IMAGE_TEXT_ENCODER = Entry(list_names, load_clip, examples=EXAMPLES, published=openai_file)
