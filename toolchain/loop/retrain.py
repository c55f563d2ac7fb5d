"""Train: a snapshot of old and new labelled samples, versioned by its digest, and the recipe on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.fleet.files import write_whole
from toolchain.errors import DataError
from toolchain.ir.types import Array
from toolchain.loop.settings import TrainPart
from toolchain.loop.store import whole_folder
from toolchain.loop.validate import Samples, check_samples, label_doubt
from toolchain.training.recipes.data import load_data
from toolchain.training.recipes.recipe import Recipe, load_recipe
from toolchain.training.recipes.tracking import Tracker
from toolchain.training.recipes.train import train

TRAIN, OLD_TEST, FIELD_TEST, DRIFTED_TEST = "train.npz", "old_test.npz", "field_test.npz", "drifted_test.npz"
FACTS = "snapshot.json"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a training saw. digest: SHA-256 of its arrays. field: labelled samples trained on, drifted: those of them
    from segments that drift, since they do. refused: with the reasons why.

    segments: field samples by segment. doubt: by class, `label_doubt`. sources: of old samples, each with `name`, `url`,
    `sha256` and `licence`.
    """

    digest: str
    old: int
    field: int
    drifted: int
    refused: Mapping[str, int]
    segments: Mapping[str, int]
    doubt: tuple[float, ...]
    sources: tuple[Mapping[str, str], ...] = ()

    def as_json(self) -> dict[str, object]:
        """The snapshot as one object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TestSet:
    """Samples no training saw. kind: `old`, `field` or `drifted`. segment: (n,) of each, empty texts for old ones."""

    kind: str
    x: Array
    y: Array
    segment: Array


def take_snapshot(place: Path, settings: TrainPart, recipe: Recipe, samples: Samples, classes: int) -> Snapshot:
    """Write the arrays of a training. Groups of samples go whole to training or to testing, by the digest of their names.

    Raises DataError E201, E203 where none hold.
    """
    checked = check_samples(samples, classes)
    good = samples.part(checked.good)
    if not len(good):
        raise DataError(203, "field samples", f"none of {len(samples):,} holds", "Let devices send others")
    old = load_data(recipe)
    tested = np.array([_share(str(group)) < settings.field_test for group in good.group])
    mine, field_test = good.part(~tested), good.part(tested)
    old_x, old_y = (
        np.concatenate(pair)
        for pair in ((old.train.x, old.validation.x), (_labels(old.train.labels), _labels(old.validation.labels)))
    )
    arrays = {
        TRAIN: {"x": np.concatenate([old_x, mine.x]), "y": np.concatenate([old_y, mine.y])},
        OLD_TEST: {"x": old.test.x, "y": _labels(old.test.labels), "segment": np.full(len(old.test.x), "", "U1")},
        FIELD_TEST: _fields(field_test.part(~field_test.drifted)),
        DRIFTED_TEST: _fields(field_test.part(field_test.drifted)),
    }
    digest = hashlib.sha256()
    for name in sorted(arrays):
        for key in sorted(arrays[name]):
            digest.update(f"{name}/{key}/{arrays[name][key].shape}".encode() + np.ascontiguousarray(arrays[name][key]).tobytes())
    names, counts = np.unique(good.segment, return_counts=True)
    found = Snapshot(
        digest=digest.hexdigest(),
        old=len(old_x),
        field=len(mine),
        drifted=int(mine.drifted.sum()),
        refused=checked.reasons,
        segments={str(name): int(count) for name, count in zip(names, counts, strict=True)},
        doubt=tuple(round(float(value), 4) for value in label_doubt(good.x, good.y, good.group, (old_x, old_y), classes)),
        sources=tuple(
            {key: getattr(source, key) for key in ("name", "url", "sha256", "licence")}
            for source in (recipe.data.sources.sources if recipe.data.sources is not None else ())
        ),
    )
    with whole_folder(place) as folder:
        for name, own in arrays.items():
            with (folder / name).open("wb") as stream:
                np.savez_compressed(stream, allow_pickle=False, **own)
        write_whole(folder / FACTS, json.dumps(found.as_json(), indent=1).encode())
    return found


def _fields(samples: Samples) -> dict[str, Array]:
    return {"x": samples.x, "y": samples.y, "segment": samples.segment}


def _labels(labels: Array | None) -> Array:
    if labels is None:
        raise DataError(206, "recipe", "the loop retrains classifiers", "Use task = 'classify'")
    return labels.astype(np.int64)


def _share(group: str) -> float:
    """A number of 0 to 1 that belongs to a group."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64


def retrain(place: Path, snapshot: Path | None, settings: TrainPart, tracker: Tracker) -> dict[str, object]:
    """Train the recipe on a snapshot, on its own samples where that is None. The result of `strop train`."""
    recipe = load_recipe(settings.recipe)
    # The fleet's targets are compiled for later, and checked there.
    recipe = replace(recipe, compile=None if recipe.fine_tune is None else recipe.compile, search=None)
    if snapshot is not None:
        data = replace(
            recipe.data, train=str(snapshot / TRAIN), test=str(snapshot / OLD_TEST), input="x", layout="channels_last", shape=()
        )
        # A snapshot has what networks take, features where the recipe's data are sound.
        recipe = replace(recipe, data=data, features=None)
    return train(recipe, place, tracker).as_json()


def test_sets(snapshot: Path) -> tuple[TestSet, ...]:
    """The samples of a snapshot that no training saw. Raises DataError E205."""
    found: list[TestSet] = []
    for kind, name in (("old", OLD_TEST), ("field", FIELD_TEST), ("drifted", DRIFTED_TEST)):
        try:
            with np.load(snapshot / name, allow_pickle=False) as stored:
                found.append(TestSet(kind, stored["x"], stored["y"], stored["segment"]))
        except (OSError, ValueError, KeyError, EOFError) as fault:
            raise DataError(205, str(snapshot / name), f"it cannot be read: {fault!s:.100}", "Take the snapshot again") from fault
    return tuple(found)
