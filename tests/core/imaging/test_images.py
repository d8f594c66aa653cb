"""Reading pictures as they lie in the world: many modes, turned ones and broken ones."""

import contextlib
import os
import socket
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from regionspot_core.errors import ImageError
from regionspot_core.imaging.images import read_image

HEIGHT, WIDTH = 6, 9
ORIENTATION = 0x0112  # EXIF's tag


def picture() -> np.ndarray:
    """(HEIGHT, WIDTH, 3), no two pixels the same."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 20, y * 40, x * 20 + y], axis=-1).astype(np.uint8)


def as_rgb(path: Path) -> np.ndarray:
    Image.fromarray(picture()).save(path)
    return picture()


def as_gray(path: Path) -> np.ndarray:
    gray = picture()[..., 0]
    Image.fromarray(gray).save(path)
    return np.repeat(gray[..., None], 3, axis=2)


def as_gray_and_alpha(path: Path) -> np.ndarray:
    gray = picture()[..., 0]
    Image.fromarray(gray).convert("LA").save(path)
    return np.repeat(gray[..., None], 3, axis=2)


def as_black_and_white(path: Path) -> np.ndarray:
    white = picture()[..., 0] > 70
    Image.fromarray(white).save(path)
    return np.repeat(white[..., None] * np.uint8(255), 3, axis=2)


def as_sixteen_bits(path: Path) -> np.ndarray:
    """The upper byte is the value; the lower one must not matter."""
    gray = picture()[..., 0]
    Image.fromarray((gray.astype(np.uint16) << 8) + np.uint16(200)).save(path)
    return np.repeat(gray[..., None], 3, axis=2)


def as_palette(path: Path) -> np.ndarray:
    indices = (np.arange(HEIGHT * WIDTH) % 3).reshape(HEIGHT, WIDTH).astype(np.uint8)
    colours = np.array([[255, 0, 0], [0, 250, 0], [1, 2, 3]], dtype=np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(colours.tobytes())
    image.putdata(indices.ravel().tolist())
    image.save(path)
    return colours[indices]


def as_transparent_palette(path: Path) -> np.ndarray:
    pixels = as_palette(path)
    with Image.open(path) as image:
        image.load()
        image.save(path, transparency=bytes([0, 128, 255]))
    return pixels


def as_rgb_and_alpha(path: Path) -> np.ndarray:
    """What lies under transparent pixels is kept, not painted over."""
    alpha = np.full((HEIGHT, WIDTH, 1), 7, dtype=np.uint8)
    Image.fromarray(np.concatenate([picture(), alpha], axis=2)).save(path)
    return picture()


@pytest.mark.parametrize(
    "save",
    [
        as_rgb,
        as_gray,
        as_gray_and_alpha,
        as_black_and_white,
        as_sixteen_bits,
        as_palette,
        as_transparent_palette,
        as_rgb_and_alpha,
    ],
)
def test_every_mode_becomes_rgb(save: Callable[[Path], np.ndarray], tmp_path: Path) -> None:
    expected = save(tmp_path / "picture.png")
    pixels = read_image(tmp_path / "picture.png", size=(HEIGHT, WIDTH))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, expected)


def test_a_file_name_may_have_any_letters(tmp_path: Path) -> None:
    path = tmp_path / "図 é" / "naïve 人.png"
    path.parent.mkdir()
    expected = as_rgb(path)
    assert np.array_equal(read_image(path, size=(HEIGHT, WIDTH)), expected)


def test_sixteen_bit_tiff_in_either_byte_order(tmp_path: Path) -> None:
    gray = picture()[..., 0]
    Image.frombytes(
        "I;16B", (WIDTH, HEIGHT), (gray.astype(np.uint16) << 8).astype(">u2").tobytes()
    ).save(tmp_path / "big.tiff")
    assert np.array_equal(read_image(tmp_path / "big.tiff")[..., 1], gray)


def test_cmyk_jpeg_has_the_colours_of_its_inks(tmp_path: Path) -> None:
    inks = np.zeros((16, 16, 4), dtype=np.uint8)
    inks[..., 0] = 255  # cyan takes the red away
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "print.jpg", quality=100)
    pixels = read_image(tmp_path / "print.jpg")
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels.astype(int) - [0, 255, 255]).max() <= 3


def turned(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(picture()).save(path, exif=exif)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_pixels_are_taken_as_stored_where_the_annotated_size_fits(
    orientation: int, tmp_path: Path
) -> None:
    turned(tmp_path / "turned.png", orientation)
    pixels = read_image(tmp_path / "turned.png", size=(HEIGHT, WIDTH))
    assert np.array_equal(pixels, picture())


@pytest.mark.parametrize(("orientation", "quarter_turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_without_a_size_a_picture_is_turned_as_viewers_show_it(
    orientation: int, quarter_turns: int, tmp_path: Path
) -> None:
    turned(tmp_path / "turned.png", orientation)
    pixels = read_image(tmp_path / "turned.png")
    assert np.array_equal(pixels, np.rot90(picture(), quarter_turns))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_a_channel_are_refused(dtype: type, tmp_path: Path) -> None:
    """Their scale is nowhere said: 0 to 1, to 255 or to 65 535."""
    Image.fromarray(picture()[..., 0].astype(dtype)).save(tmp_path / "wide.tiff")
    with pytest.raises(ImageError, match=r"wide\.tiff: expected 8 or 16 bits a channel, got 32"):
        read_image(tmp_path / "wide.tiff")


@pytest.mark.parametrize(
    ("orientation", "quarter_turns"),
    [(6, 3), (8, 1)],  # EXIF 6: shown after a quarter turn clockwise; 8: anticlockwise
)
def test_where_only_the_turned_picture_fits_it_is_turned(
    orientation: int, quarter_turns: int, tmp_path: Path
) -> None:
    turned(tmp_path / "turned.png", orientation)
    pixels = read_image(tmp_path / "turned.png", size=(WIDTH, HEIGHT))
    assert np.array_equal(pixels, np.rot90(picture(), quarter_turns))


@pytest.mark.parametrize("orientation", [1, 6])
def test_another_size_than_annotated_is_refused(orientation: int, tmp_path: Path) -> None:
    turned(tmp_path / "wrong.png", orientation)
    with pytest.raises(ImageError, match=r"its annotation says 7 × 50$"):
        read_image(tmp_path / "wrong.png", size=(50, 7))


def test_an_unturned_picture_does_not_fit_its_size_swapped(tmp_path: Path) -> None:
    as_rgb(tmp_path / "plain.png")
    with pytest.raises(ImageError, match="is 9 × 6 pixels, its annotation says 6 × 9"):
        read_image(tmp_path / "plain.png", size=(WIDTH, HEIGHT))


def no_bytes(path: Path) -> None:
    path.write_bytes(b"")


def half_a_jpeg(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_web_page(path: Path) -> None:
    path.write_text("<html>404</html>")


def a_broken_png_chunk(path: Path) -> None:
    """Pillow answers this one with a SyntaxError."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, "PNG")
    raw = path.read_bytes()
    second = raw.index(b"IDAT", raw.index(b"IDAT") + 4)
    path.write_bytes(raw[:second] + b"\x11~\xd5\xa9" + raw[second + 4 :])


