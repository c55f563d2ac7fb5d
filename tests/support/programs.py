"""Test support: compile a graph to C in a folder and run it somewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from firmware.program import CProgram
from targets.load import load_target
from targets.model import Target
from toolchain.backends.c.backend import CFiles
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.lowering.limits import Limits
from toolchain.lowering.lower import NO_LIMITS, InterfaceMode
from toolchain.lowering.program import Program
from toolchain.lowering.variants import Objective
from toolchain.pipeline import NO_MEMORIES, Compiled, CompileOptions, compile_model


def compile_c(
    graph: Graph,
    target: str | Target,
    folder: Path,
    name: str = "net",
    objective: Objective = "speed",
    io: InterfaceMode = "arena",
    memories: Mapping[str, int | None] = NO_MEMORIES,
    limits: Limits = NO_LIMITS,
    *,
    copy_weights: bool = False,
) -> tuple[Compiled, CProgram]:
    """The graph's C program for a target, written under `folder`."""
    device = load_target(target) if isinstance(target, str) else target
    options = CompileOptions(name, ("c",), io, limits, objective, memories=memories, copy_weights=copy_weights)
    compiled = compile_model(graph, device, options)
    for path, content in compiled.files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    assert compiled.program is not None
    flags = ("-O2", "-ffp-contract=off") if device.name == "host" else tuple(compiled.sections["c"]["cflags"])  # type: ignore[arg-type]
    printed = CFiles({}, f"c/{name}.h", (f"c/{name}.c",), ("c",), flags)
    return compiled, as_c_program(compiled.program, printed, name, folder, io)


def as_c_program(program: Program, printed: CFiles, name: str, folder: Path, io: InterfaceMode = "arena") -> CProgram:
    """What the builder is told of a printed program in a folder."""
    return CProgram(
        name,
        folder,
        printed.header,
        printed.sources,
        printed.include_dirs,
        printed.cflags,
        program.plan.first_bytes,
        program.plan.align,
        tuple(value.type.bytes for value in program.inputs),
        tuple(value.type.bytes for value in program.graph.outputs),
        io,
        program.inputs[0].type.shape[1] if io == "rows" else 0,
        tuple((bank.memory, bank.bytes) for bank in program.plan.further),
    )


def raw_inputs(graph: Graph, samples: Sequence[Sequence[Array]]) -> list[Array]:
    """Samples (one tuple of arrays each) as one (samples, bytes) uint8 array per input."""
    return [
        np.stack([np.ascontiguousarray(sample[i]).reshape(-1).view(np.uint8) for sample in samples])
        for i in range(len(graph.inputs))
    ]


def typed_outputs(graph: Graph, outputs: Sequence[Array]) -> list[Array]:
    """(samples, bytes) arrays as (samples, *shape) arrays of each output's element type."""
    return [
        np.ascontiguousarray(raw).view(value.type.dtype.numpy).reshape(len(raw), *value.type.shape)
        for raw, value in zip(outputs, graph.outputs, strict=True)
    ]
