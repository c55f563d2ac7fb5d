"""Where two models disagree: features of those samples against features of the others, by how much their distributions differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from toolchain.ir.types import Array

BINS, TRIES = 8, 200
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature. divergence: Jensen-Shannon, in bits, of its distribution where models disagree and where they agree.

    usual: what 95 of 100 random choices of as many samples stay below. edges: (bins + 1,) of values. differ, agree: shares.
    """

    name: str
    divergence: float
    usual: float
    edges: tuple[float, ...]
    differ: tuple[float, ...]
    agree: tuple[float, ...]

    def as_json(self) -> dict[str, object]:
        """The feature as one object."""
        return asdict(self)


def features_of(x: Array, names: Sequence[str]) -> dict[str, Array]:
    """What is compared of samples x (n, …), each (n,): named or numbered entries of vectors, figures of images and sequences."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    if x.ndim == 2:
        return {name: flat[:, place] for place, name in enumerate(numbered(names, x.shape[1]))}
    found = {"mean": flat.mean(1), "deviation": flat.std(1), "lowest": flat.min(1), "highest": flat.max(1)}
    if x.ndim == 4:
        along = [np.abs(np.diff(x, axis=axis)).reshape(len(x), -1).mean(1) for axis in (1, 2)]
        found["sharpness"] = np.asarray(sum(along), np.float64)
        weight = np.abs(x).sum(-1).astype(np.float64) + 1e-9
        for name, axis in (("middle, down", 1), ("middle, across", 2)):
            places = np.arange(x.shape[axis]).reshape((1, -1, 1) if axis == 1 else (1, 1, -1))
            found[name] = (weight * places).sum((1, 2)) / weight.sum((1, 2))
    elif names:
        found |= {f"mean of {name}": x[:, :, place].mean(1) for place, name in enumerate(numbered(names, x.shape[-1]))}
    return found


def numbered(names: Sequence[str], count: int) -> tuple[str, ...]:
    """The names where there are as many as wanted, else numbers."""
    return tuple(names) if len(names) == count else tuple(f"feature {place}" for place in range(count))


def divergence(one: Array, other: Array) -> float:
    """Jensen-Shannon divergence of two histograms of counts, in bits: 0 for equal ones, 1 for such that share no bin."""
    p, q = one / max(one.sum(), 1), other / max(other.sum(), 1)
    middle = (p + q) / 2

    def against(part: Array) -> float:
        some = part > 0
        return float((part[some] * np.log2(part[some] / middle[some])).sum())

    return max(0.0, (against(p) + against(q)) / 2)


def compare(features: Mapping[str, Array], differ: Array, seed: int) -> tuple[Feature, ...]:
    """Features by how far their divergence exceeds the usual one, at most 12. differ: (n,) where models disagree."""
    if not differ.any() or differ.all():
        return ()
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(differ) for _ in range(TRIES)]
    found = [_feature(name, values, differ, shuffled) for name, values in features.items() if np.ptp(values) > 0]
    return tuple(sorted(found, key=lambda each: (each.usual - each.divergence, each.name))[:_SHOWN])


def _feature(name: str, values: Array, differ: Array, shuffled: Sequence[Array]) -> Feature:
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)))
    bins = len(edges) - 1
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)

    def counts(chosen: Array) -> Array:
        return np.bincount(place[chosen], minlength=bins).astype(np.float64)

    usual = float(np.quantile([divergence(counts(each), counts(~each)) for each in shuffled], 0.95))
    mine, others = counts(differ), counts(~differ)
    return Feature(
        name,
        round(divergence(mine, others), 4),
        round(usual, 4),
        tuple(round(float(edge), 5) for edge in edges),
        tuple(round(float(share), 4) for share in mine / mine.sum()),
        tuple(round(float(share), 4) for share in others / others.sum()),
    )
