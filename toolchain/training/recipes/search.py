"""Hardware-aware search: settings of a network that keep the target's limits, the most accurate of them found by optuna.

A candidate is priced by the compiler before anything is trained; one that does not fit is not trained at all. The best are then
trained in full and compiled within the limits; the settings with the least loss on the validation samples are trained once more,
on these samples, too.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.api.progress import Progress, silent
from toolchain.errors import DataError, ModelError, TargetError
from toolchain.extras import need
from toolchain.training.recipes.cost import LIMITS, Cost, layers_digest, predict
from toolchain.training.recipes.data import Data, batches, load_data
from toolchain.training.recipes.engine import make_engine
from toolchain.training.recipes.recipe import CompilePart, NetworkPart, Recipe, SearchPart, recipe_fault
from toolchain.training.recipes.state import write_json
from toolchain.training.recipes.tracking import Tracker
from toolchain.training.recipes.train import TEACHER, Rates, TrainResult, judged, train

TRIALS, FINALISTS, CHOSEN = "trials.journal", "finalists.json", "chosen.json"
TRIAL, NUMBER, BEST = "trial", "number", "best"
_UNPRICED = 1 << 30
"""How far off a network is that cannot be compiled at all."""
_STARTUP, _FRONT = 20, 4
"""Candidates at random before those that optuna thinks of; of how many one is for RAM, flash and latency, too."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate: its settings, what it would take, and its loss and share of right answers after a few epochs.

    network: a digest of its layers, empty where the settings make none. loss: None where it was not trained. accuracy: None for
    a reconstruction, too.
    """

    settings: Mapping[str, int]
    network: str
    cost: Cost | None
    loss: float | None
    accuracy: float | None

    def as_json(self) -> dict[str, object]:
        """The trial as one object."""
        cost = asdict(self.cost) if self.cost else None
        return {
            "settings": dict(self.settings),
            "network": self.network,
            "cost": cost,
            "loss": self.loss,
            "accuracy": self.accuracy,
        }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search came to. pareto: trials that none beats in loss, RAM, flash and latency together.

    finalists: trainings that never saw the validation samples. best: the training of the chosen settings on all samples.
    """

    trials: tuple[Trial, ...]
    pareto: tuple[Trial, ...]
    settings: Mapping[str, int]
    finalists: tuple[TrainResult, ...]
    best: TrainResult

    def as_json(self) -> dict[str, object]:
        """The result as one object."""
        return {
            "settings": dict(self.settings),
            "trials": [trial.as_json() for trial in self.trials],
            "pareto": [trial.as_json() for trial in self.pareto],
            "finalists": [each.as_json() for each in self.finalists],
            "best": self.best.as_json(),
        }


def search(recipe: Recipe, output: str | Path, tracker: Callable[[], Tracker], progress: Progress = silent) -> SearchResult:
    """Search the settings of a recipe's network into a folder; one that was cut off goes on.

    tracker: makes one for each training in full.
    Raises EnvironmentFault E404 without optuna, DataError E208 where no candidate keeps the limits, and what `train` raises.
    """
    part, limits = recipe.search, recipe.compile
    if part is None or limits is None or not part.space:
        raise recipe_fault(recipe.name, "it says nothing to search", "Add [search.space], for example filters = [4, 32]")
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = _kept(folder / FINALISTS, recipe)
    trials = _trials(recipe, part, limits, folder, progress, looks=chosen is None)
    fitting = [trial for trial in trials if trial.loss is not None]
    if not fitting:
        what = f"none of {len(trials)} candidates keeps the limits on {limits.target}"
        raise recipe_fault(recipe.name, what, "Widen search.space downwards, or the limits")
    if chosen is None:
        # Whoever starts again after this looks no further, whatever time was left.
        chosen = [trial.settings for trial in sorted(_unique(fitting), key=_loss)[: part.finalists]]
        write_json(folder / FINALISTS, {"recipe_sha256": recipe.digest, "settings": chosen})
    recipes = [replace(recipe, search=None, network=_network(recipe, settings)) for settings in chosen]
    teacher = folder / TEACHER
    trained = [train(own, folder / f"finalist-{n}", tracker(), progress, teacher) for n, own in enumerate(recipes, 1)]
    at = min(range(len(trained)), key=lambda n: trained[n].validation_loss)
    # How long to train is known by now, so nothing has to be kept aside.
    whole = replace(recipes[at], data=replace(recipe.data, validation=0.0), fit=replace(recipe.fit, patience=0))
    best = train(whole, folder / BEST, tracker(), progress)
    found = SearchResult(tuple(trials), _pareto(fitting), chosen[at], tuple(trained), best)
    write_json(folder / CHOSEN, found.as_json())
    return found


