"""A recipe's samples as arrays: real units, channels last, split by the recipe's seed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.data import load_samples
from toolchain.acquire.acquire import acquire
from toolchain.api.progress import Progress, silent
from toolchain.errors import DataError
from toolchain.features.extract import extract
from toolchain.features.sound import class_names, read_sound
from toolchain.ir.graph import Value
from toolchain.ir.types import Array, DType, TensorType
from toolchain.training.recipes.augment import AUGMENTS
from toolchain.training.recipes.engine import Batch
from toolchain.training.recipes.recipe import DataPart, Recipe, recipe_fault

_FILE = re.compile(r"^(?P<file>.+?\.(?:npz|npy))(?:\[.*\])?$")


@dataclass(frozen=True, slots=True)
class Split:
    """Samples x (N, …) float32 and their targets (N, …) float32: a row a class, or for a reconstruction the samples themselves.

    labels: class numbers, None for a reconstruction.
    """

    x: Array
    targets: Array
    labels: Array | None

    def part(self, chosen: Array) -> Split:
        """The samples at the given places."""
        return Split(self.x[chosen], self.targets[chosen], None if self.labels is None else self.labels[chosen])


@dataclass(frozen=True, slots=True)
class Data:
    """What is trained on, what decides when to stop, and what is never trained on. validation is `train` where none is kept."""

    train: Split
    validation: Split
    test: Split
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample, channels last."""
        return self.train.x.shape[1:]


def load_data(recipe: Recipe, progress: Progress = silent) -> Data:
    """Acquire what the recipe's sources bring, read and split its samples.

    Raises DataError E201 to E206, E208, E211 to E214, EnvironmentFault E404, RunError E505.
    """
    part = recipe.data
    if part.sources is not None:
        acquire(part.sources, progress=progress)
    x, labels = _read(part.train, recipe)
    held = round(part.validation * len(x))
    order = np.random.default_rng(recipe.seed if part.seed is None else part.seed).permutation(len(x))
    tested = None if part.test is None else _read(part.test, recipe)
    if tested is not None and tested[0].shape[1:] != x.shape[1:]:
        what = f"train has samples of {x.shape[1:]}, test of {tested[0].shape[1:]}"
        raise DataError(201, part.test or "", what, "Give samples of one shape")
    classes = 0
    if recipe.task == "classify":
        both = [one for one in (labels, None if tested is None else tested[1]) if one is not None]
        if labels is None or (tested is not None and tested[1] is None):
            raise DataError(206, part.train, "a classifier needs a label for every sample", "Add y, or use task = 'reconstruct'")
        classes = int(max(one.max() for one in both)) + 1
        if min(int(one.min()) for one in both) < 0 or not 2 <= classes <= 100_000:
            raise DataError(206, part.train, f"labels make {classes:,} classes", "Number classes from 0")
    whole = _split(x, labels, classes)
    train = whole.part(order[held:])
    validation = whole.part(order[:held]) if held else train
    test = validation if tested is None else _split(*tested, classes)
    return Data(train, validation, test, classes)


def _split(x: Array, labels: Array | None, classes: int) -> Split:
    if not classes:
        return Split(x, x, None)
    assert labels is not None
    return Split(x, np.eye(classes, dtype=np.float32)[labels], labels)


def resolved(spec: str, folder: Path) -> str:
    """DATA of a recipe with its file looked for beside the recipe; `module:function` stays."""
    return spec if Path(spec).is_absolute() or not (folder / re.sub(r"\[.*\]$", "", spec)).exists() else str(folder / spec)


def located(spec: str, recipe: Recipe) -> str:
    """DATA of a recipe with its file looked for among its sources where it begins with `@`, else beside the recipe."""
    found = recipe.data.sources.path(spec) if recipe.data.sources is not None and spec.startswith("@") else None
    return resolved(spec, recipe.folder) if found is None else found


def _read(spec: str, recipe: Recipe) -> tuple[Array, Array | None]:
    part, place = recipe.data, located(spec, recipe)
    if recipe.features is not None:
        names = class_names(located(part.train, recipe))
        clips, labels = read_sound(place, recipe.features, part.input, names)
        return extract(recipe.features, clips)[..., None], labels if recipe.task == "classify" else None
    shape = part.shape or _shape_of(place, part)
    value = Value(part.input, TensorType((1, *shape), DType.F32))
    taken = load_samples(place, (value,)).take()
    x = np.ascontiguousarray(taken.real[0], dtype=np.float32).reshape(-1, *shape)
    if part.layout == "channels_first" and x.ndim >= 3:
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    return x, taken.labels if recipe.task == "classify" else None


def _shape_of(place: str, part: DataPart) -> tuple[int, ...]:
    """The shape of a file's samples."""
    found = _FILE.match(place)
    if found is None:
        raise recipe_fault("data.shape", "is missing", "Only .npz and .npy files say the shape of a sample by themselves")
    try:
        loaded = np.load(found["file"], mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded.shape[1:]
        with loaded:
            name = part.input if part.input in loaded.files else "x"
            return tuple(int(size) for size in loaded[name].shape[1:])
    except (OSError, ValueError, KeyError, EOFError) as fault:
        raise DataError(205, place, f"no samples under '{part.input}' can be read: {fault!s:.100}", "Check data.input") from fault


def batches(
    recipe: Recipe, data: Split, epoch: int, share: tuple[int, int] = (0, 1), teacher: Callable[[Array], Array] | None = None
) -> Iterator[Batch]:
    """The batches of an epoch, shuffled and augmented by seed and epoch alone. share: (number, count) of processes.

    A process gets every count-th sample of a batch, so that all together see what one alone would.
    """
    rng = np.random.default_rng((recipe.seed, epoch))
    order = rng.permutation(len(data.x))
    size = recipe.fit.batch
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        x, targets = data.x[chosen], data.targets[chosen]
        for each in recipe.augments:
            x = AUGMENTS[each.kind].apply(x, each.settings, rng).astype(np.float32)
        if recipe.task == "classify" and recipe.fit.label_smoothing:
            targets = targets * (1 - recipe.fit.label_smoothing) + recipe.fit.label_smoothing / targets.shape[1]
        mine = slice(share[0], None, share[1])
        # All processes take part in a step, or none does.
        if len(x) >= share[1]:
            given = np.ascontiguousarray(x[mine])
            taught = None if teacher is None else teacher(given)
            yield Batch(given, np.ascontiguousarray(targets[mine], dtype=np.float32), taught)
