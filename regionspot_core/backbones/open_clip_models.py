"""The models that open_clip lists, built by name and filled with weights from a tag or a file."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from regionspot_core.backbones.clip import ClipEncoder, Tokenizer
from regionspot_core.backbones.clip_towers import resize_tower, tower_shape
from regionspot_core.backbones.clip_weights import named_for, read_clip_weights
from regionspot_core.backbones.entry import Entry
from regionspot_core.backbones.official_weights import OPENAI, openai_file, or_fetch_again
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.errors import DownloadError, InputError, WeightsError
from regionspot_core.weight_files import load_strictly

EXAMPLES = ("ViT-B-16", "ViT-L-14", "ViT-L-14-336")


def list_names() -> Sequence[str]:
    """All architectures that open_clip lists, those without a ViT tower too."""
    import open_clip

    names: Sequence[str] = open_clip.list_models()
    return names


def load_clip(
    name: str, *, weights: str | None, input_size: int | None = None, runtime: Runtime
) -> ClipEncoder:
    """An open_clip ViT, with weights from a local file or one of open_clip's tags.

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
        model = _from_tag(name, weights)
    else:
        of_a_tag = path != Path(weights)
        with or_fetch_again(f"--clip {name}") if of_a_tag else nullcontext():
            model = _from_file(name, path)
    if input_size is not None:
        resize_tower(model, input_size, name=name)
    return ClipEncoder(model, NamedTokenizer(name), name=name, runtime=runtime)


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


def find_tag(name: str, tag: str) -> str:
    """Where open_clip gets the weights ``tag`` of ``name``: a URL, or a repository of the hub.

    Raises:
        InputError: The model has no such tag.
    """
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        known = ", ".join(tags) or "none"
        raise InputError(f"--clip-pretrained {tag}: expected a tag of {name} ({known})")
    config = open_clip.get_pretrained_cfg(name, tag)
    hub = config.get("hf_hub", "").rstrip("/")
    return f"hf-hub:{hub}" if hub else str(config.get("url", ""))


def download_tag(name: str, tag: str) -> Path:
    """Fetch the weights ``tag`` of ``name`` to open_clip's cache, in open_clip's own way.

    Raises:
        DownloadError: They cannot be had.
    """
    import open_clip

    try:
        with _quiet():
            return Path(open_clip.download_pretrained(open_clip.get_pretrained_cfg(name, tag)))
    except Exception as error:  # whatever the network leads the hub's client to
        raise DownloadError(
            f"CLIP {name}: the weights {tag!r} cannot be downloaded ({_reason(error)}); on a "
            f"machine with network fetch them from {find_tag(name, tag)} and "
            f"{_as_a_file(name, tag)}"
        ) from None


class NamedTokenizer:
    """open_clip's tokenizer of a model, made when first used.

    SigLIP's and the multilingual ones need the ``transformers`` package and files of their own;
    image tokens can be had without.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Token numbers (N, context length) of texts.

        Raises:
            InputError: The tokenizer's package or files are missing.
        """
        return self._tokenizer(texts)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        import open_clip

        try:
            with _quiet():
                tokenizer: Tokenizer = open_clip.get_tokenizer(self._name)
        except Exception as error:  # whatever the missing package or network leads it to
            raise InputError(
                f"CLIP {self._name}: its tokenizer cannot be had ({_reason(error)}); it needs "
                f"`pip install transformers sentencepiece` and, the first time, a network"
            ) from None
        return tokenizer


def _weight_file(name: str, weights: str) -> Path | None:
    """The local file that ``weights`` means; None for a tag that open_clip itself resolves."""
    import open_clip

    if Path(weights).exists():
        return Path(weights)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights not in tags:
        known = ", ".join(tags) or "none"
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


def _from_tag(name: str, tag: str) -> torch.nn.Module:
    import open_clip

    config = open_clip.get_pretrained_cfg(name, tag)
    try:
        with _quiet():
            model: torch.nn.Module = open_clip.create_model(
                name, pretrained=tag, force_quick_gelu=bool(config.get("quick_gelu", False))
            )
    except Exception as error:
        fetch = f"regionspot extract weights --clip {name} --clip-pretrained {tag}"
        raise WeightsError(
            f"CLIP {name}: the weights {tag!r} are not in the usual folders and cannot be "
            f"downloaded ({_reason(error)}); see `{fetch} --list`, or {_as_a_file(name, tag)}"
        ) from None
    return model


def _as_a_file(name: str, tag: str) -> str:
    """How the tag's file is given; the file itself does not say its activation."""
    import open_clip

    quick = open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False)
    spelled = f"{name}-quickgelu" if quick and not name.endswith("-quickgelu") else name
    return f"give --clip {spelled} --clip-pretrained FILE"


def build_untrained(name: str, *, device: str, quick_gelu: bool = False) -> Any:  # noqa: ANN401 - untyped
    """The architecture with random weights, or on ``meta`` with none."""
    import open_clip

    with _quiet(), torch.device(device):
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
                f"CLIP {name}: open_clip cannot build it here ({_reason(error)})"
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Without open_clip's warnings of random weights, and the hub's of every attempt."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


IMAGE_TEXT_ENCODER = Entry(list_names, load_clip, examples=EXAMPLES)
