"""Compile: a model for every target of the fleet and for this machine, each held to the reference byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from runtimes.onnxruntime_engine import float_executor
from toolchain.api import compile, verify
from toolchain.features.settings import FeatureSettings
from toolchain.frontends.load import load_model
from toolchain.ir.types import Array
from toolchain.loop.programs import HOST
from toolchain.loop.settings import LoopSettings
from toolchain.loop.store import whole_folder
from toolchain.passes.canonical import canonicalize
from toolchain.training.recipes.recipe import load_recipe
from toolchain.training.recipes.train import CALIBRATION

CHECKED_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Built:
    """A model on one target. Costs are the compiler's prediction, None where it has none."""

    target: str
    bit_exact: bool
    ram_bytes: int | None
    flash_bytes: int | None
    latency_ms: float | None

    def as_json(self) -> dict[str, object]:
        """The facts as one object."""
        return asdict(self)


def build(place: Path, trained: Path, model: str, settings: LoopSettings) -> tuple[Built, ...]:
    """Compile a trained folder's model into `place/TARGET` for every target and `host`; all of them are there, or none."""
    found: list[Built] = []
    features = load_recipe(settings.train.recipe).features
    with whole_folder(place) as folder:
        for target in (*settings.compile.targets, HOST):
            found.append(_one(folder / target, trained / model, target, settings, features))
    return tuple(found)


def _one(bundle: Path, model: Path, target: str, settings: LoopSettings, features: FeatureSettings | None) -> Built:
    integer, precision = model.suffix == ".tflite", settings.compile.precision
    made = compile(
        model,
        target,
        bundle,
        name=settings.name.replace("-", "_"),
        formats=("c",),
        precision="auto" if integer or precision == "auto" else "int16x8" if precision == "int16x8" else "int8",
        calibrate=None if integer else str(model.parent / CALIBRATION),
        features=features,
    )
    checked = verify(bundle, samples=CHECKED_SAMPLES)
    costs: Mapping[str, object] = made.as_json()
    ram, flash, predicted = (_numbers(costs[key]) for key in ("ram", "flash", "predicted"))
    return Built(
        target=target,
        bit_exact=checked.bit_exact and checked.passed,
        ram_bytes=None if not ram else int(sum(ram.values())),
        flash_bytes=None if not flash else int(sum(flash.values())),
        latency_ms=predicted.get("latency_ms"),
    )


def _numbers(part: object) -> dict[str, float]:
    return {str(key): value for key, value in part.items() if isinstance(value, int | float)} if isinstance(part, Mapping) else {}


def float_model(model: Path) -> Callable[[Array], Array]:
    """Reads a float model once; gives (n, classes) scores of samples x (n, …), channels last."""
    graph = canonicalize(load_model(model))
    run, name, shape = float_executor(graph), graph.outputs[0].name, graph.inputs[0].type.shape
    classes = graph.outputs[0].type.elements

    def scores(x: Array) -> Array:
        rows = [run([np.ascontiguousarray(one.reshape(shape), np.float32)])[name].reshape(classes) for one in x]
        return np.stack(rows) if rows else np.zeros((0, classes), np.float32)

    return scores
