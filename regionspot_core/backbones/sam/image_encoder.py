"""SAM's image encoder on segment-anything's modules, with attention that fits the device.

The modules and their weights stay as they are; only how a block runs is written here.
Shapes: B windows or images, n heads, h × w places, d values a head, N = h · w.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

SDPA_SCORES = 4 * 1024**2
"""Scores whose bias is made at once for PyTorch's attention on a CPU: what its caches hold."""
PRODUCT_SCORES = 1024**2
"""Scores that are held at once between matrix products; more leave a core's own cache."""

Attend = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor
]
"""Function of q, k, v (B, n, N, d), q scaled, and relative terms (B, n, N, h), (B, n, N, w)."""
_as_written: Callable[[Attend], Attend] = torch.compiler.disable
"""Not compiled: hundreds of blocks, unrolled, take minutes and twice the time."""


class SamImageEncoder(nn.Module):
    """A ``segment_anything`` image encoder: its values, to rounding, in less time."""

    def __init__(
        self,
        encoder: Any,  # noqa: ANN401 - a segment_anything ImageEncoderViT; the package is untyped
        attend: Attend | None = None,
    ) -> None:
        """Take the encoder, whose parameters are shared, not copied.

        Args:
            encoder: With its weights.
            attend: Way of attention; None for :func:`choose_attention`'s.
        """
        super().__init__()
        self.encoder = encoder
        self._attend = attend

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed normalised pixels (B, 3, side, side): (B, S, g, g)."""
        x = self.encoder.patch_embed(pixels)
        if self.encoder.pos_embed is not None:
            x = x + self.encoder.pos_embed
        for block in self.encoder.blocks:
            x = x + _attention(block.attn, block.norm1(x), block.window_size, self._attend)
            x = x + block.mlp(block.norm2(x))
        embedded: torch.Tensor = self.encoder.neck(x.permute(0, 3, 1, 2))
        return embedded


def _attention(
    attention: Any,  # noqa: ANN401 - a segment_anything Attention
    x_BhwC: torch.Tensor,
    window: int,
    attend: Attend | None,
) -> torch.Tensor:
    """Attend within windows, or over the image where ``window`` is 0."""
    qkv = attention.qkv(x_BhwC)
    if not window:
        return _projected(attention, _attended(attention, qkv, attend))
    height, width = x_BhwC.shape[1:3]
    windows = _attended(attention, _partition(qkv, attention.qkv.bias, window), attend)
    return _projected(attention, _joined(windows, height, width))


def _projected(
    attention: Any,  # noqa: ANN401 - as above
    x: torch.Tensor,
) -> torch.Tensor:
    projected: torch.Tensor = attention.proj(x)
    return projected


def _partition(qkv_BhwC: torch.Tensor, bias_C: torch.Tensor | None, window: int) -> torch.Tensor:
    """Cut into windows (B · windows, window, window, C).

    segment-anything pads with zeros before the projection, so a place of the padding has the
    projection's bias and takes part in attention. Here it gets the bias without being projected.
    """
    batch, height, width, channels = qkv_BhwC.shape
    down, across = -(-height // window), -(-width // window)
    if (down * window, across * window) != (height, width):
        shape = (batch, down * window, across * window, channels)
        fill = qkv_BhwC.new_zeros(1) if bias_C is None else bias_C.to(qkv_BhwC.dtype)
        padded = fill.expand(shape).contiguous()
        padded[:, :height, :width] = qkv_BhwC
        qkv_BhwC = padded
    cut = qkv_BhwC.view(batch, down, window, across, window, channels)
    return cut.transpose(2, 3).reshape(-1, window, window, channels)


def _joined(windows: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Undo :func:`_partition`; the padding is dropped."""
    window = windows.shape[1]
    down, across = -(-height // window), -(-width // window)
    grid = windows.view(-1, down, across, window, window, windows.shape[-1]).transpose(2, 3)
    return grid.reshape(-1, down * window, across * window, windows.shape[-1])[:, :height, :width]


def _attended(
    attention: Any,  # noqa: ANN401 - as above
    qkv_BhwC: torch.Tensor,
    attend: Attend | None,
) -> torch.Tensor:
    """Attend within each of B: (B, h, w, C)."""
    batch, height, width, _ = qkv_BhwC.shape
    heads = attention.num_heads
    q, k, v = qkv_BhwC.view(batch, height * width, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    if attention.use_rel_pos:
        vertical, horizontal = relative_terms(attention, q, (height, width))
        attend = attend or choose_attention(q.device, q.dtype)
        out = attend(q * attention.scale, k, v, vertical.to(q.dtype), horizontal.to(q.dtype))
    else:
        out = F.scaled_dot_product_attention(q, k, v, scale=attention.scale)
    return out.transpose(1, 2).reshape(batch, height, width, -1)


def relative_terms(
    attention: Any,  # noqa: ANN401 - as above
    q_BnNd: torch.Tensor,
    size: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what scores add by the key's row, (B, n, N, h), and by its column, (B, n, N, w).

    The decomposed relative positions of MViTv2 (arXiv 2112.01526, section 4.1).
    """
    places = q_BnNd.view(*q_BnNd.shape[:2], *size, -1)
    rows = _relative_positions(attention.rel_pos_h, size[0])
    columns = _relative_positions(attention.rel_pos_w, size[1])
    vertical = torch.einsum("bnhwd,hkd->bnhwk", places, rows)
    horizontal = torch.einsum("bnhwd,wkd->bnhwk", places, columns)
    return vertical.flatten(2, 3), horizontal.flatten(2, 3)


def _relative_positions(table: torch.Tensor, size: int) -> torch.Tensor:
    """Return positions of each place to each, (size, size, d), interpolated from other sizes."""
    if len(table) != 2 * size - 1:
        stretched = F.interpolate(table.float().t()[None], size=2 * size - 1, mode="linear")
        table = stretched[0].t()
    place = torch.arange(size, device=table.device)
    return table[place[:, None] - place[None] + size - 1]


def choose_attention(device: torch.device, dtype: torch.dtype) -> Attend:
    """Return the quickest way on a kind of device; ``benchmarks/sam_speed.py`` measures them.

    PyTorch's fused attention on a CPU multiplies 16-bit matrices at a fraction of the processor's
    rate, and in float32 gains nothing from longer vectors.
    """
    if device.type != "cpu":
        return attend_folded
    return attend_with_bias if dtype == torch.float32 else attend_in_products


def attend_folded(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, vertical: torch.Tensor,
    horizontal: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Run fused attention without any bias, so that no score ever reaches memory.

    A relative term is a product with a one-hot vector of the key's row or column: they become
    more values of q and k.
    """
    q, k = _folded(q, k, vertical, horizontal)
    # Of one width, as FlashAttention asks.
    wide = F.pad(v, (0, q.shape[-1] - v.shape[-1]))
    return F.scaled_dot_product_attention(q, k, wide, scale=1.0)[..., : v.shape[-1]]


@_as_written
def attend_with_bias(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, vertical: torch.Tensor,
    horizontal: torch.Tensor, *, at_once: int = SDPA_SCORES,
) -> torch.Tensor:  # fmt: skip
    """Run fused attention with the relative terms as its bias, ``at_once`` scores at a time."""
    shape = v.shape
    q, k, v = (x.flatten(0, 1)[:, None] for x in (q, k, v))
    vertical, horizontal = vertical.flatten(0, 1)[:, None], horizontal.flatten(0, 1)[:, None]
    out = torch.empty_like(v)
    for some, rows in _blocks(q, k, at_once):
        bias = vertical[some, :, rows, :, None] + horizontal[some, :, rows, None, :]
        out[some, :, rows] = F.scaled_dot_product_attention(
            q[some, :, rows], k[some], v[some], bias.flatten(-2), scale=1.0
        )
    return out.view(shape)


@_as_written
def attend_in_products(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, vertical: torch.Tensor,
    horizontal: torch.Tensor, *, at_once: int = PRODUCT_SCORES,
) -> torch.Tensor:  # fmt: skip
    """Multiply matrices with a softmax between, ``at_once`` scores at a time.

    The relative terms are folded into the first product, as in :func:`attend_folded`.
    """
    shape = v.shape
    q, k = (x.flatten(0, 1) for x in _folded(q, k, vertical, horizontal))
    v = v.flatten(0, 1)
    out = torch.empty_like(v)
    for some, rows in _blocks(q, k, at_once):
        scores = torch.bmm(q[some, rows], k[some].transpose(1, 2))
        out[some, rows] = torch.bmm(scores.softmax(-1).to(v.dtype), v[some])
    return out.view(shape)


def _folded(
    q: torch.Tensor, k: torch.Tensor, vertical: torch.Tensor, horizontal: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return q and k (B, n, N, d + h + w) whose products are scores with relative terms."""
    height, width = vertical.shape[-1], horizontal.shape[-1]
    row = torch.eye(height, dtype=k.dtype, device=k.device).repeat_interleave(width, dim=0)
    column = torch.eye(width, dtype=k.dtype, device=k.device).repeat(height, 1)
    which = torch.cat([row, column], dim=-1).expand(*k.shape[:-1], -1)
    return torch.cat([q, vertical, horizontal], dim=-1), torch.cat([k, which], dim=-1)


def _blocks(q: torch.Tensor, k: torch.Tensor, scores: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of the batch and of the queries (the last axis but one), ``scores`` a time."""
    queries, keys = q.shape[-2], k.shape[-2]
    rows = max(1, min(queries, scores // keys))
    together = max(1, scores // (rows * keys))
    for first in range(0, len(q), together):
        for start in range(0, queries, rows):
            yield slice(first, first + together), slice(start, start + rows)