def postscript(path: Path) -> None:
    """Pillow hands it to Ghostscript, where there is one."""
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 80 80\n%%EndComments\nshowpage\n")


def a_socket(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)  # the whole path may be longer than a socket's may be


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_bytes, "expected an image, got an empty file"),
        (lambda path: None, "no such image file"),
        (Path.mkdir, "expected an image, got a folder"),
        (half_a_jpeg, "truncated"),
        (a_web_page, r"cannot be decoded \(no known format\)"),
        (a_broken_png_chunk, "broken PNG file"),
        (postscript, "expected an image of pixels, got PostScript"),
        (os.mkfifo, "expected a file, found a pipe"),
        (a_socket, "expected a file, found a socket"),
        (lambda path: path.symlink_to("/dev/zero"), "expected a file, found a device"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
    ],
    ids=[
        "empty", "missing", "folder", "truncated", "not an image", "broken chunk", "postscript",
        "pipe", "socket", "device", "link loop",
    ],
)  # fmt: skip
def test_an_unreadable_file_is_an_image_error_of_one_line(
    spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "broken.jpg"
    spoil(path)
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, data: st.DataObject) -> None:
    Image.fromarray(picture()).save(tmp_path / "whole.png")
    raw = bytearray((tmp_path / "whole.png").read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=8)):
        raw[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.png"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    with contextlib.suppress(ImageError):
        assert read_image(path, size=(HEIGHT, WIDTH)).shape == (HEIGHT, WIDTH, 3)


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG of one bit a pixel whose compressed pixels are ``data``."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("side", [13_000, 60_000])
def test_a_few_bytes_of_very_many_pixels_are_refused_before_they_are_decoded(
    side: int, tmp_path: Path
) -> None:
    """Pixels that cannot be decoded show that nobody tried. Pillow warns of the first side, and
    refuses the second by itself."""
    (tmp_path / "bomb.png").write_bytes(png(side, side, b"no pixels"))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(ImageError, match=f"^{tmp_path}/bomb.png: ") as caught:
            read_image(tmp_path / "bomb.png", size=(side, side))
    assert str(caught.value).endswith(
        f"bomb.png: {side:,} × {side:,} pixels are more than --max-pixels 100,000,000; give a "
        f"larger one, or make the image smaller"
    )
    assert not warned


def test_the_bound_on_pixels_can_be_set(tmp_path: Path) -> None:
    as_rgb(tmp_path / "picture.png")
    count = HEIGHT * WIDTH
    read_image(tmp_path / "picture.png", max_pixels=count)
    with pytest.raises(ImageError, match=f"9 × 6 pixels are more than --max-pixels {count - 1};"):
        read_image(tmp_path / "picture.png", max_pixels=count - 1)


def test_an_image_larger_than_pillow_takes_is_read_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = as_rgb(tmp_path / "picture.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # as a program that uses Pillow may
    assert np.array_equal(read_image(tmp_path / "picture.png"), expected)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "picture.png")


def test_pillows_own_bound_and_the_programs_warnings_stay_as_they_were(tmp_path: Path) -> None:
    as_rgb(tmp_path / "picture.png")
    bound, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: read_image(tmp_path / "picture.png"), range(200)))
    assert (bound, filters) == (Image.MAX_IMAGE_PIXELS, list(warnings.filters))


