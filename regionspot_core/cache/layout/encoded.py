"""From the models' features to the rows of a store's part arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.cache.layout.plan import CachePlan, Part
from regionspot_core.cache.layout.schema import features, part_arrays, scale_name


def encoded_tensors(plan: CachePlan, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Encode features on the device that they are on.

    Args:
        plan: The plan of their store.
        values: Rows of features, by name.

    Returns:
        The same rows of part arrays, by name: encoded values, and scales where there are any.
    """
    encoding, planned = plan.keep.encoding, features(plan)
    stored = {}
    for name, rows in values.items():
        axis = planned[name].scale_axis
        if axis is None:
            stored[name] = rows
            continue
        encoded = encoding.encode(rows, axis=axis)
        stored[name] = encoded.values
        if encoded.scales is not None:
            stored[scale_name(name)] = encoded.scales
    return stored


def encoded_features(plan: CachePlan, values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Encode features that are arrays, as :func:`encoded_tensors` does."""
    given = {name: torch.from_numpy(rows) for name, rows in values.items()}
    return {name: rows.numpy() for name, rows in encoded_tensors(plan, given).items()}


def zero_rows(plan: CachePlan, part: Part) -> dict[str, NDArray[Any]]:
    """Return a part's rows of all part arrays, by name, for features that are zeros."""
    planned = features(plan).values()
    one = encoded_features(plan, {f.name: np.zeros((1, *f.trailing), f.dtype) for f in planned})
    return {
        name: np.repeat(one[name], array.length(part), axis=0)
        for name, array in part_arrays(plan).items()
    }
