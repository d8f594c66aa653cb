"""Files of COCO's layout: what is read from good ones, and one clear sentence about bad ones."""

import copy
import hashlib
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle_codec

from regionspot_core.datasets.reading import read_annotations, read_table, read_vocabulary
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.boxes import xywh_to_xyxy

Content = dict[str, Any]


def coco() -> Content:
    """Three images, one without regions; regions and category ids out of order, ids with gaps."""
    return {
        "info": {"year": 2017},
        "images": [
            {"id": 30, "height": 100, "width": 200, "file_name": "b.jpg"},
            {"id": 10, "height": 50, "width": 40, "file_name": "deep/folder/図 é.png"},
            {"id": 20, "height": 8, "width": 9, "file_name": "./none.jpg"},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "naïve 人"}],
        "annotations": [
            {"id": 7, "image_id": 10, "category_id": 90, "bbox": [1, 2, 3, 4]},
            {"id": 5, "image_id": 30, "category_id": 1, "bbox": [10.5, 20, 30, 40.25]},
            {"id": 6, "image_id": 10, "category_id": 1, "bbox": [0, 0, 40, 50], "iscrowd": 0},
        ],
    }


def lvis() -> Content:
    url = "http://images.cocodataset.org/train2017/000000391895.jpg"
    return {
        "images": [{"id": 391895, "height": 360, "width": 640, "coco_url": url}],
        "categories": [
            {"id": 1, "name": "aerosol_can", "frequency": "c", "kind": "seen"},
            {"id": 2, "name": "air_conditioner", "frequency": "r"},
        ],
        "annotations": [
            {"id": 1, "image_id": 391895, "category_id": 2, "bbox": [1.5, 2, 3, 4], "area": 12}
        ],
    }


@pytest.fixture
def save(tmp_path: Path) -> Callable[[object], Path]:
    def write(content: object) -> Path:
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


Save = Callable[[object], Path]


def test_a_side_a_rounding_below_zero_is_none_for_scorers_too(save: Save) -> None:
    content = coco()
    content["annotations"][1]["bbox"] = [10.5, 20, -1e-7, 40.25]
    truth = read_table(save(content)).truth(federated=False)
    assert truth.box[1].tolist() == [10.5, 20, 0, 40.25]
    content["annotations"][1]["bbox"] = [10.5, 20, -0.01, 40.25]
    with pytest.raises(AnnotationError, match="annotation 5: expected a box whose width"):
        read_table(save(content)).truth(federated=False)


def test_coco_file(save: Save) -> None:
    data = read_annotations(save(coco()))
    assert len(data) == 3
    assert data.image_id.tolist() == [30, 10, 20]
    assert data.image_file == ("b.jpg", "deep/folder/図 é.png", "none.jpg")
    assert [data.size(i) for i in range(3)] == [(100, 200), (50, 40), (8, 9)]
    assert data.vocabulary.names == ("toothbrush", "naïve 人")
    assert data.vocabulary.ids == (90, 1)
    assert data.vocabulary.frequencies == ("", "")
    # regions in image order; within an image in the file's order
    assert data.region_start.tolist() == [0, 1, 3, 3]
    assert data.annotation_id.tolist() == [5, 7, 6]
    assert data.class_index.tolist() == [1, 0, 1]
    assert data.box.tolist() == [[10.5, 20, 40.5, 60.25], [1, 2, 4, 6], [0, 0, 40, 50]]
    assert data.annotation_id[data.regions(1)].tolist() == [7, 6]
    assert data.annotation_id[data.regions(2)].tolist() == []
    assert data.dropped == {"crowd": 0, "empty box": 0}
    assert (data.box.dtype, data.image_size.dtype) == (np.float32, np.int32)


def test_lvis_file(save: Save) -> None:
    data = read_annotations(save(lvis()))
    assert data.image_file == ("train2017/000000391895.jpg",)
    assert data.vocabulary.frequencies == ("c", "r")
    assert data.vocabulary.kinds == ("seen", "")
    assert data.class_index.tolist() == [1]


