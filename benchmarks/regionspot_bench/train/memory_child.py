"""The process whose memory is measured: trains a small head, and prints its peak as JSON.

python -m regionspot_bench.train.memory_child STORE STEPS BATCH_IMAGES THREADS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from regionspot_bench.peak import peak_bytes
from regionspot_bench.train.waiting import train_and_watch
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_train.config import TrainConfig

HEAD = {"layers": 1, "heads": 2, "ffn_width": 64}


def main(store: str, steps: str, batch_images: str, threads: str) -> None:
    """Train, and print the peak memory.

    No files are written and no curve is drawn: their memory is the same for every store, and would
    hide some of the growth.
    """
    torch.set_num_threads(int(threads))
    asked = {"steps": int(steps), "batch_images": int(batch_images), "device": "cpu", "head": HEAD}
    train_and_watch(TrainConfig.parse(asked, source="bench train"), store)
    figures = {"peak_bytes": peak_bytes(), "store_is_mapped": is_mapped(Path(store))}
    sys.stdout.write(json.dumps(figures))


def is_mapped(store: Path) -> bool:
    """Return whether the reader maps a store's files into memory; False if that is not known."""
    cache = FeatureCache(store)
    cache.read([0])
    maps = Path("/proc/self/maps")
    return maps.exists() and str(store.resolve()) in maps.read_text()


if __name__ == "__main__":
    main(*sys.argv[1:])
