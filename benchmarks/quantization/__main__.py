"""Prints how near int8 comes to the float model: Strop's own and that of other converters, on the same samples.

    python -m benchmarks.quantization [--table int8] [--only kws] [--data FOLDER] [--peer-python nncf=PYTHON]

Every peer runs in a process of its own, by this interpreter or by the one that --peer-python (or the environment variable
STROP_PEER_PYTHON for all) names. One that fails is printed with its last line.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.quantization.models import CASES, Case
from benchmarks.quantization.peers import PEERS, WEIGHT_PEERS, WIDE_PEERS
from calibration.metrics import Accuracy, Comparison
from calibration.mixed import Budget
from calibration.prepare import Recipe, quantize_with, silent
from calibration.ranges import parse_method
from calibration.rows import to_real
from calibration.store import store_fitted
from runtimes.onnxruntime_engine import float_executor
from targets.load import load_target
from toolchain.api.compiling import budget_of
from toolchain.api.quantizing import DYNAMIC, form_of
from toolchain.ir.graph import Graph
from toolchain.ir.quantization import quantize_array
from toolchain.ir.types import Array
from toolchain.lowering.limits import Limits
from toolchain.lowering.lower import lower
from toolchain.passes.dynamic_range import with_dynamic_range
from toolchain.passes.quantize import INT16X8
from toolchain.passes.store_weights import store_weights
from toolchain.pipeline import CompileOptions
from toolchain.reference.evaluator import run

WEIGHT_PRECISIONS = ("float16", "w8", "w4:64", "w4", "w4:16", DYNAMIC)
TARGET = "nucleo_l4r5zi"
FLASH_SHARE = 1.1
TIMEOUT_S = 1200
OWN = "strop"
HEAD = f"  {'':30} {'KL':>10} {'MSE':>10} {'SQNR dB':>8} {'agree %':>8} {'top-1 %':>8} {'s':>6} {'bytes':>8}"


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one case. found: None where it failed, with the reason. weight_bytes: 0 where nobody counts them."""

    name: str
    found: Accuracy | None
    seconds: float = 0.0
    reason: str = ""
    weight_bytes: int = 0

    def __str__(self) -> str:
        if self.found is None:
            return f"  {self.name:30} fails: {self.reason}"
        a = self.found
        top = "" if a.correct is None else f"{100 * a.correct / a.samples:.2f}"
        sqnr = "" if a.sqnr_db is None else f"{a.sqnr_db:.2f}"
        kl, agree = (float("nan") if x is None else x for x in (a.kl, a.agreement))
        size = f"{self.weight_bytes:,}" if self.weight_bytes else ""
        return f"  {self.name:30} {kl:10.3g} {a.mse:10.3g} {sqnr:>8} {100 * agree:8.2f} {top:>8} {self.seconds:6.1f} {size:>8}"


def judge(outputs: Array, case: Case, wanted: Array) -> Accuracy:
    """Figures of outputs (samples, …) against the float model's and the labels."""
    comparison = Comparison(case.name)
    for index, (output, reference) in enumerate(zip(outputs, wanted, strict=True)):
        label = None if case.labels is None else int(case.labels[index])
        comparison.add(output.reshape(-1), reference.reshape(-1), label)
    return comparison.result()


def float_outputs(case: Case) -> Array:
    """The float model's outputs for the test samples."""
    execute, name = float_executor(case.graph), case.graph.outputs[0].name
    return np.stack([execute([sample[None]])[name].reshape(-1) for sample in case.test])


def integer_outputs(graph: Graph, samples: Array) -> Array:
    """Real outputs of an integer graph by the reference evaluator."""
    type_ = graph.inputs[0].type
    stored = samples if type_.quant is None else quantize_array(samples, type_.dtype, type_.quant)
    return np.stack([to_real(run(graph, [sample[None]]), graph.outputs)[0].reshape(-1) for sample in stored])


def own_row(name: str, case: Case, wanted: Array, recipe: Recipe) -> Row:
    """Strop's int8 by a recipe."""
    start = time.perf_counter()
    found = quantize_with(case.graph, [(sample[None],) for sample in case.calibration], float_executor, recipe)
    seconds = time.perf_counter() - start
    return Row(name, judge(integer_outputs(found.graph, case.test), case, wanted), seconds)


