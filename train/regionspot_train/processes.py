"""Several processes that train one head, as ``torchrun`` starts them; or one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from regionspot_core.errors import ConfigError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """This process among ``count``. One alone needs no other, and nothing here costs it time."""

    rank: int = 0
    count: int = 1
    control: Any = None
    """The process group for plain values: they go through the processor whatever heads are on."""

    @property
    def first(self) -> bool:
        """Whether this is the one that writes, validates and speaks."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Which images of a batch are this process's."""
        return slice(self.rank, None, self.count)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.count > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether it is so in one of them. Each must ask."""
        if self.count == 1:
            return flag
        flags: list[Any] = [None] * self.count
        dist.all_gather_object(flags, flag, group=self.control)
        return any(flags)

    def all_have(self, value: Value | None) -> Value:
        """The first process's value, for all of them. Each must ask."""
        values: list[Any] = [value]
        if self.count > 1:
            dist.broadcast_object_list(values, src=0, group=self.control)
        found: Value = values[0]
        return found

    def gathered(self, value: Value) -> list[Value]:
        """Every process's value, by rank. Each must ask."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self.control)
        return values


def local_device(name: str) -> torch.device:
    """``auto``, or PyTorch's name: where this process computes; under torchrun a GPU each.

    Raises:
        ConfigError: PyTorch knows no such device, or has none here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"device: expected auto, cpu, cuda or another that PyTorch knows, got {name!r}"
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda is asked for, and PyTorch finds no GPU here; use cpu")
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def require_alone() -> None:
    """Refuse to be one of several processes of ``torchrun``.

    Raises:
        ConfigError: It is.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count != "1":
        raise ConfigError(
            f"a sweep is one process, and torchrun started {count}; leave torchrun out, and use "
            f"--ray-groups for several GPUs"
        )


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, if it did; leave them at the end."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or "RANK" not in os.environ:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), count, dist.new_group(backend="gloo"))
    finally:
        dist.destroy_process_group()
