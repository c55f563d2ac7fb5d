"""Who lives where over time: what is said to be alive is what calls still need, and no two live in one byte at once."""

from __future__ import annotations

import numpy as np
import pytest

from targets.load import load_target
from tests.support.streamed_graphs import random_graph
from toolchain.lowering.lower import lower
from toolchain.lowering.program import Program
from toolchain.lowering.timeline import alive_bytes, call_at, lives, peak, steps_in
from toolchain.lowering.variants import Objective

M4 = load_target("mps2_an386")


def owners(program: Program) -> np.ndarray:
    """How many buffers need each byte of the arena at each step, counted one by one."""
    counts = np.zeros((steps_in(program), program.plan.arena_bytes), np.int64)
    for life in lives(program):
        for first_byte, end_byte, first, last in life.blocks:
            counts[first : last + 1, life.offset + first_byte : life.offset + end_byte] += 1
    return counts


@pytest.mark.parametrize("objective", ["speed", "ram"])
@pytest.mark.parametrize("seed", range(8))
def test_no_two_buffers_need_a_byte_at_once(seed: int, objective: Objective) -> None:
    program = lower(random_graph(seed), M4, objective=objective)
    counts = owners(program)
    alive = alive_bytes(lives(program), len(counts))
    assert counts.sum(axis=1).tolist() == alive
    # A move may read what it writes over; nothing else may.
    moves = [step for step in range(len(counts)) if (call := call_at(program, step)) is not None and call.node.op == "move"]
    assert np.delete(counts, moves, axis=0).max(initial=0) <= 1


@pytest.mark.parametrize("objective", ["speed", "ram"])
@pytest.mark.parametrize("seed", range(8))
def test_the_peak_is_the_lower_bound(seed: int, objective: Objective) -> None:
    program = lower(random_graph(seed), M4, objective=objective)
    found, bound = peak(program), program.plan.lower_bound_bytes
    assert found.bytes <= bound <= program.plan.arena_bytes
    # Buffers of tensors are aligned, what is alive is not.
    assert bound - found.bytes <= 16 * len(program.plan.placements)
    assert sum(size for _, size in found.buffers) == found.bytes
    assert [size for _, size in found.buffers] == sorted((size for _, size in found.buffers), reverse=True)


def test_kinds_tell_inputs_outputs_scratch_and_rows() -> None:
    kinds: set[str] = set()
    for seed in range(20):
        program = lower(random_graph(seed), M4, objective="ram")
        sizes = {value.name: value.type.bytes for value in program.graph.values()}
        for life in lives(program):
            kinds.add(life.kind)
            if life.kind == "input":
                assert life.name == program.graph.inputs[0].name
            if life.kind == "output":
                assert life.name == program.root_of[program.graph.outputs[0].name]
            if life.kind == "rows" and life.name in sizes:
                assert life.bytes < sizes[life.name]
            if life.kind == "scratch":
                assert "#scratch" in life.name
    assert kinds == {"input", "output", "activation", "rows", "scratch"}
