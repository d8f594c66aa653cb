"""A CSV of boxes: what is read, and one sentence about what is not."""

from pathlib import Path

import pytest
from png_headers import save_png_header

from regionspot_core.datasets.reading import read_annotations, read_table
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.sources import open_images

HEADER = "file,x1,y1,x2,y2,name"


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "boxes.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_corners_become_boxes(tmp_path: Path) -> None:
    lines = ["b/1.png,10,5,30.5,15,dog", "a.png,,,,,", '"b/1.png",0,0,1,1,"cat, big"', ""]
    save_png_header(tmp_path / "b/1.png", 20, 30)
    save_png_header(tmp_path / "a.png", 7, 9)
    data = read_annotations(write(tmp_path, *lines), images=open_images(tmp_path))
    assert data.image_file == ("b/1.png", "a.png")
    assert data.image_size.tolist() == [[20, 30], [7, 9]]
    assert data.box.tolist() == [[10, 5, 30, 15], [0, 0, 1, 1]]  # the first clipped
    assert data.vocabulary.names == ("cat, big", "dog")
    assert data.vocabulary.ids == (1, 2)
    assert data.class_index.tolist() == [1, 0]
    assert data.annotation_id.tolist() == [1, 3]


def test_boxes_are_scored_without_images(tmp_path: Path) -> None:
    truth = read_table(write(tmp_path, "a.png,1,2,4,8,dog")).truth(federated=False)
    assert truth.box.tolist() == [[1, 2, 3, 6]]
    assert truth.area.tolist() == [18]


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ([], HEADER, "at least one box"),
        (["a.png,,,,,"], HEADER, "at least one box"),
        (["a.png,1,2,3,4,x"], "a.png,0,0,1,1,dog", "header with file, x1, y1, x2, y2, name; file"),
        (["a.png;1;2;3;4;x"], HEADER.replace(",", ";"), "by semicolons; save it with commas"),
        (["a.png\t1\t2\t3\t4\tx"], HEADER.replace(",", "\t"), "by tabs; save it with commas"),
        (["a.png,1,2,3,4,x", "b.png,1,2,3,x"], HEADER, "line 3: expected 6 values, got 5"),
        (["a.png,1,2,3,wide,x"], HEADER, "line 2: expected finite numbers as x1, y1, x2, y2, got"),
        (["a.png,1,2,,4,x"], HEADER, "line 2: expected finite numbers"),
        (["a.png,1,2,inf,4,x"], HEADER, "line 2: expected finite numbers"),
        (["a.png,1,2,3,4,"], HEADER, "line 2: expected a class as name, got ''"),
        (['"a\n.png",1,2,3,4,x', "b.png,1,2,3,4,"], HEADER, "line 4: expected a class"),
        ([",1,2,3,4,x"], HEADER, "line 2: file name '' must be relative"),
        (["../a.png,1,2,3,4,x"], HEADER, "line 2: file name .* must be relative and stay inside"),
        (["/a.png,1,2,3,4,x"], HEADER, "line 2: file name .* must be relative and stay inside"),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence(
    lines: list[str], header: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(AnnotationError, match=message) as caught:
        read_annotations(write(tmp_path, *lines, header=header), images=open_images(tmp_path))
    assert "\n" not in str(caught.value)