def peer_row(peer: str, case: Case, folder: Path, wanted: Array, interpreter: str) -> Row:
    """A peer's int8, made and run in a process of its own."""
    output = folder / "peer.npy"
    output.unlink(missing_ok=True)
    script = str(Path(__file__).with_name("peers.py"))
    start = time.perf_counter()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    command = [interpreter, script, peer, str(folder), str(output)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, env=environment)
    except subprocess.TimeoutExpired:
        return Row(peer, None, reason=f"no end after {TIMEOUT_S} s")
    seconds = time.perf_counter() - start
    if done.returncode or not output.is_file():
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        return Row(peer, None, reason=lines[-1][:120] if lines else f"exit status {done.returncode}")
    found = np.load(output)
    if not np.isfinite(found).all() or found.shape != wanted.shape:
        return Row(peer, None, reason=f"outputs of shape {found.shape}, {wanted.shape} are needed, or not finite")
    counted = output.with_suffix(".bytes")
    return Row(peer, judge(found, case, wanted), seconds, weight_bytes=int(counted.read_text()) if counted.is_file() else 0)


def weight_row(precision: str, case: Case, wanted: Array, *, fitted: bool) -> Row:
    """Strop's weight-only precisions and dynamic range, fitted to the calibration samples or not, run by the evaluator."""
    form = form_of(precision)
    if form is None:
        raise ValueError(f"{precision} stores no weights")
    start = time.perf_counter()
    if fitted:
        samples = [(sample[None],) for sample in case.calibration]
        graph = store_fitted(case.graph, form, samples, len(samples), float_executor, silent).graph
    else:
        graph = store_weights(case.graph, form)
    if precision == DYNAMIC:
        graph = with_dynamic_range(graph)
    seconds = time.perf_counter() - start
    label = f"{OWN} {precision}{', calibrated' if fitted else ''}"
    size = lower(graph, load_target("host")).weight_bytes
    return Row(label, judge(integer_outputs(graph, case.test), case, wanted), seconds, weight_bytes=size)


def summary(rows: Sequence[Row], names: Container[str], own: Row) -> str:
    """Own figures as a share of the best peer's, each by itself. names: of the peers."""
    peers = [row.found for row in rows if row.name in names and row.found is not None]
    if not peers or own.found is None:
        return "  no peer to compare with"
    parts: list[str] = []
    for label, mine, theirs in (
        ("KL", own.found.kl, [peer.kl for peer in peers]),
        ("MSE", own.found.mse, [peer.mse for peer in peers]),
    ):
        known = [value for value in theirs if value is not None]
        if mine is not None and known:
            parts.append(f"{label} {mine / min(known):.2f} of the best peer's")
    louder = [peer.sqnr_db for peer in peers if peer.sqnr_db is not None]
    if own.found.sqnr_db is not None and louder:
        parts.append(f"SQNR {own.found.sqnr_db - max(louder):+.2f} dB to the best peer")
    return "  " + ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Setting:
    """What all tables have in common: the folder of models, interpreters by peer, and whether peers take part."""

    data: Path
    interpreters: Mapping[str, str]
    peers: bool = True

    def interpreter(self, peer: str) -> str:
        """What runs a peer."""
        return self.interpreters.get(peer.split(maxsplit=1)[0], self.interpreters["*"])

    def rows(self, peers: Iterable[str], case: Case, folder: Path, wanted: Array) -> list[Row]:
        """The rows of peers, printed as they come."""
        found: list[Row] = []
        for peer in peers if self.peers else ():
            found.append(peer_row(peer, case, folder, wanted, self.interpreter(peer)))
            print(found[-1], flush=True)
        return found


def run_int8(key: str, setting: Setting, recipes: Mapping[str, Recipe]) -> None:
    """One network: its table and what it comes to."""
    with tempfile.TemporaryDirectory() as name:
        case = CASES[key](Path(name), setting.data)
        wanted = float_outputs(case)
        print(f"{case.name}: calibrated on {len(case.calibration)}, tested on {len(case.test)} samples\n{HEAD}", flush=True)
        print(Row("float", judge(wanted, case, wanted)), flush=True)
        rows = setting.rows(PEERS, case, Path(name), wanted)
        for label, recipe in recipes.items():
            rows.append(own_row(label, case, wanted, recipe))
            print(rows[-1], flush=True)
        print(summary(rows, PEERS, next(row for row in rows if row.name == OWN)), flush=True)


