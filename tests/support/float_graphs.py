"""Test support: random float networks of layers, branches and joins, with constant weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, f32
from toolchain.ir.verifier import verify

UNARY = ("relu", "relu6", "leaky_relu", "hard_swish", "tanh", "sigmoid", "swish", "abs", "elu")


class Network:
    """Builds a graph node by node; weights keep activations near unit variance."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}

    def constant(self, array: Array) -> Value:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, np.float32)
        return Value(name, f32(*np.shape(array)))

    def add(self, op: str, inputs: Sequence[Value], attrs: at.Attrs | None = None) -> Value:
        node = make_node(op, inputs, (f"v{len(self.nodes)}",), attrs)
        self.nodes.append(node)
        return node.output

    def weights(self, shape: tuple[int, ...], fan_in: int, axis: int) -> list[Value]:
        """Weights whose output channels differ in size by up to ten times, and a bias."""
        spread = [1] * len(shape)
        spread[axis] = -1
        sizes = np.exp(self.rng.uniform(-1.2, 1.2, shape[axis])).reshape(spread)
        scaled = self.rng.standard_normal(shape) * sizes / np.sqrt(fan_in)
        return [self.constant(scaled), self.constant(self.rng.standard_normal(shape[axis]) * 0.3)]

    def conv(self, x: Value, channels: int) -> Value:
        k = int(self.rng.choice([1, 3]))
        stride = int(self.rng.choice([1, 2]))
        attrs = at.ConvAttrs((stride, stride), (k // 2,) * 4, activation=self.activation())
        return self.add("conv_2d", [x, *self.weights((channels, k, k, x.type.shape[3]), k * k * x.type.shape[3], 0)], attrs)

    def depthwise(self, x: Value) -> Value:
        channels = x.type.shape[3] * int(self.rng.choice([1, 2]))
        attrs = at.ConvAttrs((1, 1), (1, 1, 1, 1), activation=self.activation())
        return self.add("depthwise_conv_2d", [x, *self.weights((1, 3, 3, channels), 9, 3)], attrs)

    def fully_connected(self, x: Value, channels: int) -> Value:
        flat = self.add("reshape", [x], at.ReshapeAttrs((1, x.type.elements)))
        weights = self.weights((channels, x.type.elements), x.type.elements, 0)
        return self.add("fully_connected", [flat, *weights], at.ActivationAttrs())

    def activation(self) -> at.Activation:
        return (at.Activation.NONE, at.Activation.RELU, at.Activation.RELU, at.Activation.RELU6)[int(self.rng.integers(4))]

    def step(self, x: Value) -> Value:
        """One more layer or block on an NHWC value."""
        channels = int(self.rng.integers(2, 7))
        match int(self.rng.integers(9)):
            case 0 | 1:
                return self.conv(x, channels)
            case 2:
                return self.depthwise(x)
            case 3:
                op = str(self.rng.choice(UNARY))
                return self.add(op, [x], at.AlphaAttrs(0.3) if op in ("leaky_relu", "elu") else None)
            case 4:
                return self.residual(x)
            case 5:
                return self.branches(x)
            case 6:
                op = str(self.rng.choice(["max_pool_2d", "average_pool_2d"]))
                return self.add(op, [x], at.PoolAttrs((2, 2), (1, 1), (0, 1, 0, 1)))
            case 7:
                scale = self.constant(self.rng.standard_normal((1, 1, 1, x.type.shape[3])))
                return self.add(str(self.rng.choice(["mul", "add", "sub", "maximum"])), [x, scale])
            case _:
                before, after = (0, 1, 1, 0), (0, 0, 2, 0)
                return self.add("pad", [x], at.PadAttrs(before, after))

    def residual(self, x: Value) -> Value:
        attrs = at.ConvAttrs(padding=(1, 1, 1, 1))
        channels = x.type.shape[3]
        y = self.add("conv_2d", [x, *self.weights((channels, 3, 3, channels), 9 * channels, 0)], attrs)
        return self.add("add", [x, y], at.ActivationAttrs(self.activation()))

    def branches(self, x: Value) -> Value:
        """A concat of the value itself and one or two layers on it."""
        attrs = at.ConvAttrs(activation=self.activation())
        parts = [x] if self.rng.random() < 0.5 else []
        for _ in range(2):
            channels = int(self.rng.integers(1, 4))
            weights = self.weights((channels, 1, 1, x.type.shape[3]), x.type.shape[3], 0)
            parts.append(self.add("conv_2d", [x, *weights], attrs))
        parts.append(self.add("sigmoid", [parts[-1]]))
        return self.add("concat", parts, at.AxisAttrs(3))


def random_network(seed: int, steps: int = 5, softmax: bool = False) -> Graph:
    """A verified network from an image (1, 6…9, 6…9, 1…4) to 3…6 numbers, their softmax, or an image."""
    net = Network(seed)
    x = Value("x", f32(1, int(net.rng.integers(6, 10)), int(net.rng.integers(6, 10)), int(net.rng.integers(1, 5))))
    y = net.conv(x, int(net.rng.integers(2, 6)))
    for _ in range(steps):
        y = net.step(y)
    if softmax or net.rng.random() < 0.7:
        y = net.fully_connected(y, int(net.rng.integers(3, 7)))
        if softmax:
            y = net.add("softmax", [y])
    return verify(Graph(f"net{seed}", (x,), (y,), tuple(net.nodes), net.constants))


def images(graph: Graph, count: int, seed: int = 1) -> list[tuple[Array, ...]]:
    """Standard normal samples for every input."""
    rng = np.random.default_rng(seed)
    return [tuple(rng.standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs) for _ in range(count)]
