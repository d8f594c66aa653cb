"""Pretraining of the tiny CLIP: the names of everything in a picture.

Two phases. Windows of 6 x 6 patches around one object teach what things look like at the native
scale, four times cheaper than whole scenes; whole scenes then teach the image embedding to name all
of its objects. Windows keep their rows of the position table, which starts as sines and cosines:
patch tokens that do not carry their position from the first step on leave the fusion head nothing
to match SAM's "where" with.

The loss is InfoNCE with several positives in both directions; the negatives are the bank of all
names, and captions with places ("striped red star top left") count `PLACE_WEIGHT` beside it. AdamW
1e-3, bfloat16 autocast, math attention.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import CLIP, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from regionspot_core.tiny.pretraining.captions import CaptionBank
from regionspot_core.tiny.pretraining.clip_batches import (
    NEGATIVE,
    POSITIVE,
    ClipBatch,
    scene_batch,
    window_batch,
)
from regionspot_core.tiny.pretraining.pool import ScenePool
from regionspot_core.tiny.pretraining.positions import sincos_positions

WINDOWS_PER_STEP = 256
SCENES_PER_STEP = 96
WINDOW_PHASE = 0.5
"""Share of the steps before whole scenes begin."""
MIXED_PHASE = 0.93
"""Share of the steps up to which every fourth step is still one of windows."""
PLACE_WEIGHT = 0.4
PLACED_BANK = 640
"""Captions with places in a step, out of 2 268: the whole bank would cost more than the images."""
MAX_LOGIT_SCALE = math.log(100)

_MEAN = torch.tensor(OPENAI_DATASET_MEAN).view(3, 1, 1)
_STD = torch.tensor(OPENAI_DATASET_STD).view(3, 1, 1)


def initialise_clip(clip: CLIP) -> None:
    """Start the image positions from sines and cosines, as strong as the patch embeddings."""
    visual = clip.visual
    with torch.no_grad():
        # White input of unit variance: the output's variance is the sum of the squared weights.
        strength = visual.conv1.weight.square().sum(dim=(1, 2, 3)).mean().sqrt()
        visual.positional_embedding[0] = 0
        visual.positional_embedding[1:] = strength * sincos_positions(
            visual.positional_embedding.shape[1]
        )


def clip_loss(
    clip: CLIP, pool: ScenePool, captions: CaptionBank, *, seed: int, step: int, steps: int
) -> torch.Tensor:
    """Return the loss of a step out of `steps`; `seed` and `step` decide all that is random."""
    rng = np.random.default_rng([seed, step])
    progress = step / steps
    if progress < WINDOW_PHASE or (progress < MIXED_PHASE and step % 4 == 0):
        batch = window_batch(pool, WINDOWS_PER_STEP, rng)
    else:
        batch = scene_batch(pool, SCENES_PER_STEP, rng)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = F.normalize(encode_views(clip, batch).float(), dim=-1)
        names = F.normalize(encode_texts(clip, captions.sample(rng)).float(), dim=-1)
        used = _placed_bank(batch.placed_names, rng)
        placed = F.normalize(encode_texts(clip, captions.placed[used]).float(), dim=-1)
    scale = clip.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
    named = multi_positive_loss(scale * images @ names.T, batch.names)
    return named + PLACE_WEIGHT * multi_positive_loss(
        scale * images @ placed.T, batch.placed_names[:, used]
    )


def _placed_bank(placed_names: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return numbers of `PLACED_BANK` captions: all that are right in the batch, and others."""
    order = torch.from_numpy(rng.permutation(placed_names.shape[1]))
    right = (placed_names[:, order] == POSITIVE).any(dim=0)
    return order[right.to(torch.uint8).sort(descending=True, stable=True).indices[:PLACED_BANK]]


def encode_views(clip: CLIP, batch: ClipBatch) -> torch.Tensor:
    """Return image embeddings [B, 128], not normalised, of views at their cells' positions."""
    visual = clip.visual
    patches = visual.conv1((batch.images - _MEAN) / _STD).flatten(2).transpose(1, 2)
    patches = patches + visual.positional_embedding[1 + batch.cells]
    summary = (visual.class_embedding + visual.positional_embedding[0]).expand(len(patches), 1, -1)
    tokens = visual.transformer(visual.ln_pre(torch.cat([summary, patches], dim=1)))
    embeddings: torch.Tensor = visual.ln_post(tokens[:, 0]) @ visual.proj
    return embeddings


def encode_texts(clip: CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """Return text embeddings [N, 128], not normalised, of tokens int64 [N, context].

    As `CLIP.encode_text`, but computed no farther than the longest text: attention is causal and
    the pooled token is the last of each text, so padding changes nothing.
    """
    length = int((tokens != 0).sum(dim=1).max())
    tokens = tokens[:, :length]
    embedded = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    hidden = clip.ln_final(clip.transformer(embedded, attn_mask=clip.attn_mask[:length, :length]))
    embeddings: torch.Tensor = (
        hidden[torch.arange(len(tokens)), tokens.argmax(dim=1)] @ clip.text_projection
    )
    return embeddings


def multi_positive_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return InfoNCE, both ways, for images with several right captions: mean over positive pairs.

    Each positive pair stands against the negatives of its row and then of its column; other
    positives and undecided pairs are in neither sum.

    Args:
        logits: [B, K].
        truth: int8 [B, K] of `POSITIVE`, `NEGATIVE` and `UNDECIDED`.
    """
    # Finite, so that a row or column without negatives has a zero gradient rather than none.
    negatives = logits.masked_fill(truth != NEGATIVE, -1e4)
    positive = truth == POSITIVE
    of_image = F.softplus(negatives.logsumexp(dim=1, keepdim=True) - logits)[positive].mean()
    of_text = F.softplus(negatives.logsumexp(dim=0, keepdim=True) - logits)[positive].mean()
    return (of_image + of_text) / 2
