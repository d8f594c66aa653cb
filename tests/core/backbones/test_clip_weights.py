"""CLIP's weight files: OpenAI's archives by digest only, QuickGELU for them, names of others."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from regionspot_core.backbones.clip.encoder import ClipEncoder
from regionspot_core.backbones.clip.open_clip_models import load_clip
from regionspot_core.backbones.clip.weights import OPENAI_EXTRAS, read_clip_weights
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.backbones.weights.official import (
    SAM_FILES,
    openai_digests,
    openai_file,
    sam_file,
)
from regionspot_core.errors import InputError, WeightsError
from regionspot_core.support.files import file_sha256

CPU = Runtime.create("cpu")
SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")


@pytest.fixture(autouse=True)
def small_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, more in (("small", {}), ("small-quickgelu", {"quick_gelu": True}),
                       ("small-custom", {"custom_text": True})):  # fmt: skip
        monkeypatch.setitem(
            open_clip.factory._MODEL_CONFIGS, name, {**copy.deepcopy(SMALL), **more}
        )


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = open_clip.CLIP(**copy.deepcopy(SMALL), quick_gelu=True)
    with torch.no_grad():  # values that half precision keeps, as OpenAI's are
        return {name: value.half().float() for name, value in model.state_dict().items()}


def as_archive(path: Path, state: dict[str, torch.Tensor], *, extras: bool = True) -> None:
    """A TorchScript archive of half-precision weights under the same names."""
    holder = torch.nn.Module()
    named = {name: value.half() for name, value in state.items()}
    if extras:
        named |= {name: torch.tensor(7) for name in OPENAI_EXTRAS}
    for name, value in named.items():
        *folders, leaf = name.split(".")
        module = holder
        for folder in folders:
            if not hasattr(module, folder):
                module.add_module(folder, torch.nn.Module())
            module = getattr(module, folder)
        module.register_buffer(leaf, value)
    torch.jit.script(holder).save(str(path))


def make_official(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Enter the file at ``path`` into open_clip's list, as OpenAI's of the small architecture."""
    url = f"https://openaipublic.azureedge.net/clip/models/{file_sha256(path)}/small.pt"
    config = open_clip.get_pretrained_cfg("ViT-B-16", "openai") | {"url": url, "hf_hub": ""}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "small", {"openai": config})


def tokens(encoder: ClipEncoder) -> torch.Tensor:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return encoder.image_tokens([encoder.prepare(image)])


