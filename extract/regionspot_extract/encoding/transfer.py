"""Pictures to the device and features back, beside its work.

On CUDA each direction has a stream of its own, and the host's side is pinned: a batch is copied in
while the one before it is computed, and copied out while the next one is. Elsewhere nothing needs
to be copied, and results are returned at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from regionspot_core.backbones.loading import PreparedImage

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PendingTensors:
    """Tensors on their way to the host."""

    _tensors: Tensors
    _copied: Any = None
    """CUDA event of the last copy; None for tensors that needed none."""

    def wait(self) -> Tensors:
        """Wait for the copies and return the tensors."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._tensors


class DeviceTransfer:
    """Copies between the host and one device, beside the device's work."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cuda = device.type == "cuda"
        if self._cuda:
            self._inward, self._outward = _stream(device), _stream(device)

    def pin(self, image: PreparedImage) -> PreparedImage:
        """Move a prepared image to memory that can be copied from in the background.

        Safe to call from several threads.
        """
        if not self._cuda:
            return image
        # A thread that names no device would start to use the first one.
        with torch.cuda.device(self._device):
            try:
                return replace(
                    image,
                    region_input=image.region_input.pin_memory(),
                    image_input=image.image_input.pin_memory(),
                )
            except RuntimeError:  # no more may be pinned: it is copied all the same, slower
                return image

    def to_device(self, images: list[torch.Tensor]) -> list[torch.Tensor]:
        """Begin to copy pinned tensors; what is computed with them next waits for them."""
        if not self._cuda:
            return images
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._inward):
            moved = [image.to(self._device, non_blocking=True) for image in images]
        computing.wait_stream(self._inward)
        for image in moved:
            image.record_stream(computing)
        return moved

    def to_host(self, tensors: Tensors) -> PendingTensors:
        """Begin to copy tensors from the device, without waiting for it."""
        if not self._cuda:
            return PendingTensors({name: tensor.cpu() for name, tensor in tensors.items()})
        pending = {name: tensor for name, tensor in tensors.items() if not tensor.is_cuda}
        self._outward.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._outward):
            for name in tensors.keys() - pending.keys():
                tensor = tensors[name]
                host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                pending[name] = host.copy_(tensor, non_blocking=True)
                tensor.record_stream(self._outward)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
        return PendingTensors(pending, copied)


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
