"""Measures single nodes on a core: every case with every variant that takes it, many in one program, each call told apart."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.tuning.cases import TuningCase
from firmware.compilers import CompilerChoice
from firmware.program import CProgram
from runtimes.emulator import STAND_INS, EngineChoice, profile_emulated
from targets.load import load_target
from targets.model import Target
from toolchain.backends.c.backend import print_c
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import Array
from toolchain.lowering.cost import Work
from toolchain.lowering.kernels.common import Variant
from toolchain.lowering.lower import lower
from toolchain.lowering.program import Program
from toolchain.lowering.variants import candidates

MOST_ENTRIES = 24
MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A case to be run by one variant."""

    case: TuningCase
    variant: Variant


@dataclass(frozen=True, slots=True)
class Row:
    """What one entry took. predicted: instructions by the core's table as it was; cycles where they are modelled."""

    node: Node
    variant: str
    work: Work
    predicted: float
    instructions: int
    cycles: int | None


def bench_machine(target: Target) -> Target:
    """The target's core on the machine that stands in for it, whose memories hold many cases at once."""
    stand_in = STAND_INS.get(target.core.name)
    return target if stand_in is None else replace(load_target(stand_in), core=target.core)


def entries(cases: Sequence[TuningCase], target: Target, *, chosen_only: bool = False) -> list[Entry]:
    """Every case with every variant of the target's core; chosen_only: with the one that `speed` takes."""
    found: list[Entry] = []
    for case in cases:
        graph = graph_of([case])
        takers = candidates(graph, graph.nodes[0], target)
        if chosen_only:
            takers = (min(takers, key=lambda variant: variant.predict(graph, graph.nodes[0], target).instructions),)
        found += [Entry(case, variant) for variant in takers]
    return found


def measure(
    work: Sequence[Entry],
    target: Target,
    *,
    engine: EngineChoice = "auto",
    compiler: CompilerChoice = "auto",
    progress: Callable[[int], None] = lambda done: None,
) -> list[Row]:
    """Run every entry once on random inputs. progress: called with how many are done. Raises as `profile_emulated`."""
    machine = bench_machine(target)
    rows: list[Row] = []
    for batch in _batches(work):
        rows += _measure_batch(batch, machine, engine, compiler)
        progress(len(rows))
    return rows


def _batches(work: Sequence[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in work:
        node = entry.case.node
        needed = sum(value.type.bytes for value in (*node.inputs, *node.outputs))
        if batch and (len(batch) == MOST_ENTRIES or size + needed > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += needed
    if batch:
        yield batch


def graph_of(cases: Sequence[TuningCase]) -> Graph:
    """One graph of all cases side by side."""
    nodes: list[Node] = []
    inputs: list[Value] = []
    constants: dict[str, Array] = {}
    for index, case in enumerate(cases):
        read, made = (tuple(Value(f"n{index}_{v.name}", v.type) for v in side) for side in (case.node.inputs, case.node.outputs))
        nodes.append(Node(case.node.op, read, made, case.node.attrs))
        inputs += [v for v, given in zip(read, case.node.inputs, strict=True) if given.name not in case.constants]
        constants |= {f"n{index}_{name}": array for name, array in case.constants.items()}
    return Graph("tuning", tuple(inputs), tuple(o for node in nodes for o in node.outputs), tuple(nodes), constants)


def _measure_batch(batch: Sequence[Entry], machine: Target, engine: EngineChoice, compiler: CompilerChoice) -> list[Row]:
    program, graph = lower_entries(batch, machine)
    rng = np.random.default_rng(0)
    sample = [rng.integers(0, 256, value.type.bytes, dtype=np.uint8).tobytes() for value in graph.inputs]
    with tempfile.TemporaryDirectory(prefix="strop-tune-") as folder:
        written = write_program(program, graph, Path(folder))
        counts = iter(profile_emulated(written, machine, sample, engine=engine, compiler=compiler))
    rows: list[Row] = []
    entries = {node.name: entry for node, entry in zip(graph.nodes, batch, strict=True)}
    for choice in program.choices:
        entry = entries[choice.node.name]
        calls = [next(counts) for _ in choice.calls]
        cycles = [call.cycles for call in calls if call.cycles is not None]
        work = entry.variant.cost.units(graph, choice.node)
        instructions = sum(call.instructions for call in calls)
        whole = sum(cycles) if len(cycles) == len(calls) else None
        rows.append(Row(choice.node, entry.variant.name, work, choice.instructions, instructions, whole))
    return rows


def lower_entries(batch: Sequence[Entry], machine: Target) -> tuple[Program, Graph]:
    """One program of all entries, each by its variant, and its graph."""
    graph = graph_of([entry.case for entry in batch])
    fixed = {node.name: entry.variant.name for node, entry in zip(graph.nodes, batch, strict=True)}
    return lower(graph, machine, objective="speed", fixed=fixed), graph


def write_program(program: Program, graph: Graph, folder: Path) -> CProgram:
    """The program's C files in a folder."""
    printed = print_c(program, "tuning")
    for path, text in printed.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return CProgram(
        name="tuning",
        root=folder,
        header=printed.header,
        sources=printed.sources,
        include_dirs=printed.include_dirs,
        cflags=printed.cflags,
        arena_bytes=program.plan.first_bytes,
        arena_align=program.plan.align,
        input_bytes=tuple(value.type.bytes for value in graph.inputs),
        output_bytes=tuple(value.type.bytes for value in graph.outputs),
    )
