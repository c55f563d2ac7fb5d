"""Test support: many single-node cases in one C program, run on the host and compared with the evaluator byte for byte."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.tuning.cases import TuningCase
from benchmarks.tuning.measure import graph_of
from firmware.compilers import find_compiler
from targets.load import load_target
from tests.property.cases import random_case
from toolchain.ir.attrs import Attrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor
from toolchain.pipeline import CompileOptions, compile_model
from toolchain.reference.evaluator import run_node

T = TypeVar("T")
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
OUTLINED = "-DSTROP_KERNEL=static inline"
CORTEX_M4 = ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-O2", "-ffreestanding")


@dataclass(frozen=True, slots=True)
class Place:
    """Where programs run: what they are compiled for, with which command, and what starts them."""

    target: str
    command: tuple[str, ...]
    runner: tuple[str, ...] = ()


def this_machine() -> Place:
    """The portable kernels on this machine."""
    compiler = find_compiler(load_target("host"))
    return Place("host", (*compiler.command, *compiler.flags))


@dataclass(frozen=True, slots=True)
class Case:
    """One node with its constant operands (by value name) and samples: per sample one array for every other operand."""

    node: Node
    samples: tuple[tuple[Array, ...], ...]
    constants: Mapping[str, Array] = field(default_factory=dict)


def quant(rng: np.random.Generator, dtype: DType = DType.I8, scale: tuple[float, float] = (1e-3, 1.0)) -> Quant:
    """A random per-tensor quantization; one zero point in three is an extreme one, those of int16 are 0."""
    low, high = dtype.limits
    zero = int(rng.choice([low, high, 0])) if rng.random() < 1 / 3 else int(rng.integers(low, high + 1))
    return per_tensor(float(np.exp(rng.uniform(*np.log(scale)))), 0 if dtype is DType.I16 else zero)


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices as it is (NumPy's own choice makes strings of enums)."""
    return choices[int(rng.integers(0, len(choices)))]


def value(name: str, shape: Sequence[int], dtype: DType, quantization: Quant | None = None) -> Value:
    """A value of the given type."""
    return Value(name, TensorType(tuple(int(size) for size in shape), dtype, quantization))


def random_array(rng: np.random.Generator, type_: TensorType) -> Array:
    """Stored values over the whole range of the element type; one array in six holds only the two extremes."""
    if type_.dtype is DType.BOOL:
        return rng.integers(0, 2, type_.shape).astype(np.bool_)
    low, high = type_.dtype.limits
    if rng.random() < 1 / 6:
        return rng.choice([low, high], type_.shape).astype(type_.dtype.numpy)
    return rng.integers(low, high, type_.shape, endpoint=True).astype(type_.dtype.numpy)


def make_case(
    rng: np.random.Generator,
    op: str,
    inputs: Sequence[Value],
    attrs: Attrs | None = None,
    quantization: Quant | None = None,
    constants: Mapping[str, Array] | None = None,
    samples: int = 3,
) -> Case:
    """A case with random samples for every operand that is no constant."""
    fixed = constants or {}
    entry = (
        make_node(op, inputs, ("y", "y2"), attrs, quantization)
        if op == "top_k"
        else make_node(op, inputs, ("y",), attrs, quantization)
    )
    free = [operand for operand in inputs if operand.name not in fixed]
    return Case(entry, tuple(tuple(random_array(rng, v.type) for v in free) for _ in range(samples)), fixed)


def drawn_case(op: str, cell: str, seed: int) -> Case:
    """A case of the shared generator with its own sample."""
    drawn = random_case(op, cell, seed)
    return Case(drawn.node, (drawn.samples,), drawn.constants)


def check_cases(
    cases: Sequence[Case], folder: Path, flags: Sequence[str] = ("-O1", OUTLINED, *SANITIZERS), place: Place | None = None
) -> list[str]:
    """Assert that the C of every case equals the evaluator on every byte of every sample. place: this machine where None.

    Returns the variants that ran.
    """
    graph = merged(cases)
    place = place or this_machine()
    variants = write_c(graph, folder, place.target)
    samples = [stream(cases, i) for i in range(len(cases[0].samples))]
    results = run_program(link(folder, flags, place), graph, samples, place.runner)
    for index, case in enumerate(cases):
        for sample, found in zip(case.samples, results, strict=True):
            expected = run_node(case.node, operands(case, sample))
            for wanted, output in zip(expected, case.node.outputs, strict=True):
                np.testing.assert_array_equal(found[f"n{index}_{output.name}"], wanted, err_msg=describe(case))
    return variants