def test_lvis_lists_and_synonyms(save: Save) -> None:
    content = lvis()
    content["images"] = [
        {"id": n, "height": 9, "width": 9, "file_name": f"{n}.jpg"} for n in (391895, 4, 5)
    ]
    content["images"][0] |= {"neg_category_ids": [1], "not_exhaustive_category_ids": []}
    content["images"][2] |= {"neg_category_ids": [2, 1], "not_exhaustive_category_ids": [2]}
    content["categories"][0]["synonyms"] = ["aerosol_can", "spray_can"]
    data = read_annotations(save(content))
    assert data.negative is not None
    assert data.not_exhaustive is not None
    assert [data.negative[i].tolist() for i in range(3)] == [[0], [], [1, 0]]
    assert [data.not_exhaustive[i].tolist() for i in range(3)] == [[], [], [1]]
    assert data.vocabulary.synonyms == (("aerosol_can", "spray_can"), ())


def test_a_file_without_lvis_lists_has_none(save: Save) -> None:
    data = read_annotations(save(coco()))
    assert data.negative is None
    assert data.not_exhaustive is None


def v3det() -> Content:
    """As V3Det's README shows its files: a folder a category, and the open-vocabulary split."""
    return {
        "images": [
            {"file_name": "images/n07745046/21_371_c.jpg", "height": 9, "width": 9, "id": 1}
        ],
        "categories": [
            {"name": "jujube", "id": 1, "cat_info": "a fruit", "novel": False, "name_zh": "枣"},
            {"name": "drone", "id": 2, "cat_info": "it flies", "novel": True, "name_zh": "无人机"},
        ],
        "annotations": [
            {"image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 2, "id": 1, "iscrowd": 0}
        ],
    }


def test_v3det_file(save: Save) -> None:
    data = read_annotations(save(v3det()))
    assert data.image_file == ("images/n07745046/21_371_c.jpg",)
    assert data.vocabulary.names == ("jujube", "drone")
    assert data.vocabulary.kinds == ("base", "novel")


def test_objects365_file(save: Save) -> None:
    """Version 2 has a folder a patch; version 1 is as COCO's files are."""
    names = {
        "images/v1/patch8/objects365_v1_00420917.jpg": "patch8/objects365_v1_00420917.jpg",
        "images/v2/patch16/objects365_v2_00908726.jpg": "patch16/objects365_v2_00908726.jpg",
        "images/v1/other/1.jpg": "images/v1/other/1.jpg",
        "mine/images/v1/patch8/1.jpg": "mine/images/v1/patch8/1.jpg",
        "obj365_train_000000000001.jpg": "obj365_train_000000000001.jpg",
    }
    images = [
        {"id": n, "height": 9, "width": 9, "file_name": name, "license": 5, "url": "x"}
        for n, name in enumerate(names)
    ]
    box = {"iscrowd": 0, "isfake": 0, "isreflected": 0, "area": 12.5, "bbox": [1, 2, 2.5, 5]}
    content = {
        "images": images,
        "annotations": [box | {"id": 1, "image_id": 0, "category_id": 365}],
        "categories": [{"name": "Person", "id": 1}, {"name": "Table Tennis", "id": 365}],
    }
    data = read_annotations(save(content))
    assert data.image_file == tuple(names.values())
    assert data.class_index.tolist() == [1]


def roboflow() -> Content:
    """ODinW's layout: an unused category above all the others."""
    return {
        "images": [{"id": 0, "height": 9, "width": 9, "file_name": "a_jpg.rf.1.jpg"}],
        "categories": [
            {"id": 0, "name": "fish", "supercategory": "none"},
            {"id": 1, "name": "fish", "supercategory": "fish"},
            {"id": 2, "name": "jellyfish", "supercategory": "fish"},
        ],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 2, "bbox": [1, 2, 3, 4]}],
    }


def test_roboflows_unused_root_category_is_left_out(save: Save) -> None:
    data = read_annotations(save(roboflow()))
    assert data.vocabulary.names == ("fish", "jellyfish")
    assert data.vocabulary.ids == (1, 2)
    assert data.class_index.tolist() == [1]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("annotations", 0, "category_id"), 0),  # it is used
        (("categories", 2, "supercategory"), "sea"),  # it is not above all the others
        (("categories", 2, "supercategory"), "none"),
        (("categories", 0, "supercategory"), "animal"),
    ],
)
def test_any_other_category_is_kept(
    place: tuple[str | int, ...], value: object, save: Save
) -> None:
    content = roboflow()
    change(*place, to=value)(content)
    assert read_annotations(save(content)).vocabulary.ids == (0, 1, 2)
    assert read_vocabulary(save(content)).ids == (0, 1, 2)


