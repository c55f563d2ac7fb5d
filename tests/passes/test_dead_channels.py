"""Removal of dead channels: same output bytes on random networks, and nothing dead is left."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.mlperf import MLPERF, model_inputs, needs_mlperf
from toolchain.frontends.load import load_model
from toolchain.ir.attrs import Activation, ActivationAttrs, ConvAttrs, PoolAttrs, ReshapeAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import macs, make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, i8, per_tensor
from toolchain.ir.verifier import verify
from toolchain.passes.dead_channels import drop_dead_channels
from toolchain.reference.evaluator import run


class Builder:
    """A chain of random layers in which a share of the channels has no weights."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}

    def constant(self, name: str, data: Array, dtype: DType, quant: Quant) -> Value:
        self.constants[name] = data
        return Value(name, TensorType(data.shape, dtype, quant))

    def layer(self, op: str, x: Value, shape: tuple[int, ...], axis: int, attrs: object) -> Value:
        index, channels = len(self.nodes), shape[axis]
        data = self.rng.integers(-127, 128, shape).astype(np.int8)
        out_dead, in_dead = self.rng.random(channels) < 0.4, self.rng.random(shape[-1]) < 0.2
        if op != "depthwise_conv_2d":
            data[..., in_dead] = 0
        np.moveaxis(data, axis, 0)[out_dead] = 0
        w = self.constant(f"w{index}", data, DType.I8, Quant(tuple([0.003] * channels), (0,) * channels, axis))
        bias = self.rng.integers(-3000, 3000, channels).astype(np.int32)
        b = self.constant(f"b{index}", bias, DType.I32, Quant(tuple([0.0001] * channels), (0,) * channels, 0))
        quant = per_tensor(0.04, int(self.rng.choice([-128, -128, -20, 5])))
        self.nodes.append(make_node(op, (x, w, b), (f"v{index}",), attrs, quant))  # type: ignore[arg-type]
        return self.nodes[-1].output

    def same(self, op: str, x: Value, attrs: object) -> Value:
        self.nodes.append(make_node(op, (x,), (f"v{len(self.nodes)}",), attrs))  # type: ignore[arg-type]
        return self.nodes[-1].output

    def network(self) -> Graph:
        x = Value("x", i8((1, 8, 8, 3), 0.03, int(self.rng.integers(-128, 128))))
        pad = tuple(self.rng.choice([0, 1], 4).tolist())
        act = Activation(self.rng.choice(["none", "relu"]))
        y = self.layer("conv_2d", x, (10, 3, 3, 3), 0, ConvAttrs(padding=pad, activation=act))
        y = self.layer("depthwise_conv_2d", y, (1, 3, 3, 10), 3, ConvAttrs(padding=tuple(self.rng.choice([0, 1], 4).tolist())))
        y = self.layer("conv_2d", y, (12, 1, 1, 10), 0, ConvAttrs(activation=Activation.RELU))
        y = self.layer("conv_2d", y, (9, 3, 3, 12), 0, ConvAttrs(padding=(1, 1, 1, 1)))
        window = y.type.shape[1:3]
        y = self.same("average_pool_2d", y, PoolAttrs(window=window, stride=window))
        y = self.same("reshape", y, ReshapeAttrs((1, 9)))
        y = self.layer("fully_connected", y, (4, 9), 0, ActivationAttrs())
        return verify(Graph("net", (x,), (y,), tuple(self.nodes), self.constants))


@pytest.mark.parametrize("seed", range(40))
def test_outputs_keep_their_bytes(seed: int) -> None:
    graph = Builder(seed).network()
    smaller = verify(drop_dead_channels(graph))
    assert sum(map(macs, smaller.nodes)) < sum(map(macs, graph.nodes))
    rng = np.random.default_rng(seed)
    for sample in (rng.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8), np.full((1, 8, 8, 3), -128, np.int8)):
        np.testing.assert_array_equal(run(graph, (sample,))[0], run(smaller, (sample,))[0])
    assert drop_dead_channels(smaller).nodes == smaller.nodes


def test_a_value_with_another_reader_keeps_its_channels() -> None:
    builder = Builder(1)
    graph = builder.network()
    first = graph.nodes[0].output
    kept = Graph("net", graph.inputs, (*graph.outputs, first), graph.nodes, graph.constants)
    assert drop_dead_channels(kept).nodes[0].output == first


@needs_mlperf
def test_visual_wake_words_halves() -> None:
    graph = load_model(MLPERF / "vww_int8.tflite")
    smaller = drop_dead_channels(graph)
    assert sum(map(macs, graph.nodes)) == 7_489_664
    assert sum(map(macs, smaller.nodes)) <= 3_770_000
    for sample in model_inputs("vww", graph.inputs[0].type.shape, 6):
        np.testing.assert_array_equal(run(graph, (sample,))[0], run(smaller, (sample,))[0])
