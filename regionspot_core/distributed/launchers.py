"""The launcher that a run asks for."""

from __future__ import annotations

from collections.abc import Sequence

from regionspot_core.distributed.processes import Processes
from regionspot_core.distributed.ray_cluster import RayOptions
from regionspot_core.distributed.ray_tasks import RayTasks
from regionspot_core.distributed.shares import Launcher


def choose_launcher(
    engine: str, options: RayOptions, device: str, *, devices: Sequence[str] = ()
) -> Launcher | None:
    """Return what starts a run's processes; None where it is asked for none.

    Args:
        engine: ``local`` or ``ray``.
        options: What is asked of Ray.
        device: The device of a single process, or ``auto``.
        devices: Several devices of this machine, a process each.

    Raises:
        InputError: If Ray is asked for and not installed.
        ClusterError: If nothing answers at the cluster's address.
    """
    if engine == "ray":
        return RayTasks(options, device)
    return Processes(devices) if devices else None