@pytest.mark.parametrize("make", [coco, lvis, v3det, roboflow])
def test_the_vocabulary_alone_is_the_same(make: Callable[[], Content], save: Save) -> None:
    path = save(make())
    assert read_vocabulary(path) == read_annotations(path).vocabulary


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["images", "annotations", "categories"]))
)
def test_the_lists_may_come_in_any_order(order: tuple[str, ...], save: Save) -> None:
    content = coco()
    data = read_annotations(save({key: content[key] for key in order}))
    assert data.annotation_id.tolist() == [5, 7, 6]
    assert data.class_index.tolist() == [1, 0, 1]


def test_what_lies_between_the_lists_is_passed_over(tmp_path: Path) -> None:
    raw = json.dumps(coco() | {"licenses": [{"images": []}], "extra": {"images": [1]}, "n": None})
    path = tmp_path / "marked.json"
    path.write_bytes(b"\xef\xbb\xbf" + raw.encode())
    data = read_annotations(path)
    assert len(data) == 3
    assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_list_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.json"
    path.write_text('{"images": [], "images": []}')
    with pytest.raises(AnnotationError, match="expected one list of images, got two"):
        read_annotations(path)


def test_the_lvis_apis_own_sample_as_pycocotools_reads_it(lvis_sample: Path) -> None:
    content = json.loads(lvis_sample.read_bytes())
    data = read_annotations(lvis_sample, masks=True)
    assert (len(data), len(data.box), len(data.vocabulary)) == (100, 977, 1230)
    assert data.image_file[0] == "COCO_val2014_000000266409.jpg"
    assert data.negative is not None
    assert data.masks is not None
    ids = np.array(data.vocabulary.ids)
    assert ids[data.negative[0]].tolist() == content["images"][0]["neg_category_ids"]
    by_id = {annotation["id"]: annotation for annotation in content["annotations"]}
    for image in range(len(data)):
        regions = data.regions(image)
        for region in range(regions.start, regions.stop):
            annotation = by_id[data.annotation_id[region]]
            assert annotation["image_id"] == data.image_id[image]
            assert ids[data.class_index[region]] == annotation["category_id"]
            rings = rle_codec.frPyObjects(annotation["segmentation"], *data.size(image))
            expected = rle_codec.decode(rle_codec.merge(rings))
            assert np.array_equal(rle_codec.decode(data.masks.rle(region)), expected)


def test_file_without_annotations(save: Save) -> None:
    data = read_annotations(save(coco() | {"annotations": []}))
    assert data.box.shape == (0, 4)
    assert data.region_start.tolist() == [0, 0, 0, 0]
    assert data.fingerprint()["regions"] == 0


def test_fingerprint_tells_files_apart(save: Save) -> None:
    first = read_annotations(save(coco())).fingerprint()
    assert read_annotations(save(coco())).fingerprint() == first
    moved = coco()
    moved["annotations"][0]["bbox"][0] += 0.5
    assert read_annotations(save(moved)).fingerprint() != first


@pytest.mark.parametrize(
    ("annotation", "dropped"),
    [
        ({"iscrowd": 1}, {"crowd": 1, "empty box": 0}),
        ({"iscrowd": True, "bbox": [0, 0, 0, 0]}, {"crowd": 1, "empty box": 0}),
        ({"bbox": [3, 3, 0, 5]}, {"crowd": 0, "empty box": 1}),
        ({"bbox": [3, 3, -2, -2]}, {"crowd": 0, "empty box": 1}),
        ({"bbox": [40, 3, 5, 5]}, {"crowd": 0, "empty box": 1}),
        ({"bbox": [-9, -9, 9, 9]}, {"crowd": 0, "empty box": 1}),
        ({"bbox": [33, 3, 1e-9, 5]}, {"crowd": 0, "empty box": 1}),  # empty once in float32
    ],
)
def test_crowds_and_empty_boxes_are_left_out_and_counted(
    annotation: Content, dropped: dict[str, int], save: Save
) -> None:
    content = coco()
    content["annotations"][0] |= annotation
    data = read_annotations(save(content))
    assert data.annotation_id.tolist() == [5, 6]
    assert data.region_start.tolist() == [0, 1, 2, 2]
    assert data.dropped == dropped


