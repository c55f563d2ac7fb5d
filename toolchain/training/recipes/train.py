"""Train: from a recipe to a model, its bundle, and what it came to."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from calibration.data import load_samples
from toolchain.api import compile, verify
from toolchain.api.progress import Progress, silent
from toolchain.api.verifying import reference_outputs
from toolchain.bundle.read import read_bundle
from toolchain.errors import DataError, RunError
from toolchain.ir.types import Array
from toolchain.training.recipes.data import Data, Split, batches, load_data, located
from toolchain.training.recipes.engine import Engine, make_engine, processes
from toolchain.training.recipes.prune import keep, share_of_round
from toolchain.training.recipes.recipe import CompilePart, DistillPart, FitPart, NetworkPart, Recipe
from toolchain.training.recipes.state import BEST, WEIGHTS, Checkpoint, State, write_json
from toolchain.training.recipes.teach import Teacher
from toolchain.training.recipes.tracking import NoTracker, Tracker

RESULT, HISTORY, BUNDLE = "result.json", "history.jsonl", "bundle"
COSTS = ("ram", "flash", "macs", "predicted", "features")
TEACHER = "teacher"
CALIBRATION, TEST = "calibration.npz", "test.npz"
CALIBRATION_SAMPLES = 100
CHECKED_SAMPLES = 8
_TINY = 1e-7


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training came to. loss and accuracy are of the test samples, which decided nothing;
    validation_loss and validation_accuracy of those that decided when to stop.

    accuracy: share of right answers of the float network, None for a reconstruction. integer_accuracy: of the compiled program.
    bit_exact: the program on its target, or in the emulator, gave the reference's bytes; None where nothing was compiled.
    """

    folder: Path
    model: str
    parameters: int
    epochs: int
    loss: float
    accuracy: float | None
    validation_loss: float
    validation_accuracy: float | None
    integer_accuracy: float | None
    bit_exact: bool | None
    costs: Mapping[str, object]

    def as_json(self) -> dict[str, object]:
        """The result as one object."""
        return {**asdict(self), "folder": str(self.folder)}


def train(
    recipe: Recipe, output: str | Path, tracker: Tracker, progress: Progress = silent, teacher: Path | None = None
) -> TrainResult:
    """Train a recipe into a folder; one that was cut off goes on where it was, one that is done answers at once.

    teacher: the folder of networks of [distill] that are trained first; by default in the training's own.
    Raises DataError (E201 to E209, E211 to E214), ModelError, TargetError, EnvironmentFault (E404), RunError (E505).
    """
    folder = Path(output)
    known = _finished(folder, recipe)
    if known is not None:
        if Checkpoint(folder).folder.exists() and os.environ.get("RANK", "0") == "0":
            _close(known, folder, tracker if tracker.left(recipe.digest) else NoTracker())
        return known
    state = Checkpoint(folder).read(recipe.digest) or State(recipe.digest)
    models = _teachers(recipe, teacher or folder / TEACHER, progress)
    data = load_data(recipe, progress)
    taught = Teacher(models, data.shape, data.classes) if models else None
    return _Training(recipe, folder, state, data, taught, tracker, progress).run()


def _finished(folder: Path, recipe: Recipe) -> TrainResult | None:
    try:
        document: dict[str, Any] = json.loads((folder / RESULT).read_text())
        if document.pop("recipe_sha256") != recipe.digest:
            raise DataError(205, str(folder), "it holds another recipe's training", "Name another folder with -o")
        document["folder"] = folder
        return TrainResult(**document)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as fault:
        raise DataError(205, str(folder / RESULT), f"it cannot be read: {fault!s:.100}", "Remove it to train anew") from fault


