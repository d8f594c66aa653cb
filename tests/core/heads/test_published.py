"""Published checkpoints: the original's logits, nothing lost, nothing guessed.

The reference is written from the paper's description with PyTorch's own layers, whose parameter
names the published files have.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import regionspot_core
from regionspot_core.errors import CheckpointError, ConfigError, WeightsError
from regionspot_core.heads.checkpoint import HeadRecord, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead, FusionOptions
from regionspot_core.heads.published import read_published, write_published

State = dict[str, torch.Tensor]
WIDTHS = [(768, 512), (1024, 768)]


class Original(nn.Module):
    """The paper's head in ``torch.nn``'s layers."""

    def __init__(self, width: int, text: int, layers: int = 3, bias: bool = True) -> None:
        super().__init__()
        self.to_clip = nn.Linear(256, width, bias=bias)
        layer = nn.TransformerDecoderLayer(width, nhead=8, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(width))
        self.projector = nn.Linear(width, text)
        for parameter in self.parameters():  # no weight zero or one, as after training
            nn.init.normal_(parameter, std=0.05)

    def logits(
        self, regions: torch.Tensor, image: torch.Tensor, text: torch.Tensor
    ) -> torch.Tensor:
        x = self.projector(self.decoder(self.to_clip(regions), image))
        x = x / (x.norm(dim=-1, keepdim=True) + 1e-7)
        return math.exp(math.log(100)) * x @ text.T


def original(width: int = 768, text: int = 512, **options: bool | int) -> Original:
    torch.manual_seed(0)
    return Original(width, text, **options).eval()


def published(state: State) -> dict[str, State]:
    """The file's content around a head's weights: frozen models beside it, all with the prefix."""
    frozen = {
        "sam.image_encoder.pos_embed": torch.ones(3),
        "sam.mask_decoder.iou_token.weight": torch.ones(1, 2),
        "clip_model.logit_scale": torch.tensor(4.6),
    }
    return {"model": {f"model.{name}": value for name, value in (frozen | state).items()}}


def bare(content: dict[str, State]) -> State:
    return {name.removeprefix("model."): value for name, value in content["model"].items()}


def small() -> State:
    return original(16, 12, layers=2).state_dict()


@pytest.fixture
def save(tmp_path: Path) -> Callable[[object], Path]:
    def write(content: object) -> Path:
        torch.save(content, tmp_path / "published.pth")
        return tmp_path / "published.pth"

    return write


Save = Callable[[object], Path]


@pytest.mark.parametrize(("width", "text"), WIDTHS)
def test_logits_are_the_originals(width: int, text: int, save: Save, tmp_path: Path) -> None:
    reference = original(width, text)
    imported = read_published(save(published(reference.state_dict())))
    save_head(tmp_path / "head", imported.head, HeadRecord(imported.head.config, {}, {}))
    head = regionspot_core.load_head(tmp_path / "head")
    draw = torch.Generator().manual_seed(1)
    regions = torch.randn(2, 5, 256, generator=draw)
    tokens = torch.randn(2, 30, width, generator=draw)
    with torch.inference_mode():
        near = reference.logits(regions, tokens, torch.eye(text))[0] / 100  # the regions themselves
        random = torch.randn(9, text, generator=draw)
        classes = nn.functional.normalize(torch.cat([near + 0.02 * random[:5], random]), dim=-1)
        embedded = head(regions, tokens)
        logits = head.logits(embedded, classes, 100.0)
        expected = reference.logits(regions, tokens, classes)
        alone = head(regions[:1, :3], tokens[:1])
        padded = head(regions[:1], tokens[:1], torch.arange(5)[None] < 3)
    assert embedded.shape == (2, 5, text)
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(2, 5))
    assert expected.max() > 80  # logits of the size they have in use
    assert (logits - expected).abs().max() <= 1e-4
    assert (padded[:, :3] - alone).abs().max() <= 1e-6


@pytest.mark.parametrize("form", [published, lambda s: bare(published(s)), lambda s: {"model": s}])
def test_every_form_of_the_file_gives_the_same_head(
    form: Callable[[State], object], save: Save
) -> None:
    imported = read_published(save(form(small())))
    for name, value in imported.head.state_dict().items():
        assert torch.equal(value, small()[name]), name
    assert imported.head.config.layers == 2
    assert not imported.head.training


def test_frozen_models_are_counted_and_left_aside(save: Save) -> None:
    content = published(small())
    content["model"]["criterion.empty_weight"] = torch.ones(2)
    assert read_published(save(content)).ignored == {"clip_model": 1, "criterion": 1, "sam": 2}


def test_what_a_training_run_saves_beside_is_left_aside(save: Save) -> None:
    beside = {
        "iteration": 450_000,
        "scheduler": {"last_epoch": 3, "base_lrs": [np.float64(2.5e-5), np.float32(1)]},
    }
    assert read_published(save(published(small()) | beside)).converted == ()


def test_a_file_without_the_first_bias_is_whole(save: Save, tmp_path: Path) -> None:
    reference = original(16, 12, bias=False)
    head = read_published(save(published(reference.state_dict()))).head
    assert not head.config.region_bias
    write_published(tmp_path / "back.pth", head)
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert back.keys() == {f"model.{name}" for name in reference.state_dict()}


@pytest.mark.parametrize(("width", "text"), WIDTHS)
def test_export_is_the_published_layout_bit_for_bit(
    width: int, text: int, save: Save, tmp_path: Path
) -> None:
    state = original(width, text).state_dict()
    state["projector.bias"][0] = float("nan")  # even that is kept
    write_published(tmp_path / "back.pth", read_published(save(published(state))).head)
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert list(back) == [f"model.{name}" for name in state]
    for name, value in state.items():
        assert back[f"model.{name}"].numpy().tobytes() == value.numpy().tobytes(), name


def test_half_precision_is_converted_and_said(save: Save) -> None:
    state = small()
    state["projector.bias"] = state["projector.bias"].half()
    imported = read_published(save(published(state)))
    assert imported.converted == ("float16",)
    assert imported.head.projector.bias.dtype == torch.float32


def without(*names: str) -> Callable[[State], State]:
    return lambda state: {n: v for n, v in state.items() if not n.startswith(names)}


def shaped(name: str, *shape: int) -> Callable[[State], State]:
    return lambda state: state | {name: torch.zeros(*shape)}


@pytest.mark.parametrize(
    ("spoil", "messages"),
    [
        (without("projector.bias"), ["missing projector.bias"]),
        (without("to_clip.weight"), ["missing to_clip.weight"]),
        (without("decoder.norm"), ["missing decoder.norm.weight; missing decoder.norm.bias"]),
        (without("decoder.layers.0."), ["missing decoder.layers.0.self_attn", "and 10 more"]),
        (without("decoder.layers.1.norm2.bias"), ["missing decoder.layers.1.norm2.bias"]),
        (shaped("to_clip.weight", 24, 256), ["expected (24,)"]),
        (shaped("to_clip.weight", 16), ["to_clip.weight is (16,)"]),
        (shaped("projector.weight", 12, 17), ["projector.weight is (12, 17), expected (12, 16)"]),
        (
            shaped("decoder.layers.1.linear1.weight", 2048, 15),
            ["decoder.layers.1.linear1.weight is (2048, 15), expected (2048, 16)"],
        ),
        (shaped("decoder.layers.1.norm4.bias", 16), ["unexpected decoder.layers.1.norm4.bias"]),
        (shaped("projector.scale", 1), ["unexpected projector.scale"]),
        (without("to_clip", "decoder", "projector"), ["expected a RegionSpot checkpoint", "sam"]),
    ],
)
def test_a_head_that_is_not_whole_is_refused_and_listed(
    spoil: Callable[[State], State], messages: list[str], save: Save
) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_published(save(published(spoil(small()))))
    for message in messages:
        assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_width_that_eight_heads_do_not_divide_is_refused(save: Save) -> None:
    with pytest.raises(ConfigError, match="multiple of heads"):
        read_published(save(published(shaped("to_clip.weight", 12, 256)(small()))))


def test_files_that_are_none(save: Save, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        read_published(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="names and tensors only"):
        read_published(save([1, 2]))
    with pytest.raises(CheckpointError, match="found nothing"):
        read_published(save({"model": {}}))


UNSAID: dict[str, object] = {
    "heads": 4, "norm": "pre", "activation": "gelu", "logit_scale": "learned",
    "region_tokens": "masks", "box_geometry": True, "image_positions": "sincos",
    "image_pooling": 2, "shared_keys": True, "width": 8, "region_embedding": "residual",
    "mask_geometry": True,
}  # fmt: skip
SAID: dict[str, object] = {
    "layers": 2, "ffn_width": 8, "dropout": 0.0, "initial_scale": 2.0, "initial_bias": 1.0,
}  # fmt: skip


def test_every_option_is_either_told_by_a_file_or_not() -> None:
    assert UNSAID.keys() | SAID.keys() == FusionOptions.model_fields.keys()


def with_options(**options: object) -> FusionHead:
    widths = {"region_width": 8, "image_width": 16, "text_width": 12, "image_tokens": 17}
    if "region_embedding" in options:
        widths["region_embeddings"] = "tokens"
    return FusionHead(FusionConfig.parse(widths | options, source="test")).eval()


@pytest.mark.parametrize("name", UNSAID)
def test_an_option_that_the_layout_cannot_tell_is_refused(name: str, tmp_path: Path) -> None:
    """One clear sentence, and no file."""
    value = UNSAID[name]
    said = rf"^a head with head\.{name}={str(value).lower()} cannot be exported: readers of the "
    with pytest.raises(CheckpointError, match=said):
        write_published(tmp_path / "head.pth", with_options(**{name: value}))
    assert not list(tmp_path.iterdir())


def test_all_of_them_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        write_published(tmp_path / "head.pth", with_options(**UNSAID))
    assert all(f"head.{name}=" in str(caught.value) for name in UNSAID)


@pytest.mark.parametrize("options", [SAID, {"width": 16}])
def test_what_the_tensors_tell_is_exported(options: dict[str, object], tmp_path: Path) -> None:
    head = with_options(**options)
    write_published(tmp_path / "head.pth", head)
    back = read_published(tmp_path / "head.pth").head
    draw = torch.Generator().manual_seed(1)
    tokens = (torch.randn(2, 3, 8, generator=draw), torch.randn(2, 17, 16, generator=draw))
    torch.testing.assert_close(back(*tokens), head(*tokens))
