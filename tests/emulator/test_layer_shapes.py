"""Layers of generated shapes on every core: bytes of the evaluator, a bound on instructions, predictions that hold."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tuning.cases import TuningCase
from benchmarks.tuning.measure import Row, bench_machine, entries, measure
from runtimes.emulator import run_emulated
from targets.load import load_target
from tests.support.engines import needs_arm_gcc, needs_qemu, needs_unicorn
from tests.support.kernel_cases import Case, merged, operands
from tests.support.layer_shapes import layer_cases
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from toolchain.ir.optable import macs
from toolchain.reference.evaluator import run_node

pytestmark = [needs_qemu, needs_unicorn, needs_arm_gcc]
TARGETS = ("rp2040_pico", "mps2_an385", "mps2_an386", "mps2_an500", "mps2_an505", "mps3_an547", "rv32_virt")
COUNTS = {"conv_2d": 150, "depthwise_conv_2d": 90, "fully_connected": 60}
FEW = 20
BATCH = 20
PREDICTION = 0.10
# Instructions per MAC and per output that a convolution and a depthwise one may take on a Cortex-M4 from 8 channels up.
M4_BOUNDS = {"conv_2d": (1.0, 12.0), "depthwise_conv_2d": (1.7, 20.0)}
M4_SLACK = 1.6


def check_bytes(cases: list[TuningCase], target: str) -> None:
    rng = np.random.default_rng(5)
    for start in range(0, len(cases), BATCH):
        batch = []
        for case in cases[start : start + BATCH]:
            shape = case.node.inputs[0].type.shape
            samples = [rng.integers(-128, 128, shape, dtype=np.int8), np.full(shape, int(rng.choice([-128, 127])), np.int8)]
            batch.append(Case(case.node, tuple((sample,) for sample in samples), case.constants))
        graph = merged(batch)
        machine = bench_machine(load_target(target))
        with tempfile.TemporaryDirectory() as folder:
            _, program = compile_c(graph, target if machine.name == target else machine, Path(folder))
            result = run_emulated(program, machine, raw_inputs(graph, [tuple(c.samples[i][0] for c in batch) for i in range(2)]))
        for case, found in zip(batch, typed_outputs(graph, result.outputs), strict=True):
            for sample, output in zip(case.samples, found, strict=True):
                np.testing.assert_array_equal(output, run_node(case.node, operands(case, sample))[0], err_msg=str(case.node))


def check_costs(cases: list[TuningCase], target: str) -> None:
    rows = measure(entries(cases, load_target(target), chosen_only=True), load_target(target))
    off = [(row.predicted / row.instructions - 1, row) for row in rows]
    worst, at = max(off, key=lambda pair: abs(pair[0]))
    mean = float(np.mean([abs(error) for error, _ in off]))
    print(f"{target} {at.node.op}: {len(rows)} shapes, predictions off by {mean:.2%} on average, {worst:+.2%} at worst")
    assert abs(worst) <= PREDICTION, described(at)
    if target == "mps2_an386":
        for row in rows:
            check_bound(row)


def check_bound(row: Row) -> None:
    node = row.node
    channels = min(node.inputs[0].type.shape[-1], node.output.type.shape[-1])
    if node.op in M4_BOUNDS and channels >= 8:
        per_mac, per_output = M4_BOUNDS[node.op]
        assert row.instructions <= M4_SLACK * (per_mac * macs(node) + per_output * node.output.type.elements), described(row)


def described(row: Row) -> str:
    """A measured layer in one line."""
    node = row.node
    shapes = " ".join("x".join(map(str, value.type.shape)) for value in (*node.inputs[:2], node.output))
    taken = f"{row.instructions:,} instructions, {row.predicted:,.0f} predicted"
    return f"{row.variant} {shapes} {node.attrs}: {taken}, {dict(row.work)}"


@pytest.mark.parametrize("op", COUNTS)
@pytest.mark.parametrize("target", TARGETS)
def test_some_shapes(target: str, op: str) -> None:
    cases = layer_cases(op, FEW)
    check_bytes(cases, target)
    check_costs(cases, target)


@pytest.mark.long
@pytest.mark.parametrize("op", COUNTS)
@pytest.mark.parametrize("target", TARGETS)
def test_three_hundred_shapes(target: str, op: str) -> None:
    cases = layer_cases(op, COUNTS[op])
    check_bytes(cases, target)
    check_costs(cases, target)
