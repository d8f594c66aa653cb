"""Where and in what arithmetic a frozen model runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from regionspot_core.backbones.precision import Precision
from regionspot_core.errors import InputError
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.compiling import CompiledBatches, compile_obstacle
from regionspot_core.support.devices import open_device

MASK_PIXELS = 64 * 1024**2
"""Pixels of masks at the image's own size: 256 MiB of float32 logits."""


@dataclass(frozen=True)
class Runtime:
    """A device and the precision of its matrix products; weights stay float32."""

    device: torch.device
    precision: Precision = "float32"
    compile: int = 0
    """Images of the batches that :meth:`kernels` makes kernels for; 0: for none."""

    @classmethod
    def create(
        cls, device: str = "auto", precision: Precision = "float32", *, compile: int = 0
    ) -> Runtime:
        """Open a device and see that what is asked of it can be done.

        Args:
            device: As :func:`open_device` takes it.
            precision: Of matrix products.
            compile: Images of the batches that kernels are made for; 0: none.

        Raises:
            InputError: The device does not exist on this machine, or nothing can be compiled.
        """
        chosen = open_device(device)
        if compile and (obstacle := compile_obstacle(chosen)):
            raise InputError(
                f"--compile: torch.compile cannot make kernels here ({obstacle}); install a C++ "
                f"compiler (g++ or clang++), and triton for a GPU, or leave --compile out"
            )
        return cls(chosen, precision, compile)

    def autocast(self) -> AbstractContextManager[object]:
        """Autocast to the precision; does nothing for float32."""
        return torch.autocast(
            self.device.type,
            dtype=getattr(torch, self.precision if self.precision != "float32" else "bfloat16"),
            enabled=self.precision != "float32",
        )

    def kernels(
        self, run: Callable[[torch.Tensor], torch.Tensor]
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Compile a model's function of a batch where that is asked for; return it otherwise."""
        return CompiledBatches(run, self.compile, self.device) if self.compile else run


def require_device(name: str) -> None:
    """Require a device, and leave a CUDA one untouched: its first tensor costs memory.

    Raises:
        InputError: It is not.
    """
    kind, _, index = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 0
    if not count:
        Runtime.create(name)
    elif index and not (index.isdecimal() and int(index) < count):
        there = ", ".join(f"cuda:{number}" for number in range(count))
        raise InputError(f"device {name!r} is not there; this machine has {there}")


def upload(values: NDArray[Any], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Copy to the device. On CUDA from pinned memory, so that the host does not wait for it."""
    tensor = torch.as_tensor(values, dtype=dtype)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def masks_at_once(size: Size, *, most: int, pixels: int = MASK_PIXELS) -> int:
    """Return how many masks of an image of ``size`` fit into ``pixels``: ``most`` at most."""
    return max(1, min(most, pixels // (size[0] * size[1])))


def hash_weights(model: torch.nn.Module) -> str:
    """SHA-256 over names, shapes, types and values of a model's weights, in name order.

    The same weights give the same hash whatever file or device they came from.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
