"""Reading weight files safely and loading them strictly."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file

from regionspot_core.errors import WeightsError
from regionspot_core.support.error_text import first_line
from regionspot_core.support.input_files import kind_of
from regionspot_core.support.progress import say
from regionspot_core.support.records import shown

StateDict = dict[str, torch.Tensor]

_SHOWN = 5
"""Keys that a message names."""
_ADDED = ("module.", "_orig_mod.", "model.", "net.")
"""Words before every name: of DistributedDataParallel, torch.compile, and what trainers wrap."""


def read_state_dict(
    path: Path, *, pieces: Sequence[str], usual_key: str = "", usual_prefix: str = ""
) -> StateDict:
    """Read a model's weights from a ``.pth``, ``.pt`` or ``.safetensors`` file; run no code in it.

    Training programs save weights under a key (``state_dict``, ``model``, …) beside the
    optimiser's state, and their names behind a word (``module.``). The weights are found by the
    names of the model's pieces. One line says what was taken, unless that is as the publisher has
    it.

    Args:
        path: The file.
        pieces: First words of the names of the model's own weights.
        usual_key: Key of the weights in the publisher's own files.
        usual_prefix: Words before their names there.

    Raises:
        WeightsError: If the file is missing or truncated, holds code, no weights, or several sets
            of the model's weights.
    """
    content = _read(path)
    found = _find_weights(content, path, pieces)
    if found.key not in ("", usual_key) or found.prefix not in ("", usual_prefix):
        under = f" under {shown(found.key)}" if found.key else ""
        behind = f", without {found.prefix!r} before their names" if found.prefix else ""
        beside = [shown(key) for key in content if key != found.key] if found.key else []
        rest = f"; {', '.join(beside[:_SHOWN])} left aside" if beside else ""
        say(f"{path}: a training program's file; taken: the weights{under}{behind}{rest}")
    return found.weights


class _Found(NamedTuple):
    key: str
    """Key in the file; empty for the file itself."""
    prefix: str
    """Words that were taken from all names."""
    weights: StateDict

    @classmethod
    def of(cls, key: str, weights: StateDict) -> _Found:
        """Take the words away that training programs put before every name."""
        prefix = ""
        while added := _added_word(weights):
            prefix += added
            weights = {name.removeprefix(added): value for name, value in weights.items()}
        return cls(key, prefix, weights)

    def has_any(self, pieces: Sequence[str]) -> bool:
        """Return whether one of a model's pieces is among the first words of the names."""
        return any(not set(pieces).isdisjoint(name.split(".")[:3]) for name in self.weights)


def _find_weights(content: object, path: Path, pieces: Sequence[str]) -> _Found:
    """Return the one set of a model's weights in a file.

    Raises:
        WeightsError: If there is none, or there are several.
    """
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: expected a state dict, names and tensors only")
    if _is_state_dict(content):
        return _Found.of("", content)
    sets = [
        _Found.of(key, value)
        for key, value in content.items()
        if isinstance(key, str) and _is_state_dict(value)
    ]
    own = [each for each in sets if each.has_any(pieces)]
    if len(own) > 1:
        keys = " and ".join(shown(each.key) for each in own)
        raise WeightsError(
            f"{path}: expected one set of weights, got {len(own)}, under {keys}; save the one you "
            f"mean to a file of its own"
        )
    if not (own or sets):
        keys = ", ".join(shown(key) for key in list(content)[:_SHOWN]) or "nothing"
        raise WeightsError(
            f"{path}: expected a state dict, names and tensors only, or one under a key; got {keys}"
        )
    return (own or sets)[0]


def _added_word(weights: StateDict) -> str:
    """Return a word that a training program put before all names; empty if there is none."""
    return next((w for w in _ADDED if weights and all(n.startswith(w) for n in weights)), "")


def _is_state_dict(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_weight, value.items()))


