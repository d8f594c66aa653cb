"""The pictures of predictions: large images are drawn small, and regions keep their colours."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as codec
from small_evaluation import IMAGES, quick_config

from regionspot_core.backbones.loading import Backbones
from regionspot_core.imaging.drawing import draw_regions
from regionspot_evaluate.pictures import DRAWN_PIXELS, Picture, draw_gallery, shrunk
from regionspot_evaluate.run import run_evaluation, run_share

ORANGE = (245, 140, 30)


@pytest.mark.parametrize(
    ("size", "small"),
    [((96, 64), (96, 64)), ((1399, 500), (1399, 500)), ((1401, 2101), (467, 701))],
)
def test_an_image_is_divided_by_a_whole_number(
    size: tuple[int, int], small: tuple[int, int], tmp_path: Path
) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    image[: size[0] // 2] = 40
    found = shrunk(image)
    assert found.shape == (*small, 3)
    assert max(small) >= min(max(size), DRAWN_PIXELS)
    assert (int(found[0, 0, 0]), int(found[-1, -1, 0])) == (40, 200)
    # A mask of the original size falls on the small image.
    mask = codec.encode(np.asfortranarray(image[:, :, 0] == 40, dtype=np.uint8))
    box = np.array([[0, 0, size[1], size[0] // 2]], np.float32)
    picture = Picture(found, size, box, [mask], ["dark"], [0.9], ["dark"], [False])
    draw_gallery([picture], tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as drawn:
        assert drawn.width > 300


def orange_square() -> tuple[np.ndarray, dict[str, object], np.ndarray]:
    """A scene, the square's mask, and its box."""
    image = np.full((96, 96, 3), 90, np.uint8)
    image[20:80, 10:70] = ORANGE
    inside = np.zeros((96, 96), np.uint8, order="F")
    inside[20:80, 10:70] = 1
    return image, codec.encode(inside), np.array([[10.0, 20, 70, 80]], np.float32)


def share_of(colour: tuple[int, int, int], drawn: Path) -> float:
    """How much of a picture has this very colour."""
    pixels = np.asarray(Image.open(drawn).convert("RGB"))
    return float((pixels == colour).all(axis=2).mean())


def test_a_region_keeps_the_colour_that_its_name_is_about(tmp_path: Path) -> None:
    image, mask, box = orange_square()
    path = tmp_path / "regions.png"
    draw_regions(path, image, boxes=box, masks=[mask], labels=["solid orange square"])
    assert share_of(ORANGE, path) > 0.8 * (60 / 96) ** 2
    empty = codec.encode(np.zeros((96, 96), np.uint8, order="F"))
    pictures = [
        Picture(image, (96, 96), box, [each], ["orange"], [0.9], ["orange"], [False])
        for each in (mask, empty)
    ]
    for name, picture in zip(("outlined.png", "plain.png"), pictures, strict=True):
        draw_gallery([picture], tmp_path / name)
    outlined, plain = (share_of(ORANGE, tmp_path / name) for name in ("outlined.png", "plain.png"))
    assert 0.8 * plain < outlined < plain  # a line is drawn, and no more


@pytest.mark.parametrize(
    "name",
    ["price $$", "$x_{", r"\alpha^", "[bold]x[/]", "two\nlines", "long " * 99, "\x1b[1m", " "],
)
def test_any_name_is_drawn(name: str, tmp_path: Path) -> None:
    """None is taken for a formula, markup or a terminal's command, and none fills the picture."""
    image, mask, box = orange_square()
    picture = Picture(image, (96, 96), box, [mask], [name], [0.9], ["cost $$"], [True])
    draw_gallery([picture], tmp_path / "gallery.png")
    draw_regions(tmp_path / "one.png", image, boxes=box, masks=[mask], labels=[name])
    for drawn in ("gallery.png", "one.png"):
        assert share_of(ORANGE, tmp_path / drawn) > 0.05


def test_a_picture_that_cannot_be_made_stops_no_evaluation(
    place: Path, backbones: Backbones, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    shutil.copytree(place / "world" / "whole", images)
    run_share(quick_config(place, out, images=images), backbones=backbones)
    first, *_ = sorted(images.iterdir())
    first.unlink()  # the gallery's, after all images are named
    report = run_evaluation(quick_config(place, out, images=images), backbones=backbones)
    assert (report.images, report.failed) == (IMAGES, ())
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "the picture could" in each]
    assert "predictions.png: the picture could not be made" in line
    assert "no such image file" in line
    assert (out / "detections.json.gz").is_file()
    assert not (out / "predictions.png").exists()
