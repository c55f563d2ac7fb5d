"""Prints how long calibration takes and how much memory it needs, each case in a process of its own.

    python -m benchmarks.quantization.times [--only mobilenet,rounding] [--data FOLDER]

Figures are of wall time and of the whole process, interpreter and engine included: run it on an idle machine.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quantization.models import pictures, words
from calibration.mixed import Budget
from calibration.prepare import Recipe, quantize_with, silent
from calibration.ranges import parse_method
from runtimes.onnxruntime_engine import float_executor
from targets.load import load_target
from toolchain.api.compiling import budget_of
from toolchain.frontends.load import load_model
from toolchain.ir.types import Array
from toolchain.passes.canonical import canonicalize
from toolchain.pipeline import CompileOptions

TARGET = "nucleo_l4r5zi"
SIZE = 224
BATCH = 10


@dataclass(frozen=True, slots=True)
class Pictures:
    """Samples that are drawn anew on every pass, so that none of them is held: -1…1, `size` by `size`."""

    count: int
    size: int

    def __iter__(self) -> Iterator[tuple[Array]]:
        for start in range(0, self.count, BATCH):
            for image in pictures(min(BATCH, self.count - start), self.size, start):
                yield (image[None] / 127.5 - 1,)


def _ranges_only() -> Recipe:
    return Recipe(parse_method("minmax"), "nearest")


def _words(data: Path, *, auto: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        case = words(Path(folder), data, 100)
    budget: Budget | None = budget_of(load_target(TARGET), CompileOptions("net", ("c",))) if auto else None
    start = time.perf_counter()
    quantize_with(case.graph, [(sample[None],) for sample in case.calibration], float_executor, Recipe(budget=budget), silent)
    return measured(start)


def _mobilenet(folder: Path, count: int, recipe: Recipe) -> dict[str, float]:
    start = time.perf_counter()
    graph = canonicalize(load_model(folder / "mobilenet"))
    quantize_with(graph, Pictures(count, SIZE), float_executor, recipe, silent)
    return measured(start)


def measured(start: float) -> dict[str, float]:
    """Seconds since start and the most memory that this process had, in GiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": time.perf_counter() - start, "gib": most}


CASES: dict[str, Callable[[Path, Path], dict[str, float]]] = {
    "kws": lambda _, data: _words(data, auto=False),
    "kws,auto": lambda _, data: _words(data, auto=True),
    "mobilenet,ranges": lambda folder, _: _mobilenet(folder, 100, _ranges_only()),
    "mobilenet,ranges,200": lambda folder, _: _mobilenet(folder, 200, _ranges_only()),
    "mobilenet,rounding": lambda folder, _: _mobilenet(folder, 100, Recipe()),
    "mobilenet,rounding,200": lambda folder, _: _mobilenet(folder, 200, Recipe()),
}
"""What is measured: a network, what is switched on (`auto` and `rounding` have everything), and samples where not 100."""


def write_mobilenet(path: Path) -> None:
    """MobileNetV2 of width 1 for 224 by 224 pictures, weights random, as a SavedModel."""
    tf: Any = importlib.import_module("tensorflow")
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.applications.MobileNetV2((SIZE, SIZE, 3), alpha=1.0, weights=None)
    model.export(str(path), verbose=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; with --case measure one case here and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=tuple(CASES), help="one case; may be repeated")
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "mlperf_tiny"
    parser.add_argument("--data", type=Path, default=beside, help="folder of the MLPerf Tiny models")
    parser.add_argument("--case", choices=(*CASES, "write"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case == "write":
        write_mobilenet(options.folder / "mobilenet")
        return 0
    if options.case is not None:
        print(json.dumps(CASES[options.case](options.folder, options.data)))
        return 0
    names = options.only or list(CASES)
    with tempfile.TemporaryDirectory() as folder:
        if any(name.startswith("mobilenet") for name in names):
            _child("write", Path(folder), options.data)
        print(f"{'':26} {'s':>8} {'GiB':>6}")
        for name in names:
            found = json.loads(_child(name, Path(folder), options.data).splitlines()[-1])
            print(f"{name:26} {found['seconds']:8.1f} {found['gib']:6.2f}", flush=True)
    return 0


def _child(case: str, folder: Path, data: Path) -> str:
    command = [
        sys.executable,
        "-m",
        "benchmarks.quantization.times",
        "--case",
        case,
        "--folder",
        str(folder),
        "--data",
        str(data),
    ]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
