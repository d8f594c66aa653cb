"""Folders whose names are not UTF-8: everything is read from them and written to them."""

import os
import shutil
from pathlib import Path

import pytest

from regionspot_core.backbones.loading import BackboneConfig, load_backbones
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.reading import read_vocabulary
from regionspot_core.testing import files_of
from regionspot_core.text.class_text import TextConfig
from regionspot_core.tiny.world import write_world
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_extract.stores.info import describe_store
from regionspot_extract.stores.verify import verify_store
from regionspot_extract.text import TextBankConfig, make_bank


def test_a_folder_that_is_not_utf8_gives_the_same_store(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xff"))
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("the disk takes UTF-8 names alone")
    plain = write_world(tmp_path / "plain", train_scenes=3, val_scenes=1, seed=3)
    # One image is broken, whose reason is recorded.
    broken = sorted(plain.train_images.iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:200])
    images = shutil.copytree(plain.train_images, odd / "images")
    annotations = shutil.copy(plain.train_annotations, odd / "train.json")
    templates = odd / "templates"
    templates.write_text("a {}\n")
    backbones = load_backbones(BackboneConfig())
    bank = TextBankConfig(out=odd / "bank.h5", text=TextConfig(templates=str(templates)))
    vocabulary = read_vocabulary(annotations)
    make_bank(bank, vocabulary, backbones.image_text_encoder)
    stores = {}
    for name, values in {
        "usual": {"images": plain.train_images, "annotations": plain.train_annotations},
        "odd": {"images": images, "annotations": annotations},
    }.items():
        stores[name] = (tmp_path if name == "usual" else odd) / "store"
        config = ExtractConfig(**values, out=stores[name], bank=bank.out, part_images=2)
        report = run_extraction(config, backbones=backbones)
        assert (report.complete, len(report.failed)) == (True, 1)
    assert files_of(stores["odd"]) == files_of(stores["usual"])
    assert verify_store(stores["odd"]).whole
    assert describe_store(stores["odd"]).images_written == 2
    cache = FeatureCache(stores["odd"])
    assert cache.read([0, 1]).region_tokens.any()
