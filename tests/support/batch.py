"""Test support: many graphs, each a C program of its own, built by one compiler call and run together on the host.

A graph that cannot be compiled, or whose program crashes, fails alone; the others of the batch still run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firmware.compilers import find_compiler
from targets.load import load_target
from toolchain.errors import StropError
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.pipeline import CompileOptions, compile_model

# Kernels are compiled once for all shapes, and what the host's own gcc says of the C is asked for in full.
FLAGS = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-ffp-contract=off", "-DSTROP_KERNEL=static inline")
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Job:
    """A graph and one array for each of its inputs."""

    graph: Graph
    inputs: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job has no outputs. code: `E305` and the like, or `crash`."""

    code: str
    text: str


Result = tuple[Array, ...] | Failure

MAIN = """
#include <stdio.h>
#include <stdlib.h>
static void *block(size_t bytes) { /* of its own, so that a stray access meets a guard */
    void *memory = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (memory == NULL) exit(3);
    return memory;
}
static void take(void *memory, size_t bytes) {
    if (fread(memory, 1, bytes, stdin) != bytes) exit(4);
}
static void give(const void *memory, size_t bytes) { fwrite(memory, 1, bytes, stdout); }
"""


def run_batch(jobs: Sequence[Job], folder: Path, flags: Sequence[str] = FLAGS) -> list[Result]:
    """Outputs of every job in order. folder: where the C is written. Raises AssertionError when the C does not compile."""
    results: list[Result | None] = [None] * len(jobs)
    built: list[int] = []
    for index, job in enumerate(jobs):
        try:
            compiled = compile_model(job.graph, load_target("host"), CompileOptions(f"n{index}", ("c",), io="caller"))
        except StropError as fault:
            results[index] = Failure(fault.code, str(fault))
            continue
        for path, content in compiled.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        built.append(index)
    if built:
        program = _build(jobs, built, folder, flags)
        while built:
            built = _run(program, jobs, built, results)
    return [result if result is not None else Failure("crash", "nothing came back") for result in results]


def _build(jobs: Sequence[Job], built: Sequence[int], folder: Path, flags: Sequence[str]) -> Path:
    """The executable; its arguments are the numbers of the jobs to run."""
    functions = [_function(index, jobs[index].graph) for index in built]
    cases = "\n".join(f"        case {index}: run_{index}(); break;" for index in built)
    main = f"""int main(int count, char **arguments) {{
    for (int i = 1; i < count; ++i) {{
        switch (atoi(arguments[i])) {{
{cases}
        default: return 5;
        }}
        fflush(stdout);
    }}
    return 0;
}}
"""
    includes = "\n".join(f'#include "c/n{index}.c"' for index in built)
    (folder / "batch.c").write_text("\n".join([includes, MAIN, *functions, main]))
    compiler = find_compiler(load_target("host"))
    command = [*compiler.command, *compiler.flags, *flags, "-I.", "-Ic", "batch.c", "-o", "batch"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    return folder / "batch"


def _function(index: int, graph: Graph) -> str:
    name = f"N{index}"
    reads, writes = [value.type.bytes for value in graph.inputs], [value.type.bytes for value in graph.outputs]
    lines = [f"static void run_{index}(void) {{", f"    void *const arena = block({name}_ARENA_BYTES);"]
    lines += [f"    void *const in_{i} = block({size}); take(in_{i}, {size});" for i, size in enumerate(reads)]
    lines += [f"    void *const out_{i} = block({size});" for i, size in enumerate(writes)]
    arguments = ["arena", *(f"in_{i}" for i in range(len(reads))), *(f"out_{i}" for i in range(len(writes)))]
    lines += [f"    if (n{index}_run({', '.join(arguments)}) != 0) exit(2);"]
    lines += [f"    give(out_{i}, {size});" for i, size in enumerate(writes)]
    lines += [f"    free({argument});" for argument in arguments]
    return "\n".join([*lines, "}"])


def _run(program: Path, jobs: Sequence[Job], wanted: Sequence[int], results: list[Result | None]) -> list[int]:
    """Runs the wanted jobs until one crashes; fills in results, and returns the jobs after the crash."""
    sent = b"".join(np.ascontiguousarray(array).tobytes() for index in wanted for array in jobs[index].inputs)
    command = [str(program), *map(str, wanted)]
    try:
        done = subprocess.run(command, input=sent, capture_output=True, check=False, timeout=TIMEOUT_S)
        output, status = done.stdout, f"exit status {done.returncode}: {done.stderr.decode(errors='replace')[:300]}"
    except subprocess.TimeoutExpired as expired:
        output, status = expired.stdout or b"", f"no end after {TIMEOUT_S:.0f} s"
    at = 0
    for position, index in enumerate(wanted):
        graph = jobs[index].graph
        if at + sum(value.type.bytes for value in graph.outputs) > len(output):
            results[index] = Failure("crash", status)
            return list(wanted[position + 1 :])
        found: list[Array] = []
        for value in graph.outputs:
            raw = np.frombuffer(output, np.uint8, value.type.bytes, at)
            found.append(raw.view(value.type.dtype.numpy).reshape(value.type.shape))
            at += value.type.bytes
        results[index] = tuple(found)
    return []