class _Training:
    """One training: its network, where it stands, and what it writes."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        state: State,
        data: Data,
        teacher: Teacher | None,
        tracker: Tracker,
        progress: Progress,
    ) -> None:
        self.recipe, self.folder, self.data, self.teacher = recipe, folder, data, teacher
        self.tracker, self.progress = tracker, progress
        self.checkpoint = Checkpoint(folder)
        try:
            self.checkpoint.folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise RunError(
                505, str(folder), f"it cannot be written: {fault.strerror}", "Choose another folder with -o"
            ) from fault
        self.engine: Engine = make_engine(recipe, data.shape, data.classes)
        self.together = processes(recipe)
        self.state = state

    def run(self) -> TrainResult:
        """All phases, from where the state is."""
        network, given = self.recipe.network, asdict(self.recipe.fit)
        facts: dict[str, object] = {"framework": self.recipe.framework, "network": network.kind or network.python}
        facts |= {**network.settings, **{f"fit.{key}": value for key, value in given.items()}}
        if self.together.number == 0:
            self.tracker.begin(self.recipe.name, self.recipe.digest, facts)
        phases = self._phases()
        names = [name for name, _ in phases]
        if self.state.phase not in names:
            raise DataError(205, str(self.checkpoint.folder), f"it is in no phase '{self.state.phase}'", "Remove the folder")
        current = names.index(self.state.phase)
        masks = self.checkpoint.read_masks()
        if masks:
            self.engine.mask(masks)
        for number, (name, fit) in enumerate(phases):
            if number < current:
                continue
            if number > current or self.state.phase != name:
                self._enter(name)
            if name == "fine_tune":
                self.engine = self.engine.fine_tuned(self._calibration(), fit)
                self._phase(name, fit, keeps=False)
            else:
                self._phase(name, fit, keeps=True)
        self.together.wait()
        if self.together.number == 0:
            self._finish()
        self.together.wait()
        found = _finished(self.folder, self.recipe)
        assert found is not None
        return found

    def _phases(self) -> list[tuple[str, FitPart]]:
        recipe, found = self.recipe, [("fit", self.recipe.fit)]
        if recipe.prune is not None:
            tuned = _fit_with(recipe.fit, recipe.prune.epochs, recipe.fit.learning_rate / 2)
            found += [(f"prune:{number}", tuned) for number in range(1, recipe.prune.rounds + 1)]
        if recipe.fine_tune is not None:
            found.append(("fine_tune", _fit_with(recipe.fit, recipe.fine_tune.epochs, recipe.fine_tune.learning_rate)))
        return found

    def _enter(self, name: str) -> None:
        """Begin a phase: take channels away where it says so."""
        self.state.phase, self.state.done, self.state.best, self.state.best_epoch = name, 0, math.inf, 0
        if name.startswith("prune:") and self.recipe.prune is not None:
            prune = self.recipe.prune
            masks = keep(self.engine.channels(), share_of_round(prune.share, int(name[6:]), prune.rounds))
            self.checkpoint.write_masks(masks)
            self.engine.mask(masks)

    def _phase(self, name: str, fit: FitPart, *, keeps: bool) -> None:
        """Epochs of a phase, then its best weights. keeps: checkpoints are written."""
        state, checkpoint = self.state, self.checkpoint
        if state.done:
            self.engine.load(checkpoint.file(WEIGHTS, state))
        best_aside = self.folder / "checkpoint" / f"{name.replace(':', '-')}-unkept-{BEST}"
        while state.done < fit.epochs and not _stopped(state, fit):
            share = (self.together.number, self.together.count)
            given = batches(self.recipe, self.data.train, state.epoch, share, self.teacher)
            loss = self.engine.fit(given, Rates(fit, state.done, self._steps()))
            held, right = self.judge(self.data.validation)
            held = self.together.agree(held)
            if not math.isfinite(loss) or not math.isfinite(held):
                hint = "Lower fit.learning_rate, or scale the samples"
                raise DataError(209, self.recipe.name, f"epoch {state.epoch + 1} has a loss of {loss}", hint)
            state.epoch, state.done = state.epoch + 1, state.done + 1
            # Without samples that are kept aside nothing tells a better epoch, and the last one is kept.
            better = held < state.best or self.data.validation is self.data.train
            if better:
                state.best, state.best_epoch = held, state.done
            row: dict[str, float | str] = {"epoch": state.epoch, "loss": loss, "validation_loss": held}
            row |= {} if right is None else {"validation_accuracy": right}
            state.history.append({**row, "phase": name})
            if self.together.number == 0:
                self._keep(better, keeps, best_aside)
                self.tracker.metrics(state.epoch, {key: float(value) for key, value in row.items() if key != "epoch"})
            self.progress(f"{name}, {'loss' if right is None else f'{right:.1%} right, loss'} {held:.4f}", state.done, fit.epochs)
        self.together.wait()
        self.engine.load(checkpoint.file(BEST, state) if keeps else best_aside)

    def _keep(self, better: bool, keeps: bool, best_aside: Path) -> None:
        state, checkpoint = self.state, self.checkpoint
        if not keeps:
            if better:
                self.engine.save(best_aside)
            return
        if better:
            self.engine.save(checkpoint.file(BEST, state))
        self.engine.save(checkpoint.file(WEIGHTS, state))
        checkpoint.write(state)

    def _steps(self) -> int:
        return -(-len(self.data.train.x) // self.recipe.fit.batch)

    def judge(self, split: Split) -> tuple[float, float | None]:
        """Loss and share of right answers on samples."""
        return judged(self.engine.predict(split.x), split)

    def _calibration(self) -> Array:
        return self.data.train.x[:CALIBRATION_SAMPLES]

    def _finish(self) -> None:
        folder, recipe = self.folder, self.recipe
        self.progress("writing the model")
        loss, accuracy = self.judge(self.data.test)
        model = self.engine.export(folder)
        _save_samples(folder / CALIBRATION, self._calibration(), None)
        _save_samples(folder / TEST, self.data.test.x, self.data.test.labels)
        (folder / HISTORY).write_text("".join(json.dumps(row) + "\n" for row in self.state.history))
        compiled = _Compiled() if recipe.compile is None else _compiled(recipe, recipe.compile, model, folder, self.progress)
        held, right = self.judge(self.data.validation)
        found = TrainResult(
            folder=folder,
            model=model.name,
            parameters=self.engine.parameters,
            epochs=self.state.epoch,
            loss=loss,
            accuracy=accuracy,
            validation_loss=held,
            validation_accuracy=right,
            integer_accuracy=compiled.accuracy,
            bit_exact=compiled.exact,
            costs=compiled.costs,
        )
        write_json(folder / RESULT, {**found.as_json(), "recipe_sha256": recipe.digest})
        _close(found, folder, self.tracker)


def _close(found: TrainResult, folder: Path, tracker: Tracker) -> None:
    """Keep what a training came to with its course. Its checkpoint's folder is there, empty, until that is done."""
    checkpoint = Checkpoint(folder)
    checkpoint.clear()
    tracker.metrics(found.epochs, _numbers(found))
    tracker.end(folder, {"model": found.model, "bit_exact": str(found.bit_exact)})
    checkpoint.folder.rmdir()


