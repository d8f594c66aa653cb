"""The fusion head's options, and its whole shape."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from regionspot_core.config import Config
from regionspot_core.errors import InputError
from regionspot_core.heads.fusion.token_grid import require_positions, token_grid
from regionspot_core.heads.shape import WIDEST, HeadNeeds, HeadShape
from regionspot_core.region_tokens import TokenChoice

MOST_PARAMETERS = 2**30
MOST_POSITIONS = 2**26
"""Numbers in the positions of all image tokens."""


class FusionOptions(Config):
    """The fusion head's options. The defaults are the paper's.

    The bounds are far beyond any head that learns from a cache: a larger value is a slip or a
    damaged file, and would take all memory.
    """

    layers: int = Field(default=3, ge=1, le=128)
    """Decoder layers."""
    heads: int = Field(default=8, ge=1, le=1024)
    """Attention heads of a layer."""
    ffn_width: int = Field(default=2048, ge=1, le=WIDEST)
    """Width of the feed-forward part."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of values that dropout takes away in training."""
    width: int | None = Field(default=None, ge=1, le=WIDEST)
    """W, the decoder's width. None: CLIP's. In another width each layer maps the image tokens
    straight to its keys and values."""
    norm: Literal["post", "pre"] = "post"
    """Place of LayerNorm: `post`, after each sum, as in the paper, or `pre`, before each branch."""
    activation: Literal["relu", "gelu"] = "relu"
    """Activation of the feed-forward part; the paper's is `relu`."""
    region_tokens: TokenChoice = "paper"
    """SAM's tokens of a region that the head sees, side by side: `paper`, mask token 0; `masks`,
    all mask tokens; `all`, those and the IoU token. The last two need a store of `--sam-tokens
    all`."""
    box_geometry: bool = False
    """Add an embedding of the region's box, of its Fourier features, to the region's query."""
    mask_geometry: bool = False
    """Add an embedding of SAM's mask of the region inside its box to the region's query; needs a
    store of `--region-masks`. SAM's tokens make the mask together with the image, and do not have
    the shape themselves."""
    region_embedding: Literal["residual", "query"] | None = None
    """Use of CLIP's own embedding of each region, out of a store of `--region-embedding`:
    `residual` adds it, by a learned weight that starts at 1, to the embedding that the head makes,
    so that the head learns what CLIP does not see; `query` adds a map of it to the region's
    query."""
    image_positions: Literal["sincos", "learned"] | None = None
    """Positions added to the image tokens before their keys are made, not their values."""
    image_pooling: int = Field(default=1, ge=1, le=256)
    """p: the grid of patch tokens is averaged over p × p before keys and values are made; p must
    divide the grid (14 for B/16, 16 for L/14, 24 at 336 pixels)."""
    shared_keys: bool = False
    """Make the image tokens' keys and values once, for all layers."""
    logit_scale: Literal["clip", "learned"] = "clip"
    """Scale of the logits. `clip`: the frozen CLIP's (100 for OpenAI's). `learned`: a scale and a
    bias that start at `initial_scale` and `initial_bias`."""
    initial_scale: float = Field(default=14.0, gt=0, le=1e6)
    """Learned scale at the start."""
    initial_bias: float = Field(default=0.0, ge=-1e6, le=1e6)
    """Learned bias at the start."""

    @field_validator("image_positions", "region_embedding", mode="before")
    @classmethod
    def _none_in_words(cls, value: object) -> object:
        return None if value == "none" else value  # TOML has no other word for it


class FusionConfig(HeadShape, FusionOptions):
    """Everything that builds a fusion head: options, then widths, the order that files keep."""

    region_bias: bool = True
    """Whether the map from region tokens has a bias; a published file may lack it."""

    @property
    def needs(self) -> HeadNeeds:
        """Tokens and boxes that the head takes of a batch."""
        takes_embeddings = self.region_embedding is not None
        return HeadNeeds(
            self.region_tokens, self.box_geometry, takes_embeddings, self.mask_geometry
        )

    @property
    def summary(self) -> str:
        """The head in a few words, for a table."""
        return (
            f"{self.layers} layers of {self.inner_width}, {self.heads} heads, FFN {self.ffn_width}"
        )

    @property
    def inner_width(self) -> int:
        """W, the decoder's width."""
        return self.image_width if self.width is None else self.width

    @property
    def size(self) -> int:
        """Numbers in the head's matrices and positions; biases, norms and scales add little."""
        width, memory = self.inner_width, self.image_width
        keys = 2 * memory * width
        layer = 4 * width**2 + 2 * width**2 + 2 * width * self.ffn_width
        all_keys = keys if self.shared_keys else keys * self.layers
        ends = self.region_token_count * self.region_width * width + width * self.text_width
        return ends + self.layers * layer + all_keys + self._positions

    @property
    def _positions(self) -> int:
        """Numbers in the positions, learned or not, of tokens that are not pooled."""
        if self.image_positions is None:
            return 0
        return (self.image_tokens or 0) * self.image_width

    @model_validator(mode="after")
    def _fits_in_memory(self) -> FusionConfig:
        if self._positions > MOST_POSITIONS:
            raise ValueError(
                f"expected positions of at most {MOST_POSITIONS:,} numbers, got "
                f"{self.image_tokens:,} image tokens of {self.image_width:,}"
            )
        if self.size > MOST_PARAMETERS:
            raise ValueError(
                f"expected a head of at most {MOST_PARAMETERS:,} parameters, got "
                f"{self.size:,}; lower layers, width or ffn_width"
            )
        return self

    @model_validator(mode="after")
    def _heads_divide_width(self) -> FusionConfig:
        if self.inner_width % self.heads:
            name = "image_width" if self.width is None else "width"
            raise ValueError(
                f"{name} must be a multiple of heads, got {self.inner_width} and {self.heads}"
            )
        return self

    @model_validator(mode="after")
    def _embeddings_are_named(self) -> FusionConfig:
        if (self.region_embedding is None) != (self.region_embeddings is None):
            raise ValueError(
                f"region_embedding={self.region_embedding} and embeddings by "
                f"{self.region_embeddings} do not fit together"
            )
        return self

    @model_validator(mode="after")
    def _tokens_fit(self) -> FusionConfig:
        if self.region_tokens == "paper" and self.region_token_count != 1:
            raise ValueError(
                f"region_tokens=paper is one token, got region_token_count="
                f"{self.region_token_count}"
            )
        try:
            require_positions(self.image_positions, self.image_tokens, self.image_width)
            if self.image_tokens is not None and self.image_pooling > 1:
                token_grid(self.image_tokens).pooled(self.image_pooling)
        except InputError as error:
            raise ValueError(str(error)) from None
        return self
