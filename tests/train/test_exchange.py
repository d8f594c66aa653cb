"""Published checkpoints in and out: folders that other commands take, files bit for bit."""

from pathlib import Path

import pytest
import torch

from regionspot_core.errors import CheckpointError, FingerprintError, InputError
from regionspot_core.heads.checkpoint import HeadRecord, load_head, read_record, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_train.exchange import export_head, import_head

CONFIG = FusionConfig(ffn_width=32, layers=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    state = {f"model.{name}": value for name, value in FusionHead(CONFIG).state_dict().items()}
    torch.save({"model": state}, tmp_path / "published.pth")
    return tmp_path / "published.pth"


def test_there_and_back_is_bit_exact(file: Path, tmp_path: Path) -> None:
    import_head(file, tmp_path / "head", sam="vit_b", clip="ViT-B-16")
    export_head(tmp_path / "head", tmp_path / "back.pth")
    before, after = (
        torch.load(f, weights_only=True)["model"] for f in (file, tmp_path / "back.pth")
    )
    assert list(before) == list(after)
    assert all(before[name].numpy().tobytes() == after[name].numpy().tobytes() for name in before)


def test_the_record_says_where_it_comes_from(file: Path, tmp_path: Path) -> None:
    import_head(file, tmp_path / "head", sam=None, clip="ViT-B-16")
    record = read_record(tmp_path / "head")
    assert record.config == CONFIG
    clip = {"name": "ViT-B-16", "input": 224, "activation": "QuickGELU"}
    assert record.backbones == {"image_text_encoder": clip}
    assert record.training["imported"]["file"] == "published.pth"
    assert len(record.training["imported"]["sha256"]) == 64


def models(sam: str, clip: str, activation: str = "QuickGELU") -> dict[str, object]:
    image_text = {"name": clip, "weights": "2" * 64, "input": 224, "activation": activation}
    return {
        "region_encoder": {"name": sam, "weights": "1" * 64, "input": 1024},
        "image_text_encoder": image_text,
    }


def test_an_imported_head_fits_the_models_named_and_no_others(file: Path, tmp_path: Path) -> None:
    import_head(file, tmp_path / "named", sam=None, clip="ViT-B-16")
    import_head(file, tmp_path / "unnamed", sam=None, clip=None)
    named, unnamed = (read_record(tmp_path / name) for name in ("named", "unnamed"))
    named.require_fit(models("vit_b", "ViT-B-16"), what="named")
    unnamed.require_fit(models("vit_b", "ViT-L-14"), what="unnamed")
    with pytest.raises(FingerprintError, match=r"name: expected ViT-B-16, found ViT-L-14"):
        named.require_fit(models("vit_b", "ViT-L-14"), what="named")
    with pytest.raises(FingerprintError, match=r"activation: expected QuickGELU, found GELU"):
        named.require_fit(models("vit_b", "ViT-B-16", "GELU"), what="named")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"sam": "vit_x"}, "--sam vit_x: expected one that published heads were trained on"),
        ({"clip": "ViT-B16"}, r"--clip ViT-B16: .*\(ViT-B-16, ViT-L-14, ViT-L-14-336\)"),
        ({"clip": "ViT-L-14"}, "has tokens of width 1024 and texts of 768, the head takes 768"),
    ],
)
def test_models_that_cannot_be_are_refused(
    names: dict[str, str], message: str, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        import_head(file, tmp_path / "head", **{"sam": None, "clip": None, **names})
    assert not (tmp_path / "head").exists()


def test_a_trained_head_is_held_against_everything(tmp_path: Path) -> None:
    record = HeadRecord(CONFIG, models("tiny", "tiny"), {"step": 1})
    record.require_fit(models("tiny", "tiny"), what="run")
    with pytest.raises(FingerprintError, match="run was trained on other frozen models"):
        record.require_fit(models("tiny", "tiny") | {"tokens": {}, "new": 1}, what="run")


def test_nothing_is_written_over(file: Path, tmp_path: Path) -> None:
    import_head(file, tmp_path / "head", sam=None, clip=None)
    before = (tmp_path / "head" / "head.json").read_bytes()
    with pytest.raises(CheckpointError, match="expected a new folder"):
        import_head(file, tmp_path / "head", sam="vit_h", clip=None)
    for out in (file, file / "deeper"):
        with pytest.raises(InputError, match="expected a folder"):
            import_head(file, out, sam="vit_h", clip=None)
    assert (tmp_path / "head" / "head.json").read_bytes() == before
    with pytest.raises(CheckpointError, match="already exists"):
        export_head(tmp_path / "head", file)
    with pytest.raises(InputError, match="expected an existing folder"):
        export_head(tmp_path / "head", tmp_path / "absent" / "x.pth")


def test_what_is_there_already_is_done(file: Path, tmp_path: Path) -> None:
    """The same command once more after a kill that came when all was written."""
    head, back = tmp_path / "head", tmp_path / "back.pth"
    for _ in range(2):
        import_head(file, head, sam="vit_b", clip=None)
        export_head(head, back)
    files = {path: path.read_bytes() for path in (*head.iterdir(), back)}
    assert {path.name for path in files} == {"head.json", "head.safetensors", "back.pth"}
    content = bytearray((head / "head.safetensors").read_bytes())
    content[-1] ^= 1
    (head / "head.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"head\.safetensors: damaged"):
        import_head(file, head, sam="vit_b", clip=None)
    with pytest.raises(CheckpointError, match=r"head\.safetensors: damaged"):
        export_head(head, tmp_path / "again.pth")


def test_an_import_takes_an_empty_folder(file: Path, tmp_path: Path) -> None:
    (tmp_path / "head").mkdir()
    import_head(file, tmp_path / "head", sam=None, clip=None)
    assert load_head(tmp_path / "head").config == CONFIG


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (3, torch.ones(1), "names and tensors only"),
        ("to_clip.bias", "x", "names and tensors only"),
        ("to_clip.bias", torch.ones(768).to_sparse(), "names and tensors only"),
        ("to_clip.bias", torch.ones(768, device="meta"), "names and tensors only"),
        ("to_clip.bias", torch.ones(768, dtype=torch.int32), "to_clip.bias is of int32"),
        ("decoder.layers.99999999.norm1.bias", torch.ones(1), "unexpected decoder.layers.9999999"),
        ("decoder.layers.9999.norm1.bias", torch.ones(1), "layers: .* equal to 128, got 10000"),
        ("decoder.layers." + "9" * 5000 + ".x", torch.ones(1), "unexpected decoder.layers.999"),
        ("decoder.layers.0.linear1.weight", torch.ones(10**5, 1), "ffn_width: .* equal to 65536"),
        ("to_clip.weight", torch.ones(1, 1).expand(10**6, 10**6), "names and tensors only"),
    ],
)
def test_a_file_of_any_content_is_one_sentence(
    file: Path, tmp_path: Path, name: object, value: object, message: str
) -> None:
    state = torch.load(file, weights_only=True)["model"]
    torch.save({"model": state | {name: value}}, file)
    with pytest.raises((CheckpointError, InputError), match=message) as caught:
        import_head(file, tmp_path / "head", sam=None, clip=None)
    assert len(str(caught.value)) < 1000
    assert not (tmp_path / "head").exists()


