"""What a run's record says beside what was asked for: its caches, and where it ran."""

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
    """For ``run.json``, as JSON has it. A run is resumed whatever it says."""
    return {
        "caches": [
            {
                "store": each.name,
                "images": len(each.images),
                "regions": int(each.cache.region_counts.sum()),
                "classes": len(each.bank.embeddings),
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
