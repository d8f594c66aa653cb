"""Several processes that train one head, as ``torchrun`` starts them; or one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from regionspot_core.distributed.torchrun import own_gpu, own_share
from regionspot_core.errors import ConfigError
from regionspot_core.support.devices import open_device

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """This process among ``count``; where it is alone, no method exchanges anything."""

    rank: int = 0
    count: int = 1
    control: Any = None
    """Process group for plain values, which go through the CPU whatever device heads are on."""

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes, validates and prints."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """The images of a batch that this process learns from."""
        return slice(self.rank, None, self.count)

    def all_reduce_sum(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes, each of which must call this."""
        if self.count > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process; each must call this."""
        if self.count == 1:
            return flag
        flags: list[Any] = [None] * self.count
        dist.all_gather_object(flags, flag, group=self.control)
        return any(flags)

    def broadcast(self, value: Value | None) -> Value:
        """Return the first process's value in every process; each must call this."""
        values: list[Any] = [value]
        if self.count > 1:
            dist.broadcast_object_list(values, src=0, group=self.control)
        first: Value = values[0]
        return first

    def all_gather(self, value: Value) -> list[Value]:
        """Return every process's value, by rank; each must call this."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self.control)
        return values


def local_device(name: str) -> torch.device:
    """Open the device that this process learns on; under torchrun each has a GPU of its own.

    Args:
        name: ``auto``, or PyTorch's name.

    Raises:
        InputError: If PyTorch knows no such device, or this machine has none.
    """
    own = own_gpu(name)
    if own == "auto" and own_share().of > 1:
        own = "cpu"  # what joins processes without CUDA, gloo, does not know Apple's GPU
    return open_device(own)


def require_alone() -> None:
    """Refuse to be one of several processes of ``torchrun``.

    Raises:
        ConfigError: If ``torchrun`` started several.
    """
    count = own_share().of
    if count > 1:
        raise ConfigError(
            f"a sweep is one process, and torchrun started {count}; leave torchrun out, and use "
            f"--ray-groups for several GPUs"
        )


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, if it did; leave them at the end."""
    count = own_share().of
    if count == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), count, dist.new_group(backend="gloo"))
    finally:
        dist.destroy_process_group()
