"""Which channels to take away. They are held at zero in training; compiling an int8 program then leaves them out whole."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolchain.ir.types import Array


def keep(weights: Mapping[str, Array], share: float) -> dict[str, Array]:
    """Per layer which channels stay (bool) when the given share of all of them goes: those that weigh least within their layer.

    weights: how much each channel weighs. Every layer keeps its heaviest one.
    """
    if not weights:
        return {}
    relative = {name: each / max(float(np.mean(each)), 1e-12) for name, each in weights.items()}
    every = np.sort(np.concatenate(list(relative.values())))
    bound = every[min(round(share * len(every)), len(every) - 1)]
    found: dict[str, Array] = {}
    for name, each in relative.items():
        kept = each >= bound
        kept[int(np.argmax(each))] = True
        found[name] = kept
    return found


def share_of_round(share: float, number: int, rounds: int) -> float:
    """The share that is gone after a round, counted from 1, when each takes the same part of what is left."""
    return float(1 - (1 - share) ** (number / rounds))
