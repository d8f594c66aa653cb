"""Reading weight files safely and loading them strictly."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.torch import load_file

from regionspot_core.errors import WeightsError
from regionspot_core.support.error_text import first_line


def read_state_dict(
    path: Path, *, wrappers: Sequence[str] = ("state_dict",)
) -> dict[str, torch.Tensor]:
    """Read the state dict in a ``.pth``, ``.pt`` or ``.safetensors`` file; no code in it is run.

    A dict under the first key of ``wrappers`` is unwrapped, as open_clip's checkpoints need; the
    rest of the file is ignored.

    Raises:
        WeightsError: If the file is missing, truncated, or holds anything but tensors.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no such file"
        raise WeightsError(f"{path}: expected a weight file, got {kind}")
    state: Any
    try:
        state = load_file(path) if path.suffix == ".safetensors" else read_tensors(path)
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):  # the pickle opcode that names a class or function
            raise WeightsError(f"{path}: truncated or not a weight file") from None
        raise WeightsError(
            f"{path}: expected a file of tensors only, got a pickle that wants to run code; "
            f"it was not loaded"
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
    if isinstance(state, dict):
        wrapped = [state[key] for key in wrappers if isinstance(state.get(key), dict)]
        state = wrapped[0] if wrapped else state
    if not isinstance(state, dict) or not all(map(_is_weight, state.items())):
        raise WeightsError(f"{path}: expected a state dict, names and tensors only")
    return state


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


def state_problems(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> list[str]:
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
    model: torch.nn.Module, state: dict[str, torch.Tensor], *, path: Path, architecture: str
) -> None:
    """Load ``state`` so that every weight of the model is set and none is left over.

    Raises:
        WeightsError: If they do not fit; file, architecture and the first wrong weights are named.
    """
    problems = state_problems(state, model.state_dict())
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WeightsError(
            f"{path}: these are not the weights of {architecture}: {'; '.join(problems[:3])}{more}"
        )
    model.load_state_dict(state, strict=True)