@dataclass(frozen=True, slots=True)
class _Compiled:
    accuracy: float | None = None
    exact: bool | None = None
    costs: Mapping[str, object] = field(default_factory=dict)


def _compiled(recipe: Recipe, part: CompilePart, model: Path, folder: Path, progress: Progress) -> _Compiled:
    """Compile the model, count its right answers, and hold the program to the reference where the target is emulated."""
    place = folder / BUNDLE
    if place.exists():
        shutil.rmtree(place)
    calibrated = model.suffix != ".tflite" and part.precision != "float32"
    made = compile(
        model,
        part.target,
        place,
        name=recipe.name.replace("-", "_"),
        precision="auto" if model.suffix == ".tflite" else part.precision,
        calibrate=str(folder / CALIBRATION) if calibrated else None,
        optimize=part.optimize,
        max_ram_bytes=part.max_ram_bytes,
        max_flash_bytes=part.max_flash_bytes,
        max_latency_ms=part.max_latency_ms,
        progress=progress,
        features=recipe.features,
    )
    progress("checking")
    exact = verify(place, data=f"{folder / TEST}[0:{CHECKED_SAMPLES}]")
    told = made.as_json()
    costs = {key: cost for key, cost in told.items() if key in COSTS}
    right = exact.bit_exact and (exact.features is None or exact.features.passed)
    return _Compiled(_integer_accuracy(place, folder / TEST), right, costs)


