"""Extraction from a zip and from tar shards beside the same images in a folder, in one run.

    python benchmarks/image_sources.py --images shared/data/photos --copies 8

Reads as extraction does, by threads that decode and resize for both models, and no more: the models
themselves cost the same wherever an image lies. Each round goes through all places, in turn.
"""

from __future__ import annotations

import argparse
import statistics
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

from regionspot_core.backbones.config import BackboneConfig
from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.imaging.sources import ImageSource, open_images
from regionspot_core.support.prefetch import map_ahead

WORKERS = 2


def pack(images: list[Path], copies: int, out: Path) -> dict[str, Path]:
    """Write the images, with copies of each, to every kind of place."""
    places = {"folder": out / "folder", "zip": out / "stored.zip"}
    places |= {"deflated zip": out / "deflated.zip", "tar shards": out / "shards"}
    places["folder"].mkdir()
    places["tar shards"].mkdir()
    files = [(f"{n:02}_{path.name}", path) for n in range(copies) for path in images]
    for name, path in files:
        (places["folder"] / name).write_bytes(path.read_bytes())
    for kind, method in (("zip", zipfile.ZIP_STORED), ("deflated zip", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(places[kind], "w", method) as archive:
            for name, path in files:
                archive.write(path, name)
    for shard in range(copies):
        with tarfile.open(places["tar shards"] / f"{shard:05}.tar", "w") as tar:
            for name, path in files[shard * len(images) : (shard + 1) * len(images)]:
                tar.add(path, name)
    return places


def seconds(source: ImageSource, models: Backbones | None) -> float:
    """Return the processor's seconds that reading all images takes.

    Wall seconds would measure what else the machine does.
    """

    def read(name: str) -> None:
        size = source.size(name)
        pixels = source.read(name, size=size)
        if models is not None:
            models.prepare(pixels)

    began = time.process_time()
    for _ in map_ahead(read, source.names(), workers=WORKERS):
        pass
    return time.process_time() - began


def main() -> None:
    """Print the ratios to a folder, of the medians of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    models = load_backbones(BackboneConfig(device="cpu"))
    photographs = [arguments.images / name for name in open_images(arguments.images).names()]
    with tempfile.TemporaryDirectory() as folder:
        places = pack(photographs, arguments.copies, Path(folder))
        began = time.process_time()
        sources = {kind: open_images(place) for kind, place in places.items()}
        print(f"opened in {time.process_time() - began:.2f} s")
        took: dict[str, list[float]] = {kind: [] for kind in sources}
        for _ in range(arguments.rounds):
            for kind, source in sources.items():
                took[kind].append(seconds(source, models))
    folder_seconds = statistics.median(took["folder"])
    count = len(photographs) * arguments.copies
    print(f"{count} images, {arguments.rounds} rounds")
    for kind, each in took.items():
        median = statistics.median(each)
        print(
            f"{kind:<13} {1_000 * median / count:6.2f} ms an image, × {median / folder_seconds:.3f}"
        )


if __name__ == "__main__":
    main()
