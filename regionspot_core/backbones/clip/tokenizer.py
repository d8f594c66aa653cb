"""CLIP's tokenizers by the name of the model."""

from __future__ import annotations

from functools import cached_property

import torch

from regionspot_core.backbones.clip.encoder import Tokenizer
from regionspot_core.backbones.clip.open_clip_tags import quiet
from regionspot_core.errors import InputError
from regionspot_core.support.error_text import first_line


class NamedTokenizer:
    """open_clip's tokenizer of a model, made when first used.

    SigLIP's and the multilingual ones need the ``transformers`` package and files of their own;
    image tokens can be had without.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Token numbers (N, context length) of texts.

        Raises:
            InputError: The tokenizer's package or files are missing.
        """
        return self._tokenizer(texts)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        import open_clip

        try:
            with quiet():
                tokenizer: Tokenizer = open_clip.get_tokenizer(self._name)
        except Exception as error:  # whatever the missing package or network leads it to
            raise InputError(
                f"CLIP {self._name}: its tokenizer cannot be had ({first_line(error)}); it needs "
                f"`pip install transformers sentencepiece` and, the first time, a network"
            ) from None
        return tokenizer
