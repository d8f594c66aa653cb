"""The picture of predictions: large images are held and drawn small."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as codec

from regionspot_evaluate.gallery import DRAWN_PIXELS, Picture, draw_gallery, shrunk


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
