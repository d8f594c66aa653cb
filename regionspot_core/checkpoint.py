"""A trained head on disk: ``head.safetensors`` and, beside it, ``head.json`` that explains it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from regionspot_core.cache.fingerprint import Fingerprint, require_equal
from regionspot_core.errors import CheckpointError
from regionspot_core.files import write_json, written_aside
from regionspot_core.fusion import FusionConfig, FusionHead
from regionspot_core.weight_files import state_problems

FORMAT = "regionspot head 1"
WEIGHTS = "head.safetensors"
RECORD = "head.json"
STARTS = ("dropout", "initial_scale", "initial_bias")
"""Of a head's options, those that no weight's shape depends on."""


@dataclass(frozen=True)
class HeadRecord:
    """What a head is and where it comes from."""

    config: FusionConfig
    backbones: Fingerprint
    """The frozen models it was trained on, and fits; of an imported head, what was named."""
    training: dict[str, Any]
    """Step, seed, configuration and data sets of its training, or the file it comes from."""

    def require_fit(self, backbones: Fingerprint, *, what: str) -> None:
        """Refuse frozen models that the head was not trained on.

        An imported head is held only against the models that its import named.

        Raises:
            FingerprintError: They differ; the fields are named.
        """
        found = backbones
        if "imported" in self.training:
            found = {
                part: {key: backbones.get(part, {}).get(key) for key in fields}
                for part, fields in self.backbones.items()
            }
        require_equal(
            self.backbones,
            found,
            what=f"{what} was trained on other frozen models than these",
            advice="Give the --sam and --clip, with their weights, that it was trained with",
        )


def save_head(folder: Path, head: FusionHead, record: HeadRecord) -> None:
    """Write a head into ``folder``, weights first."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu() for name, value in head.state_dict().items()}
    with written_aside(folder / WEIGHTS) as partial:
        # A full disk is then the system's error, as everywhere, and not one of safetensors.
        partial.write_bytes(save(weights))
    values = {
        "format": FORMAT,
        "config": record.config.to_json(),
        "backbones": record.backbones,
        "training": record.training,
    }
    write_json(folder / RECORD, values)


def load_head(folder: Path | str) -> FusionHead:
    """The head in ``folder``, in eval mode on the CPU.

    Raises:
        CheckpointError: There is no head, or its files are damaged or do not fit together.
    """
    record = read_record(folder)
    head = FusionHead(record.config)
    head.load_state_dict(_weights(Path(folder), head))
    return head.eval()


def read_weights(folder: Path | str, config: FusionConfig) -> dict[str, torch.Tensor]:
    """The weights of the head in ``folder``, for another head of this shape.

    Raises:
        CheckpointError: There is no head, its files are damaged, or it is of another shape.
    """
    found = read_record(folder).config.to_json()
    differing = [
        f"{key} {found[key]}, expected {value}"
        for key, value in config.to_json().items()
        if key not in STARTS and found[key] != value
    ]
    if differing:
        raise CheckpointError(
            f"{folder}: a head of another shape: {'; '.join(differing)}; set head.* as it was "
            f"trained, or start from another head"
        )
    with torch.device("meta"):
        head = FusionHead(config)
    return _weights(Path(folder), head)


def _weights(folder: Path, head: FusionHead) -> dict[str, torch.Tensor]:
    """The weights in a folder, every one of the head's and no other."""
    try:
        weights = load_file(folder / WEIGHTS)
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: {WEIGHTS} is missing beside {RECORD}") from None
    except SafetensorError as error:
        raise CheckpointError(
            f"{folder / WEIGHTS}: damaged, not the weights of this head ({_short(error)})"
        ) from None
    problems = state_problems(weights, head.state_dict())
    if problems:
        raise CheckpointError(
            f"{folder / WEIGHTS}: not the weights of this head ({'; '.join(problems[:4])})"
        )
    return weights


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def read_record(folder: Path | str) -> HeadRecord:
    """What ``head.json`` says of the head in ``folder``.

    Raises:
        CheckpointError: There is none, or it is not one of ours.
    """
    path = Path(folder) / RECORD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        found = "none" if isinstance(error, FileNotFoundError) else "a file"
        raise CheckpointError(
            f"{folder}: expected a trained head (a folder with {RECORD}, written by "
            f"`regionspot train fit` or `train import`), found {found}"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected a {FORMAT!r} file")
    for key in ("config", "backbones", "training"):
        if not isinstance(values.get(key), dict):
            raise CheckpointError(f"{path}: expected an object as {key}, got {values.get(key)!r}")
    config = FusionConfig.parse(values["config"], source=str(path))
    return HeadRecord(config, values["backbones"], values["training"])
