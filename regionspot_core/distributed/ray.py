"""Reaching a Ray cluster: for the stages that spread their work over one."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from regionspot_core.errors import ClusterError, InputError

ANSWER_SECONDS = 5.0
"""How long a cluster's address may take to answer."""
_HOST_PORT = re.compile(r"(ray://)?(?P<host>[^/:]+|\[[0-9a-fA-F:]+\]):(?P<port>\d+)")


def require_ray() -> None:
    """Refuse to go on without Ray.

    Raises:
        InputError: It is not installed.
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
        ClusterError: Nothing does; the address is named.
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
    """Be connected to a cluster; a connection that is there already is used, and left.

    Args:
        address: None is the one that RAY_ADDRESS names or that runs on this machine, else a new one
            here.

    Raises:
        ClusterError: There is none to be used.
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
    """The last line of a message of Ray's, which says why, and its first sentence only."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].split(". ")[0].rstrip(".") if lines else type(error).__name__
