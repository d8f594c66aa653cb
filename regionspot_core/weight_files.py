"""Reading weight files safely and loading them strictly."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from regionspot_core.errors import WeightsError


def read_state_dict(
    path: Path, *, wrappers: Sequence[str] = ("state_dict",)
) -> dict[str, torch.Tensor]:
    """The state dict in a ``.pth``, ``.pt`` or ``.safetensors`` file; no code in it is run.

    A dict under the first key of ``wrappers`` that is there is unwrapped, as open_clip's
    checkpoints need; what else a training run saved beside it is left aside.

    Raises:
        WeightsError: The file is missing, truncated, or holds anything but tensors.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise WeightsError(f"{path}: expected a weight file, got {found}")
    state: Any
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            with torch.serialization.safe_globals(_numpy_numbers()):
                state = torch.load(path, map_location="cpu", weights_only=True)
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
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: truncated or not a weight file ({reason})") from None
    if isinstance(state, dict):
        wrapped = [state[key] for key in wrappers if isinstance(state.get(key), dict)]
        state = wrapped[0] if wrapped else state
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path}: expected a state dict, names and tensors only")
    return state


def _numpy_numbers() -> list[Any]:
    """NumPy's numbers, which training programs save beside the weights: data, not code."""
    function = np.float64(0).__reduce__()[0]  # its module has another name since NumPy 2
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    dtypes = [type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    return [np.dtype, *dtypes, *((function, name) for name in names)]


def state_problems(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> list[str]:
    """What keeps ``state`` from being all of ``expected`` and no more, a phrase each."""
    problems = [f"missing {name}" for name in expected if name not in state]
    problems += [f"unexpected {name}" for name in state if name not in expected]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    return problems


def load_strictly(
    model: torch.nn.Module, state: dict[str, torch.Tensor], *, path: Path, architecture: str
) -> None:
    """Load ``state`` so that every weight of the model is set and none is left over.

    Raises:
        WeightsError: Naming the file, the architecture and the first weights at fault.
    """
    problems = state_problems(state, model.state_dict())
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WeightsError(
            f"{path}: these are not the weights of {architecture}: {'; '.join(problems[:3])}{more}"
        )
    model.load_state_dict(state, strict=True)