def _read(path: Path) -> Any:  # noqa: ANN401 - what the file holds
    if not path.is_file():
        kind = kind_of(path) if path.exists() else "no such file"
        raise WeightsError(f"{path}: expected a weight file, got {kind}")
    try:
        return load_file(path) if path.suffix == ".safetensors" else read_tensors(path)
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):  # the pickle opcode that names a class or function
            raise WeightsError(f"{path}: truncated or not a weight file") from None
        raise WeightsError(
            f"{path}: expected a file of tensors only, got a pickle that wants to run code; "
            f"it was not loaded. Save the model's state dict alone, where it was trained"
        ) from None
    except Exception as error:  # the readers raise whatever a broken file leads them to
        if "TorchScript" in str(error):
            raise WeightsError(
                f"{path}: a TorchScript archive, as OpenAI publishes CLIP, holds code and is not "
                f"loaded; name open_clip's tag (openai), or save its state dict to a file"
            ) from None
        raise WeightsError(
            f"{path}: truncated or not a weight file ({first_line(error)})"
        ) from None


def _is_weight(item: tuple[object, object]) -> bool:
    """Return whether a state dict's entry is a name and a tensor with all its values in memory.

    A file may also hold sparse, quantised and ``meta`` tensors, and tensors that repeat one value
    without end; these are not weights.
    """
    name, value = item
    return (
        isinstance(name, str)
        and isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and value.untyped_storage().nbytes() >= value.nbytes
    )


def read_tensors(file: Path | BinaryIO) -> Any:  # noqa: ANN401 - what the file holds
    """Read what ``torch.save`` wrote of tensors and plain values; no code in it is run.

    Raises:
        ValueError: If it is an archive that unpacks to more than its size.
        Exception: If the file is broken in another way, as PyTorch's readers raise it.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            # TorchScript's code may be packed; such an archive is refused for that.
            records = [e for e in archive.infolist() if e.filename.split("/")[1:2] != ["code"]]
            unpacked = sum(record.file_size for record in records)
            packed = sum(record.compress_size for record in records)
        if unpacked > packed:  # torch.save never packs: a small file could unpack to all memory
            raise ValueError(f"{packed:,} bytes that unpack to {unpacked:,}")
    if not isinstance(file, Path):
        file.seek(0)
    with torch.serialization.safe_globals(_numpy_numbers()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of, sparse tensors say, is refused
        return torch.load(file, map_location="cpu", weights_only=True)


def _numpy_numbers() -> list[Any]:
    """Return the types of NumPy's numbers, which some training programs save beside the weights."""
    function = np.float64(0).__reduce__()[0]  # its module has another name since NumPy 2
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    dtypes = [type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    return [np.dtype, *dtypes, *((function, name) for name in names)]


def state_problems(state: StateDict, expected: StateDict) -> list[str]:
    """Return the differences of ``state`` from ``expected``, a phrase each."""
    problems = [f"missing {name}" for name in expected if name not in state]
    problems += [f"unexpected {name[:100]}" for name in state if name not in expected]
    for name, value in expected.items():
        given = state.get(name, value)
        if given.shape != value.shape:
            problems.append(f"{name} is {tuple(given.shape)}, expected {tuple(value.shape)}")
        elif given.is_floating_point() != value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            problems.append(f"{name} is of {str(given.dtype).removeprefix('torch.')}, not {kind}")
    return problems


def load_strictly(
    model: torch.nn.Module, state: StateDict, *, path: Path, architecture: str
) -> None:
    """Load ``state`` so that every weight of the model is set and none is left over.

    A single number, as a logit scale, may be a list of one, or the reverse.

    Raises:
        WeightsError: If they do not fit; file, architecture and the first wrong weights are named.
    """
    expected = model.state_dict()
    state = {
        name: value.reshape(expected[name].shape)
        if name in expected and value.numel() == expected[name].numel() == 1
        else value
        for name, value in state.items()
    }
    problems = state_problems(state, expected)
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WeightsError(
            f"{path}: these are not the weights of {architecture}: {'; '.join(problems[:3])}{more}"
        )
    model.load_state_dict(state, strict=True)
