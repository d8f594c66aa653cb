"""Images without annotations: SAM's own regions or a detector's, as regions without classes."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from stepping import numbers_at

from regionspot_core.backbones.config import BackboneConfig, ProposeConfig
from regionspot_core.backbones.loading import Backbones
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.image_list import list_images
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.datasets.unlabelled import NOT_THERE, read_unlabelled
from regionspot_core.distributed.shares import Shard
from regionspot_core.errors import AnnotationError, CacheError, FingerprintError, InputError
from regionspot_core.imaging.sources import ImageSource, open_images
from regionspot_core.support.fault_points import at_points
from regionspot_core.tiny.world import World
from regionspot_extract.config import ExtractConfig, ProposalsConfig
from regionspot_extract.propose import write_proposals
from regionspot_extract.run import run_extraction


def make_images(folder: Path, *names: str) -> ImageSource:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30)).save(folder / name)
    return open_images(folder)


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["b/000012.png", "a/000007.png"], [7, 12]),  # sorted by path: a/ before b/
        (["a/1.png", "b/1.png"], [1, 2]),
        (["2.png", "x.png"], [1, 2]),
    ],
)
def test_images_are_numbered_by_their_names_where_these_are_numbers(
    names: list[str], ids: list[int], tmp_path: Path
) -> None:
    listed = list_images(make_images(tmp_path, *names))
    assert listed.files == tuple(sorted(names))
    assert listed.ids.tolist() == ids


RESULTS = [
    {"image_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 3},
    {"image_id": "000012", "bbox": [30, 20, 20, 20], "score": 0.5},
    {"image_id": 7, "bbox": [5, 5, 0, 5], "score": 0.5},
    {"image_id": "000012.png", "bbox": [0, 0, 9, 9]},
    {"image_id": 99, "bbox": [0, 0, 9, 9]},
]
BY_IMAGE = {
    "7": {"boxes": [[1, 2, 4, 6], [5, 5, 5, 10]], "scores": [0.5, 0.5]},
    "b/000012.png": {"boxes": [[30, 20, 50, 40], [0, 0, 9, 9]], "scores": [1, 1]},
    "other.png": {"boxes": [[0, 0, 9, 9]], "scores": [1]},
}


@pytest.mark.parametrize("boxes", [RESULTS, BY_IMAGE], ids=["results", "by image"])
def test_both_layouts_read_the_same(boxes: object, tmp_path: Path) -> None:
    images = make_images(tmp_path, "000007.png", "b/000012.png", "000020.png")
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    found = read_unlabelled(tmp_path / "boxes.json", images)
    assert found.image_file == ("000007.png", "b/000012.png")  # the third has no box
    assert found.image_id.tolist() == [7, 12]
    assert found.image_size.tolist() == [[30, 40]] * 2
    assert found.region_start.tolist() == [0, 1, 3]
    assert found.box.tolist() == [[1, 2, 4, 6], [30, 20, 40, 30], [0, 0, 9, 9]]
    assert found.class_index.tolist() == [-1] * 3
    assert not found.labelled
    assert (found.dropped["empty box"], found.dropped[NOT_THERE]) == (1, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": [], "annotations": []}, "give it as --annotations"),
        ([{"image_id": 1}], "entry 0: expected an object with image_id, bbox"),
        ([{"image_id": "a", "bbox": [1, 2, 3]}], "entry 0: expected x, y, width, height as bbox"),
        ([{"image_id": "a", "bbox": [1, 2, 3, 10**400]}], "entry 0: .*a finite number, got inf"),
        ([{"image_id": "a", "bbox": [1, 2, -3, 4]}], "entry 0: .*width and height .*not negative"),
        ([{"image_id": [1], "bbox": [1, 2, 3, 4]}], "entry 0: expected a whole number as image_id"),
        ({"a": [1]}, "image 'a': expected an object by image id, with boxes"),
        ({"a": {"boxes": [[3, 2, 1, 4]]}}, "1 of 1 boxes cannot be used"),
        ([{"image_id": "b", "bbox": [1, 2, 3, 4]}], r"none of the images .* \(first: 'b'\)"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4]}], r"none of the images .* \(first: 1\)"),
        ({"9" * 5_000: {"boxes": [[1, 2, 3, 4]]}}, "none of the images"),
        ([], "none of the images"),
    ],
)
def test_other_files_are_refused(content: object, message: str, tmp_path: Path) -> None:
    images = make_images(tmp_path, "a.png")
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match=message):
        read_unlabelled(tmp_path / "boxes.json", images)


PROPOSE = ProposeConfig(points_per_side=3, iou_threshold=0, stability_threshold=0)


@pytest.fixture(scope="module")
def world(world_of: Callable[[int], World]) -> World:
    return world_of(30)


@pytest.fixture(scope="module")
def few(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five of the world's images, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("few")
    for path in sorted(world.train_images.iterdir())[:5]:
        shutil.copy(path, folder)
    sorted(folder.iterdir())[3].write_bytes(b"no image")
    return folder


def settings(images: Path, out: Path, **more: Any) -> ProposalsConfig:
    models = BackboneConfig(device="cpu")
    return ProposalsConfig(
        images=images, out=out, propose=PROPOSE, backbones=models, batch_images=2, **more
    )


@pytest.fixture(scope="module")
def proposals(few: Path, backbones: Backbones, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("proposals") / "regions.json"
    report = write_proposals(settings(few, out), encoder=backbones.region_encoder)
    assert (report.images, report.left, report.written, len(report.failed)) == (5, 0, True, 1)
    assert report.regions == len(json.loads(out.read_text())) > 4
    assert report.failed[0].startswith(sorted(few.iterdir())[3].name)
    return out


def test_an_interrupted_search_goes_on(
    few: Path, proposals: Path, backbones: Backbones, tmp_path: Path
) -> None:
    class StoppedError(Exception):
        pass

    def stop(point: str, batch: int) -> None:
        if (point, batch) == ("record batch", 1):
            raise StoppedError

    out, encoder = tmp_path / "regions.json", backbones.region_encoder
    with at_points(stop), pytest.raises(StoppedError):
        write_proposals(settings(few, out), encoder=encoder)
    (journal,) = (tmp_path / "regions.json.run" / "parts").glob("*.jsonl")
    with journal.open("ab") as file:
        file.write(b'{"batch": 1, "fai')
    other = settings(few, out).model_copy(update={"propose": ProposeConfig(points_per_side=2)})
    with pytest.raises(FingerprintError, match="points_per_side"):
        write_proposals(other, encoder=encoder)
    with numbers_at("record batch") as batches:
        write_proposals(settings(few, out), encoder=encoder)
    assert batches == [1, 2]
    assert out.read_bytes() == proposals.read_bytes()


def test_a_finished_search_is_told(
    few: Path, proposals: Path, backbones: Backbones, regionspot: Callable[..., Any]
) -> None:
    """Without a model; a file of something else is refused, and so are other settings."""
    with numbers_at("record batch") as batches:
        report = write_proposals(settings(few, proposals))
    assert (batches, report.written, len(report.failed)) == ([], True, 1)
    other = settings(few, proposals).model_copy(update={"batch_images": 3})
    with pytest.raises(FingerprintError, match="batch_images: expected 3, found 2"):
        write_proposals(other)
    words = ["--points-per-side", "3", "--iou-threshold", "0", "--stability-threshold", "0"]
    again = regionspot(
        "extract", "propose", "--images", str(few), "--out", str(proposals), "--batch", "2", *words
    )
    assert again.returncode == 1, again.stderr  # an image could not be read
    assert "propose: 5 images are there already" in again.stderr
    away = proposals.with_name("away")
    (proposals.parent / "regions.json.run").rename(away)
    with pytest.raises(InputError, match="this one is there already"):
        write_proposals(settings(few, proposals), encoder=backbones.region_encoder)
    away.rename(proposals.parent / "regions.json.run")


def test_shares_are_written_together(
    few: Path, proposals: Path, backbones: Backbones, tmp_path: Path
) -> None:
    out, encoder = tmp_path / "regions.json", backbones.region_encoder
    for index, left in ((2, 3), (1, 0)):
        share = settings(few, out, shard=Shard(index=index, of=2))
        report = write_proposals(share, encoder=encoder)
        assert (report.left, report.written) == (left, False)
    assert not out.exists()
    with numbers_at("record batch") as batches:
        assert write_proposals(settings(few, out)).written
    assert batches == []
    assert out.read_bytes() == proposals.read_bytes()


def test_a_mended_image_is_searched_again(few: Path, backbones: Backbones, tmp_path: Path) -> None:
    images, encoder = tmp_path / "images", backbones.region_encoder
    shutil.copytree(few, images)
    assert write_proposals(settings(images, tmp_path / "p.json"), encoder=encoder).failed
    first, *_, broken, _ = sorted(images.iterdir())
    shutil.copy(first, broken)
    with numbers_at("record batch") as batches:
        again = settings(images, tmp_path / "p.json", retry_failed=True)
        assert not write_proposals(again, encoder=encoder).failed
    assert batches == [1]


def test_a_disk_that_cannot_be_waited_for_takes_the_same_proposals(
    few: Path,
    proposals: Path,
    backbones: Backbones,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def sync(descriptor: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", sync)
    out = tmp_path / "regions.json"
    write_proposals(settings(few, out), encoder=backbones.region_encoder)
    assert out.read_bytes() == proposals.read_bytes()


def extract(images: Path, out: Path, world: World, backbones: Backbones, **regions: Path) -> None:
    bank = world.train_annotations.with_name("bank.h5")
    config = ExtractConfig(
        images=images, out=str(out), bank=bank, backbones=BackboneConfig(device="cpu"), **regions
    )
    run_extraction(config, backbones=backbones)


def test_proposals_are_extracted_as_annotated_boxes_are(
    world: World, backbones: Backbones, tmp_path: Path
) -> None:
    """The same boxes give the same tokens, and no labels; a user's own bank is kept beside."""
    annotations = read_annotations(world.train_annotations)
    boxes = [
        {"image_id": Path(annotations.image_file[image]).stem, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for image in range(len(annotations))
        for x1, y1, x2, y2 in annotations.box[annotations.regions(image)].tolist()
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    extract(
        world.train_images, tmp_path / "a", world, backbones, annotations=world.train_annotations
    )
    extract(world.train_images, tmp_path / "b", world, backbones, proposals=tmp_path / "boxes.json")
    labelled, plain = FeatureCache(str(tmp_path / "a")), FeatureCache(str(tmp_path / "b"))
    both = range(4)
    expected, found = labelled.read(both), plain.read(both)
    assert np.allclose(found.region_tokens, expected.region_tokens, atol=2e-3)
    assert np.array_equal(found.image_tokens, expected.image_tokens)
    assert np.array_equal(found.mask, expected.mask)
    assert (found.classes == -1).all()
    assert plain.class_bank().vocabulary == labelled.class_bank().vocabulary
    sizes = {path.name: path.stat().st_size for path in world.train_images.iterdir()}
    assert labelled.file_sample() == sizes
    labelled.require_labels("learn from")
    with pytest.raises(CacheError, match="its regions have no labels to learn from"):
        plain.require_labels("learn from")


def test_what_needs_labels_says_so(
    few: Path, proposals: Path, tmp_path: Path, regionspot: Callable[..., Any]
) -> None:
    store = str(tmp_path / "store")
    data = ["--images", str(few), "--proposals", str(proposals)]
    done = regionspot("extract", "run", *data, "--out", store, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "4 images" in " ".join(done.stdout.split())  # wrapped after a long path
    assert "none: regions without labels" in regionspot("extract", "info", store).stdout
    assert regionspot("extract", "verify", store).returncode == 0
    for words in (
        ("train", "fit", "--cache", store, "--out", str(tmp_path / "run"), "--config", "demo"),
        ("evaluate", "cached", "--cache", store, "--head", str(few)),
    ):
        done = regionspot(*words)
        assert done.returncode == 2
        assert "have no labels to" in " ".join(done.stderr.split()), done.stderr


def test_one_of_annotations_and_proposals_is_asked_for(
    few: Path, proposals: Path, tmp_path: Path, regionspot: Callable[..., Any]
) -> None:
    words = ["extract", "run", "--images", str(few), "--out", str(tmp_path / "store")]
    for more in ([], ["--annotations", str(proposals), "--proposals", str(proposals)]):
        done = regionspot(*words, *more)
        assert done.returncode == 2
        assert "expected either --annotations, or --proposals" in " ".join(done.stderr.split())