def test_boxes_are_clipped_to_their_own_image(save: Save) -> None:
    content = coco()
    for annotation in content["annotations"]:
        annotation["bbox"] = [-5, -5, 1000, 1000]
    data = read_annotations(save(content))
    assert data.box.tolist() == [[0, 0, 200, 100], [0, 0, 40, 50], [0, 0, 40, 50]]


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ({"file_name": "a/b/c.jpg"}, "a/b/c.jpg"),
        ({"file_name": "a//b.jpg"}, "a/b.jpg"),
        ({"file_name": "..a.jpg"}, "..a.jpg"),
        ({"file_name": None, "coco_url": "http://h/val2017/1.jpg?size=2"}, "val2017/1.jpg"),
        ({"file_name": None, "coco_url": "http://h/1.jpg"}, "1.jpg"),
        ({"file_name": "kept.jpg", "coco_url": "http://h/val2017/1.jpg"}, "kept.jpg"),
    ],
)
def test_file_names(image: Content, name: str, save: Save) -> None:
    content = coco()
    content["images"][0] |= image
    assert read_annotations(save(content)).image_file[0] == name


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value in a JSON document."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path, *(deeper for key, child in items for deeper in places(child, (*path, key)))]


def change(*path: str | int, to: object) -> Callable[[Content], None]:
    """A spoiler that sets one value, or with ``to=DELETE`` takes it away."""

    def spoil(content: Content) -> None:
        target: Any = content
        for key in path[:-1]:
            target = target[key]
        if to is DELETE:
            del target[path[-1]]
        else:
            target[path[-1]] = to

    return spoil


