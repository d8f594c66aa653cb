"""What the stages of the RegionSpot pipeline share. It imports no stage.

Shapes use one legend everywhere: B images, R regions, T image tokens, C CLIP width,
S SAM token width, M SAM tokens a region, D text width, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regionspot_core.cache.read.reader import FeatureCache as FeatureCache
    from regionspot_core.heads.checkpoint import load_head as load_head

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - of whatever type the name is
    """Return ``FeatureCache`` and ``load_head``, imported when asked for: torch takes seconds."""
    if name == "FeatureCache":
        from regionspot_core.cache.read.reader import FeatureCache

        return FeatureCache
    if name == "load_head":
        from regionspot_core.heads.checkpoint import load_head

        return load_head
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
