"""Subsampling beside convolutions becomes their stride; stored bytes stay as they were."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.ir.attrs import Activation, Attrs, ConvAttrs, PoolAttrs, SliceAttrs
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import macs, make_node
from toolchain.ir.types import DType, Quant, TensorType, per_tensor
from toolchain.passes.subsample import subsample
from toolchain.reference.evaluator import run

X = Value("x", TensorType((1, 9, 8, 4), DType.I8, per_tensor(0.03, -7)))
OUT = per_tensor(0.05, 3)


def conv(x: Value, op: str, kernel: int, attrs: ConvAttrs, name: str, constants: dict[str, np.ndarray]) -> Value:
    rng = np.random.default_rng(len(constants))
    depth = x.type.shape[3]
    shape, axis = ((1, kernel, kernel, depth), 3) if op == "depthwise_conv_2d" else ((6, kernel, kernel, depth), 0)
    w = Value(f"{name}_w", TensorType(shape, DType.I8, Quant((0.01,) * shape[axis], (0,) * shape[axis], axis)))
    constants[w.name] = rng.integers(-127, 128, shape).astype(np.int8)
    return Value(f"{name}_w", w.type)


def chain(*steps: tuple[str, Attrs, int]) -> Graph:
    """The ops one after the other; the number is the kernel of a convolution."""
    nodes, constants, x = [], {}, X
    for index, (op, attrs, kernel) in enumerate(steps):
        inputs = (x,)
        if op.endswith("conv_2d"):
            assert isinstance(attrs, ConvAttrs)
            inputs = (x, conv(x, op, kernel, attrs, f"n{index}", constants))
        nodes.append(make_node(op, inputs, (f"t{index}",), attrs, OUT if op.endswith("conv_2d") else x.type.quant))
        x = nodes[-1].output
    return Graph("g", (X,), (x,), tuple(nodes), constants)


POOL = PoolAttrs((1, 1), (2, 3))
SLICE = SliceAttrs((0, 0, 0, 0), (1, 9, 8, 4), (1, 2, 2, 1))
SAME = ConvAttrs((1, 1), (1, 1, 1, 1), (1, 1), Activation.RELU)
STRIDED = ConvAttrs((2, 1), (1, 1, 1, 1), (1, 1), Activation.NONE)


@pytest.mark.parametrize(
    ("graph", "left"),
    [
        (chain(("conv_2d", SAME, 3), ("max_pool_2d", POOL, 0)), 1),
        (chain(("depthwise_conv_2d", STRIDED, 3), ("average_pool_2d", POOL, 0)), 1),
        (chain(("max_pool_2d", POOL, 0), ("conv_2d", ConvAttrs(), 1)), 1),
        (chain(("slice", SLICE, 0), ("conv_2d", ConvAttrs((2, 2)), 1)), 1),
        (chain(("max_pool_2d", PoolAttrs((1, 1), (1, 1)), 0), ("conv_2d", SAME, 3)), 1),
        (chain(("max_pool_2d", POOL, 0), ("conv_2d", ConvAttrs((1, 1), (1, 1, 1, 1)), 3)), 2),
        (chain(("conv_2d", SAME, 3), ("max_pool_2d", PoolAttrs((2, 2), (2, 2)), 0)), 2),
        (chain(("slice", SliceAttrs((0, 1, 0, 0), (1, 9, 8, 4), (1, 2, 2, 1)), 0), ("conv_2d", ConvAttrs(), 1)), 2),
    ],
)
def test_subsampling_becomes_a_stride(graph: Graph, left: int) -> None:
    changed = subsample(graph)
    assert len(changed.nodes) == left
    assert sum(map(macs, changed.nodes)) <= sum(map(macs, graph.nodes))
    sample = np.random.default_rng(3).integers(-128, 128, X.type.shape, dtype=np.int8)
    np.testing.assert_array_equal(run(changed, [sample])[0], run(graph, [sample])[0])


def test_a_read_convolution_stays() -> None:
    graph = chain(("conv_2d", SAME, 3), ("max_pool_2d", POOL, 0))
    both = Graph("g", graph.inputs, (graph.nodes[0].output, graph.nodes[1].output), graph.nodes, graph.constants)
    assert len(subsample(both).nodes) == 2
