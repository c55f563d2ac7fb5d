"""`strop tune`: measure, fit, write the table of a core; or hold the table to shapes that it has not seen."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from benchmarks.tuning.cases import MAKERS, tuning_cases
from benchmarks.tuning.code import measure_code
from benchmarks.tuning.fit import errors, fit_all
from benchmarks.tuning.measure import Entry, Row, bench_machine, entries, measure
from firmware.compilers import CompilerChoice, find_compiler
from runtimes.emulator import EngineChoice, profiler_label
from targets.costs import CodeCost, UnitCost
from targets.load import load_target
from targets.model import Target
from toolchain.api.progress import Progress, silent
from toolchain.errors import EnvironmentFault, UsageError

DIGITS = 5


@dataclass(frozen=True, slots=True)
class VariantFit:
    """How well the predictions of a variant agree with measurements, as shares; worst: the node of the largest error."""

    variant: str
    rows: int
    mean_error: float
    largest_error: float
    worst: str


@dataclass(frozen=True, slots=True)
class TuneReport:
    """What tuning or checking found. written: the table's file, None when nothing was written."""

    core: str
    tools: str
    fits: tuple[VariantFit, ...]
    written: Path | None

    def as_json(self) -> dict[str, object]:
        """`core`, `tools`, `written`, and `variants` by name with `rows`, `mean_error`, `largest_error`, `worst`."""
        found = {
            f.variant: {"rows": f.rows, "mean_error": f.mean_error, "largest_error": f.largest_error, "worst": f.worst}
            for f in self.fits
        }
        written = None if self.written is None else str(self.written)
        return {"core": self.core, "tools": self.tools, "written": written, "variants": found}


def tune(
    target: str,
    *,
    ops: Sequence[str] | None = None,
    place: str | None = None,
    compiler: CompilerChoice = "auto",
    seed: int = 1,
    output: Path | None = None,
    progress: Progress = silent,
) -> TuneReport:
    """Fit every variant of the operations (all by default) and write the table; variants not measured keep their costs.

    place: `emulator`, `unicorn` or `qemu`. Raises UsageError(901), TargetError (E3xx), EnvironmentFault (E4xx), RunError (E5xx).
    """
    device = load_target(target)
    work = _entries(device, ops, seed, chosen_only=False)
    rows, tools = _rows(device, work, place, compiler, progress)
    progress(f"sizing kernels of {device.core.name}")
    code = {**device.core.costs.code, **measure_code(work, device, compiler)}
    fitted = fit_all(rows)
    by_variant = _by_variant(rows)
    fits = tuple(_fit_of(name, by_variant[name], errors(by_variant[name], costs)) for name, costs in fitted.items())
    path = Path(str(files("targets") / "costs" / f"{device.core.name}.toml")) if output is None else output
    text = table_text(device.core.name, tools, {**device.core.costs.variants, **fitted}, code)
    try:
        path.write_text(text)
    except OSError as fault:
        raise UsageError(901, str(path), f"it cannot be written: {fault.strerror}", "Give another place with --output") from fault
    return TuneReport(device.core.name, tools, fits, path)


def check(
    target: str,
    *,
    ops: Sequence[str] | None = None,
    place: str | None = None,
    compiler: CompilerChoice = "auto",
    seed: int = 2,
    progress: Progress = silent,
) -> TuneReport:
    """How far the table's predictions are off for the variants that `speed` chooses. Raises as `tune`."""
    device = load_target(target)
    rows, tools = _rows(device, _entries(device, ops, seed, chosen_only=True), place, compiler, progress)
    fits = [
        _fit_of(name, found, np.array([row.predicted / row.instructions - 1 for row in found]))
        for name, found in sorted(_by_variant(rows).items())
    ]
    return TuneReport(device.core.name, tools, tuple(fits), None)


def _entries(device: Target, ops: Sequence[str] | None, seed: int, *, chosen_only: bool) -> list[Entry]:
    chosen = list(MAKERS) if ops is None else list(ops)
    for op in chosen:
        if op not in MAKERS:
            raise UsageError(901, "--op", f"{op!r} is not measured", f"Use one of: {', '.join(MAKERS)}")
    if device.core.architecture == "host":
        raise EnvironmentFault(403, device.name, "instructions are not counted on this machine", "Tune an emulated target")
    cases = [case for op in chosen for case in tuning_cases(op, seed)]
    return entries(cases, device, chosen_only=chosen_only)


def _rows(
    device: Target, work: Sequence[Entry], place: str | None, compiler: CompilerChoice, progress: Progress
) -> tuple[list[Row], str]:
    engine = _engine(place)
    stage = f"measuring {device.core.name}"
    rows = measure(work, device, engine=engine, compiler=compiler, progress=lambda done: progress(stage, done, len(work)))
    machine = bench_machine(device)
    return rows, f"{find_compiler(machine, compiler).label}, {profiler_label(machine, engine)}"


def _engine(place: str | None) -> EngineChoice:
    match place:
        case None | "emulator":
            return "auto"
        case "qemu" | "unicorn":
            return place
        case _:
            raise UsageError(901, "--on", f"{place!r} is no emulator", "Use emulator, qemu or unicorn")


def _by_variant(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.variant, []).append(row)
    return found


def _fit_of(name: str, rows: Sequence[Row], error: np.ndarray) -> VariantFit:
    size = np.abs(error)
    at = rows[int(size.argmax())].node
    shapes = " x ".join("x".join(map(str, value.type.shape)) for value in (*at.inputs[:2], at.output))
    return VariantFit(name, len(rows), float(size.mean()), float(size.max()), f"{at.op} {shapes}")


def table_text(core: str, tools: str, variants: Mapping[str, Mapping[str, UnitCost]], code: Mapping[str, CodeCost]) -> str:
    """The TOML text of a core's cost table."""
    lines = [
        "# What a unit of a kernel's work takes: [instructions, cycles at zero wait states], or [instructions] where cycles",
        "# are not modelled; and bytes of code: [what all shapes share, what a shape adds]. Written by `strop tune`; the units",
        "# are named in toolchain/lowering/kernels.",
        f'core = "{core}"',
        f'date = "{datetime.datetime.now(tz=datetime.UTC).date().isoformat()}"',
        f'tools = "{tools}"',
    ]
    for name in sorted(variants):
        lines += ["", f'[variants."{name}"]']
        lines += [f"{unit} = [{', '.join(_numbers(cost))}]" for unit, cost in variants[name].items()]
    lines += ["", "[code]"]
    lines += [f'"{name}" = [{code[name].shared_bytes:.0f}, {code[name].shape_bytes:.0f}]' for name in sorted(code)]
    return "\n".join(lines) + "\n"


def _numbers(cost: UnitCost) -> list[str]:
    found = [cost.instructions] if cost.cycles is None else [cost.instructions, cost.cycles]
    return [f"{number:.{DIGITS}g}" for number in found]
