"""The shipped tiny backbones load strictly, stay small and do their work on unseen scenes."""

from collections.abc import Iterator
from importlib.resources import files

import pytest
import torch
from open_clip import CLIP, OPENAI_IMAGENET_TEMPLATES
from segment_anything.modeling import Sam

from regionspot_core.tiny.models import (
    CLIP_CONTEXT,
    GRID,
    load_tiny_clip,
    load_tiny_sam,
    tiny_tokenizer,
)
from regionspot_core.tiny.names import CLASSES
from regionspot_core.tiny.pretraining.clip_batches import ClipBatch
from regionspot_core.tiny.pretraining.gates import class_embeddings, crop_accuracy
from regionspot_core.tiny.pretraining.pretrain_clip import encode_texts, encode_views
from regionspot_core.tiny.pretraining.pretrain_sam import box_iou_of_masks, decode
from regionspot_core.tiny.scenes import Scene, make_scene, scene_generator

MAX_WEIGHT_BYTES = 10_000_000


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Many small operations: threads that wait for each other would take most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def sam() -> Sam:
    return load_tiny_sam()


@pytest.fixture(scope="module")
def clip() -> CLIP:
    return load_tiny_clip()


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(scene_generator(123, "val", index)) for index in range(30)]


def test_weight_files_stay_small() -> None:
    folder = files("regionspot_core.tiny") / "weights"
    sizes = [len((folder / name).read_bytes()) for name in ("sam.safetensors", "clip.safetensors")]
    assert sum(sizes) <= MAX_WEIGHT_BYTES


@pytest.mark.parametrize("name", ["sam", "clip"])
def test_models_are_float32_and_in_eval_mode(name: str, request: pytest.FixtureRequest) -> None:
    model: torch.nn.Module = request.getfixturevalue(name)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_sam_masks_match_on_unseen_scenes(sam: Sam, scenes: list[Scene]) -> None:
    assert box_iou_of_masks(sam, scenes) >= 0.92


def test_batched_decoding_is_segment_anything_s(sam: Sam, scenes: list[Scene]) -> None:
    images = torch.stack([torch.from_numpy(s.image).permute(2, 0, 1) for s in scenes[:2]]).float()
    boxes = torch.tensor([[8.0, 8, 40, 40], [30, 20, 70, 66]])
    with torch.inference_mode():
        embeddings = sam.image_encoder((images - sam.pixel_mean) / sam.pixel_std)
        sparse, dense = sam.prompt_encoder(points=None, boxes=boxes, masks=None)
        masks, iou = decode(sam, embeddings, sparse.repeat(2, 1, 1), dense.repeat(2, 1, 1, 1))
        for index in range(2):
            expected_masks, expected_iou = sam.mask_decoder.predict_masks(
                image_embeddings=embeddings[index : index + 1],
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
            )
            rows = slice(2 * index, 2 * index + 2)
            torch.testing.assert_close(masks[rows], expected_masks, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(iou[rows], expected_iou, rtol=1e-4, atol=1e-4)


def test_clip_tokens_come_before_its_last_norm(clip: CLIP) -> None:
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        output = clip.visual.forward_intermediates(
            images,
            indices=1,
            output_fmt="NLC",
            output_extra_tokens=True,
            normalize_intermediates=False,
        )
        patches, summary = (
            output["image_intermediates"][0],
            output["image_intermediates_prefix"][0],
        )
        assert patches.shape == (2, GRID * GRID, 128)
        assert summary.shape == (2, 1, 128)
        pooled = clip.visual.ln_post(summary[:, 0]) @ clip.visual.proj
        torch.testing.assert_close(pooled, clip.encode_image(images), rtol=1e-4, atol=1e-4)


def test_pretraining_s_encoders_are_open_clip_s(clip: CLIP) -> None:
    tokens = tiny_tokenizer()(["striped red star", "a photo of a solid teal ring."])
    images = torch.rand(2, 3, 96, 96)
    nothing = torch.zeros(2, 0, dtype=torch.int8)
    cells = torch.arange(GRID * GRID).expand(2, -1)
    batch = ClipBatch(images=images, cells=cells, names=nothing, placed_names=nothing)
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    normalised = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)
    with torch.inference_mode():
        torch.testing.assert_close(encode_texts(clip, tokens), clip.encode_text(tokens))
        torch.testing.assert_close(
            encode_views(clip, batch), clip.encode_image(normalised), rtol=1e-4, atol=1e-4
        )


def test_no_template_is_cut_before_its_end() -> None:
    longest = max((c.name for c in CLASSES), key=len)
    tokens = tiny_tokenizer()([template(longest) for template in OPENAI_IMAGENET_TEMPLATES])
    # A text that was cut fills the context; one that was not is followed by padding.
    assert tokens.shape == (80, CLIP_CONTEXT)
    assert (tokens[:, -1] == 0).all()


@pytest.mark.slow
def test_clip_names_crops_with_and_without_templates(clip: CLIP, scenes: list[Scene]) -> None:
    plain = crop_accuracy(clip, scenes, class_embeddings(clip, ["{}".format]))
    templates = [*OPENAI_IMAGENET_TEMPLATES, "{}.".format]
    templated = crop_accuracy(clip, scenes, class_embeddings(clip, templates))
    # Out of 252 classes; well under what the gates print, for these are only about 100 objects.
    assert min(plain, templated) >= 0.55
    assert abs(plain - templated) <= 0.05
