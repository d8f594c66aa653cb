"""Facts of a run's record beside its settings: its caches, and where it ran."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from regionspot_core import __version__
from regionspot_train.data.sources import Source
from regionspot_train.record.git_state import git_state


def run_facts(sources: Sequence[Source], device: torch.device) -> dict[str, Any]:
    """Return facts for ``run.json``, as JSON has them. A run is resumed whatever they say."""
    return {
        "caches": [
            {
                "store": each.name,
                "images": len(each.images),
                "regions": int(each.class_regions.sum()),
                "classes": int(each.learnt_classes.sum()),
            }
            for each in sources
        ],
        "versions": {
            "regionspot": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "git": git_state(Path.cwd()),
    }