def run_wide(key: str, setting: Setting) -> None:
    """One network's table of int16 activations: in all nodes, and where `auto` takes them within a tenth more flash than int8."""
    with tempfile.TemporaryDirectory() as name:
        case = CASES[key](Path(name), setting.data)
        wanted = float_outputs(case)
        head = f"{case.name}, int16 activations: calibrated on {len(case.calibration)}, tested on {len(case.test)} samples"
        print(f"{head}; bytes: flash on {TARGET}\n{HEAD}", flush=True)
        rows = setting.rows(WIDE_PEERS, case, Path(name), wanted)
        target, options = load_target(TARGET), CompileOptions("net", ("c",))
        budget = budget_of(target, options)
        for label, recipe in ((f"{OWN} int8", Recipe()), (OWN, Recipe(precisions=INT16X8))):
            rows.append(priced_row(label, case, wanted, recipe, budget))
            print(rows[-1], flush=True)
        most = int(FLASH_SHARE * rows[-2].weight_bytes)
        within = budget_of(target, replace(options, limits=Limits(1 << 20, most, 1e6)))
        rows.append(priced_row(f"{OWN} auto, {most:,} B of flash", case, wanted, Recipe(budget=within), budget))
        print(rows[-1], flush=True)
        print(summary(rows, WIDE_PEERS, next(row for row in rows if row.name == OWN)), flush=True)


def priced_row(name: str, case: Case, wanted: Array, recipe: Recipe, budget: Budget) -> Row:
    """Strop's row by a recipe, with the predicted flash."""
    start = time.perf_counter()
    found = quantize_with(case.graph, [(sample[None],) for sample in case.calibration], float_executor, recipe)
    seconds, price = time.perf_counter() - start, budget.price(found.graph)
    flash = 0 if price is None else price.weight_bytes + (price.code_bytes or 0)
    return Row(name, judge(integer_outputs(found.graph, case.test), case, wanted), seconds, weight_bytes=flash)


def run_weights(key: str, setting: Setting) -> None:
    """One network's table of weight-only precisions and dynamic range. bytes: of weights, scales and biases."""
    with tempfile.TemporaryDirectory() as name:
        case = CASES[key](Path(name), setting.data)
        wanted = float_outputs(case)
        print(f"{case.name}, weights alone: calibrated on {len(case.calibration)}, tested on {len(case.test)} samples\n{HEAD}")
        size = lower(case.graph, load_target("host")).weight_bytes
        print(Row("float", judge(wanted, case, wanted), weight_bytes=size), flush=True)
        setting.rows(WEIGHT_PEERS, case, Path(name), wanted)
        for fitted in (False, True):
            for precision in WEIGHT_PRECISIONS:
                print(weight_row(precision, case, wanted, fitted=fitted), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=tuple(CASES), help="one network; may be repeated")
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "mlperf_tiny"
    parser.add_argument("--data", type=Path, default=beside, help="folder of the MLPerf Tiny models")
    note = "interpreter for one peer: tflite, onnxruntime, nncf or ai-edge-quantizer; may be repeated"
    parser.add_argument("--peer-python", action="append", default=[], metavar="PEER=PYTHON", help=note)
    parser.add_argument("--no-peers", action="store_true", help="Strop's own figures alone")
    note = "int8 (default), wide (int16 activations) or weights (weights alone, and dynamic range); may be repeated"
    parser.add_argument("--table", action="append", choices=("int8", "wide", "weights"), help=note)
    parser.add_argument("--all-recipes", action="store_true", help="also every range algorithm, and rounding to nearest")
    options = parser.parse_args(arguments)
    interpreters = {"*": os.environ.get("STROP_PEER_PYTHON", sys.executable)}
    interpreters |= dict(text.split("=", 1) for text in options.peer_python)
    recipes = {OWN: Recipe()}
    if options.all_recipes:
        recipes |= {f"{OWN}, nearest": Recipe(rounding="nearest")}
        methods = ("minmax", "average", "percentile:99.99", "entropy", "mse")
        recipes |= {f"{OWN}, {text}": Recipe(parse_method(text)) for text in methods}
    setting = Setting(options.data, interpreters, not options.no_peers)
    for table in options.table or ("int8",):
        for key in options.only or CASES:
            match table:
                case "wide":
                    run_wide(key, setting)
                case "weights":
                    run_weights(key, setting)
                case _:
                    run_int8(key, setting, recipes)
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
