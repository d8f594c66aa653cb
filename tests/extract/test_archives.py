"""An extraction from a zip or from tar shards gives the store of the same images in a folder."""

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from regionspot_core.backbones.config import BackboneConfig
from regionspot_core.backbones.loading import Backbones
from regionspot_core.tiny.world import World
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction


def test_the_store_is_the_same_to_the_byte(
    world_of: Callable[[int], World], backbones: Backbones, tmp_path: Path
) -> None:
    world = world_of(30)
    files = sorted(world.train_images.iterdir())
    with zipfile.ZipFile(tmp_path / "train2017.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"train2017/{file.name}")
    (tmp_path / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(tmp_path / "shards" / f"{shard}.tar", "w") as tar:
            for file in files[shard::2]:
                tar.add(file, f"./{file.name}")
    contents = []
    for images in (
        world.train_images,
        tmp_path / "train2017.zip",
        tmp_path / "shards" / "{0..1}.tar",
    ):
        store = tmp_path / f"store{len(contents)}"
        config = ExtractConfig(
            images=images,
            annotations=world.train_annotations,
            out=str(store),
            bank=world.train_annotations.with_name("bank.h5"),
            backbones=BackboneConfig(device="cpu"),
        )
        report = run_extraction(config, backbones=backbones)
        assert not report.failed
        paths = sorted(path for path in store.rglob("*") if path.is_file())
        contents.append({path.relative_to(store): path.read_bytes() for path in paths})
    assert contents[0] == contents[1] == contents[2]
