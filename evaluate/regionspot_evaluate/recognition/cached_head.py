"""A head on the batches of a store, as evaluation and tuning ask it."""

from __future__ import annotations

from pathlib import Path

import torch

from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import CheckpointError, InputError
from regionspot_core.heads.cached import embed
from regionspot_core.heads.checkpoint import load_head, read_record
from regionspot_core.heads.stored import require_stored
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.recognition.baselines.names import BASELINE_TABLE, BaselineName
from regionspot_evaluate.recognition.baselines.zero_shot import ZeroShot
from regionspot_evaluate.recognition.head_fusion import HeadFusion


class CachedHead:
    """A head that names a store's regions.

    Args:
        folder: The head's folder.
        cache: The store.
        bank: Class embeddings of the vocabulary.
        device: Device of the head.
        fusion: How its scores are joined with CLIP's; None: they are not.

    Raises:
        CheckpointError: If there is no readable head, or its widths are not the store's.
        FingerprintError: If it was trained on other frozen models than the store's.
        InputError: If it, or the fusion, needs what the store does not keep.
    """

    def __init__(
        self,
        folder: Path,
        cache: FeatureCache,
        bank: ClassBank,
        *,
        device: torch.device,
        fusion: HeadFusion | None = None,
    ) -> None:
        if fusion is not None:
            _require_opinion(folder, cache, fusion)
            self._weights_K = fusion.weights(bank.vocabulary.names)
        _require_fit(folder, cache, bank)
        self._folder = folder
        self._fusion = fusion
        self._zero_shot = ZeroShot(bank)
        self._head = load_head(folder).to(device).eval()
        self._device = device
        self._kept = cache.plan.keep.sam_tokens
        self._classes_KD = torch.from_numpy(bank.embeddings).to(device)
        self._clip_scale = bank.logit_scale

    @torch.inference_mode()
    def logits(self, batch: FeatureBatch) -> torch.Tensor:
        """Return :meth:`own_logits`, joined with CLIP's opinion where there is a fusion."""
        return self.fused(batch, self.own_logits(batch))

    @torch.inference_mode()
    def own_logits(self, batch: FeatureBatch) -> torch.Tensor:
        """Return the head's logits (B, R, K) of a batch's regions; those of padding mean nothing.

        Raises:
            CheckpointError: If a logit is not finite.
        """
        embedded, mask = embed(self._head, batch, self._kept, self._device)
        logits = self._head.logits(embedded, self._classes_KD, self._clip_scale)
        if not torch.isfinite(logits[mask]).all():
            raise CheckpointError(
                f"{self._folder}: the head's logits are not finite; train it again"
            )
        return logits

    @torch.inference_mode()
    def fused(self, batch: FeatureBatch, logits: torch.Tensor) -> torch.Tensor:
        """Return the head's logits (B, R, K), joined with CLIP's opinion if there is a fusion."""
        if self._fusion is None:
            return logits
        opinion = torch.from_numpy(self._zero_shot.probabilities(batch.region_embeddings.float()))
        return self._fusion.settings.fuse(logits.cpu(), opinion, self._weights_K)


def stored_opinion(cache: FeatureCache) -> BaselineName | None:
    """Return the baseline whose embeddings of regions a store keeps; None where it keeps none."""
    kept = cache.plan.keep.region_embedding
    known = BASELINE_TABLE.items()
    return next((name for name, entry in known if entry.region_embeddings == kept), None)


def _require_opinion(folder: Path, cache: FeatureCache, fusion: HeadFusion) -> None:
    """Refuse scores joined with an opinion that a store knows nothing of."""
    stored, asked = stored_opinion(cache), fusion.settings.opinion
    if asked != stored:
        kept = f"the opinion of {stored} alone" if stored else "no opinion of CLIP's"
        raise InputError(
            f"{folder}: its scores are to be joined with {asked}, and {cache.stores[0].store} "
            f"keeps {kept}; score with `evaluate run`, or the head alone with --fuse none"
        )


def _require_fit(folder: Path, cache: FeatureCache, bank: ClassBank) -> None:
    """Refuse a head of other frozen models than the store's, or of tokens that it lacks."""
    record, store = read_record(folder), str(cache.stores[0].store)
    record.require_fit(cache.fingerprint["backbones"], what=str(folder))
    plan, config = cache.plan, record.config
    require_stored(config, plan, of=store)
    found = (plan.shape.region_width, plan.shape.image_width, bank.embeddings.shape[1])
    expected = (config.region_width, config.image_width, config.text_width)
    if expected != found:
        raise CheckpointError(
            f"{folder}: the head takes region tokens, image tokens and class embeddings of widths "
            f"{expected}, those of {store} are {found} wide; evaluate it on a store of its own SAM "
            f"and CLIP"
        )
