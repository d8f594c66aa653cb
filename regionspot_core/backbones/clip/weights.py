"""CLIP's weight files: state dicts as open_clip writes them, and OpenAI's own archives."""

from __future__ import annotations

import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from regionspot_core.backbones.weights import official as official_weights
from regionspot_core.errors import WeightsError
from regionspot_core.support.files import file_sha256
from regionspot_core.support.weight_files import read_state_dict

StateDict = dict[str, torch.Tensor]

PIECES = ("visual", "image_encoder")
"""First words of the names of an image tower's weights: open_clip's, Apple's."""
OPENAI_EXTRAS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Entries of OpenAI's state dicts that are no weights; only theirs have them."""


@dataclass(frozen=True)
class ClipWeights:
    """A state dict and what its file tells of the model it was trained in."""

    state: StateDict
    openai: bool
    """OpenAI's own: trained with QuickGELU, whatever the architecture's name says."""


def read_clip_weights(path: Path) -> ClipWeights:
    """Read a state dict, or one of OpenAI's TorchScript archives.

    An archive holds code that loading runs, so only those are loaded whose SHA-256 OpenAI
    published.

    Raises:
        WeightsError: The file is missing, truncated, or holds code that is not OpenAI's.
    """
    if _is_torchscript(path):
        state = _read_official_archive(path)
    else:
        state = read_state_dict(path, pieces=PIECES, usual_key="state_dict")
    weights = {name: value for name, value in state.items() if name not in OPENAI_EXTRAS}
    return ClipWeights(weights, openai=state.keys() >= OPENAI_EXTRAS)


def named_for(model: torch.nn.Module, state: StateDict) -> StateDict:
    """Rename weights of older open_clip and Apple's MobileCLIP as ``model`` names them."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    state = convert_state_dict(model, state)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    return state


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[1:2] == ["code"] for name in archive.namelist())
    except Exception:  # no archive, or a damaged one: the reader of state dicts says which
        return False


def _read_official_archive(path: Path) -> StateDict:
    digest = file_sha256(path)
    if digest not in official_weights.openai_digests():
        raise WeightsError(
            f"{path}: a TorchScript archive holds code, so only OpenAI's own are loaded, and "
            f"this is none of them (SHA-256 {digest}); save its state dict to a file instead"
        )
    with warnings.catch_warnings():
        # torch calls its own format deprecated; OpenAI's files have no other.
        warnings.simplefilter("ignore")
        archive = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    state: StateDict = archive.state_dict()
    # OpenAI's own file, even if it lacked its marks.
    return state | {name: torch.tensor(0) for name in OPENAI_EXTRAS}