DELETE = object()
SPOILED: list[tuple[Callable[[Content], None], str]] = [
    (change("annotations", 0, "iscrowd", to="0"), "annotation 7: expected 0 or 1 as iscrowd"),
    (change("annotations", 0, "iscrowd", to=2), "expected 0 or 1 as iscrowd, got 2"),
    (change("categories", 0, "name", to=None), "category 90: expected a text as name, got None"),
    (change("categories", 0, "name", to="\ud800"), "expected a text as name"),
    (change("categories", 0, "name", to="brush\0"), "category 90: expected a text as name"),
    (
        change("categories", 0, "frequency", to="\ud800"),
        "category 90: expected a text as frequency",
    ),
    (change("categories", 0, "kind", to="\ud800"), "category 90: expected a text as kind"),
    (change("categories", 0, "synonyms", to=["\ud800"]), "category 90: expected a list of words"),
    (change("categories", 0, "synonyms", to=["\0"]), "category 90: expected a list of words as"),
    (change("images", 0, "file_name", to="\ud800.png"), "image 30: expected a file name"),
    (change("images", 0, "file_name", to="a\0.png"), "image 30: expected a file name"),
    (change("images", 0, "width", to=1e308), "whole number as an image's width"),
    (change("annotations", 1, "bbox", to=[1e308, 2, 1e308, 4]), "not finite"),
    (change("images", to=[]), "at least one image"),
    (change("categories", to=[]), "at least one category"),
    (change("images", to=DELETE), "object with lists images, annotations, categories"),
    (change("annotations", to={}), "object with lists"),
    (change("images", 1, to="b.jpg"), "expected objects in images, got 'b.jpg' as entry 1"),
    (change("annotations", 0, to=[1, 2]), "expected objects in annotations"),
    (change("categories", 0, to=None), "expected objects in categories, got None"),
    (change("images", 0, "id", to=10), "image ids must differ; 10 occurs"),
    (change("annotations", 0, "id", to=5), "annotation ids must differ; 5 occurs"),
    (change("categories", 0, "id", to=1), "category ids must differ; 1 occurs"),
    (change("annotations", 1, "image_id", to=99), "image_id 99 is not in the file"),
    (change("annotations", 1, "category_id", to=2), "category_id 2 is not in the file"),
    (change("annotations", 1, "category_id", to=1.5), "whole number .* got 1.5"),
    (change("annotations", 1, "image_id", to=[10]), r"whole number .* got \[10\]"),
    (change("annotations", 1, "id", to=DELETE), "missing key 'id'"),
    (change("annotations", 1, "bbox", to=DELETE), "missing key 'bbox'"),
    (change("annotations", 1, "bbox", to=7), "annotation 5: expected x, y, width, height"),
    (change("annotations", 1, "bbox", to=[1, 2, 3]), "expected x, y, width, height"),
    (change("annotations", 1, "bbox", to=[1, 2, 3, 4] * 2), "expected x, y, width, height"),
    (
        change("annotations", 1, "bbox", to=[1, 2, 3, None]),
        "annotation 5: expected x, y, width, height",
    ),
    (change("annotations", 1, "bbox", to=[1, 2, float("nan"), 4]), "not finite"),
    (change("annotations", 1, "bbox", to=[1, 2, 10**400, 4]), "annotation 5: expected x, y, width"),
    (
        change("annotations", 1, "bbox", to=[{}, 2, 3, 4]),
        "annotation 5: expected x, y, width, height",
    ),
    (change("images", 0, "id", to=2**70), "whole number"),
    (change("images", 0, "id", to="30"), "whole number as an image's id, got '30'"),
    (change("images", 0, "height", to=DELETE), r"image 30 \(b.jpg\) has no height and width; give"),
    (change("images", 0, "width", to=-1), "height or width"),
    (change("images", 0, "width", to=10**10), "height or width"),
    (change("images", 0, "width", to=20.5), "whole number"),
    (change("categories", 0, "name", to=DELETE), "missing key 'name'"),
    (change("categories", 0, "id", to="one"), "whole number"),
    (change("images", 0, "file_name", to=DELETE), "expected a file name"),
    (change("images", 0, "file_name", to=3), "expected a file name .* got 3"),
    (change("images", 0, "file_name", to=""), "inside the image folder"),
    (change("images", 0, "file_name", to="/etc/passwd"), "inside the image folder"),
    (change("images", 0, "file_name", to="../x.jpg"), "inside the image folder"),
    (change("images", 0, "file_name", to="a/../../x.jpg"), "inside the image folder"),
    (change("images", 0, "file_name", to="..\\x.jpg"), "inside the image folder"),
    (change("images", 0, "file_name", to="a\\..\\..\\x.jpg"), "inside the image folder"),
    (change("images", 0, "file_name", to="C:\\x.jpg"), "inside the image folder"),
    (change("images", 0, "file_name", to="\\\\host\\x.jpg"), "inside the image folder"),
    (
        change("images", 0, "file_name", to="images/v1/patch1/../../x.jpg"),
        "inside the image folder",
    ),
    (change("images", 0, "neg_category_ids", to=[1, 99]), "neg_category_ids: category 99 is not"),
    (
        change("images", 0, "neg_category_ids", to=5),
        "image 30: expected a list as neg_categ.*, got 5",
    ),
    (change("images", 0, "not_exhaustive_category_ids", to=[2]), "not_exh.*: category 2 is not in"),
    (change("images", 0, "not_exhaustive_category_ids", to=["1"]), "whole number .*, got '1'"),
    (change("categories", 0, "synonyms", to="brush"), "category 90: expected a list of words as"),
    (change("categories", 0, "synonyms", to=["brush", 3]), "category 90: expected a list of words"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILED)
def test_a_malformed_file_is_refused_in_one_sentence(
    spoil: Callable[[Content], None], message: str, save: Save
) -> None:
    content = coco()
    spoil(content)
    path = save(content)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_annotations(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 160


@pytest.mark.parametrize("url", ["", "http://h", "http://h/../x.jpg", "http://[", 5])
def test_a_url_that_names_no_file_is_refused(url: object, save: Save) -> None:
    content = lvis()
    content["images"][0]["coco_url"] = url
    with pytest.raises(AnnotationError):
        read_annotations(save(content))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"3",
        b'"images"',
        b"\xff\xfe\xff",
        b'{"images": [',
        b"[" * 100_000,
        b"1" * 5_000,
    ],
)
def test_bytes_that_are_no_annotation_file(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(raw)
    with pytest.raises(AnnotationError, match="expected"):
        read_annotations(path)


@pytest.mark.parametrize("depth", [400, 900, 980, 100_000])
@pytest.mark.parametrize("place", places(coco())[1:], ids=str)
def test_nesting_of_any_depth_anywhere_is_read_or_refused(
    place: tuple[str | int, ...], depth: int, save: Save
) -> None:
    """Near Python's own limit a value can be read and yet not be shown."""
    content = coco()
    change(*place, to="deep")(content)
    path = save(content)
    path.write_text(path.read_text().replace('"deep"', "[" * depth + "]" * depth))
    found, refusal = None, ""
    try:
        found = read_annotations(path, masks=True)
    except AnnotationError as error:
        refusal = str(error)
    assert (found is None) != (refusal == "")
    assert len(refusal.splitlines()) <= 1


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "kind"), [(os.mkfifo, "a pipe"), (a_device, "a device")], ids=["pipe", "device"]
)
@pytest.mark.parametrize("name", ["instances.json", "class-descriptions-boxable.csv"])
def test_what_is_no_regular_file_is_refused_at_once(
    make: Callable[[Path], None], kind: str, name: str, tmp_path: Path
) -> None:
    """Opening a pipe waits for its writer, and /dev/zero never ends."""
    make(tmp_path / name)
    (tmp_path / "boxes.csv").write_text("ImageID,LabelName\n")
    path = tmp_path / ("boxes.csv" if name.endswith("csv") else name)
    for read in (read_annotations, read_vocabulary):
        with pytest.raises(AnnotationError, match=f"{name}: .*expected a file, found {kind}"):
            read(path)


