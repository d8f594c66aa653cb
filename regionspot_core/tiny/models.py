"""The tiny frozen backbones, built from segment-anything's and open_clip's own modules.

Both take 96 x 96 images in 8-pixel patches (a grid of 12 x 12) and the usual preprocessing of the
real models: SAM subtracts `Sam.pixel_mean` and divides by `Sam.pixel_std` (segment-anything's
values, RGB 0 to 255); CLIP takes RGB 0 to 1 normalised with OpenAI's mean and standard deviation.
A 96 x 96 image needs no resizing for either.
"""

from functools import partial
from importlib.resources import as_file, files
from typing import TypeVar

import torch
from open_clip import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from regionspot_core.tiny.scenes import IMAGE_SIZE

Model = TypeVar("Model", bound=torch.nn.Module)

PATCH_SIZE = 8
GRID = IMAGE_SIZE // PATCH_SIZE
CLIP_CONTEXT = 16
"""Text tokens. The longest ImageNet template around a three-word name is 14 with start and end."""


def build_tiny_sam() -> Sam:
    """Return an untrained tiny SAM in eval mode, 1.6 M parameters.

    Region tokens are 128 wide; the decoder has SAM's IoU token and four mask tokens (mask 0 and the
    three of `multimask_output=True`). Low-resolution masks are 48 x 48.
    """
    width = 128
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=IMAGE_SIZE,
            patch_size=PATCH_SIZE,
            embed_dim=128,
            depth=4,
            num_heads=4,
            out_chans=width,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            window_size=0,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=width,
            image_embedding_size=(GRID, GRID),
            input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(depth=2, embedding_dim=width, num_heads=4, mlp_dim=256),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=width,
        ),
    )
    return sam.eval()


def build_tiny_clip() -> CLIP:
    """Return an untrained tiny CLIP in eval mode, 3.3 M parameters (2.4 M token embeddings).

    Images give 1 + 144 tokens 128 wide; embeddings are 128 wide; texts are `CLIP_CONTEXT` tokens of
    `tiny_tokenizer`.
    """
    clip = CLIP(
        embed_dim=128,
        vision_cfg=CLIPVisionCfg(
            layers=4, width=128, head_width=64, patch_size=PATCH_SIZE, image_size=IMAGE_SIZE
        ),
        text_cfg=CLIPTextCfg(context_length=CLIP_CONTEXT, width=48, heads=4, layers=2),
    )
    return clip.eval()


def tiny_tokenizer() -> SimpleTokenizer:
    """open_clip's tokenizer, cutting at `CLIP_CONTEXT` tokens; texts in, int64 [N, 16] out."""
    return SimpleTokenizer(context_length=CLIP_CONTEXT)


def load_tiny_sam() -> Sam:
    """Return the shipped tiny SAM, float32, in eval mode."""
    return _with_shipped_weights(build_tiny_sam(), "sam.safetensors")


def load_tiny_clip() -> CLIP:
    """Return the shipped tiny CLIP, float32, in eval mode."""
    return _with_shipped_weights(build_tiny_clip(), "clip.safetensors")


def _with_shipped_weights(model: Model, name: str) -> Model:
    with as_file(files("regionspot_core.tiny") / "weights" / name) as path:
        state = load_file(path)
    # load_state_dict casts the float16 file to the model's float32.
    model.load_state_dict(state, strict=True)
    return model
