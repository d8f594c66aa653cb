"""Main path of `regionspot bench extract`: generate, loop, extract, compare."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from regionspot_bench.extract.config import SHAPES, ExtractBenchConfig, Shape, Sizes
from regionspot_bench.extract.contents import Contents, write_contents
from regionspot_bench.extract.loops import ImageFeatures, Loop, Models
from regionspot_bench.extract.matrix_rate import matrix_rate
from regionspot_bench.extract.ours import Ours, agreement, backbones_of
from regionspot_bench.extract.report import ExtractBenchReport, ShapeFigures
from regionspot_bench.measure import take_turns, timed
from regionspot_bench.peak import peak_bytes, reset_peak
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.cache.layout.keep import RegionEmbedding
from regionspot_core.support.progress import say
from regionspot_core.support.tables import counted
from regionspot_extract.encoding.stages import StageClock


def measure(config: ExtractBenchConfig, folder: Path) -> ExtractBenchReport:
    """Measure all that the settings ask for.

    Raises:
        InputError: If the device cannot be used.
    """
    sizes = config.sizes(Runtime.create(config.device).device.type)
    compiled = sizes.batch * config.compile
    runtime = Runtime.create(config.device, config.precision, compile=compiled)
    figures: list[ShapeFigures] = []
    contents = {
        regions: write_contents(folder / str(regions), images=sizes.images, regions=regions)
        for regions in sizes.regions
    }
    for name in config.shapes:
        bench = _Bench(config, SHAPES[name], runtime, sizes)
        figures += bench.measure(contents, folder / name.replace("/", "-"))
    return ExtractBenchReport(
        device=_device_name(runtime.device),
        device_type=runtime.device.type,
        precision=config.precision,
        threads=torch.get_num_threads(),
        sizes=sizes,
        shapes=tuple(figures),
        matrix_rate=matrix_rate(runtime.device, config.precision),
        quick=config.quick,
    )


@dataclass(frozen=True)
class _Looped:
    """Result of the loops."""

    seconds: float
    """Seconds of an image."""
    autocast_seconds: float
    features: list[ImageFeatures]
    """Features of each image, in float32."""


@dataclass(frozen=True)
class _Bench:
    """Benchmark of a pair of architectures."""

    config: ExtractBenchConfig
    shape: Shape
    runtime: Runtime
    sizes: Sizes

    def measure(self, contents: dict[int, Contents], folder: Path) -> list[ShapeFigures]:
        """Measure both loops over all contents, then extraction with the same models."""
        models = Models.build(self.shape, self.runtime.device)
        # The loops come first: encoders may change models, to be faster.
        looped = {regions: self._loop(models, each) for regions, each in contents.items()}
        backbones = backbones_of(models, self.shape, self.runtime)
        ours = Ours(self.config, backbones, self.sizes.batch)
        return [
            self._extract(ours, contents[regions], regions, looped[regions], folder)
            for regions in contents
        ]

    def _named(self, regions: int) -> str:
        return f"{self.shape.name}, {counted(regions, 'region')} an image"

    def _loop(self, models: Models, contents: Contents) -> _Looped:
        device, precision = self.runtime.device, self.config.precision
        images = self.sizes.loop_images
        what = self._named(len(contents.boxes[0]))
        say(f"{what}: the loop, {counted(images, 'image')}")
        seconds, features = self._time_loop(Loop(models, device, "float32"), contents)
        say(f"{what}: the loop under autocast, {counted(images, 'image')}")
        autocast_seconds, _ = self._time_loop(Loop(models, device, precision), contents)
        return _Looped(seconds, autocast_seconds, features)

    def _time_loop(self, loop: Loop, contents: Contents) -> tuple[float, list[ImageFeatures]]:
        features: list[ImageFeatures] = []

        def work(images: int) -> None:
            features[:] = [
                loop.features(contents.path(n), contents.boxes[n]) for n in range(images)
            ]

        work(min(self.sizes.warm_up, self.sizes.loop_images))
        return timed(partial(work, self.sizes.loop_images)) / self.sizes.loop_images, features

    def _extract(
        self, ours: Ours, contents: Contents, regions: int, looped: _Looped, folder: Path
    ) -> ShapeFigures:
        say(f"{self._named(regions)}: extraction, {counted(self.sizes.images, 'image')}")
        device, images = self.runtime.device, self.sizes.images
        ours.prepare(contents)
        if self.sizes.warm_up:
            few = write_contents(
                folder / f"few-{regions}", images=self.sizes.warm_up, regions=regions
            )
            ours.prepare(few)
            ours.extract(few, folder / f"few-{regions}.zarr", StageClock(device))
        reset_peak()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        clocks = {kind: StageClock(device) for kind in self.config.embeddings}
        usual, *others = self.config.embeddings
        peaks: list[int] = []

        def store(kind: RegionEmbedding, turn: int) -> Path:
            return folder / f"{regions}-{kind}-{turn}.zarr"

        def extract(kind: RegionEmbedding, turn: int) -> None:
            ours.extract(contents, store(kind, turn), clocks[kind], embedding=kind)
            peaks.append(peak_bytes())

        times = take_turns(
            {kind: partial(extract, kind) for kind in clocks}, rounds=self.sizes.rounds, repeats={}
        )
        extracted = images * self.sizes.rounds
        return ShapeFigures(
            shape=self.shape,
            regions=regions,
            loop_seconds=looped.seconds,
            autocast_loop_seconds=looped.autocast_seconds,
            seconds=times.median(usual) / images,
            stages={stage: each / extracted for stage, each in clocks[usual].seconds().items()},
            agreement=agreement(store(usual, 0), looped.features),
            embedding_seconds={kind: times.median(kind) / images for kind in others},
            peak_bytes=peaks[0],
            device_peak_bytes=torch.cuda.max_memory_allocated(device)
            if device.type == "cuda"
            else None,
        )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type
