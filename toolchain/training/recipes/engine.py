"""What training asks of a framework. keras_engine.py and torch_engine.py answer; one process holds only one of the two."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from toolchain.errors import EnvironmentFault
from toolchain.extras import quiet_stderr
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.training.recipes.recipe import FitPart, NetworkPart, Recipe, recipe_fault


class Batch(NamedTuple):
    """Samples (N, …) of one step, their targets, and of a classifier that is taught the teacher's probabilities (N, classes)."""

    x: Array
    targets: Array
    taught: Array | None = None


Batches = Iterable[Batch]
EXTRAS = {"keras": "keras", "torch": "torch"}


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes that share a training: this one's number, how many there are.

    wait: until all are here. agree: the number that process 0 gives.
    """

    number: int
    count: int
    wait: Callable[[], None]
    agree: Callable[[float], float]


ALONE = Processes(0, 1, lambda: None, lambda value: value)


class Engine(Protocol):
    """A network and its optimizer. Samples are (N, …) float32, channels last."""

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        ...

    def fit(self, batches: Batches, rate: Callable[[], float]) -> float:
        """One step a batch; the mean loss. All batches are taught, or none is. rate: the learning rate of the next step."""
        ...

    def predict(self, x: Array) -> Array:
        """Probabilities, or reconstructions."""
        ...

    def channels(self) -> Mapping[str, Array]:
        """By layer, how much each output channel weighs; only layers whose channels can be taken away."""
        ...

    def mask(self, kept: Mapping[str, Array]) -> None:
        """Hold the channels that are not kept at zero from now on."""
        ...

    def save(self, path: Path) -> None:
        """Write weights and optimizer."""
        ...

    def load(self, path: Path) -> None:
        """Read what `save` wrote."""
        ...

    def graph(self) -> Graph:
        """The network as it is, as Strop imports it. Raises ModelError E103 to E105."""
        ...

    def export(self, folder: Path) -> Path:
        """Write the network as a file that `strop compile` takes; for one in integers it holds them."""
        ...

    def fine_tuned(self, calibration: Array, fit: FitPart) -> Engine:
        """The same network in the device's integer arithmetic, to train on. Raises ModelError E104, DataError."""
        ...


def make_engine(
    recipe: Recipe, shape: tuple[int, ...], classes: int, network: NetworkPart | None = None, fit: FitPart | None = None
) -> Engine:
    """A fresh network. network, fit: other ones than the recipe's. Raises EnvironmentFault E404, DataError E208."""
    framework = recipe.framework
    chat: list[str] = []
    try:
        with quiet_stderr(chat):
            module = importlib.import_module(f"toolchain.training.recipes.{framework}_engine")
    except ModuleNotFoundError as fault:
        if fault.name is None or fault.name.startswith("toolchain"):
            sys.stderr.writelines(chat)
            raise
        hint = f"pip install 'strop[{EXTRAS[framework]}]'"
        raise EnvironmentFault(404, fault.name, f"recipes for {framework} need it, it is not installed", hint) from fault
    made: Engine = module.make(recipe, shape, classes, network or recipe.network, fit or recipe.fit)
    return made


def processes(recipe: Recipe) -> Processes:
    """Who trains together: what torchrun started, else this process alone."""
    if recipe.framework != "torch" or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    found: Processes = importlib.import_module("toolchain.training.recipes.torch_engine").started_together()
    return found


def own_network(spec: str, shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> Any:
    """What the user's function `module:function` makes of (shape, classes, **settings). Raises DataError E208."""
    name, _, function = spec.partition(":")
    try:
        build = cast("Callable[..., Any]", getattr(importlib.import_module(name), function))
    except (ImportError, AttributeError, ValueError) as fault:
        raise recipe_fault(spec, f"there is no such function: {fault!s:.100}", "Give module:function") from fault
    return build(shape, classes, **settings)