def describe(case: Case) -> str:
    """The case in words, for a failed comparison."""
    values = (*case.node.inputs, *case.node.outputs)
    kinds = ", ".join(f"{v.name} {v.type.dtype}{list(v.type.shape)} {v.type.quant}" for v in values)
    return f"{case.node.op} {case.node.attrs} {kinds}"


def merged(cases: Sequence[Case]) -> Graph:
    """One graph of all cases; the names of case i begin with `n<i>_`."""
    return graph_of([TuningCase(case.node, case.constants) for case in cases])


def operands(case: Case, sample: Sequence[Array]) -> list[Array]:
    """The arrays of all operands of a case for one sample."""
    free = iter(sample)
    return [case.constants[v.name] if v.name in case.constants else next(free) for v in case.node.inputs]


def stream(cases: Sequence[Case], sample: int) -> bytes:
    """The bytes of one sample's inputs in the merged graph's order."""
    return b"".join(np.ascontiguousarray(array).tobytes() for case in cases for array in case.samples[sample])


def write_c(graph: Graph, folder: Path, target: str = "host") -> list[str]:
    """The graph's C with a main that reads samples from standard input and writes outputs; every tensor in its own allocation.

    Returns the variants that it calls.
    """
    compiled = compile_model(graph, load_target(target), CompileOptions("net", ("c",), io="caller"))
    for path, content in compiled.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "main.c").write_text(_main_source(graph))
    return [] if compiled.program is None else [call.variant for call in compiled.program.calls]


def _main_source(graph: Graph) -> str:
    sizes_in = [v.type.bytes for v in graph.inputs]
    sizes_out = [v.type.bytes for v in graph.outputs]
    arguments = [f"in[{i}]" for i in range(len(sizes_in))] + [f"out[{i}]" for i in range(len(sizes_out))]
    return f"""#include <stdio.h>
#include <stdlib.h>
#include "c/net.h"
static const size_t in_bytes[] = {{{", ".join(map(str, sizes_in))}}}, out_bytes[] = {{{", ".join(map(str, sizes_out))}}};
static void *in[{len(sizes_in)}], *out[{len(sizes_out)}], *arena; /* static: reachable to the leak checker */
int main(void) {{
    arena = aligned_alloc(NET_ARENA_ALIGN, NET_ARENA_BYTES);
    for (int i = 0; i < {len(sizes_in)}; ++i) in[i] = malloc(in_bytes[i]);
    for (int i = 0; i < {len(sizes_out)}; ++i) out[i] = malloc(out_bytes[i]);
    for (;;) {{
        for (int i = 0; i < {len(sizes_in)}; ++i)
            if (fread(in[i], 1, in_bytes[i], stdin) != in_bytes[i]) return i != 0;
        if (net_run(arena, {", ".join(arguments)}) != 0) return 2;
        for (int i = 0; i < {len(sizes_out)}; ++i) fwrite(out[i], 1, out_bytes[i], stdout);
    }}
}}
"""


def build(graph: Graph, folder: Path, flags: Sequence[str]) -> Path:
    """The host executable of the graph's C."""
    write_c(graph, folder)
    return link(folder, flags, this_machine())


def link(folder: Path, flags: Sequence[str], place: Place) -> Path:
    """The executable of what `write_c` wrote, all warnings errors."""
    command = [*place.command, *WARNINGS, "-ffp-contract=off", *flags, "-I.", "-Ic"]
    done = subprocess.run([*command, "c/net.c", "main.c", "-o", "net"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    return folder / "net"


def run_program(program: Path, graph: Graph, samples: Sequence[bytes], runner: Sequence[str] = ()) -> list[dict[str, Array]]:
    """Per sample the outputs by name."""
    done = subprocess.run([*runner, str(program)], input=b"".join(samples), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[:4000]
    results: list[dict[str, Array]] = []
    at = 0
    for _ in samples:
        found: dict[str, Array] = {}
        for output in graph.outputs:
            raw = np.frombuffer(done.stdout, np.uint8, output.type.bytes, at)
            found[output.name] = raw.view(output.type.dtype.numpy).reshape(output.type.shape)
            at += output.type.bytes
        results.append(found)
    assert at == len(done.stdout)
    return results
