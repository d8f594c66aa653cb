"""Backbones are found by name in the folder's files: another one is one file."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from regionspot_core import backbones
from regionspot_core.backbones.registry import load_image_text_encoder, load_region_encoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.errors import InputError

CPU = Runtime.create("cpu")

ONE_FILE = '''
"""A backbone that a user adds."""

from regionspot_core.backbones.registry import Entry


def load(name, *, weights, input_size, runtime):
    return name, weights, input_size, runtime


REGION_ENCODER = Entry(lambda: ("boxes_s", "boxes_m"), load, examples=("boxes_s",))
IMAGE_TEXT_ENCODER = Entry(lambda: ("words",), load, examples=("words",))
'''


@pytest.fixture
def added_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "added.py").write_text(ONE_FILE)
    monkeypatch.setattr(backbones, "__path__", [*backbones.__path__, str(tmp_path)])
    yield
    sys.modules.pop(f"{backbones.__name__}.added", None)
    vars(backbones).pop("added", None)


@pytest.mark.usefixtures("added_file")
def test_one_more_file_is_one_more_backbone() -> None:
    region = load_region_encoder("boxes_m", checkpoint=Path("w.pth"), input_size=64, runtime=CPU)
    assert region == ("boxes_m", "w.pth", 64, CPU)
    words = load_image_text_encoder("words", pretrained="web", runtime=CPU)
    assert words == ("words", "web", None, CPU)
    assert load_region_encoder("tiny", runtime=CPU).name == "tiny"


@pytest.mark.usefixtures("added_file")
def test_an_added_backbone_is_listed_with_the_others() -> None:
    with pytest.raises(InputError, match=r"expected one of tiny, boxes_s, vit_b, vit_l, vit_h, …$"):
        load_region_encoder("nonsense", runtime=CPU)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_x", "no such region encoder; did you mean vit_[blh]?"),
        ("ViT_B", r"did you mean vit_b\? Expected one of tiny, vit_b, vit_l, vit_h$"),
        ("", "no such region encoder; expected one of tiny, vit_b, vit_l, vit_h$"),
    ],
)
def test_unknown_region_encoder(name: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^--sam '{name}': .*{message}"):
        load_region_encoder(name, runtime=CPU)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit-l-14-336", "did you mean ViT-L-14-336"),
        ("ViT-B-17", "did you mean ViT-B-16"),
        ("nonsense", "encoder; expected one of tiny, ViT-B-16, ViT-L-14, ViT-L-14-336, …$"),
    ],
)
def test_unknown_image_text_encoder(name: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^--clip '{name}': no such image and text .*{message}"):
        load_image_text_encoder(name, runtime=CPU)


def test_the_tiny_ones_bring_their_weights() -> None:
    with pytest.raises(InputError, match="--clip tiny brings its own weights; leave out openai"):
        load_image_text_encoder("tiny", pretrained="openai", runtime=CPU)
    with pytest.raises(InputError, match=r"--sam tiny brings its own weights; leave out w\.pth"):
        load_region_encoder("tiny", checkpoint=Path("w.pth"), runtime=CPU)
