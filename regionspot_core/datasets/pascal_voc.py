"""Pascal VOC: a folder of XML files, one an image, as its devkit and most labelling tools write.

supervision's reader is not used: it decodes every image for its size, and knows no `difficult`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from regionspot_core.datasets.builder import AnnotationBuilder
from regionspot_core.datasets.checks import LONGEST_SIDE, image_name, open_annotations
from regionspot_core.datasets.dataset_format import DatasetFormat
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.vocabulary import Vocabulary, is_text
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.input_files import read_lines
from regionspot_core.support.records import shown

ANNOTATIONS, SPLITS = "Annotations", "ImageSets"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def find_voc(path: Path) -> Path | None:
    """Return ``path`` itself if it is VOC's: a folder of XML files, or one above it, or a split.

    A split is a list of images, ``ImageSets/Main/val.txt`` beside the folder ``Annotations``.

    Raises:
        AnnotationError: If it is one of the XML files.
    """
    if path.suffix.lower() == ".xml" and path.is_file():
        raise AnnotationError(
            f"{path}: expected Pascal VOC's folder, got the XML file of one image; give the folder "
            f"of all XML files, {path.parent}"
        )
    if path.suffix.lower() == ".txt" and path.parent.parent.name == SPLITS:
        return path if (path.parents[2] / ANNOTATIONS).is_dir() else None
    return path if path.is_dir() and any(_folder(path).glob("*.xml")) else None


def read_voc(
    path: Path, *, images: ImageSource | None = None, masks: bool = False
) -> AnnotationTable:
    """Read a folder of XML files, or those that a split lists.

    VOC counts pixels from 1 and its corners are inside the box: a box from xmin to xmax reaches
    from xmin − 1 to xmax here, as the devkit's is xmax − xmin + 1 wide. ``difficult`` objects are
    kept as crowds: models are not given them, and scorers neither ask for nor punish them, as the
    devkit does. Images and annotations are numbered from 1 in the order of the files' names,
    classes by rising name; all files of the folder name classes, whatever the split.

    Args:
        path: As :func:`find_voc` returns it.
        images: Its images, for the sizes that files lack.
        masks: Whether to have masks, which are all empty.

    Raises:
        AnnotationError: If a file is missing or malformed, uses entities, or names an image outside
            the image folder; or two files name one image.
    """
    builder = AnnotationBuilder(path, masks=masks, crowd_name="difficult")
    digest = hashlib.sha256()
    builder.note_no_federation("Pascal VOC's XML")
    wanted = None if path.is_dir() else set(_split_names(path))
    class_id: dict[str, int] = {}
    file_of: dict[str, Path] = {}
    annotations = 0
    for file in _xml_files(path):
        content, root = _parse(file)
        objects = [_Object.read(file, number, each) for number, each in _objects(root)]
        for each in objects:
            class_id.setdefault(each.name, len(class_id) + 1)
        if wanted is not None and file.stem not in wanted:
            continue
        name = _image_name(file, root)
        if name in file_of:
            raise AnnotationError(f"{file}: names the image {name}, as {file_of[name].name} does")
        file_of[name] = file
        digest.update(content)
        builder.add_image(len(file_of), file=name, size=_size(file, root))
        for each in objects:
            annotations += 1
            builder.add_region(
                annotations,
                image=len(file_of),
                class_id=class_id[each.name],
                crowd=each.difficult,
                box=each.box,
            )
    absent = set() if wanted is None else wanted - {file.stem for file in file_of.values()}
    if absent:
        raise AnnotationError(
            f"{path}: lists {shown(min(absent))}, of which {ANNOTATIONS} has no XML file"
        )
    if not class_id:
        raise AnnotationError(f"{path}: expected at least one object, got none")
    vocabulary = builder.name_classes(list(class_id))
    digest.update("\n".join(vocabulary.names).encode())
    digest.update(builder.read_sizes(images))
    return builder.build(vocabulary, digest.hexdigest())


def read_voc_vocabulary(path: Path) -> Vocabulary:
    """Return the classes that the XML files name, by rising name."""
    names = {
        _Object.read(file, number, each).name
        for file in _xml_files(path)
        for number, each in _objects(_parse(file)[1])
    }
    if not names:
        raise AnnotationError(f"{path}: expected at least one object, got none")
    return Vocabulary.from_names(sorted(names))


def _folder(path: Path) -> Path:
    """Return the folder of XML files: ``path``, or ``Annotations`` in it."""
    return path / ANNOTATIONS if (path / ANNOTATIONS).is_dir() else path


def _xml_files(path: Path) -> list[Path]:
    folder = _folder(path) if path.is_dir() else path.parents[2] / ANNOTATIONS
    return sorted(folder.glob("*.xml"), key=lambda file: file.stem)


def _split_names(path: Path) -> Iterator[str]:
    for line, name in read_lines(path, what="one image name a line"):
        if len(name.split()) > 1:
            raise AnnotationError(
                f"{path}: line {line}: expected an image's name alone, got {shown(name)}; VOC's "
                f"lists of one class have a second column: give the split's own list"
            )
        yield name


def _parse(file: Path) -> tuple[bytes, Element]:
    """Return a file's content and its root element; entities are refused."""
    with open_annotations(file) as opened:
        content = opened.read()
    try:
        root: Element = fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        raise AnnotationError(f"{file}: expected XML without document types or entities") from None
    except (ParseError, ValueError, LookupError) as error:
        raise AnnotationError(f"{file}: expected XML ({error})") from None
    if root.tag != "annotation":
        raise AnnotationError(f"{file}: expected an element annotation, got {shown(root.tag)}")
    return content, root