def _kept(path: Path, recipe: Recipe) -> list[Mapping[str, int]] | None:
    """The settings of the finalists, where they were chosen before. Raises DataError E205."""
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        if document["recipe_sha256"] != recipe.digest:
            raise DataError(205, str(path), "it is of another recipe's search", "Name another folder with -o")
        return [{str(name): int(value) for name, value in settings.items()} for settings in document["settings"]]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as fault:
        raise DataError(205, str(path), f"it cannot be read: {fault!s:.100}", "Remove it to choose anew") from fault


def _network(recipe: Recipe, settings: Mapping[str, int]) -> NetworkPart:
    return replace(recipe.network, settings={**recipe.network.settings, **settings})


def _trials(
    recipe: Recipe, part: SearchPart, limits: CompilePart, folder: Path, progress: Progress, *, looks: bool
) -> list[Trial]:
    """All candidates, those of an earlier start included; every one is on disk as soon as it is known. looks: for more."""
    studies = Studies(recipe, part, folder)
    found = list(studies.found)
    if not looks:
        return found
    data = load_data(recipe, progress)
    end = time.monotonic() + 60 * part.minutes
    while len(found) < part.trials and time.monotonic() < end:
        asked, settings = studies.ask(len(found))
        same = next((trial for trial in found if trial.settings == settings), None)
        trial = same or _tried(recipe, part, limits, data, settings, found)
        studies.tell(len(found), asked, trial, limits)
        found.append(trial)
        best = min(found, key=_loss)
        right = f"loss {_loss(best):.4f}" if best.accuracy is None else f"{best.accuracy:.1%}"
        progress("searching" if best.loss is None else f"searching, best {right}", len(found), part.trials)
    return found


def _optuna() -> Any:
    optuna = need("optuna", "train", "a recipe with [search]")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Studies:
    """Two studies of the same candidates: one minimizes the loss within the limits, the other RAM, flash and latency beside it.

    The second alone would look among ever smaller networks, the first would say little about what a smaller one can do.
    """

    def __init__(self, recipe: Recipe, part: SearchPart, folder: Path) -> None:
        optuna = _optuna()
        self._ranges = {name: optuna.distributions.IntDistribution(*bounds) for name, bounds in part.space.items()}
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / TRIALS)))
        self._both = []
        for name, aims in (("accuracy", 1), ("front", 4)):
            named = {"study_name": f"{recipe.digest}-{name}", "directions": ["minimize"] * aims, "load_if_exists": True}
            self._both.append(optuna.create_study(storage=storage, **named))
        known = [_finished(study) for study in self._both]
        stored = {**known[0], **known[1]}
        for study, own in zip(self._both, known, strict=True):
            # One that was cut off may have told only the first of the two.
            for number in sorted(stored.keys() - own.keys()):
                self._add(study, stored[number])
        for study in self._both:
            # Each draws numbers of its own, and others than before where a search goes on.
            seed = np.random.SeedSequence((recipe.seed, len(study.directions), len(stored))).generate_state(1)[0]
            with warnings.catch_warnings():
                # optuna calls multivariate sampling experimental.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.sampler = optuna.samplers.TPESampler(seed=int(seed), multivariate=True, n_startup_trials=_STARTUP)
        self.found = tuple(_told(stored[number].user_attrs[TRIAL]) for number in sorted(stored))

    def ask(self, number: int) -> tuple[Any, dict[str, int]]:
        """The next candidate, as optuna's trial and as settings."""
        asked = self._both[number % _FRONT == _FRONT - 1].ask(self._ranges)
        return asked, {name: int(asked.params[name]) for name in self._ranges}

    def tell(self, number: int, asked: Any, trial: Trial, limits: CompilePart) -> None:
        """What became of a candidate."""
        over = {"program": float(_UNPRICED)} if trial.cost is None else trial.cost.excess(limits)
        for name in LIMITS:
            asked.set_constraint(name, over.get(name, 0.0))
        asked.set_user_attr(TRIAL, trial.as_json())
        asked.set_user_attr(NUMBER, number)
        first, second = self._both if asked.study is self._both[0] else reversed(self._both)
        first.tell(asked, _figures(trial)[: len(first.directions)])
        self._add(second, first.get_trials(deepcopy=False)[asked.number])

    def _add(self, study: Any, stored: Any) -> None:
        told = _told(stored.user_attrs[TRIAL])
        study.add_trial(
            _optuna().trial.create_trial(
                params=stored.params,
                distributions=stored.distributions,
                values=_figures(told)[: len(study.directions)],
                user_attrs=stored.user_attrs,
                constraints=stored.constraints,
            )
        )


