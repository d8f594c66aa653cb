"""Other input sizes: position tables are interpolated, everything else stays as it is."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from segment_anything import SamPredictor

from regionspot_core.backbones.clip.towers import resize_tower
from regionspot_core.backbones.loading import BackboneConfig, load_backbones
from regionspot_core.backbones.registry import load_image_text_encoder, load_region_encoder
from regionspot_core.backbones.runtime import Runtime, hash_weights
from regionspot_core.backbones.sam.encoder import SamEncoder
from regionspot_core.backbones.sam.input import resize_sam_input
from regionspot_core.errors import ConfigError, InputError
from regionspot_core.imaging.prompts import BoxPrompts
from regionspot_core.tiny.models import load_tiny_clip, load_tiny_sam

CPU = Runtime.create("cpu")
TRAINED, PATCH = 96, 8


def interpolated(table_ggC: torch.Tensor, grid: int) -> torch.Tensor:
    """Channel by channel."""
    return torch.stack(
        [
            F.interpolate(
                table_ggC[None, None, :, :, channel],
                size=(grid, grid), mode="bicubic", antialias=True, align_corners=False,
            )[0, 0]
            for channel in range(table_ggC.shape[-1])
        ],
        dim=-1,
    )  # fmt: skip


def test_the_trained_size_touches_nothing() -> None:
    clip, sam = load_tiny_clip(), load_tiny_sam()
    resize_tower(clip, TRAINED, name="tiny")
    resize_sam_input(sam, TRAINED, name="tiny")
    assert hash_weights(clip) == hash_weights(load_tiny_clip())
    assert hash_weights(sam) == hash_weights(load_tiny_sam())


@pytest.mark.parametrize("side", [32, 88, 160])
def test_clips_table_is_interpolated_and_cls_kept(side: int) -> None:
    model, before = load_tiny_clip(), load_tiny_clip().visual.positional_embedding.detach()
    resize_tower(model, side, name="tiny")
    after, grid = model.visual.positional_embedding.detach(), side // PATCH
    torch.testing.assert_close(after[0], before[0], atol=0, rtol=0)
    expected = interpolated(before[1:].view(12, 12, -1), grid).flatten(0, 1)
    torch.testing.assert_close(after[1:], expected, atol=1e-6, rtol=0)
    trained = load_tiny_clip().state_dict()
    changed = [n for n, value in model.state_dict().items() if value.shape != trained[n].shape]
    assert changed == ["visual.positional_embedding"]


@pytest.mark.parametrize("side", [32, 88, 160])
def test_sams_table_is_interpolated(side: int) -> None:
    model, before = load_tiny_sam(), load_tiny_sam().image_encoder.pos_embed.detach()
    resize_sam_input(model, side, name="tiny")
    expected = interpolated(before[0], side // PATCH)
    torch.testing.assert_close(
        model.image_encoder.pos_embed[0].detach(), expected, atol=1e-6, rtol=0
    )


def test_a_resized_sam_is_what_the_predictor_makes_of_it() -> None:
    model = load_tiny_sam()
    resize_sam_input(model, 160, name="tiny")
    image = np.random.default_rng(0).integers(0, 256, (120, 70, 3), dtype=np.uint8)
    boxes, seen = np.array([[5.0, 10, 50, 90], [0, 0, 70, 120]]), []
    predictor = SamPredictor(model)
    predictor.set_image(image)
    hook = model.mask_decoder.transformer.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output[0][:, :5].clone())
    )
    scaled = predictor.transform.apply_boxes_torch(torch.from_numpy(boxes).float(), (120, 70))
    masks, _, _ = predictor.predict_torch(None, None, scaled, multimask_output=False)
    hook.remove()
    encoder = SamEncoder(model, name="tiny", runtime=CPU)
    embedding = encoder.embed([encoder.prepare(image)])
    assert embedding.shape == (1, 128, 20, 20)
    (found,) = encoder.segment(embedding, BoxPrompts(boxes), (120, 70))
    assert (found.tokens.tokens_NMS - seen[0]).abs().max() <= 1e-5
    assert (found.masks_NHW == masks[:, 0].numpy()).mean() > 0.9999


def test_from_the_configuration_to_the_fingerprint() -> None:
    config = BackboneConfig(sam_input=64, clip_input=128, device="cpu")
    both = load_backbones(config)
    clip, sam = both.image_text_encoder, both.region_encoder
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    assert clip.token_count == 1 + 16**2
    assert clip.image_tokens([clip.prepare(image)]).shape == (1, 257, 128)
    assert sam.embed([sam.prepare(image)]).shape == (1, 128, 8, 8)
    assert both.fingerprint["image_text_encoder"]["input"] == 128
    assert both.fingerprint["region_encoder"]["input"] == 64
    plain = load_backbones(BackboneConfig(device="cpu")).fingerprint
    for model in ("image_text_encoder", "region_encoder"):
        assert plain[model]["input"] == TRAINED
        assert plain[model]["weights"] == both.fingerprint[model]["weights"]  # as trained


@pytest.mark.parametrize("side", [1, 7, 100])
def test_a_size_between_patches_is_refused(side: int) -> None:
    message = f"-input {side}: expected a multiple of .* patch size, 8; it was trained with 96"
    with pytest.raises(InputError, match=f"--clip{message}"):
        load_image_text_encoder("tiny", input_size=side, runtime=CPU)
    with pytest.raises(InputError, match=f"--sam{message}"):
        load_region_encoder("tiny", input_size=side, runtime=CPU)


@pytest.mark.parametrize("key", ["sam_input", "clip_input"])
def test_no_size_at_all_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: input should be greater than or equal to 1"):
        BackboneConfig.parse({key: 0}, source="test")