def test_another_size_than_annotated_is_told_from_the_header(tmp_path: Path) -> None:
    (tmp_path / "wrong.png").write_bytes(png(13_000, 13_000, b"no pixels"))
    with pytest.raises(ImageError, match="is 13000 × 13000 pixels, its annotation says 8 × 8"):
        read_image(tmp_path / "wrong.png", size=(8, 8))


X_RESOLUTION = 0x011A


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_broken_field_beside_the_orientation_does_not_matter(
    orientation: int, tmp_path: Path
) -> None:
    """XResolution -1/0: a fraction that Pillow cannot write back, were it asked to."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[X_RESOLUTION] = 77.25
    raw = exif.tobytes()
    for before, after in [
        (struct.pack(">II", 309, 4), struct.pack(">iI", -1, 0)),
        (struct.pack(">HH", X_RESOLUTION, 5), struct.pack(">HH", X_RESOLUTION, 10)),  # signed
    ]:
        assert raw.count(before) == 1
        raw = raw.replace(before, after)
    pixels = np.kron(picture(), np.ones((16, 16, 1), dtype=np.uint8))  # JPEG blurs smaller ones
    Image.fromarray(pixels).save(tmp_path / "scan.jpg", exif=raw, quality=100)
    expected = np.rot90(pixels, 3) if orientation == 6 else pixels
    found = read_image(tmp_path / "scan.jpg")
    assert np.abs(found.astype(int) - expected).mean() < 3


def test_exif_that_is_no_exif_is_as_none(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "odd.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.array_equal(read_image(tmp_path / "odd.png"), picture())


def test_a_turned_picture_of_sixteen_bits(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    gray = picture()[..., 0]
    Image.fromarray(gray.astype(np.uint16) << 8).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png")[..., 0], np.rot90(gray, 3))
