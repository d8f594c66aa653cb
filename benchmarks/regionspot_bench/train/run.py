"""Main path of `regionspot bench train`: memory, cached beside online, waiting, a sweep."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from regionspot_bench.train.config import CLIPS, TrainBenchConfig
from regionspot_bench.train.memory import measure_memory
from regionspot_bench.train.online import time_steps
from regionspot_bench.train.report import ClipReport, TrainBenchReport
from regionspot_bench.train.stores import write_store
from regionspot_bench.train.sweep import measure_sweep
from regionspot_bench.train.waiting import train_and_watch
from regionspot_core.backbones.clip.untrained import untrained_tower
from regionspot_core.support.progress import say
from regionspot_train.config import TrainConfig, recipe_or_file

BATCHES = 8
"""Number of batches that a store has images for."""


def measure(config: TrainBenchConfig, folder: Path) -> TrainBenchReport:
    """Measure all that the settings ask for."""
    with _threads(config.threads):
        say("memory: training on a store and on one of ten times its images")
        memory = measure_memory(folder, config.sizes, threads=config.threads)
        clips = tuple(_measure_clip(config, name, folder) for name in config.shapes)
        say("sweep: one head and sixteen, from a slow disk and from memory")
        sweep = measure_sweep(folder, config.sizes)
    return TrainBenchReport(
        clips=clips,
        memory=memory,
        sweep=sweep,
        precision=config.precision,
        threads=config.threads,
        quick=config.quick,
    )


def _measure_clip(config: TrainBenchConfig, name: str, folder: Path) -> ClipReport:
    clip, sizes = CLIPS[name], config.sizes
    overrides = [
        f"steps={sizes.waiting_steps}",
        f"batch_images={sizes.batch_images}",
        f"precision={config.precision}",
    ]
    settings = TrainConfig.load(recipe_or_file("paper-bb"), overrides)
    store = folder / "clip"
    write_store(
        store,
        clip.shape,
        images=BATCHES * sizes.batch_images,
        part_images=sizes.batch_images,
        text_width=clip.text_width,
    )
    say(f"{name}: training")
    training = train_and_watch(settings, store)
    say(f"{name}: steps with cached tokens, and with CLIP online")
    steps = time_steps(settings, store, untrained_tower(clip.architecture, config.precision), sizes)
    shutil.rmtree(store)
    return ClipReport(name, steps, training)


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    """Set PyTorch's number of threads, and put it back at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
