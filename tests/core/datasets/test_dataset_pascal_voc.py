"""Pascal VOC's folders of XML files."""

from pathlib import Path

import numpy as np
import pytest
from png_headers import save_png_header
from supervision.dataset.formats.pascal_voc import detections_from_xml_obj

from regionspot_core.datasets.pascal_voc import fromstring
from regionspot_core.datasets.reading import read_annotations, read_vocabulary
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.sources import open_images

SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


def thing(name: str, *corners: float | str, difficult: str = "0") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    # A part of a person, as VOC's layout task has them, is no object.
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox>"
        f"<part><name>head</name><bndbox>{box}</bndbox></part></object>"
    )


def xml(*objects: str, file: str = "a.png", size: str = SIZE) -> str:
    return f"<annotation><filename>{file}</filename>{size}{''.join(objects)}</annotation>"


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Three images, in two splits."""
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\nc\n")
    (tmp_path / "ImageSets/Main/val.txt").write_text("\ufeffb\n")
    content = {
        "a": xml(thing("dog", 1, 1, 40, 30), thing("cat", 5, 6, 5, 6, difficult="1")),
        "b": xml(thing("zebra", 2, 2, 3, 3), file="b.jpeg"),
        "c": xml(thing("cat", 11.5, 1, 60, 2), file="renamed.png", size=""),
    }
    for name, text in content.items():
        (tmp_path / f"Annotations/{name}.xml").write_text(text)
    save_png_header(tmp_path / "JPEGImages/c.png", 20, 50)
    return tmp_path


def test_a_folder(voc: Path) -> None:
    data = read_annotations(voc, images=open_images(voc / "JPEGImages"))
    assert data.image_file == ("a.png", "b.jpeg", "c.png")
    assert data.image_size.tolist() == [[30, 40], [30, 40], [20, 50]]
    assert data.vocabulary.names == ("cat", "dog", "zebra")
    assert data.box.tolist() == [[0, 0, 40, 30], [1, 1, 3, 3], [10.5, 0, 50, 2]]
    assert data.class_index.tolist() == [1, 2, 0]
    assert data.dropped == {"difficult": 1, "empty box": 0, "images not readable": 0}
    inner = read_annotations(voc / "Annotations", images=open_images(voc / "JPEGImages"))
    assert inner.box.tolist() == data.box.tolist()


def test_a_split_has_the_classes_of_all(voc: Path) -> None:
    path = voc / "ImageSets/Main/val.txt"
    data = read_annotations(path)
    assert data.image_file == ("b.jpeg",)
    assert data.vocabulary == read_vocabulary(path) == read_vocabulary(voc)
    assert data.vocabulary.names == ("cat", "dog", "zebra")


def test_boxes_are_those_of_supervision(voc: Path) -> None:
    content = (voc / "Annotations/a.xml").read_bytes()
    expected, _ = detections_from_xml_obj(fromstring(content), [], (40, 30))
    data = read_annotations(voc, images=open_images(voc / "JPEGImages"))
    np.testing.assert_allclose(data.box[data.regions(0)], expected.xyxy[:1])


DOCTYPE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DOCTYPE + xml(thing("&x;", 1, 1, 2, 2)), "b.xml: expected XML without document types"),
        ("<annotation>", "b.xml: expected XML"),
        ("", "b.xml: expected XML"),
        ("<html></html>", "expected an element annotation, got 'html'"),
        (xml("<object><name>a</name></object>"), "object 1: expected a bndbox with numbers"),
        (xml(thing("a", 1, 2, "x", 4)), "object 1: expected a bndbox with numbers as xmin"),
        (xml(thing("a", 1, 2, 3, "1e999")), "object 1: expected a bndbox with numbers"),
        (xml(thing("", 1, 2, 3, 4)), "object 1: expected a class as name, got ''"),
        (xml(thing("a", 1, 2, 3, 4, difficult="yes")), "expected 0 or 1 as difficult, got 'yes'"),
        (xml(size="<size><width>1.5</width><height>3</height></size>"), "expected whole pixels"),
        (xml(size="<size><width>-1</width><height>3</height></size>"), "expected whole pixels"),
        (xml(file="../../b.png"), "file name '../../b.png' must be relative"),
        (xml(file="/b.png"), "file name '/b.png' must be relative"),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence(content: str, message: str, voc: Path) -> None:
    (voc / "Annotations/b.xml").write_text(content)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_annotations(voc, images=open_images(voc / "JPEGImages"))
    assert "\n" not in str(caught.value)


def test_splits_that_do_not_fit(voc: Path) -> None:
    split = voc / "ImageSets/Main/cat_val.txt"
    split.write_text("a  1\nb -1\n")
    with pytest.raises(AnnotationError, match="line 1: expected an image's name alone"):
        read_annotations(split)
    split.write_text("b\nz\n")
    with pytest.raises(AnnotationError, match="lists 'z', of which Annotations has no XML file"):
        read_annotations(split)


def test_the_file_of_one_image_alone(voc: Path) -> None:
    with pytest.raises(AnnotationError, match="the XML file of one image; give the folder") as told:
        read_annotations(voc / "Annotations/b.xml")
    assert str(told.value).endswith(f" {voc / 'Annotations'}")


def test_two_files_of_one_image(voc: Path) -> None:
    (voc / "Annotations/a.png.xml").write_text(xml())
    with pytest.raises(AnnotationError, match=r"names the image a\.png, as a\.xml does"):
        read_annotations(voc)
