"""Reads suites of `benchmarks/suites/*.toml` and runs them: models x targets, compiled and counted exactly."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import cast

from benchmarks.api import bench
from benchmarks.models import mobilenet_v2
from firmware.compilers import CompilerChoice
from targets.load import target_names
from targets.table import Table, parse_table
from toolchain.api import compile
from toolchain.api.progress import Progress, silent
from toolchain.backends.tflite.writer import write_tflite
from toolchain.errors import UsageError
from toolchain.ir.graph import Graph
from toolchain.lowering.variants import Objective

OBJECTIVES = ("speed", "ram", "size", "balanced")
NETWORKS: dict[str, Callable[[], Graph]] = {"mobilenet_v2_30_80": partial(mobilenet_v2, 0.30, 80, 1000)}


@dataclass(frozen=True, slots=True)
class SuiteModel:
    """A model of a suite: a file of the folder that the caller names, or one of NETWORKS. skip: passes to leave out."""

    name: str
    title: str
    file: str | None
    network: str | None
    skip: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """Models and targets, and what kernels are chosen for."""

    name: str
    optimize: Objective
    targets: tuple[str, ...]
    models: tuple[SuiteModel, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """Exact costs of one model on one target; cycles where they are modelled. predicted: instructions, before any run."""

    model: str
    target: str
    macs: int
    instructions: int
    cycles: int | None
    predicted: int
    arena_bytes: int
    stack_bytes: int
    code_bytes: int
    weight_bytes: int
    outputs_sha256: str
    runtime: str
    compiler: str


def suite_names() -> tuple[str, ...]:
    """Suites that come with Strop."""
    found = (entry.name for entry in (files("benchmarks") / "suites").iterdir() if entry.name.endswith(".toml"))
    return tuple(sorted(name.removesuffix(".toml") for name in found))


def load_suite(name: str) -> Suite:
    """The suite of a name. Raises UsageError(901) when there is none, TargetError(304) when its file is wrong."""
    if name not in suite_names():
        raise UsageError(901, "--suite", f"there is no suite {name!r}", f"Use one of: {', '.join(suite_names())}")
    table = parse_table((files("benchmarks") / "suites" / f"{name}.toml").read_bytes(), f"benchmarks/suites/{name}.toml")
    table.expect(("name", "optimize", "targets", "models"))
    models = table.table("models")
    return Suite(
        table.identifier("name"),
        cast("Objective", table.choice("optimize", OBJECTIVES)),
        table.choices("targets", target_names()),
        tuple(_model(name, models.table(name)) for name in models.values),
    )


def _model(name: str, table: Table) -> SuiteModel:
    table.expect(("title",), ("file", "network", "skip"))
    file = table.text("file") if "file" in table.values else None
    network = table.choice("network", tuple(NETWORKS)) if "network" in table.values else None
    if (file is None) == (network is None):
        raise table.fault("file", "or 'network' must be given, not both", "A model is a file or one of the known networks")
    return SuiteModel(name, table.text("title"), file, network, table.texts("skip") if "skip" in table.values else ())


def pairs(suite: Suite, models_dir: Path | None) -> Iterator[tuple[SuiteModel, str]]:
    """Every model that can be had, with every target."""
    for model in suite.models:
        if model.file is None or (models_dir is not None and (models_dir / model.file).is_file()):
            for target in suite.targets:
                yield model, target


def run_suite(
    suite: Suite,
    models_dir: Path | None,
    *,
    only: Sequence[tuple[str, str]] | None = None,
    compiler: CompilerChoice = "auto",
    progress: Progress = silent,
) -> list[Count]:
    """Count every model on every target. models_dir: where model files are; without it only NETWORKS run.

    only: (model, target) names to run. compiler: as of `bench`. Raises what compile and bench raise.
    """
    work = [(m, t) for m, t in pairs(suite, models_dir) if only is None or (m.name, t) in only]
    counts: list[Count] = []
    with tempfile.TemporaryDirectory(prefix="strop-suite-") as folder:
        for done, (model, target) in enumerate(work):
            progress(f"{suite.name}: {model.name} on {target}", done, len(work))
            file = _file(model, models_dir, Path(folder))
            counts.append(_count(suite, model, target, file, Path(folder), compiler))
    return counts


def _file(model: SuiteModel, models_dir: Path | None, folder: Path) -> Path:
    if model.network is None:
        return (models_dir or Path()) / str(model.file)
    path = folder / f"{model.network}.tflite"
    if not path.is_file():
        path.write_bytes(write_tflite(NETWORKS[model.network]()))
    return path


def _count(suite: Suite, model: SuiteModel, target: str, file: Path, folder: Path, compiler: CompilerChoice) -> Count:
    bundle = folder / f"{model.name}-{target}"
    compile(file, target, bundle, name="net", formats=("c",), optimize=suite.optimize, skip=model.skip)
    result = bench(bundle, compiler=compiler)
    found, plan = result.measurement, result.manifest
    assert found.instructions is not None
    assert plan.predicted is not None
    return Count(
        model.name,
        target,
        plan.macs,
        found.instructions,
        found.cycles,
        plan.predicted.instructions,
        found.arena_bytes,
        found.stack_bytes or 0,
        found.code_bytes or 0,
        found.rodata_bytes or 0,
        found.outputs_sha256,
        found.runtime,
        found.compiler,
    )