def _objects(root: Element) -> Iterator[tuple[int, Element]]:
    return enumerate(root.findall("object"), 1)


def _image_name(file: Path, root: Element) -> str:
    """Return the XML file's own name with the ending of its ``filename``.

    As the devkit finds images; ``filename`` is stale where files were renamed after labelling.
    """
    given = (root.findtext("filename") or "").strip()
    name = Path(image_name(str(file), given)) if given else Path("image.jpg")
    return file.stem if name.name == file.stem else file.stem + (name.suffix or ".jpg")


def _size(file: Path, root: Element) -> Size | None:
    """Return height, width in pixels; None where the file does not say, or says 0."""
    sides = tuple(_number(root.findtext(f"size/{side}") or "0") for side in ("height", "width"))
    if not all(side.is_integer() and 0 <= side <= LONGEST_SIDE for side in sides):
        raise AnnotationError(f"{file}: expected whole pixels as size, got {shown(sides)}")
    return (int(sides[0]), int(sides[1])) if all(sides) else None


class _Object(NamedTuple):
    name: str
    difficult: bool
    box: Sequence[float]
    """x, y, width, height in pixels from 0."""

    @classmethod
    def read(cls, file: Path, number: int, element: Element) -> _Object:
        where = f"{file}: object {number}"
        name = (element.findtext("name") or "").strip()
        if not name or not is_text(name):
            raise AnnotationError(f"{where}: expected a class as name, got {shown(name)}")
        difficult = (element.findtext("difficult") or "0").strip()
        if difficult not in ("0", "1"):
            raise AnnotationError(f"{where}: expected 0 or 1 as difficult, got {shown(difficult)}")
        texts = [element.findtext(f"bndbox/{corner}") or "" for corner in CORNERS]
        x1, y1, x2, y2 = corners = [_number(text) for text in texts]
        if not all(map(math.isfinite, corners)):
            raise AnnotationError(
                f"{where}: expected a bndbox with numbers as {', '.join(CORNERS)}, got "
                f"{shown(texts)}"
            )
        return cls(name, difficult == "1", (x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1))


def _number(text: str) -> float:
    """Return a number; NaN for any other text."""
    try:
        return float(text)
    except ValueError:
        return math.nan


PASCAL_VOC = DatasetFormat("Pascal VOC", (), find_voc, read_voc, read_voc_vocabulary)
