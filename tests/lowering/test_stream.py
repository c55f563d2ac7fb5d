"""Segments that run row by row: every byte is that of the evaluator, and no byte of memory has two owners."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from targets.load import load_target
from tests.support.kernel_cases import OUTLINED, SANITIZERS
from tests.support.streamed_graphs import Drawn, random_graph, random_program, run_on_host
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.lowering.bands import stretch_of
from toolchain.lowering.check_memory import faults
from toolchain.lowering.lower import lower
from toolchain.lowering.overlaps import steps_of
from toolchain.lowering.program import Program
from toolchain.lowering.slices import needed
from toolchain.lowering.stream import schedule
from toolchain.reference.evaluator import run

HOST = load_target("host")
SANITIZED = ("-O1", OUTLINED, *SANITIZERS)


def samples_of(graph: Graph, seed: int) -> list[Array]:
    """Three inputs of a graph."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-128, 128, graph.inputs[0].type.shape).astype(np.int8) for _ in range(3)]


def check(graph: Graph, program: Program, folder: Path, flags: tuple[str, ...] = SANITIZED) -> None:
    """The program of the graph gives the bytes of the evaluator."""
    samples = samples_of(graph, 1)
    for sample, found in zip(samples, run_on_host(program, folder, flags, samples), strict=True):
        np.testing.assert_array_equal(found, run(graph, [sample])[0])


@pytest.mark.parametrize("seed", [*range(16), 1119])
def test_random_segments_compute_the_bytes_of_the_evaluator(seed: int, tmp_path: Path) -> None:
    graph = random_graph(seed)
    check(graph, random_program(graph, HOST, seed, by_rows=seed % 2 == 1), tmp_path)


@pytest.mark.parametrize("seed", range(100, 108))
def test_programs_of_little_ram_compute_the_bytes_of_the_evaluator(seed: int, tmp_path: Path) -> None:
    graph = random_graph(seed)
    check(graph, lower(graph, HOST, "rows" if seed % 2 else "arena", objective="ram"), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1500))
def test_five_hundred_graphs(seed: int, tmp_path: Path) -> None:
    graph = random_graph(seed)
    program = random_program(graph, HOST, seed, by_rows=seed % 2 == 1)
    assert faults(program) == []
    check(graph, program, tmp_path)


@pytest.mark.parametrize("target", ["host", "mps2_an386", "rp2040_pico"])
def test_the_checker_finds_nothing_in_good_programs(target: str) -> None:
    for seed in range(40):
        graph = random_graph(seed)
        assert faults(random_program(graph, load_target(target), seed, by_rows=seed % 2 == 1)) == []
        assert faults(lower(graph, load_target(target), "arena" if seed % 2 else "rows", objective="ram")) == []


def test_the_checker_catches_one_byte_less_in_any_buffer() -> None:
    for seed in range(10):
        program = random_program(random_graph(seed), HOST, seed, by_rows=seed % 2 == 1)
        for index, placed in enumerate(program.plan.placements):
            shrunk = replace(placed, bytes=placed.bytes - 1)
            placements = (*program.plan.placements[:index], shrunk, *program.plan.placements[index + 1 :])
            assert faults(replace(program, plan=replace(program.plan, placements=placements)))


def test_the_checker_catches_buffers_that_lie_on_one_another() -> None:
    caught = 0
    for seed in range(20):
        program = random_program(random_graph(seed), HOST, seed)
        placements = tuple(replace(placed, offset=0) for placed in program.plan.placements)
        caught += bool(faults(replace(program, plan=replace(program.plan, placements=placements))))
    assert caught == 20


def test_tall_images_go_over_operands_several_rows_at_a_time(tmp_path: Path) -> None:
    drawn = Drawn(np.random.default_rng(3), (601, 2, 2))
    image = drawn.input
    for _ in range(3):
        image = drawn.convolution(image, keeps_size=True, channels=2)
    graph = Graph("tall", (drawn.input,), (image,), tuple(drawn.nodes), drawn.constants)
    program = lower(graph, HOST, objective="speed")
    assert {steps_of(call) for call in program.calls} == {201}
    assert program.plan.arena_bytes < 2 * image.type.bytes
    assert faults(program) == []
    check(graph, program, tmp_path)


@pytest.mark.parametrize("step", [Fraction(1, 2), Fraction(1), Fraction(2), Fraction(5)])
def test_layers_run_when_their_rows_are_there(step: Fraction) -> None:
    """Every run finds the rows that it needs, and all rows are made once, in order."""
    for seed in range(40):
        graph = random_graph(seed)
        stretch = stretch_of(graph, len(graph.nodes), graph.users())
        if stretch is None:
            continue
        segment = stretch.segment(stretch.lowest)
        made = {node.name: 0 for node in segment.nodes}
        for entry in schedule(segment, step):
            assert entry.rows.first == made[entry.node.name]
            for value in entry.node.inputs:
                if value.name in made:
                    assert needed(entry.node, entry.rows).end <= made[value.name]
            made[entry.node.name] = entry.rows.end
        assert made[segment.exit.name] == segment.exit.type.shape[1]
