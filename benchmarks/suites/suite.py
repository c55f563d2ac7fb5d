"""Reads suites: models x targets x precisions, from `benchmarks/suites/*.toml` or a file of the user's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import cast, get_args

from benchmarks.models import mobilenet_v2
from targets.load import target_names
from targets.table import Table, parse_table
from toolchain.api.quantizing import PRECISIONS, Precision
from toolchain.errors import UsageError
from toolchain.ir.graph import Graph
from toolchain.lowering.variants import Objective

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
NETWORKS: dict[str, Callable[[], Graph]] = {"mobilenet_v2_30_80": partial(mobilenet_v2, 0.30, 80, 1000)}
ROUNDS, MOST_ROUNDS = 10, 1000


@dataclass(frozen=True, slots=True)
class SuiteModel:
    """A model of a suite: a file of the folder that the caller names, or one of NETWORKS.

    skip: passes to leave out. calibrate: DATA, where precisions need it; a path in it is relative to the same folder.
    """

    name: str
    title: str
    file: str | None
    network: str | None
    skip: tuple[str, ...]
    calibrate: str | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """Models, targets and precisions, and what kernels are chosen for.

    rounds: how often what is timed runs, each in a process of its own. folder: where model files are unless the caller says so,
    None for suites that come with Strop. sha256: of the file.
    """

    name: str
    optimize: Objective
    targets: tuple[str, ...]
    precisions: tuple[Precision, ...]
    models: tuple[SuiteModel, ...]
    rounds: int
    folder: Path | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Job:
    """One cell of a suite."""

    model: SuiteModel
    target: str
    precision: Precision

    @property
    def key(self) -> tuple[str, str, str]:
        """Names of the model, the target and the precision that was asked for."""
        return self.model.name, self.target, self.precision


def suite_names() -> tuple[str, ...]:
    """Suites that come with Strop."""
    found = (entry.name for entry in (files("benchmarks") / "suites").iterdir() if entry.name.endswith(".toml"))
    return tuple(sorted(name.removesuffix(".toml") for name in found))


def load_suite(name: str) -> Suite:
    """The suite of a name (`-` and `_` are the same), or of a .toml file.

    Raises UsageError(901) when there is none, TargetError(304) when its file is wrong.
    """
    if name.endswith(".toml"):
        try:
            return _parsed(Path(name).read_bytes(), name, Path(name).parent)
        except OSError as fault:
            raise UsageError(901, "--suite", f"{name} cannot be read ({fault.strerror})", "Check the path") from fault
    known = name.replace("-", "_")
    if known not in suite_names():
        what = f"there is no suite {name!r}"
        raise UsageError(901, "--suite", what, f"Use a .toml file or one of: {', '.join(suite_names())}")
    return _parsed((files("benchmarks") / "suites" / f"{known}.toml").read_bytes(), f"benchmarks/suites/{known}.toml", None)


def _parsed(content: bytes, file: str, folder: Path | None) -> Suite:
    table = parse_table(content, file)
    table.expect(("name", "optimize", "targets", "models"), ("precisions", "rounds"))
    models = table.table("models")
    precisions = table.choices("precisions", PRECISIONS) if "precisions" in table.values else ("auto",)
    return Suite(
        table.identifier("name"),
        cast("Objective", table.choice("optimize", OBJECTIVES)),
        table.choices("targets", target_names()),
        precisions,
        tuple(_model(name, models.table(name)) for name in models.values),
        table.integer("rounds", 1, MOST_ROUNDS) if "rounds" in table.values else ROUNDS,
        folder,
        hashlib.sha256(content).hexdigest(),
    )


def _model(name: str, table: Table) -> SuiteModel:
    table.expect(("title",), ("file", "network", "skip", "calibrate"))
    table.check_identifier("name", name)
    file = table.text("file") if "file" in table.values else None
    network = table.choice("network", tuple(NETWORKS)) if "network" in table.values else None
    if (file is None) == (network is None):
        raise table.fault("file", "or 'network' must be given, not both", "A model is a file or one of the known networks")
    skip = table.texts("skip") if "skip" in table.values else ()
    return SuiteModel(
        name, table.text("title"), file, network, skip, table.text("calibrate") if "calibrate" in table.values else None
    )


def jobs(suite: Suite, models_dir: Path | None) -> Iterator[Job]:
    """Every cell whose model can be had. models_dir: where model files are; None takes the suite's own folder."""
    folder = models_dir or suite.folder
    for model in suite.models:
        if model.file is None or (folder is not None and (folder / model.file).exists()):
            for target in suite.targets:
                for precision in suite.precisions:
                    yield Job(model, target, precision)
