"""What baselines are called on the command line, in tables, and in an evaluation's folder."""

from __future__ import annotations

from typing import Literal, get_args

BaselineName = Literal["clip-crop", "clip-masked-crop", "clip-pool"]
BASELINES: tuple[BaselineName, ...] = get_args(BaselineName)
NO_BASELINE = "none"
LABELS: dict[BaselineName, str] = {
    "clip-crop": "CLIP crop",
    "clip-masked-crop": "CLIP masked",
    "clip-pool": "CLIP pool",
}
"""Their rows in a table."""


def results_file(name: BaselineName) -> str:
    """The name of a baseline's detections file."""
    return f"baseline_{name.replace('-', '_')}.json"
