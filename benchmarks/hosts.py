"""Latency on this machine beside LiteRT (XNNPACK) and ONNX Runtime, one thread each, on int8 networks.

    python -m benchmarks.hosts --models DIR [--target x86_64_linux] [--network kws …] [--rounds 5] [--compiler zig]

The engines take turns, so that what else the machine does meets all of them; a network's row is the median of the rounds. The
C program has to give the reference's bytes on a random input. The exit status is 1 where it does not. Nothing gates on time.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.models import mobilenet_v2
from firmware.compilers import CompilerChoice
from firmware.program import CProgram
from runtimes.host_engine import run_host
from runtimes.litert_engine import LiteRtModel
from targets.load import load_target
from targets.model import Target
from toolchain.backends.onnx.writer import write_onnx
from toolchain.backends.tflite.writer import write_tflite
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph
from toolchain.ir.optable import macs
from toolchain.ir.types import Array
from toolchain.passes.canonical import canonicalize
from toolchain.pipeline import CompileOptions, compile_model
from toolchain.reference.evaluator import evaluate

FILES = {"kws": "kws_int8.tflite", "resnet8": "ic_int8.tflite", "vww": "vww_int8.tflite"}
MOBILENET = "mobilenet_v2_224"
DEAD_CHANNELS = "drop_dead_channels"
SECONDS = 0.4
HEAD = f"{'network':18} {'Strop us':>10} {'LiteRT us':>10} {'ORT us':>10} {'of the faster':>14}  equal to the reference"


@dataclass(frozen=True, slots=True)
class Row:
    """Medians in microseconds, the median of the rounds' quotients, and whether every byte was right."""

    name: str
    own: float
    litert: float
    onnxruntime: float
    ratio: float
    exact: bool

    def __str__(self) -> str:
        times = f"{self.own:10,.1f} {self.litert:10,.1f} {self.onnxruntime:10,.1f}"
        return f"{self.name:18} {times} {self.ratio:13.2f}x  {'yes' if self.exact else 'NO'}"


def timed(run: Callable[[], object]) -> float:
    """The median of a call's time in microseconds, after warming up."""
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS / 4:
        run()
    taken: list[int] = []
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        before = time.perf_counter_ns()
        run()
        taken.append(time.perf_counter_ns() - before)
    return median(taken) / 1000


def litert(graph: Graph, x: Array) -> Callable[[], object]:
    """One inference of LiteRT with XNNPACK on one thread, inputs already there."""
    model = LiteRtModel(write_tflite(graph))
    model.run([x])
    return model.invoke


def onnxruntime(graph: Graph, x: Array) -> Callable[[], object]:
    """One inference of ONNX Runtime on one thread, buffers already bound."""
    runtime: Any = importlib.import_module("onnxruntime")
    options: Any = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session: Any = runtime.InferenceSession(write_onnx(graph), options, providers=["CPUExecutionProvider"])
    binding: Any = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, x)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding)


def compiled(graph: Graph, target: Target, folder: Path) -> CProgram:
    """The C program of a graph, compiled for speed."""
    made = compile_model(graph, target, CompileOptions("net", ("c",), objective="speed"))
    for path, content in made.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    if made.program is None:
        raise ValueError("the C format was asked for")
    section: Any = made.sections["c"]
    plan, outputs = made.program.plan, made.program.graph.outputs
    return CProgram(
        "net",
        folder,
        section["header"],
        tuple(section["sources"]),
        tuple(section["include_dirs"]),
        tuple(section["cflags"]),
        plan.first_bytes,
        plan.align,
        tuple(value.type.bytes for value in made.program.inputs),
        tuple(value.type.bytes for value in outputs),
    )


def measure(name: str, graph: Graph, own: Graph, target: Target, rounds: int, compiler: CompilerChoice) -> Row:
    """Time a network's engines in turns. own: the graph that the C program is made of."""
    type_ = graph.inputs[0].type
    x = np.random.default_rng(1).integers(-128, 128, type_.shape).astype(np.int8)
    peers = litert(graph, x), onnxruntime(graph, x)
    times: list[tuple[float, float, float]] = []
    exact = True
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(own, target, Path(folder))
        wanted = evaluate(graph, (x,))[graph.outputs[0].name].view(np.uint8).reshape(-1)
        for _ in range(rounds):
            runs = max(20, int(SECONDS * 1e6 / (times[-1][0] if times else 20_000)))
            sample = [x.view(np.uint8).reshape(1, -1)]
            result = run_host(program, target, sample, count=True, timed_runs=runs, compiler=compiler)
            exact = exact and np.array_equal(result.outputs[0][0], wanted)
            latency = result.measurement.latency_us or (float("nan"),)
            times.append((latency[0], timed(peers[0]), timed(peers[1])))
    columns = [median(column) for column in zip(*times, strict=True)]
    return Row(name, columns[0], columns[1], columns[2], median(own / min(a, b) for own, a, b in times), exact)


def work(graph: Graph) -> int:
    """Multiply-accumulates of one inference."""
    return sum(macs(node) for node in graph.nodes)


def networks(folder: Path | None) -> dict[str, Graph]:
    """The networks by name: those of the folder, and MobileNetV2 with random weights."""
    found = {} if folder is None else {name: load_model(folder / file) for name, file in FILES.items()}
    return {**found, MOBILENET: mobilenet_v2(1.0, 224, 1000)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row per network, and VWW again without its channels that never matter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, metavar="DIR", help=f"the folder of {', '.join(FILES.values())}")
    parser.add_argument("--target", default="x86_64_linux", help="what the C programs are compiled for")
    parser.add_argument("--network", nargs="*", help="only these")
    parser.add_argument("--compiler", choices=("auto", "gcc", "zig"), default="auto", help="what builds the C programs")
    parser.add_argument("--rounds", type=int, default=5, help="how often each engine takes its turn")
    options = parser.parse_args(arguments)
    print(HEAD)
    rows: list[Row] = []
    target = load_target(options.target)
    for name, graph in networks(options.models).items():
        whole, pruned = canonicalize(graph, skip=(DEAD_CHANNELS,)), canonicalize(graph)
        forms = {name: whole}
        if work(pruned) < work(whole):
            forms[f"{name}, pruned"] = pruned
        for title, own in forms.items():
            if not options.network or title in options.network:
                rows.append(measure(title, graph, own, target, options.rounds, options.compiler))
                print(rows[-1], flush=True)
    return 0 if all(row.exact for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