def test_openais_archive_loads_in_float32_with_quickgelu(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.pt"
    as_archive(path, state)
    make_official(monkeypatch, path)
    found = load_clip("small", weights=str(path), runtime=CPU)
    assert found.fingerprint()["activation"] == "QuickGELU"
    plain = tmp_path / "plain.pt"
    torch.save(state, plain)
    expected = load_clip("small-quickgelu", weights=str(plain), runtime=CPU)
    assert found.fingerprint()["weights"] == expected.fingerprint()["weights"]
    assert torch.equal(tokens(found), tokens(expected))
    other = load_clip("small", weights=str(plain), runtime=CPU)
    assert other.fingerprint()["activation"] == "GELU"
    assert (tokens(other) - tokens(expected)).abs().max() > 1e-3


def test_any_other_archive_holds_code_and_is_refused(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "small.pt"
    as_archive(path, state)
    with pytest.raises(
        WeightsError, match=f"only OpenAI's own .* none of them.*{file_sha256(path)}"
    ):
        load_clip("small", weights=str(path), runtime=CPU)


def test_an_official_archive_is_quickgelu_even_without_its_marks(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.pt"
    as_archive(path, state, extras=False)
    make_official(monkeypatch, path)
    assert read_clip_weights(path).openai is True


def test_a_state_dict_with_openais_marks_is_quickgelu(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "small.pt"
    torch.save(state | {name: torch.tensor(7) for name in OPENAI_EXTRAS}, path)
    weights = read_clip_weights(path)
    assert weights.openai is True
    assert weights.state.keys() == state.keys()
    assert load_clip("small", weights=str(path), runtime=CPU).fingerprint()["activation"] == (
        "QuickGELU"
    )


def missing(path: Path, _: dict[str, torch.Tensor]) -> None:
    pass


def truncated_archive(path: Path, state: dict[str, torch.Tensor]) -> None:
    as_archive(path, state)
    path.write_bytes(path.read_bytes()[:5000])


def other_width(path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state | {"visual.conv1.weight": torch.zeros(32, 3, 16, 16)}, path)


def other_model(path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, "neither a file nor a tag of small"),
        (truncated_archive, "small.pt: truncated or not a weight file"),
        (other_width, r"small.pt: .*not the weights of CLIP small: visual.conv1.weight is \(32, "),
        (other_model, r"small.pt: .*not the weights of CLIP small: missing .* more"),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    make: Callable[[Path, dict[str, torch.Tensor]], None],
    message: str,
    tmp_path: Path,
    state: dict[str, torch.Tensor],
) -> None:
    path = tmp_path / "small.pt"
    make(path, state)
    with pytest.raises(WeightsError, match=message):
        load_clip("small", weights=str(path), runtime=CPU)


def test_another_input_size_is_open_clips_own(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    """Loaded as trained and resized, or resized by open_clip while it loads: the same."""
    path = tmp_path / "small.pt"
    torch.save(state, path)
    found = load_clip("small-quickgelu", weights=str(path), input_size=80, runtime=CPU)
    theirs = open_clip.create_model("small-quickgelu", pretrained=str(path), force_image_size=80)
    expected = ClipEncoder(theirs, open_clip.tokenize, name="small-quickgelu", runtime=CPU)
    assert found.token_count == 1 + 25
    assert found.fingerprint()["input"] == expected.fingerprint()["input"] == 80
    as_trained = load_clip("small-quickgelu", weights=str(path), runtime=CPU)
    assert found.fingerprint()["weights"] == as_trained.fingerprint()["weights"]
    assert torch.equal(tokens(found), tokens(expected))


def test_older_names_of_the_text_tower(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "small.pt"
    torch.save(state, path)
    found = load_clip("small-custom", weights=str(path), runtime=CPU)
    expected = load_clip("small", weights=str(path), runtime=CPU)
    texts = ["a photo of a cat.", "a dog"]
    assert torch.equal(found.text_embeddings(texts), expected.text_embeddings(texts))


def test_the_openai_tag_takes_the_file_in_the_usual_folder(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    usual = tmp_path / ".cache" / "clip" / "small.pt"
    usual.parent.mkdir(parents=True)
    as_archive(usual, state)
    make_official(monkeypatch, usual)
    found = load_clip("small", weights="openai", runtime=CPU)
    assert found.fingerprint()["activation"] == "QuickGELU"
    usual.write_bytes(usual.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=f"{usual}: truncated .* --clip small` fetches it"):
        load_clip("small", weights="openai", runtime=CPU)


def test_a_tokenizer_that_cannot_be_had_is_said_when_it_is_needed(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.pt"
    torch.save(state, path)
    encoder = load_clip("small", weights=str(path), runtime=CPU)

    def fail(_: str) -> None:
        raise RuntimeError("no transformers here\nand more")

    monkeypatch.setattr(open_clip, "get_tokenizer", fail)
    assert tokens(encoder).shape == (1, 5, 64)
    with pytest.raises(InputError, match=r"tokenizer cannot be had \(no transformers here\); it"):
        encoder.text_embeddings(["a cat"])


def test_official_files_of_sam() -> None:
    for name in SAM_FILES:
        file = sam_file(name)
        assert file.url.rsplit("/", 1)[1] == file.path.name
        assert file.path.name.startswith(f"sam_{name}_")
        assert len(file.sha256) == 64
        assert file.path.parent.name == "checkpoints"


def test_official_files_of_openai() -> None:
    file = openai_file("ViT-L-14-336")
    assert file is not None
    assert file.path == Path("~/.cache/clip/ViT-L-14-336px.pt").expanduser()
    assert file.sha256 == "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"
    assert openai_file("ViT-L-14-336-quickgelu") == replace(
        file, what="CLIP ViT-L-14-336-quickgelu"
    )
    assert openai_file("ViT-B-16-SigLIP") is None
    digests = openai_digests()
    assert len(digests) == 9
    assert file.sha256 in digests
    assert all(len(digest) == 64 for digest in digests)
