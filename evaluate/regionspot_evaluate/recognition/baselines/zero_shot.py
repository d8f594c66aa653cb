"""CLIP's own way from an embedding to classes (Radford et al. 2021, arXiv 2103.00020)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from regionspot_core.text.class_bank import ClassBank


class ZeroShot:
    """A softmax over a vocabulary of cosines times CLIP's own logit scale."""

    def __init__(self, bank: ClassBank) -> None:
        self._classes_KD = torch.from_numpy(bank.embeddings)
        self._scale = bank.logit_scale

    def probabilities(self, embedded_RD: torch.Tensor) -> NDArray[np.float32]:
        """Return (R, K) for embeddings (R, D) of any length above 0."""
        cosines_RK = F.normalize(embedded_RD.cpu(), dim=-1) @ self._classes_KD.T
        return (self._scale * cosines_RK).softmax(-1).numpy()
