"""Ray clusters: how one is asked for, reached, and filled with workers. Ray is imported late."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from regionspot_core.config import Config
from regionspot_core.errors import ClusterError, InputError, RegionSpotError
from regionspot_core.support.options import Flag

RAY = "On a Ray cluster"
ANSWER_SECONDS = 5.0
"""Seconds that a cluster's address may take to answer."""
_HOST_PORT = re.compile(r"(ray://)?(?P<host>[^/:]+|\[[0-9a-fA-F:]+\]):(?P<port>\d+)")


class RayOptions(Config):
    """A Ray cluster, and its workers' number and needs; None is chosen to fill the cluster."""

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
        ValueError: If the device is a specific GPU.
    """
    if engine == "ray" and device not in ("auto", "cpu", "cuda"):
        raise ValueError(
            f"expected --device auto, cpu or cuda, since Ray gives each worker its own GPU; "
            f"found {device}"
        )


def require_ray_is_used(engine: str, options: RayOptions) -> None:
    """Refuse options for Ray's workers where Ray is not used.

    Raises:
        ValueError: If there are such options, and the engine is ``local``.
    """
    if engine == "local" and options != RayOptions():
        raise ValueError("expected --engine ray with options for Ray's workers")


def require_ray() -> None:
    """Refuse to go on without Ray.

    Raises:
        InputError: If it is not installed.
    """
    try:
        import ray  # noqa: F401
    except ImportError:
        raise InputError(
            "--engine ray: Ray is not installed here; `pip install 'regionspot[ray]'` installs it"
        ) from None


def require_answer(address: str | None) -> None:
    """Refuse an address at which nothing listens: Ray would try for minutes, and say so at length.

    Args:
        address: As :func:`connected` takes it.

    Raises:
        ClusterError: If nothing does; the message names the address.
    """
    named = _HOST_PORT.fullmatch(address or os.environ.get("RAY_ADDRESS", ""))
    if named is None:
        return  # "auto", or none
    try:
        socket.create_connection((named["host"], int(named["port"])), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"--engine ray: nothing answers at {named[0]} ({error}); expected HOST:PORT of a Ray "
            f"cluster's head, as `ray start --head` prints it"
        ) from None


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to a cluster, and leave it at the end; a connection that is open already stays.

    Args:
        address: None is the one that RAY_ADDRESS names or that runs on this machine, else a new one
            here.

    Raises:
        ClusterError: If no cluster can be used.
    """
    import ray
    from ray.exceptions import RayError

    if ray.is_initialized():
        yield
        return
    # A run of ours on a cluster that Ray starts for it tells nobody of it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="error")
    except (RayError, OSError, RuntimeError, ValueError) as error:
        named = address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise ClusterError(
            f"--engine ray: no Ray cluster could be used at {named} ({first_words(error)})"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def first_words(error: Exception) -> str:
    """Return the first sentence of the last line of an error of Ray's, which says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].split(". ")[0].rstrip(".") if lines else type(error).__name__


@contextmanager
def ray_errors_as_ours() -> Iterator[None]:
    """Raise a worker's own exception as if it was raised here, and Ray's errors as ours.

    Raises:
        RegionSpotError: As the worker; a fault of ours keeps the worker's traceback.
        ClusterError: If Ray itself failed.
    """
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, (RegionSpotError, OSError)):
            raise error.cause from None
        raise
    except RayError as error:
        raise ClusterError(f"--engine ray: {first_words(error)}") from None


@dataclass(frozen=True)
class Crew:
    """The number of workers, and the CPUs, GPUs and threads of each."""

    actors: int
    cpus: int
    gpus: float
    threads: int

    @classmethod
    def plan(
        cls, options: RayOptions, nodes: Sequence[dict[str, float]], *, device: str, threads: int
    ) -> Crew:
        """Return the crew that was asked for, or one that fills the cluster.

        Args:
            options: What the user asked for.
            nodes: The resources of each machine, as Ray names them: ``CPU`` and ``GPU``.
            device: ``auto``, ``cpu`` or ``cuda``.
            threads: PyTorch's number of threads in this process.
        """
        threads = options.threads or threads
        has_gpus = any(node.get("GPU", 0) for node in nodes)
        if device == "cuda" or options.gpus or (device == "auto" and has_gpus):
            gpus = options.gpus or 1.0
            fitting = sum(int(node.get("GPU", 0) / gpus) for node in nodes)
            # GPUs are scarce: a machine may have fewer CPUs than threads times GPUs.
            return cls(options.actors or max(1, fitting), 1, gpus, threads)
        counts = [int(node.get("CPU", 0)) for node in nodes]
        # No machine takes a worker that reserves more CPUs than the machine has.
        cpus = max(1, min(threads, max(counts, default=1)))
        if options.actors:
            cpus = max(1, min(cpus, sum(counts) // options.actors))
        fitting = sum(count // cpus for count in counts)
        return cls(options.actors or max(1, fitting), cpus, 0.0, threads)


def cluster_nodes() -> list[dict[str, float]]:
    """Return the resources of each machine of the cluster that this process is connected to."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()
    return [node["Resources"] for node in nodes if node["Alive"]]
