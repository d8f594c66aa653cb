"""Images in a folder, a zip and tar shards: the same names give the same pixels."""

import io
import os
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from regionspot_core.errors import ImageError, InputError
from regionspot_core.imaging.images import read_image
from regionspot_core.imaging.sources import ImageSource, open_images

NAMES = ["b/2.jpg", "b/café 図.png", "a/1.PNG", "3.bmp"]


def pixels(seed: int, height: int = 9, width: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images, a large one among them, and files that are none."""
    top = tmp_path_factory.mktemp("images")
    for seed, name in enumerate(NAMES):
        (top / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels(seed, width=7 + 4_000 * (name == "3.bmp"))).save(top / name)
    (top / "b" / "2.json").write_text("{}")
    (top / "._3.bmp").write_bytes(b"what macOS leaves")
    return top


def pack_zip(path: Path, folder: Path, method: int, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def pack_tar(path: Path, folder: Path, names: list[str], prefix: str = "./") -> Path:
    with tarfile.open(path, "w") as archive:
        for name in names:
            archive.add(folder / name, prefix + name)
    return path


def as_stored_zip(folder: Path, out: Path) -> Path:
    return pack_zip(out / "images.zip", folder, zipfile.ZIP_STORED)


def as_deflated_zip(folder: Path, out: Path) -> Path:
    return pack_zip(out / "images.zip", folder, zipfile.ZIP_DEFLATED, "train2017/")


def as_zip64_behind_a_program(folder: Path, out: Path) -> Path:
    """A self-extracting zip, with sizes in 64 bits."""
    with (out / "images.exe.zip").open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name in NAMES:
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                member.write((folder / name).read_bytes())
    return Path(file.name)


def as_tar(folder: Path, out: Path) -> Path:
    return pack_tar(out / "images.tar", folder, ["b/2.json", *NAMES])


def as_folder_of_shards(folder: Path, out: Path) -> Path:
    for number, name in enumerate(NAMES):
        pack_tar(out / f"{number:05}.tar", folder, [name])
        (out / f"{number:05}_stats.json").write_text("{}")
    return out


def as_stars(folder: Path, out: Path) -> Path:
    as_folder_of_shards(folder, out)
    return out / "0000?.tar"


Pack = Callable[[Path, Path], Path]
PACKS = [
    lambda folder, out: folder,
    as_stored_zip,
    as_deflated_zip,
    as_zip64_behind_a_program,
    as_tar,
    as_folder_of_shards,
    as_stars,
]
IDS = ["folder", "stored zip", "deflated zip", "zip64", "tar", "folder of shards", "stars"]


@pytest.fixture(params=PACKS, ids=IDS)
def source(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> ImageSource:
    return open_images(request.param(folder, tmp_path))


def test_every_place_gives_the_same(source: ImageSource, folder: Path) -> None:
    listed = [name.removeprefix("train2017/") for name in source.names()]
    assert listed == sorted(NAMES)
    for name in NAMES:
        expected = read_image(folder / name)
        assert np.array_equal(source.read(name, size=expected.shape[:2]), expected)
        assert source.size(name) == expected.shape[:2]
        assert source.file_bytes(name) == (folder / name).stat().st_size
        assert source.contains(name)
    source.require([*NAMES, "missing.jpg"])


def test_what_is_missing(source: ImageSource) -> None:
    assert not source.contains("b/1.PNG")
    assert source.file_bytes("b/1.PNG") is None
    for look in (source.read, source.size):
        with pytest.raises(ImageError, match=r"b/1\.PNG: no such image file"):
            look("b/1.PNG")
    with pytest.raises(InputError, match=r"none of the 2 annotated images is there \(x\.jpg, …\)"):
        source.require(["x.jpg", "y.jpg"])


def test_many_threads_and_a_pickled_copy_read(source: ImageSource, folder: Path) -> None:
    copy = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda n: (source, copy)[n % 2].read(NAMES[n % 4]), range(200)))
    expected = [read_image(folder / name) for name in NAMES]
    assert all(np.array_equal(each, expected[n % 4]) for n, each in enumerate(read))


def test_braces_are_ranges_and_lists(folder: Path, tmp_path: Path) -> None:
    as_folder_of_shards(folder, tmp_path)
    assert open_images(tmp_path / "{00000..00002}.tar").names() == sorted(NAMES[:3])
    assert open_images(tmp_path / "0000{0,3}.tar").names() == sorted([NAMES[0], NAMES[3]])
    with pytest.raises(InputError, match=r"00004\.tar is not there"):
        open_images(tmp_path / "{00003..00005}.tar")


def test_zips_side_by_side(folder: Path, tmp_path: Path) -> None:
    """LVIS's images are in COCO's train2017.zip and val2017.zip, and named with the folder."""
    for name in ("train2017", "val2017"):
        pack_zip(tmp_path / f"{name}.zip", folder, zipfile.ZIP_STORED, f"{name}/")
    source = open_images(tmp_path / "{train,val}2017.zip")
    assert source.contains("train2017/3.bmp")
    assert source.contains("val2017/3.bmp")
    with pytest.raises(ImageError, match=r"3\.bmp may be train2017/3\.bmp or val2017/3\.bmp"):
        source.read("3.bmp")


def png(seed: int = 0, side: int = 9) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(seed, height=side, width=side - 2)).save(file, "PNG")
    return file.getvalue()


def in_zip(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]], method: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        for name, content in members:
            archive.writestr(name, content)
    return path


def in_tar(path: Path, members: list[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "x/../../a.png", "C:/a.png", "./../a.png"])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    for path in (
        in_zip(tmp_path / "a.zip", [(name, png())]),
        in_tar(tmp_path / "a.tar", [(name, png())]),
    ):
        with pytest.raises(InputError, match="expected names inside the archive"):
            open_images(path)


def test_names_that_come_twice_are_refused(tmp_path: Path) -> None:
    twice = [("a.png", png(0)), ("a.png", png(1))]
    for path in (in_zip(tmp_path / "a.zip", twice), in_tar(tmp_path / "a.tar", twice)):
        with pytest.raises(InputError, match=r"a\.png is twice in it"):
            open_images(path)
    in_tar(tmp_path / "0.tar", twice[:1])
    in_tar(tmp_path / "1.tar", twice[1:])
    with pytest.raises(InputError, match=r"1\.tar: a\.png is in .*0\.tar too"):
        open_images(tmp_path / "{0,1}.tar")


def test_links_are_refused(tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        with pytest.raises(InputError, match=r"a\.png is a link"):
            open_images(in_tar(tmp_path / "a.tar", [("a.png", b"")], kind))
    link = zipfile.ZipInfo("a.png")
    link.external_attr = 0o120777 << 16
    with pytest.raises(InputError, match=r"a\.png is a link"):
        open_images(in_zip(tmp_path / "a.zip", [(link, b"/etc/passwd")]))


def test_encryption_and_rare_compression_are_refused(tmp_path: Path) -> None:
    path = in_zip(tmp_path / "a.zip", [("a.png", png())])
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png is encrypted"):
        open_images(path)
    with pytest.raises(InputError, match="compressed in a way other than deflate"):
        open_images(in_zip(tmp_path / "b.zip", [("a.png", png())], zipfile.ZIP_BZIP2))
    for mode in ("gz", "xz", "bz2"):
        with tarfile.open(tmp_path / "a.tgz", f"w:{mode}"):
            pass
        with pytest.raises(InputError, match="unpack it to a plain tar"):
            open_images(tmp_path / "a.tgz")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = in_zip(tmp_path / "a.zip", [("a.png", bytes(40_000_000))], zipfile.ZIP_DEFLATED)
    source = open_images(path)
    with pytest.raises(ImageError, match="40,000,000 bytes is more than --max-pixels allows"):
        source.read("a.png", max_pixels=1_000)
    with pytest.raises(ImageError, match="no known format"):
        source.size("a.png")


def test_content_that_deflate_made_longer_is_read(tmp_path: Path) -> None:
    path = in_zip(tmp_path / "a.zip", [("a.png", png(0, side=1_202))], zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        (info,) = archive.infolist()
    assert info.compress_size - info.file_size > 1_024
    assert np.array_equal(open_images(path).read("a.png"), pixels(0, 1_202, 1_200))


def test_a_tar_may_begin_as_a_zip_does(tmp_path: Path) -> None:
    path = in_tar(tmp_path / "a.tar", [("PKLot/a.png", png(0))])
    assert path.read_bytes().startswith(b"PKLot/")
    assert open_images(path).names() == ["PKLot/a.png"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_zip_fails_at_the_image(method: int, tmp_path: Path) -> None:
    path = in_zip(tmp_path / "a.zip", [("a.png", png(0)), ("b.png", png(1))], method)
    content = bytearray(path.read_bytes())
    content[60] ^= 255
    path.write_bytes(content)
    source = open_images(path)
    with pytest.raises(ImageError, match=r"a\.zip/a\.png: "):
        source.read("a.png")
    assert np.array_equal(source.read("b.png"), pixels(1))


def test_an_archive_that_changes_is_noticed(tmp_path: Path) -> None:
    path = in_tar(tmp_path / "a.tar", [("a.png", png(0))])
    source = open_images(path)
    os.utime(path, ns=(0, 0))
    with pytest.raises(ImageError, match="the archive changed since"):
        source.read("a.png")


def test_a_tar_that_is_cut_or_damaged_is_refused(tmp_path: Path) -> None:
    path = in_tar(tmp_path / "a.tar", [("a.png", png(0)), ("b.png", png(1)), ("c.png", png(2))])
    content = path.read_bytes()
    second = content.index(b"b.png")
    path.write_bytes(content[: second + 600])
    with pytest.raises(InputError, match=r"whole and not compressed \("):
        open_images(path)
    path.write_bytes(content[:second] + b"x" + content[second + 1 :])
    with pytest.raises(InputError, match=f"there is no file at byte {second:,}"):
        open_images(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"{}", b"PK\3\4" + bytes(600)])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip: "):
        open_images(tmp_path / "a.zip")
    for missing in ("b.zip", "*.tar"):
        with pytest.raises(InputError, match="expected a folder of images, a zip, a tar"):
            open_images(tmp_path / missing)


def test_a_folder_with_images_beside_an_archive_is_a_folder(folder: Path, tmp_path: Path) -> None:
    in_tar(tmp_path / "a.tar", [("a.png", png(0))])
    (tmp_path / "b.png").write_bytes(png(1))
    assert open_images(tmp_path).names() == ["b.png"]
    (tmp_path / "b.png").unlink()
    assert open_images(tmp_path).names() == ["a.png"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(png())
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert open_images(tmp_path).names() == ["a/b.png"]


def damaged_archives() -> Iterator[bytes]:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("d/a.png", png(0))
        yield file.getvalue()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("é" * 60 + ".png")
        info.size = len(png(0))
        archive.addfile(info, io.BytesIO(png(0)))
    yield file.getvalue()[:3072]


ARCHIVES = tuple(damaged_archives())


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.sampled_from(ARCHIVES),
    changes=st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_damaged_archive_is_refused_in_our_words_or_read(
    which: bytes, changes: list[tuple[int, int]], tmp_path: Path
) -> None:
    content = bytearray(which)
    for place, value in changes:
        content[place % len(content)] = value
    (tmp_path / "a.zip").write_bytes(content)
    problem = None
    try:
        source = open_images(tmp_path / "a.zip")
        for name in source.names():
            source.size(name)
            source.read(name)
    except InputError as error:
        problem = str(error)
    assert problem is None or problem.startswith(str(tmp_path))
