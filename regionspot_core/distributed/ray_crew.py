"""Workers on a Ray cluster that have the frozen models: how many, and what each needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from regionspot_core.backbones.config import BackboneConfig
from regionspot_core.config import Config
from regionspot_core.support.options import Flag

RAY = "On a Ray cluster"


class RayOptions(Config):
    """Which Ray cluster does the work, and with how many workers. None leaves it to us."""

    address: Annotated[
        str | None,
        Flag(
            name="--ray-address",
            metavar="HOST:PORT",
            panel=RAY,
            default="RAY_ADDRESS, or one here",
        ),
    ] = None
    """Address of the cluster."""
    actors: Annotated[int | None, Flag(panel=RAY, default="one a GPU, or as the CPUs allow")] = (
        Field(default=None, ge=1, le=10_000)
    )
    """Worker processes, each with its own models."""
    gpus: Annotated[
        float | None, Flag(name="--actor-gpus", panel=RAY, default="1 where there are any")
    ] = Field(default=None, gt=0, le=1_024)
    """GPUs of a worker; 0.5 puts two on one."""
    threads: Annotated[
        int | None, Flag(name="--actor-threads", panel=RAY, default="as many as here")
    ] = Field(default=None, ge=1, le=4_096)
    """PyTorch's CPU threads of a worker; as many as here give the local engine's bytes."""


def require_ray_fits(engine: str, device: str) -> None:
    """Refuse a device that Ray cannot give.

    Raises:
        ValueError: It is a certain one.
    """
    if engine == "ray" and device not in ("auto", "cpu", "cuda"):
        raise ValueError(
            f"expected --device auto, cpu or cuda, since Ray gives each worker its own GPU; "
            f"found {device}"
        )


def require_ray_is_used(engine: str, options: RayOptions) -> None:
    """Refuse options for workers that there are none of.

    Raises:
        ValueError: There are some.
    """
    if engine == "local" and options != RayOptions():
        raise ValueError("expected --engine ray with options for Ray's workers")


@dataclass(frozen=True)
class Crew:
    """How many workers there are, and what each reserves."""

    actors: int
    cpus: int
    gpus: float
    threads: int

    @classmethod
    def plan(
        cls, options: RayOptions, nodes: Sequence[dict[str, float]], *, device: str, threads: int
    ) -> Crew:
        """The crew that was asked for, or one that fills the cluster.

        Args:
            options: What is asked.
            nodes: The resources of each machine, as Ray names them: ``CPU`` and ``GPU``.
            device: ``auto``, ``cpu`` or ``cuda``.
            threads: PyTorch's here.
        """
        threads = options.threads or threads
        has_gpus = any(node.get("GPU", 0) for node in nodes)
        if device == "cuda" or options.gpus or (device == "auto" and has_gpus):
            gpus = options.gpus or 1.0
            fitting = sum(int(node.get("GPU", 0) / gpus) for node in nodes)
            # The GPU is what is scarce; a machine may have fewer CPUs than threads times GPUs.
            return cls(options.actors or max(1, fitting), 1, gpus, threads)
        counts = [int(node.get("CPU", 0)) for node in nodes]
        # No machine takes a worker that reserves more CPUs than the machine has.
        cpus = max(1, min(threads, max(counts, default=1)))
        if options.actors:
            cpus = max(1, min(cpus, sum(counts) // options.actors))
        fitting = sum(count // cpus for count in counts)
        return cls(options.actors or max(1, fitting), cpus, 0.0, threads)


def cluster_nodes() -> list[dict[str, float]]:
    """The resources of each machine of the cluster that this process is connected to."""
    import ray

    found: list[dict[str, Any]] = ray.nodes()
    return [node["Resources"] for node in found if node["Alive"]]


def models_anywhere(models: BackboneConfig, *, on_gpu: bool) -> BackboneConfig:
    """Frozen models, named so that a worker in another folder finds them.

    Args:
        models: The driver's.
        on_gpu: Whether the worker has a GPU. It must then use it: one whose driver does not work
            would else take the CPU, and days.
    """
    weights = models.clip_pretrained
    if weights is not None and Path(weights).is_file():
        weights = str(Path(weights).absolute())
    return models.model_copy(
        update={
            "sam_checkpoint": models.sam_checkpoint and models.sam_checkpoint.absolute(),
            "clip_pretrained": weights,
            "device": "cuda" if on_gpu else models.device,
        }
    )
