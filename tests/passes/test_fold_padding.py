"""Padding before a layer becomes the layer's own where, and only where, every output byte stays the same."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.ir.attrs import Activation, ActivationAttrs, ConvAttrs, PadAttrs, PoolAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor
from toolchain.passes.fuse import fuse
from toolchain.reference.evaluator import run

INF = float("inf")
SAMPLES = 4


def checked(graph: Graph) -> list[str]:
    """The ops that are left of a graph, whose outputs are the same as before."""
    fused = fuse(graph)
    rng = np.random.default_rng(1)
    type_ = graph.inputs[0].type
    for _ in range(SAMPLES):
        noise = rng.normal(-1, 2, type_.shape)
        x: Array = noise.astype(np.float32) if type_.dtype.is_float else (noise * 40).clip(-128, 127).astype(type_.dtype.numpy)
        for wanted, found in zip(run(graph, [x]), run(fused, [x]), strict=True):
            np.testing.assert_array_equal(found, wanted)
    return [node.op for node in fused.nodes]


def image(quant: Quant | None) -> Value:
    return Value("x", TensorType((1, 6, 5, 2), DType.F32 if quant is None else DType.I8, quant))


def pad_of(x: Value, fill: float) -> Node:
    return make_node("pad", (x,), ("p",), PadAttrs((0, 1, 2, 0), (0, 2, 1, 0), value=fill))


@pytest.mark.parametrize(("zero_point", "fill", "folds"), [(-5, 0.0, True), (-5, 1.0, False), (None, 0.0, True)])
def test_convolution_pads_with_its_zero_point(zero_point: int | None, fill: float, folds: bool) -> None:
    quant = None if zero_point is None else per_tensor(0.5, zero_point)
    x = image(quant)
    pad = pad_of(x, fill)
    scale = None if quant is None else per_tensor(0.1)
    w = Value("w", TensorType((3, 3, 3, 2), x.type.dtype, scale))
    data = np.random.default_rng(2).integers(-9, 9, w.type.shape).astype(w.type.dtype.numpy)
    conv = make_node("conv_2d", (pad.output, w), ("y",), ConvAttrs((2, 1)), None if quant is None else per_tensor(2.0, 7))
    graph = Graph("conv", (x,), conv.outputs, (pad, conv), {"w": data})
    assert checked(graph) == (["conv_2d"] if folds else ["pad", "conv_2d"])


def pooled(op: str, quant: Quant | None, fill: float, clamp: Activation, window: int = 3) -> Graph:
    """A sum with a clamp, padded and pooled."""
    x = image(quant)
    total = make_node("add", (x, x), ("s",), ActivationAttrs(clamp), quant)
    pad = pad_of(total.output, fill)
    pool = make_node(op, pad.outputs, ("y",), PoolAttrs((window, window), (2, 2)), quant)
    return Graph("pool", (x,), pool.outputs, (total, pad, pool))


@pytest.mark.parametrize(
    ("quant", "fill", "clamp", "folds"),
    [
        (None, -INF, Activation.NONE, True),
        (None, 0.0, Activation.NONE, False),
        (None, 0.0, Activation.RELU6, True),
        (None, 0.5, Activation.RELU, False),
        (None, -1.0, Activation.RELU_N1_1, True),
        (per_tensor(0.5, -128), 0.0, Activation.NONE, True),
        (per_tensor(0.5, -128), 1.0, Activation.NONE, False),
        (per_tensor(0.5, 3), 0.0, Activation.NONE, False),
        (per_tensor(0.5, 3), 0.0, Activation.RELU, True),
        (per_tensor(0.5, 3), -1000.0, Activation.NONE, True),
    ],
)
def test_the_largest_is_never_padding(quant: Quant | None, fill: float, clamp: Activation, folds: bool) -> None:
    left = checked(pooled("max_pool_2d", quant, fill, clamp))
    assert left == (["add", "max_pool_2d"] if folds else ["add", "pad", "max_pool_2d"])


def test_a_window_of_padding_alone_stays() -> None:
    assert "pad" in checked(pooled("max_pool_2d", None, -INF, Activation.NONE, window=2))


@pytest.mark.parametrize(
    ("quant", "fill", "folds"),
    [(None, 0.0, True), (None, 1.0, False), (per_tensor(0.5, 0), 0.0, True), (per_tensor(0.5, 3), 0.0, False)],
)
def test_the_mean_counts_padding_that_is_stored_as_zero(quant: Quant | None, fill: float, folds: bool) -> None:
    left = checked(pooled("average_pool_2d", quant, fill, Activation.NONE))
    assert left == (["add", "average_pool_2d"] if folds else ["add", "pad", "average_pool_2d"])
