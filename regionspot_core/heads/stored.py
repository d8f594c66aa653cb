"""Whether a store keeps what a head needs."""

from __future__ import annotations

from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.errors import InputError
from regionspot_core.heads.shape import HeadShape
from regionspot_core.region_tokens import EmbeddingSource, chosen_count


def require_stored(head: HeadShape, plan: CachePlan, *, of: str) -> None:
    """Refuse a store that lacks inputs of a head.

    Args:
        head: The head's shape.
        plan: The store's plan.
        of: Name of the store.

    Raises:
        InputError: If it does not keep the head's tokens, or no such region embeddings.
    """
    chosen_count(head.region_tokens, plan.shape.region_tokens, plan.keep.sam_tokens, of=of)
    if head.needs.region_masks and not plan.keep.region_masks:
        raise InputError(
            f"{of} keeps no masks of regions, which the head takes; extract it with "
            f"--region-masks, or set head.mask_geometry=false"
        )
    wanted = head.region_embeddings
    if wanted is not None and stored_embeddings(plan, of=of) != wanted:
        raise InputError(
            f"{of} keeps region embeddings of --region-embedding {plan.keep.region_embedding}, and "
            f"the head takes {wanted}; extract a store with --region-embedding {wanted}"
        )


def stored_embeddings(plan: CachePlan, *, of: str) -> EmbeddingSource:
    """Return how a store's region embeddings were made.

    Raises:
        InputError: If it keeps none.
    """
    kept = plan.keep.region_embedding
    if kept != "none":
        assert kept != "auto"  # plans say which it was
        return kept
    raise InputError(
        f"{of} keeps no region embeddings, which the head takes; extract it with "
        f"--region-embedding tokens, or set head.region_embedding=none"
    )