def test_a_file_that_is_refused_leaves_no_folder(file: Path, tmp_path: Path) -> None:
    torch.save({"model": {"model.sam.x": torch.ones(1)}}, file)
    with pytest.raises(CheckpointError, match="expected a RegionSpot checkpoint"):
        import_head(file, tmp_path / "head", sam=None, clip=None)
    assert not (tmp_path / "head").exists()


def test_a_trained_head_exports_too(tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_head(tmp_path / "run", FusionHead(CONFIG), HeadRecord(CONFIG, {}, {}))
    export_head(tmp_path / "run", tmp_path / "run.pth")
    import_head(tmp_path / "run.pth", tmp_path / "again", sam=None, clip=None)
    for name, value in load_head(tmp_path / "run").state_dict().items():
        assert torch.equal(value, load_head(tmp_path / "again").state_dict()[name])


@pytest.mark.parametrize("other", [{"norm": "pre"}, {"heads": 4}])
def test_a_head_that_the_layout_would_misname_is_refused(
    tmp_path: Path, other: dict[str, str]
) -> None:
    config = CONFIG.model_copy(update=other)
    save_head(tmp_path / "run", FusionHead(config), HeadRecord(config, {}, {}))
    with pytest.raises(CheckpointError, match="cannot be exported: readers of the published"):
        export_head(tmp_path / "run", tmp_path / "run.pth")
    assert not (tmp_path / "run.pth").exists()
