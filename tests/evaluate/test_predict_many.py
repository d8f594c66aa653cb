"""Many pictures: where they come from, one result in COCO's layout, and going on after a kill."""

import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Done
from PIL import Image
from pycocotools.coco import COCO
from small_evaluation import BROKEN, IMAGES
from stepping import killed_at, numbers_at

from regionspot_core.backbones.loading import Backbones
from regionspot_core.backbones.registry import Entry, register_region_encoder, unregister
from regionspot_core.backbones.sam.encoder import SamEncoder
from regionspot_core.backbones.tiny import load_tiny_region_encoder
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.errors import AnnotationError, ConfigError, FingerprintError, InputError
from regionspot_evaluate.config import PredictConfig
from regionspot_evaluate.predict import run_prediction
from regionspot_evaluate.predicting.listing import list_pictures
from regionspot_evaluate.predicting.summary import PicturesReport, PredictReport

NAMES = "solid red star,price $$,[bold]ring[/]"
BATCH, BATCHES = 3, 4


def predict(place: Path, out: Path, backbones: Backbones | None, **changes: Any) -> PicturesReport:
    values = {
        "pictures": [place / "world" / "val"], "head": place / "first", "names": NAMES, "out": out,
        "batch_images": BATCH, "proposals": "whole", "backbones": {"device": "cpu"},
    }  # fmt: skip
    config = PredictConfig.parse({**values, **changes}, source="test")
    report = run_prediction(config, backbones=backbones)
    assert isinstance(report, PicturesReport)
    return report