def _finished(study: Any) -> dict[int, Any]:
    """The trials of a study that were not cut off, by the candidate's number."""
    trials = study.get_trials(deepcopy=False)
    return {each.user_attrs[NUMBER]: each for each in trials if NUMBER in each.user_attrs and each.state.is_finished()}


def _told(facts: Mapping[str, Any]) -> Trial:
    return Trial(
        facts["settings"], facts["network"], Cost(**facts["cost"]) if facts["cost"] else None, facts["loss"], facts["accuracy"]
    )


def _figures(trial: Trial) -> list[float]:
    """Loss, RAM, flash, latency."""
    cost = trial.cost or Cost(_UNPRICED, _UNPRICED, _UNPRICED, False)
    return [_loss(trial), cost.ram_bytes, cost.flash_bytes, cost.latency_ms]


def _tried(
    recipe: Recipe, part: SearchPart, limits: CompilePart, data: Data, settings: Mapping[str, int], known: Sequence[Trial]
) -> Trial:
    """Price a candidate and, where it fits and no known one is the same network, train it for a few epochs."""
    fit = replace(recipe.fit, epochs=part.epochs, patience=0)
    engine = make_engine(recipe, data.shape, data.classes, _network(recipe, settings), fit)
    try:
        graph = engine.graph()
        network = layers_digest(graph)
        same = next((trial for trial in known if trial.network == network), None)
        if same is not None:
            return replace(same, settings=settings)
        cost = predict(graph, data.train.x, limits, recipe.features)
    except (TargetError, ModelError, ValueError):
        # Some settings make no network at all, such as windows larger than what is left of the image.
        return Trial(settings, "", None, None, None)
    if any(share > 0 for share in cost.excess(limits).values()):
        return Trial(settings, network, cost, None, None)
    steps = -(-len(data.train.x) // recipe.fit.batch)
    for epoch in range(part.epochs):
        engine.fit(batches(recipe, data.train, epoch), Rates(fit, epoch, steps))
    return Trial(settings, network, cost, *judged(engine.predict(data.validation.x), data.validation))


def _pareto(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """Those that none other equals or beats in all and beats in one."""

    def beaten(one: Sequence[float]) -> bool:
        return any(other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in map(_figures, trials))

    return tuple(trial for trial in _unique(trials) if not beaten(_figures(trial)))


def _unique(trials: Sequence[Trial]) -> list[Trial]:
    """One of those that are the same network: some settings change nothing beside others."""
    return list({trial.network: trial for trial in trials}.values())


def _loss(trial: Trial) -> float:
    return _UNPRICED if trial.loss is None else trial.loss
