"""Test support: for every op that can be trained a small float network around it, and frameworks to train them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from tests.support.float_graphs import Network
from toolchain.ir import attrs as at
from toolchain.ir.functions import UNARY
from toolchain.ir.graph import Graph, Value
from toolchain.ir.types import Array, DType, TensorType, f32
from toolchain.ir.verifier import verify

SIZE, CHANNELS = 6, 4
SMOOTH_UNARY = (
    "leaky_relu",
    "elu",
    "gelu",
    "hard_swish",
    "hard_sigmoid",
    "swish",
    "tanh",
    "sigmoid",
    "softplus",
    "softsign",
    "relu",
)
FRAMEWORKS = ("torch", "keras")

Build = Callable[[Network, Value], Value]


def _layer(op: str, shape: tuple[int, ...], axis: int, attrs: at.Attrs) -> Build:
    return lambda net, x: net.add(op, [x, *net.weights(shape, int(np.prod(shape)) // shape[axis], axis)], attrs)


def _simple(op: str, attrs: at.Attrs | None = None) -> Build:
    return lambda net, x: net.add(op, [x], attrs)


def _pair(op: str, attrs: at.Attrs | None = None) -> Build:
    """The op on the value and on another layer of it."""

    def build(net: Network, x: Value) -> Value:
        weights = net.weights((CHANNELS, 1, 1, CHANNELS), CHANNELS, 0)
        return net.add(op, [x, net.add("conv_2d", [x, *weights], at.ConvAttrs())], attrs)

    return build


def _with_constant(op: str, shape: tuple[int, ...], low: float = -1.5) -> Build:
    return lambda net, x: net.add(op, [x, net.constant(net.rng.uniform(low, 1.5, shape))])


def _indices(net: Network, array: Array) -> Value:
    name = f"c{len(net.constants)}"
    net.constants[name] = array
    return Value(name, TensorType(array.shape, DType.I32))


def _gather(net: Network, x: Value) -> Value:
    return net.add("gather", [x, _indices(net, np.array([3, 0, 0, 5], np.int32))], at.GatherAttrs(1))


def _gather_nd(net: Network, x: Value) -> Value:
    return net.add("gather_nd", [x, _indices(net, np.array([[[1, 2], [5, 0]]], np.int32))], at.GatherAttrs(0, 1))


def _matmul(turned: bool) -> Build:
    def build(net: Network, x: Value) -> Value:
        rows = net.add("reshape", [x], at.ReshapeAttrs((1, SIZE * SIZE, CHANNELS)))
        return net.add("batch_matmul", [rows, rows], at.MatmulAttrs(turned, not turned))

    return build


def _split(net: Network, x: Value) -> Value:
    from toolchain.ir.optable import make_node

    node = make_node("split", [x], ("part_0", "part_1"), at.SplitAttrs(3, (1, 3)))
    net.nodes.append(node)
    return net.add(
        "concat", [node.outputs[1], net.constant(net.rng.uniform(-1, 1, (1, SIZE, SIZE, 2))), node.outputs[0]], at.AxisAttrs(3)
    )


def _positive(op: str) -> Build:
    return lambda net, x: net.add(op, [net.add("add", [net.add("sigmoid", [x]), net.constant(np.full((1,), 0.2))])])


def _where(net: Network, x: Value) -> Value:
    weights = net.weights((CHANNELS, 1, 1, CHANNELS), CHANNELS, 0)
    other = net.add("conv_2d", [x, *weights], at.ConvAttrs())
    return net.add("where", [net.add("greater", [x, other]), x, other])


def _div(net: Network, x: Value) -> Value:
    return net.add("div", [x, net.constant(net.rng.uniform(0.5, 1.5, (1, 1, 1, CHANNELS)))])


def _without_batch(net: Network, x: Value) -> Value:
    """What converters make of a batch of one: it is dropped, and comes back by broadcasting."""
    flat = net.add("reshape", [net.add("reduce_max", [x], at.ReduceAttrs((1, 2)))], at.ReshapeAttrs((CHANNELS,)))
    return net.add("mul", [net.add("add", [net.add("tanh", [flat]), x]), net.add("softmax", [flat])])


def _channels_as_batch(net: Network, x: Value) -> Value:
    turned = net.add("transpose", [x], at.PermAttrs((3, 1, 2, 0)))
    return net.add(
        "average_pool_2d", [net.add("conv_2d", [turned, *net.weights((3, 2, 2, 1), 4, 0)], at.ConvAttrs())], at.PoolAttrs((2, 2))
    )


RESIZES = [
    (mode, scale)
    for mode in (at.ResizeMode.HALF_PIXEL, at.ResizeMode.ALIGN_CORNERS, at.ResizeMode.ASYMMETRIC)
    for scale in (9, 4)
]
CASES: Mapping[str, Build] = {
    "conv stride": _layer("conv_2d", (5, 3, 2, CHANNELS), 0, at.ConvAttrs((2, 1), (1, 0, 1, 1), activation=at.Activation.RELU6)),
    "conv dilated": _layer(
        "conv_2d", (5, 3, 3, CHANNELS), 0, at.ConvAttrs((1, 1), (2, 2, 2, 2), (2, 2), at.Activation.RELU_N1_1)
    ),
    "conv grouped": _layer("conv_2d", (6, 3, 3, CHANNELS // 2), 0, at.ConvAttrs(padding=(1, 1, 1, 1))),
    "depthwise": _layer(
        "depthwise_conv_2d", (1, 3, 3, CHANNELS), 3, at.ConvAttrs((2, 2), (0, 1, 0, 1), activation=at.Activation.RELU)
    ),
    "depthwise multiplied": _layer("depthwise_conv_2d", (1, 2, 3, 2 * CHANNELS), 3, at.ConvAttrs((1, 2), dilation=(2, 1))),
    "transposed": _layer("transpose_conv_2d", (3, 3, 2, CHANNELS), 0, at.TransposeConvAttrs((2, 2), (1, 0, 0, 1), (12, 11))),
    "transposed more": _layer(
        "transpose_conv_2d", (3, 2, 2, CHANNELS), 0, at.TransposeConvAttrs((3, 2), (1, -1, 0, 0), (17, 12))
    ),
    "fully connected rows": _layer("fully_connected", (7, CHANNELS), 0, at.ActivationAttrs(at.Activation.RELU)),
    "matmul": _matmul(False),
    "matmul turned": _matmul(True),
    **{op: _simple(op, at.AlphaAttrs(0.2) if op in ("leaky_relu", "elu") else None) for op in SMOOTH_UNARY},
    **{op: _positive(op) for op in ("exp", "log", "sqrt", "rsqrt", "reciprocal")},
    **{
        op: _simple(op) for op in sorted({"abs", "neg", "square", "erf", "sin", "cos", "atan", "relu6", "relu_n1_1"} & set(UNARY))
    },
    "add": _pair("add", at.ActivationAttrs(at.Activation.RELU)),
    "add constant": _with_constant("add", (1, 1, 1, CHANNELS)),
    "sub": _pair("sub"),
    "sub constant": lambda net, x: net.add("sub", [net.constant(net.rng.uniform(0, 2, (CHANNELS,))), x]),
    "mul": _pair("mul", at.ActivationAttrs(at.Activation.RELU6)),
    "mul constant": _with_constant("mul", (CHANNELS,)),
    "mul by a gate": lambda net, x: net.add(
        "mul", [x, net.add("sigmoid", [net.add("reduce_mean", [x], at.ReduceAttrs((1, 2), True))])]
    ),
    "div": _div,
    "squared_difference": _pair("squared_difference"),
    "prelu": _with_constant("prelu", (1, 1, CHANNELS), 0.1),
    "maximum": _pair("maximum"),
    "minimum": _with_constant("minimum", (1, 1, 1, CHANNELS)),
    "where": _where,
    "max pool": _simple("max_pool_2d", at.PoolAttrs((3, 2), (2, 1), (1, 1, 0, 1))),
    "average pool": _simple("average_pool_2d", at.PoolAttrs((3, 2), (2, 1), (1, 1, 0, 1), at.Activation.RELU6)),
    "average pool counted": _simple("average_pool_2d", at.PoolAttrs((3, 3), (1, 1), (1, 1, 1, 1), count_padding=True)),
    "mean": _simple("reduce_mean", at.ReduceAttrs((1, 2))),
    "mean of channels": _simple("reduce_mean", at.ReduceAttrs((3,), True)),
    "sum": _simple("reduce_sum", at.ReduceAttrs((2,), True)),
    "reduce_max": _simple("reduce_max", at.ReduceAttrs((1,))),
    "reduce_min": _simple("reduce_min", at.ReduceAttrs((2, 3))),
    "softmax": _simple("softmax", at.SoftmaxAttrs(0.7)),
    "log_softmax": _simple("log_softmax"),
    "l2_norm": _simple("l2_norm"),
    "reshape": _simple("reshape", at.ReshapeAttrs((1, SIZE * CHANNELS, SIZE))),
    "transpose": _simple("transpose", at.PermAttrs((0, 3, 1, 2))),
    "split and concat": _split,
    "slice": _simple("slice", at.SliceAttrs((0, 5, 0, 1), (1, -1, 6, 3), (1, -2, 2, 1))),
    "pad": _simple("pad", at.PadAttrs((0, 1, 0, 2), (0, 0, 2, 1), value=0.4)),
    "pad mirrored": _simple("pad", at.PadAttrs((0, 2, 1, 0), (0, 1, 0, 0), at.PadMode.REFLECT)),
    "tile": _simple("tile", at.TileAttrs((1, 1, 2, 3))),
    "reverse": _simple("reverse", at.AxesAttrs((1, 3))),
    "space_to_depth": _simple("space_to_depth", at.BlockAttrs(2)),
    "depth_to_space": _simple("depth_to_space", at.BlockAttrs(2)),
    "without batch": _without_batch,
    "channels as batch": _channels_as_batch,
    "gather": _gather,
    "gather_nd": _gather_nd,
    "resize_nearest": _simple(
        "resize_nearest", at.ResizeAttrs((9, 4), at.ResizeMode.HALF_PIXEL, at.NearestMode.ROUND_PREFER_CEIL)
    ),
    **{
        f"resize_bilinear {mode} {scale}": _simple("resize_bilinear", at.ResizeAttrs((scale, 9), mode)) for mode, scale in RESIZES
    },
}


def network(case: str, seed: int = 0, last: bool = True) -> Graph:
    """A convolution, the op, and another layer behind it unless `last` is false."""
    net = Network(seed)
    x = Value("x", f32(1, SIZE, SIZE, 3))
    y = net.add("conv_2d", [x, *net.weights((CHANNELS, 1, 1, 3), 3, 0)], at.ConvAttrs())
    y = CASES[case](net, y)
    if last:
        columns = y.type.shape[-1]
        y = net.add("fully_connected", [y, *net.weights((5, columns), columns, 0)], at.ActivationAttrs())
    return verify(Graph(case.replace(" ", "_"), (x,), (y,), tuple(net.nodes), net.constants))


def samples(graph: Graph, count: int, seed: int = 1) -> Array:
    """Standard normal samples of the only input, on axis 0."""
    return np.random.default_rng(seed).standard_normal((count, *graph.inputs[0].type.shape[1:])).astype(np.float32)


class Trained:
    """A model of either framework with the same few methods."""

    def __init__(self, framework: str, plan: Any, data: Array) -> None:
        self.framework, self.plan = framework, plan
        if framework == "torch":
            pytest.importorskip("torch")
            from toolchain.training.torch import QuantizedModule

            self.model: Any = QuantizedModule(plan, [data])
        else:
            pytest.importorskip("tensorflow")
            from toolchain.training.keras import QuantizedModel

            self.model = QuantizedModel(plan, [data])

    def parameters(self) -> dict[str, Any]:
        """The framework's parameters by the plan's names."""
        return self.model._tensors() if self.framework == "torch" else self.model._tensors

    def change(self, name: str, array: Array) -> None:
        """Give a parameter another value."""
        parameter = self.parameters()[name]
        if self.framework == "torch":
            import torch

            with torch.no_grad():
                parameter.copy_(torch.as_tensor(array))
        else:
            parameter.assign(array)

    def disturb(self, size: float, seed: int) -> None:
        """Move every parameter by a share of its size, scales relatively."""
        rng = np.random.default_rng(seed)
        for name, first in self.plan.parameters.items():
            spread = 1.0 if name.endswith("/scale") else float(np.abs(first).mean())
            self.change(name, (first + size * spread * rng.standard_normal(first.shape)).astype(np.float32))

    def gradients(self, data: Array, weights: Array) -> tuple[float, dict[str, Array]]:
        """The sum of weighted outputs, and its gradients by the plan's names; zeros where nothing depends on a parameter."""
        if self.framework == "torch":
            import torch

            loss = (self.model(torch.from_numpy(data)) * torch.from_numpy(weights)).sum()
            self.model.zero_grad()
            loss.backward()
            found = {name: tensor.grad for name, tensor in self.parameters().items()}
        else:
            import tensorflow as tf

            variables = self.parameters()
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(self.model(data) * weights)
            found = dict(zip(variables, tape.gradient(loss, list(variables.values())), strict=True))
        zeros = self.plan.parameters
        value = float(np.asarray(loss.detach() if self.framework == "torch" else loss))
        return value, {n: np.zeros_like(zeros[n]) if g is None else np.asarray(g) for n, g in found.items()}