def zipped(path: Path, files: dict[str, Path]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in files.items():
            archive.write(file, name)
    return path


@pytest.fixture(scope="module")
def unbroken(place: Path, backbones: Backbones, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that nothing interrupts."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    predict(place, out, backbones)
    return out / "predictions.json"


def test_the_result_is_a_data_set_in_cocos_layout(
    place: Path, backbones: Backbones, tmp_path: Path
) -> None:
    """Of the same regions as each picture alone has; a picture that cannot be read is told."""
    found = {"proposals": "auto", "propose": {"points_per_side": 8}}
    report = predict(place, tmp_path, backbones, segmentation=True, draw=True, **found)
    files = sorted((place / "world" / "val").iterdir())
    content = json.loads(report.json_file.read_text(encoding="utf-8"))
    assert report.failed
    ((broken,), read) = (content["not_read"], content["images"])
    assert (broken["file_name"], len(read)) == (files[BROKEN].name, IMAGES - 1)
    assert "cannot be decoded" in broken["reason"]
    assert str(place) not in broken["reason"]
    assert [each["name"] for each in content["categories"]] == NAMES.split(",")

    coco, annotations = COCO(report.json_file), read_annotations(report.json_file)
    assert annotations.image_file == tuple(f.name for i, f in enumerate(files) if i != BROKEN)
    (first,) = coco.loadImgs(1)
    alone = run_prediction(
        PredictConfig(
            pictures=(files[0],), head=place / "first", names=NAMES, out=tmp_path / "alone",
            propose={"points_per_side": 8}, backbones={"device": "cpu"},
        ),
        backbones=backbones,
    )  # fmt: skip
    assert isinstance(alone, PredictReport)
    assert first["file_name"] == files[0].name
    regions = coco.loadAnns(coco.getAnnIds([1]))
    assert len(regions) == len(alone.regions) > 1
    for region, expected in zip(regions, alone.regions, strict=True):
        x, y, width, height = region["bbox"]
        assert [x, y, x + width, y + height] == pytest.approx(expected.box, abs=2e-3)
        assert region["names"][0] == [expected.names[0][0], pytest.approx(region["score"])]
        assert region["score"] == pytest.approx(expected.names[0][1], abs=1e-4)
        assert np.array_equal(coco.annToMask(region).shape, (first["height"], first["width"]))
    for file in files:
        drawn = tmp_path / "predictions" / file.name
        assert drawn.exists() == (file != files[BROKEN])


def test_pictures_are_listed_once_from_the_folder_above_them(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/b/2.jpg", "c/1.PNG", "c/note.txt", "[x].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    archive = zipped(tmp_path / "z.zip", {"in/3.png": tmp_path / "a/1.png"})
    (tmp_path / "list").write_text(f"{tmp_path}/c/*\n\n{tmp_path}/[x].png\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()

    def listed(*arguments: str) -> tuple[str, list[str]]:
        found = list_pictures([Path(str(each)) for each in arguments])
        return str(found.root), found.names

    a, c = f"{tmp_path}/a", f"{tmp_path}/c"
    assert listed(a) == (a, ["1.png", "b/2.jpg"])
    assert listed(f"{a}/1.png", f"{a}/b/../1.png", f"{a}/b") == (a, ["1.png", "b/2.jpg"])
    assert listed(f"{a}/**/*.*", f"{c}/1.PNG") == (
        str(tmp_path),
        ["a/1.png", "a/b/2.jpg", "c/1.PNG"],
    )
    assert listed(str(archive)) == (str(archive), ["in/3.png"])
    assert listed(str(archive), c) == (str(tmp_path), ["z.zip/in/3.png", "c/1.PNG"])
    assert listed(f"{{{a},{c}}}/1.*") == (str(tmp_path), ["a/1.png", "c/1.PNG"])
    with pytest.raises(InputError, match=r"/b is not there"):
        listed(f"{tmp_path}/{{a,b}}")
    # A pattern means files of every kind: what is no picture is told when it is read.
    names = ["c/1.PNG", "c/note.txt", "[x].png"]
    assert listed(f"@{tmp_path}/list") == (str(tmp_path), names)
    left = list_pictures([tmp_path, Path(a)], leave_out=Path(a))  # but what is asked for
    assert left.names == ["[x].png", "c/1.PNG", "a/1.png", "a/b/2.jpg"]
    assert list_pictures([Path(f"{a}/1.png")]).alone == Path(f"{a}/1.png")
    assert list_pictures([Path(f"{a}/*.png")]).alone is None
    (tmp_path / "list").write_text("absent.png\n")
    for absent in ("empty", "nothing.png", "*.webp"):
        with pytest.raises(InputError, match=r"expected (a picture|pictures)"):
            listed(f"{tmp_path}/{absent}")
    with pytest.raises(InputError, match=r"line 1 absent\.png: expected a picture"):
        listed(f"@{tmp_path}/list")
    with pytest.raises(InputError, match="expected one picture a line, got no such file"):
        listed("@absent")


def test_drawings_of_this_command_are_no_pictures(tmp_path: Path) -> None:
    """They lie beside the picture where `--out` is its folder; asked for by name they are read."""
    for name in ("1.png", "1.regions.png"):
        (tmp_path / name).touch()
    for argument in (tmp_path, tmp_path / "*.png"):
        assert list_pictures([argument]).names == ["1.png"]
    assert list_pictures([tmp_path / "1.regions.png"]).names == ["1.regions.png"]
    with pytest.raises(InputError, match="expected pictures, found none"):
        list_pictures([tmp_path / "*.regions.png"])


def test_drawn_pictures_have_names_of_their_own(tmp_path: Path) -> None:
    for name in ("1.png", "1.jpg", "2.jpg"):
        (tmp_path / name).touch()
    assert list_pictures([tmp_path]).drawn_names == ["1.jpg.png", "1.png.png", "2.png"]


@pytest.mark.parametrize(("after", "torn"), [(0, b""), (2, b'{"batch": 2, "fai'), (4, b"")])
def test_a_killed_run_goes_on(
    place: Path, backbones: Backbones, unbroken: Path, tmp_path: Path, after: int, torn: bytes
) -> None:
    with killed_at("record batch", after) if after < BATCHES else killed_at_writing(tmp_path):
        predict(place, tmp_path, backbones)
    assert not (tmp_path / "predictions.json").exists()
    (journal,) = (tmp_path / "parts").glob("*.jsonl")
    with journal.open("ab") as file:
        file.write(torn)
    with numbers_at("recognise batch") as encoded:
        report = predict(place, tmp_path, None if after == BATCHES else backbones)
    assert len(encoded) == BATCHES - after
    assert report.json_file.read_bytes() == unbroken.read_bytes()


def killed_at_writing(out: Path) -> Any:
    """End a run when all pictures are named, before its result is written."""
    from test_resume_evaluation import killed_at_file

    return killed_at_file(out, r"predictions\.json\..*", 1)


def test_a_finished_folder_is_told_and_another_request_refused(
    place: Path, backbones: Backbones, unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = unbroken.read_bytes()
    with numbers_at("recognise batch") as encoded:
        report = predict(place, unbroken.parent, None)
    assert (encoded, report.failed) == ([], True)
    assert "predict: 11 pictures are there already" in capsys.readouterr().err
    for changes, field in (
        ({"names": "a,b"}, r"classes: expected \['a', 'b'\], found \['solid red star', 'price"),
        ({"proposals": "auto"}, "proposals"),
        ({"top": 1}, "top"),
        ({"head": place / "second"}, r"head: expected \w+…, found \w+… \(another head\)"),
        ({"pictures": [place / "world" / "train"]}, "pictures.count"),
    ):
        with pytest.raises(FingerprintError, match=field):
            predict(place, unbroken.parent, backbones, **changes)
    (unbroken.parent / "predict.json").rename(unbroken.parent / "away")
    with pytest.raises(InputError, match=r"this one has predictions\.json and no predict\.json"):
        predict(place, unbroken.parent, backbones)
    (unbroken.parent / "away").rename(unbroken.parent / "predict.json")
    assert unbroken.read_bytes() == before


def test_a_mended_picture_is_tried_again(place: Path, backbones: Backbones, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, file in enumerate(sorted((place / "world" / "whole").iterdir())[:4]):
        (pictures / f"{number}.png").write_bytes(file.read_bytes())
    (pictures / "3.png").write_bytes(b"")
    asked: dict[str, Any] = {"pictures": [pictures]}
    assert predict(place, tmp_path / "out", backbones, **asked).failed
    (pictures / "3.png").write_bytes((pictures / "0.png").read_bytes())
    assert predict(place, tmp_path / "out", backbones, **asked).failed
    with numbers_at("recognise batch") as encoded:
        report = predict(place, tmp_path / "out", backbones, **asked, retry_failed=True)
    assert (encoded, report.failed) == ([1], False)
    assert not (tmp_path / "out" / "parts.kept").exists()


BOXES = {"1": [[-5.0, 10, 40, 50.5]], "2": [], "3": [[1, 2, 30, 40], [200, 0, 210, 9]]}


def as_results(name: Callable[[str], object]) -> object:
    return [
        {"image_id": name(key), "bbox": [x, y, x2 - x, y2 - y], "score": 0.5, "category_id": 7}
        for key, boxes in BOXES.items()
        for x, y, x2, y2 in boxes
    ]


def as_data_set(**size: int) -> object:
    images = [{"id": 9 - int(key), "file_name": f"deep/00{key}.png", **size} for key in BOXES]
    regions = [
        {"id": n, "image_id": 9 - int(key), "category_id": 1, "iscrowd": 0,
         "bbox": [x, y, x2 - x, y2 - y], "area": 1}
        for n, (key, (x, y, x2, y2)) in enumerate(
            [(key, box) for key, boxes in BOXES.items() for box in boxes], 1
        )
    ]  # fmt: skip
    return {"images": images, "categories": [{"id": 1, "name": "a"}], "annotations": regions}


@pytest.mark.parametrize(
    ("content", "score"),
    [
        (as_results(lambda key: f"00{key}.png"), 0.5),
        (as_results(lambda key: f"00{key}"), 0.5),
        (as_results(int), 0.5),
        ({f"00{k}.png": {"boxes": b, "scores": [0.5] * len(b)} for k, b in BOXES.items()}, 0.5),
        (as_data_set(width=96, height=96), 1),
        (as_data_set(), 1),
    ],
    ids=["by file", "by stem", "by number", "by key", "annotations", "annotations without sizes"],
)
def test_a_detectors_boxes_find_their_pictures(
    content: object, score: float, place: Path, backbones: Backbones, tmp_path: Path
) -> None:
    scenes = sorted((place / "world" / "whole").iterdir())
    for key in BOXES:
        (tmp_path / f"00{key}.png").write_bytes(scenes[int(key)].read_bytes())
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    changes = {"pictures": [f"{tmp_path}/*.png"], "proposals": str(tmp_path / "boxes.json")}
    report = predict(place, tmp_path / "out", backbones, **changes)
    regions = json.loads(report.json_file.read_text())["annotations"]
    boxes = [[each["image_id"], *each["bbox"]] for each in regions]
    assert boxes == [[1, 0, 10, 40, 40.5], [3, 1, 2, 29, 38]]  # clipped; none of empty boxes
    assert {each["detector_score"] for each in regions} == {score}
    assert {each["prompt"] for each in regions} == {"proposal"}


def test_wrong_proposals_are_refused_before_anything_is_made(
    place: Path, backbones: Backbones, tmp_path: Path
) -> None:
    file, out = tmp_path / "boxes.json", tmp_path / "out"
    for content in (
        "[]",
        "{}",
        '[{"image_id": "x", "bbox": [0, 0, 5, 5], "score": 1}]',
        "nonsense",
    ):
        file.write_text(content)
        with pytest.raises(AnnotationError, match=r"boxes\.json"):
            predict(place, out, backbones, proposals=str(file))
    with pytest.raises(AnnotationError, match="neither auto, whole nor a file"):
        predict(place, out, backbones, proposals="absent.json")
    with pytest.raises(
        InputError, match=r"are in the pixels of one picture: expected one file, got .*val; give"
    ):
        predict(place, out, backbones, proposals="auto", boxes=["1,1,5,5"])
    with pytest.raises(ConfigError, match="got both"):
        predict(place, out, backbones, boxes=["1,1,5,5"])
    assert not out.exists()


@pytest.fixture
def loads() -> Iterator[list[str]]:
    """Names of the region encoders that are loaded, by way of the public registry."""
    loaded = []

    def load(name: str, **options: Any) -> SamEncoder:
        loaded.append(name)
        return load_tiny_region_encoder(name, **options)

    entry: Entry[Any] = Entry(lambda: ("tiny",), load)
    register_region_encoder(entry)
    yield loaded
    unregister(entry)


def test_a_hundred_pictures_load_the_models_once(
    place: Path, loads: list[str], tmp_path: Path, regionspot: Callable[..., Done]
) -> None:
    """From a zip, a folder and a list in one call; the command tells what it could not read."""
    scene, *others = sorted((place / "world" / "whole").iterdir())
    archive = zipped(tmp_path / "some.zip", {f"{n}.png": scene for n in range(88)})
    Image.open(others[0]).crop((0, 0, 50, 31)).save(tmp_path / "small.jpg")
    (tmp_path / "more").write_text(f"{tmp_path}/small.jpg\n{tmp_path}/more\n")
    with numbers_at("recognise batch") as encoded:
        done = regionspot(
            "evaluate", "predict", str(archive), str(place / "world" / "val"),
            f"@{tmp_path}/more", "--head", str(place / "first"), "--names", NAMES,
            "--proposals", "whole", "--batch", "34", "--out", str(tmp_path / "out"),
            "--device", "cpu",
        )  # fmt: skip
    assert loads == ["tiny"]
    assert encoded == [34, 34, 31]
    assert done.returncode == 1
    assert "99 pictures, 99 regions" in done.stdout
    assert "2 pictures could not be read" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 + len(str(tmp_path))
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    sizes = {each["file_name"]: (each["width"], each["height"]) for each in content["images"]}
    assert sizes[next(name for name in sizes if name.endswith("small.jpg"))] == (50, 31)


@pytest.mark.parametrize(("threshold", "empty"), [("1", IMAGES), ("0", 0)])
def test_pictures_without_regions_are_told_what_to_try(
    threshold: str, empty: int, place: Path, tmp_path: Path, regionspot: Callable[..., Done]
) -> None:
    done = regionspot(
        "evaluate", "predict", str(place / "world" / "whole"), "--head", str(place / "first"),
        "--names", NAMES, "--points-per-side", "2", "--iou-threshold", threshold,
        "--stability-threshold", "0", "--out", str(tmp_path), "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    hint = "of them; try a lower --iou-threshold or more --points-per-side"
    assert (f"no region found in {empty} {hint}" in shown) == bool(empty)
    assert (hint in shown) == bool(empty)


def test_a_terminal_without_the_letters_is_given_others(
    place: Path, regionspot: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends as ever, whatever the encoding of its output."""
    printed = [io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2)]
    for name, stream in zip(("stdout", "stderr"), printed, strict=True):
        monkeypatch.setattr(sys, name, stream)
    done = regionspot(
        "evaluate", "predict", f"{place}/world/whole/*", "--head", str(place / "first"),
        "--names", "naïve,猫", "--proposals", "whole", "--out", str(tmp_path / "out"),
        "--device", "cpu", "--pictures",
    )  # fmt: skip
    assert done.returncode == 0
    for stream in printed:
        stream.flush()
    shown = b"".join(stream.buffer.getvalue() for stream in printed).decode("ascii")
    assert "na?ve" in shown or "?  " in shown
    assert "Traceback" not in shown
    content = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert [each["name"] for each in content["categories"]] == ["naïve", "猫"]
