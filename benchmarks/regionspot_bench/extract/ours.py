"""Extraction as `extract run` does it, into a store, and its features beside the loop's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_bench.extract.config import ExtractBenchConfig, Shape
from regionspot_bench.extract.contents import Contents
from regionspot_bench.extract.loops import ImageFeatures, Models
from regionspot_core.backbones.clip.encoder import ClipEncoder
from regionspot_core.backbones.loading import BackboneConfig, Backbones
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.backbones.sam.encoder import SamEncoder
from regionspot_core.cache.layout.keep import Keep, RegionEmbedding
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.vocabulary_files import load_vocabulary
from regionspot_core.text.class_bank import ClassBank
from regionspot_core.text.embed import paper_text
from regionspot_extract.config import ExtractConfig
from regionspot_extract.encoding.stages import Clock
from regionspot_extract.run import run_extraction


def backbones_of(models: Models, shape: Shape, runtime: Runtime) -> Backbones:
    """Return the models behind our protocols, which may change them to be faster."""

    def no_texts(texts: list[str]) -> Any:  # noqa: ANN401 - never returns
        raise AssertionError("the class bank is made up, no text is embedded")

    return Backbones(
        SamEncoder(models.sam, name=shape.sam, runtime=runtime),
        ClipEncoder(models.clip, no_texts, name=shape.clip, runtime=runtime),
    )


class Ours:
    """`extract run` over generated contents."""

    def __init__(self, config: ExtractBenchConfig, backbones: Backbones, batch: int) -> None:
        self._config = config
        self._backbones = backbones
        self._batch = batch

    def prepare(self, contents: Contents) -> None:
        """Prepare what is not encoding: the weights' hashes, and a class bank."""
        clip = self._backbones.image_text_encoder
        vocabulary = load_vocabulary(file=contents.annotations)
        embeddings = np.zeros((len(vocabulary), clip.text_width), np.float32)
        embeddings[:, 0] = 1
        assert self._backbones.fingerprint  # hashed once, and kept
        ClassBank(
            vocabulary, embeddings, clip.logit_scale, paper_text(vocabulary), clip.fingerprint()
        ).save(_bank(contents))

    def extract(
        self,
        contents: Contents,
        store: Path,
        clock: Clock,
        *,
        embedding: RegionEmbedding = "auto",
    ) -> None:
        """Fill a new store, with CLIP's embeddings of the regions made this way."""
        config = ExtractConfig(
            images=contents.images,
            annotations=contents.annotations,
            out=store,
            bank=_bank(contents),
            backbones=BackboneConfig(device=self._config.device, precision=self._config.precision),
            batch_images=self._batch,
            workers=self._config.workers,
            keep=Keep(region_embedding=embedding),
        )
        run_extraction(config, backbones=self._backbones, clock=clock)


def agreement(store: Path, expected: list[ImageFeatures]) -> float:
    """Return the least cosine of the tokens of the store's first images with the loop's."""
    cache = FeatureCache(store)
    least = 1.0
    for index, features in enumerate(expected):
        batch = cache.read([index])
        regions = batch.region_tokens[batch.mask]
        for ours, theirs in (
            (batch.image_tokens[0], features.image_tokens),
            (regions, features.region_tokens),
        ):
            least = min(least, float(_cosines(np.asarray(ours, np.float32), theirs).min(initial=1)))
    return least


def _cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosines of vectors along the last axis."""
    assert ours.shape == theirs.shape
    norms = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.asarray((ours * theirs).sum(-1) / norms, np.float32)
    return np.nan_to_num(cosines, nan=-1)  # a token of zeros, never written, agrees with nothing


def _bank(contents: Contents) -> Path:
    return contents.annotations.with_name("bank.h5")
