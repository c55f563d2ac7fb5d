"""Kernels that let their result lie over their operands read and write in the order that they are said to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from targets.load import load_target
from tests.support.engines import needs_arm_gcc, needs_unicorn
from tests.support.layer_shapes import layer_cases
from tests.support.streamed_graphs import random_graph
from tests.support.traced import Traced, traced
from toolchain.ir.graph import Graph
from toolchain.ir.optable import macs
from toolchain.lowering.overlaps import BY_ROWS, IN_PLACE, covers
from toolchain.lowering.slices import Rows, is_row_local, needed, row_bytes

pytestmark = [needs_unicorn, needs_arm_gcc]
TARGETS = ("rp2040_pico", "mps2_an385", "mps2_an386", "rv32_virt")
MOST_MACS = 60_000
KNOWN = BY_ROWS | IN_PLACE


def reads_behind(found: Traced) -> bool:
    """True when a row above the window of the last row written is read."""
    written, each = 0, row_bytes(found.node.output)
    rows_of = {image.name: row_bytes(image) for image in found.images}
    for access in found.accesses:
        if access.writes:
            written = max(written, (access.end - 1) // each)
        elif access.first < needed(found.node, Rows(written, written + 1)).first * rows_of[access.value]:
            return True
    return False


def reads_after_writing(found: Traced) -> bool:
    """True when a byte of an operand of the result's channels is read after the result's byte of that place was written."""
    written = [False] * found.node.output.type.bytes
    same = {image.name for image in found.images if covers(image.type, found.node.output.type)}
    for access in found.accesses:
        if access.writes:
            written[access.first : access.end] = [True] * (access.end - access.first)
        elif access.value in same and any(written[access.first : access.end]):
            return True
    return False


def layers(seeds: range, cases: int) -> list[Graph]:
    """Random graphs, and layers of generated shapes of few multiplications as graphs of one node."""
    small = [
        case
        for op in ("conv_2d", "depthwise_conv_2d")
        for case in [case for case in layer_cases(op, 150) if macs(case.node) < MOST_MACS][:cases]
    ]
    alone = [Graph("layer", case.node.inputs[:1], (case.node.output,), (case.node,), case.constants) for case in small]
    return [*(random_graph(seed) for seed in seeds), *alone]


def check(target: str, folder: Path, graphs: list[Graph], most: int) -> Counter[str]:
    """Trace variants on the nodes of graphs, each at most so often, and return how often."""
    counts: Counter[str] = Counter()
    machine = load_target(target)
    for number, graph in enumerate(graphs):
        for node in graph.nodes:
            if not is_row_local(graph, node):
                continue
            for found in traced(
                graph, node, machine, folder / str(number), lambda name: name in BY_ROWS | IN_PLACE and counts[name] < most
            ):
                counts[found.variant] += 1
                shapes = [value.type.shape for value in (*node.inputs, node.output)]
                if found.variant in BY_ROWS:
                    assert not reads_behind(found), (found.variant, shapes, node.attrs)
                if found.variant in IN_PLACE:
                    assert not reads_after_writing(found), (found.variant, shapes, node.attrs)
    print(target, dict(counts))
    return counts


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_read_ahead_of_what_they_write(target: str, tmp_path: Path) -> None:
    counts = check(target, tmp_path, layers(range(12), 6), 3)
    assert "portable.integer_add" in counts or "armv7em.add_dsp" in counts


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_kernels_of_many_shapes_read_ahead_of_what_they_write(target: str, tmp_path: Path) -> None:
    """Every kernel that the core has is traced."""
    counts = check(target, tmp_path, layers(range(160), 60), 25)
    known = {name for name in KNOWN if name.split(".")[0] in load_target(target).core.kernels}
    assert set(counts) == known


def test_the_trace_sees_a_kernel_that_reads_behind(tmp_path: Path) -> None:
    """A depthwise convolution plane by plane is no kernel of rows, and is seen not to be one."""
    machine, planes = load_target("mps2_an386"), "armv7em.depthwise_3x3_dsp"
    graphs = layers(range(0), 60)
    found = [reads_behind(each) for g in graphs for each in traced(g, g.nodes[0], machine, tmp_path, lambda name: name == planes)]
    assert any(found)