def test_every_truncation_is_refused(save: Save) -> None:
    path = save(coco())
    raw = path.read_bytes()
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(AnnotationError):
            read_annotations(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no such annotation file"):
        read_annotations(tmp_path / "absent.json")
    with pytest.raises(AnnotationError, match="got a folder"):
        read_annotations(tmp_path)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 100)
    | st.sampled_from([2**31, 2**63, -(2**63), 10**400, 1e30, -0.0])
    | st.floats(-1e9, 1e9)
    | st.text(max_size=4)
    | st.sampled_from(["\0", "\ud800", "a\udcff", "\x1b]0;x\x07"]),
    lambda child: st.lists(child, max_size=4) | st.dictionaries(st.text(max_size=3), child),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(place=st.sampled_from(places(coco())[1:]), value=anything)
@example(place=("images", 0, "id"), value=2**63)
@example(place=("annotations", 0, "category_id"), value=-(2**63))
def test_any_value_anywhere_is_read_or_refused(
    place: tuple[str | int, ...], value: object, save: Save
) -> None:
    content = copy.deepcopy(coco())
    change(*place, to=value)(content)
    try:
        data = read_annotations(save(content))
    except AnnotationError:
        return
    assert len(data.box) == data.region_start[-1] == len(data.annotation_id)
    assert (data.box[:, 2:] > data.box[:, :2]).all()
    assert data.class_index.max(initial=0) < len(data.vocabulary)
    json.dumps([data.vocabulary.to_json(), data.image_file], ensure_ascii=False).encode()
    assert "\0" not in "".join(data.image_file)


number = st.floats(-50, 250, allow_nan=False, width=32)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(boxes=st.lists(st.tuples(st.sampled_from([10, 20, 30]), number, number, number, number)))
def test_kept_boxes_lie_in_their_image_and_nothing_is_lost(
    boxes: list[tuple[float, ...]], save: Save
) -> None:
    content = coco()
    content["annotations"] = [
        {"id": i, "image_id": image, "category_id": 1, "bbox": box}
        for i, (image, *box) in enumerate(boxes)
    ]
    data = read_annotations(save(content))
    assert len(data.box) + data.dropped["empty box"] == len(boxes)
    for image in range(len(data)):
        height, width = data.size(image)
        regions = data.regions(image)
        for box, original in zip(data.box[regions], data.annotation_id[regions], strict=True):
            image_id, *xywh = boxes[original]
            assert image_id == data.image_id[image]
            assert 0 <= box[0] < box[2] <= width
            assert 0 <= box[1] < box[3] <= height
            x1, y1, x2, y2 = xywh_to_xyxy(xywh)
            expected = [max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)]
            assert np.allclose(box, expected, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("kept", list(itertools.product([True, False], repeat=3))[:-1])
def test_a_table_of_some_images_is_that_of_a_file_without_the_others(
    save: Callable[[object], Path], kept: tuple[bool, ...]
) -> None:
    content = coco()
    content["annotations"].append(
        {"id": 8, "image_id": 30, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 1}
    )
    for image in content["images"]:
        image |= {"neg_category_ids": [90], "not_exhaustive_category_ids": [1][: image["id"] // 20]}
    table = read_table(save(content)).only(np.array(kept))
    images = list(itertools.compress(content["images"], kept))
    ids = {image["id"] for image in images}
    own = [each for each in content["annotations"] if each["image_id"] in ids]
    expected = read_table(save(content | {"images": images, "annotations": own}))
    assert table.regions().dropped == expected.regions().dropped
    for found, alone in (
        (table.regions(), expected.regions()),
        (table.truth(federated=False), expected.truth(federated=False)),
    ):
        for name in ("image_id", "image_size", "box", "class_index"):
            assert getattr(found, name).tolist() == getattr(alone, name).tolist()
        for name in ("negative", "not_exhaustive"):
            lists, others = getattr(found, name), getattr(alone, name)
            assert list(map(list, lists or [])) == list(map(list, others or []))
    assert table.truth(federated=False).crowd.tolist() == [bool(e.get("iscrowd")) for e in own]
