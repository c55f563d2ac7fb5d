"""Explain: where the old and the new float model differ, and what of a sample each looks at."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fleet.files import write_whole
from toolchain.errors import EnvironmentFault, RunError
from toolchain.ir.types import Array
from toolchain.loop.attribution import attributions
from toolchain.loop.disagree import compare, features_of, numbered
from toolchain.loop.gate import Answers
from toolchain.loop.picture import flat, sheet
from toolchain.loop.retrain import TestSet
from toolchain.loop.settings import ExplainPart
from toolchain.loop.store import whole_folder

FACTS = "explain.json"
BACKGROUND = 60
_LISTED = 20

Explainer = Callable[[Path, Array, Array, Array, int], Array]


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the test samples: how many, the shares both models have right, and that on which they disagree."""

    kind: str
    name: str
    samples: int
    old: float
    new: float
    differ: float

    def as_json(self) -> dict[str, object]:
        """The slice as one object."""
        return asdict(self)


def slices(answers: Sequence[Answers]) -> tuple[Slice, ...]:
    """Every test set as a whole, by class and by segment; those that change most come first."""
    found: list[Slice] = []
    for one in answers:
        parts: dict[str, Any] = {"all": one.y >= 0}
        parts |= {f"class {value}": one.y == value for value in sorted(set(one.y.tolist()))}
        parts |= {f"segment {name}": one.segment == name for name in sorted(set(one.segment.tolist())) if name}
        for name, chosen in parts.items():
            count = int(chosen.sum())
            if count:
                old, new = (float((each[chosen] == one.y[chosen]).mean()) for each in (one.old, one.new))
                differ = float((one.old[chosen] != one.new[chosen]).mean())
                found.append(Slice(one.kind, name, count, *(round(share, 4) for share in (old, new, differ))))
    return tuple(sorted(found, key=lambda each: (each.name != "all", -abs(each.new - each.old), each.kind, each.name)))


def explain_models(
    place: Path,
    models: tuple[Path, Path],
    background: Array,
    sets: Sequence[TestSet],
    answers: Sequence[Answers],
    settings: ExplainPart,
    explainer: Explainer = attributions,
) -> dict[str, Any]:
    """Write `explain.json` and pictures into a folder that is there whole or not at all; what the file holds.

    models: files of the old and the new one. background: samples that both were trained on. answers: theirs to the sets.
    Where SHAP cannot be asked, `attribution.missing` says why, and the rest is there.
    """
    with whole_folder(place) as folder:
        found = {
            "attribution": _attribution(folder, models, background, sets, settings, explainer),
            "disagreement": [_disagreement(one, said, settings) for one, said in zip(sets, answers, strict=True)],
        }
        write_whole(folder / FACTS, json.dumps(found, indent=1).encode())
    return found


def _attribution(
    folder: Path,
    models: tuple[Path, Path],
    background: Array,
    sets: Sequence[TestSet],
    settings: ExplainPart,
    explainer: Explainer,
) -> dict[str, Any]:
    if not settings.samples:
        return {"missing": "the loop's file asks for none"}
    chosen = [_some(one, settings) for one in sets]
    x, y = np.concatenate([one.x for one in chosen]).astype(np.float32), np.concatenate([one.y for one in chosen])
    rng = np.random.default_rng(settings.seed)
    usual = background[rng.permutation(len(background))[:BACKGROUND]].astype(np.float32)
    try:
        old, new = (np.abs(explainer(model, usual, x, y, settings.seed)) for model in models)
    except (EnvironmentFault, RunError) as fault:
        return {"missing": str(fault)}
    found, start = [], 0
    for one in chosen:
        part = slice(start, start + len(one.y))
        start += len(one.y)
        if len(one.y):
            found.append(_of_set(folder, one, old[part], new[part], settings.features))
    return {"sets": found, "background": len(usual)}


def _some(one: TestSet, settings: ExplainPart) -> TestSet:
    """A few samples of every class."""
    rng = np.random.default_rng(settings.seed)
    places = [rng.permutation(np.flatnonzero(one.y == value))[: settings.samples] for value in sorted(set(one.y.tolist()))]
    chosen = np.concatenate(places) if places else np.zeros(0, np.int64)
    return TestSet(one.kind, one.x[chosen], one.y[chosen], one.segment[chosen])


def _of_set(folder: Path, one: TestSet, old: Array, new: Array, names: Sequence[str]) -> dict[str, Any]:
    """What SHAP says of one test set. old, new: absolute attributions, as the samples are shaped."""
    classes = sorted(set(one.y.tolist()))
    rows = []
    for value in classes:
        mine = one.y == value
        before, after = (each[mine].mean(0).ravel() for each in (old, new))
        scale = float(np.linalg.norm(before) * np.linalg.norm(after))
        same = float(before @ after) / scale if scale else 1.0
        sums = {"old": round(float(before.sum()), 4), "new": round(float(after.sum()), 4)}
        rows.append({"class": int(value), "samples": int(mine.sum()), **sums, "same": round(same, 4)})
    return {
        "kind": one.kind,
        "samples": len(one.y),
        "classes": rows,
        "picture": _picture(folder, one, old, new, classes),
        "features": _ranked(one.x, old, new, names),
    }


def _picture(folder: Path, one: TestSet, old: Array, new: Array, classes: Sequence[int]) -> str | None:
    planes = [flat(each) for each in (one.x, old, new)]
    if any(each is None for each in planes):
        return None
    columns = [tuple(each[one.y == value].mean(0) for each in planes if each is not None) for value in classes]
    name = f"attribution-{one.kind}.png"
    write_whole(folder / name, sheet([(a, b, c) for a, b, c in columns]))
    return name


def _ranked(x: Array, old: Array, new: Array, names: Sequence[str]) -> list[dict[str, Any]]:
    """Features of vectors, and named ones of sequences, those first that changed most; none of images."""
    if x.ndim != 2 and (x.ndim != 3 or len(names) != x.shape[-1]):
        return []
    shares = []
    for each in (old, new):
        by_feature = each.reshape(-1, x.shape[-1]).mean(0)
        shares.append(by_feature / max(float(by_feature.sum()), 1e-12))
    order = np.argsort(-np.abs(shares[1] - shares[0]), kind="stable")[:_LISTED]
    listed = numbered(names, x.shape[-1])
    return [
        {"name": listed[place], "old": round(float(shares[0][place]), 4), "new": round(float(shares[1][place]), 4)}
        for place in order
    ]


def _disagreement(one: TestSet, said: Answers, settings: ExplainPart) -> dict[str, Any]:
    differ = said.old != said.new
    found = compare(features_of(one.x, settings.features), differ, settings.seed) if len(one.y) else ()
    return {"kind": one.kind, "samples": len(one.y), "differ": int(differ.sum()), "features": [each.as_json() for each in found]}