def _integer_accuracy(bundle: Path, samples: Path) -> float | None:
    """The share of right answers in the device's arithmetic, None without labels."""
    graph = read_bundle(bundle).graph()
    taken = load_samples(str(samples), graph.inputs).take()
    if taken.labels is None:
        return None
    answers = reference_outputs(graph, taken.stored)[0]
    return float(np.mean(answers.reshape(len(answers), -1).argmax(1) == taken.labels))


class Rates:
    """The learning rate of every step of a phase, from an epoch on."""

    def __init__(self, fit: FitPart, epoch: int, steps: int) -> None:
        self._fit, self._step, self._total = fit, epoch * steps, max(fit.epochs * steps, 1)

    def __call__(self) -> float:
        """The rate of the next step."""
        part = self._step / self._total
        self._step += 1
        return self._fit.learning_rate * (1.0 if self._fit.schedule == "constant" else 0.5 * (1 + math.cos(math.pi * part)))


def judged(found: Array, split: Split) -> tuple[float, float | None]:
    """Mean loss of predictions, and their share of right answers."""
    if split.labels is None:
        return float(np.mean((found - split.targets) ** 2)), None
    likely = np.clip(found, _TINY, 1.0)
    loss = -float(np.mean((split.targets * np.log(likely)).sum(1)))
    return loss, float(np.mean(found.argmax(1) == split.labels))


def _teachers(recipe: Recipe, folder: Path, progress: Progress) -> list[Path]:
    """The models that teach a recipe's network. folder: of networks that are trained first."""
    part = recipe.distill
    if part is None:
        return []
    if part.network is None:
        return [Path(located(part.teacher, recipe))]
    models = []
    for number, own in enumerate(teacher_recipes(recipe, part, part.network), 1):
        found = train(own, folder / str(number), NoTracker(), _Of(progress, number, part.networks))
        models.append(found.folder / found.model)
    progress("reading the teachers")
    return models


def teacher_recipes(recipe: Recipe, part: DistillPart, network: NetworkPart) -> list[Recipe]:
    """Recipes of the networks that teach another recipe's."""
    fit = replace(recipe.fit, epochs=part.epochs or recipe.fit.epochs)
    first = replace(recipe, network=network, augments=part.augments or recipe.augments, fit=fit)
    first = replace(first, prune=None, distill=None, fine_tune=None, compile=None, search=None)
    # What is kept aside of the network is kept aside of all its teachers.
    kept = replace(recipe.data, seed=recipe.seed if recipe.data.seed is None else recipe.data.seed)
    return [replace(first, seed=(recipe.seed + number) % (1 << 31), data=kept) for number in range(part.networks)]


class _Of:
    """Progress of one teacher of several."""

    def __init__(self, progress: Progress, number: int, count: int) -> None:
        self._progress, self._name = progress, f"teacher {number} of {count}"

    def __call__(self, stage: str, done: int = 0, total: int = 0) -> None:
        self._progress(f"{self._name}: {stage}", done, total)


def _fit_with(fit: FitPart, epochs: int, rate: float) -> FitPart:
    return FitPart(epochs, fit.batch, rate, fit.schedule, fit.weight_decay, fit.label_smoothing, 0)


def _stopped(state: State, fit: FitPart) -> bool:
    return bool(fit.patience) and state.done - state.best_epoch >= fit.patience


def _save_samples(path: Path, x: Array, labels: Array | None) -> None:
    arrays = {"x": x} if labels is None else {"x": x, "y": labels}
    with path.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def _numbers(found: TrainResult) -> dict[str, float]:
    """The result's numbers, with costs by dotted names."""
    numbers = {"test_loss": found.loss, "parameters": float(found.parameters)}
    named: dict[str, object] = {"test_accuracy": found.accuracy, "integer_accuracy": found.integer_accuracy}
    for key, value in found.costs.items():
        named |= {f"{key}.{name}": part for name, part in value.items()} if isinstance(value, Mapping) else {key: value}
    return numbers | {key: float(value) for key, value in named.items() if isinstance(value, int | float)}
