"""Images that are held out of training, chosen by their ids alone."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from regionspot_core.errors import InputError
from regionspot_core.support.records import Record

HASH_BYTES = 6
"""Bytes of an image's hash: JSON keeps such a number exactly, and no two images share one."""


class Split(Record):
    """Part of a data set's images that a head did not learn from.

    An image is held out if the hash of the seed and its id is ``below`` or less. Its place in the
    file, the other images and the machine do not matter, so whoever has the id can tell.
    """

    share: float = Field(gt=0, lt=1)
    """Share of the images that was asked for."""
    seed: int = Field(ge=0)
    below: int = Field(ge=0, lt=2 ** (8 * HASH_BYTES))
    """Highest hash of a held-out image."""

    @classmethod
    def of(cls, image_ids: Iterable[int], *, share: float, seed: int) -> Split:
        """Return the split that holds out a share of these images, at least one of them.

        Raises:
            InputError: If no image would be left to learn from.
        """
        hashes = np.sort(seeded_hashes(image_ids, seed))
        count = held_out_count(len(hashes), share)
        if count >= len(hashes):
            raise InputError(
                f"a split of {share:g} holds out {count} of {len(hashes)} images with regions, "
                f"which leaves none to learn from; use a smaller share or more images"
            )
        return cls(share=share, seed=seed, below=int(hashes[count - 1]))

    def held_out(self, image_ids: Iterable[int]) -> NDArray[np.bool_]:
        """Return (I,) whether each of these images is held out."""
        return seeded_hashes(image_ids, self.seed) <= self.below


def held_out_count(count: int, share: float) -> int:
    """Return the number of images, or classes, that a share of them is: at least one."""
    return max(1, round(share * count))


def seeded_hashes(ids: Iterable[int | str], seed: int) -> NDArray[np.int64]:
    """Return (N,) the hash of the text ``seed id`` of each id or name: BLAKE2b, big-endian."""
    digests = (blake2b(f"{seed} {each}".encode(), digest_size=HASH_BYTES).digest() for each in ids)
    return np.fromiter((int.from_bytes(digest) for digest in digests), dtype=np.int64)
