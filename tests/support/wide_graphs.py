"""Test support: networks on wide images, whose rows do not fit into little memory."""

from __future__ import annotations

import numpy as np

from toolchain.ir.attrs import Activation, ActivationAttrs, ConvAttrs, PoolAttrs, ReshapeAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor

ACTIVATED = per_tensor(float(np.float32(6 / 255)), -128)


class _Net:
    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.rng, self.nodes, self.constants = np.random.default_rng(5), list[Node](), dict[str, Array]()
        self.input = self.image = Value("image", TensorType((1, *shape), DType.I8, per_tensor(1 / 128, 0)))

    def add(self, op: str, inputs: tuple[Value, ...], attrs: object, quant: Quant) -> None:
        node = make_node(op, inputs, (f"t{len(self.nodes)}",), attrs, quant)  # type: ignore[arg-type]
        self.nodes.append(node)
        self.image = node.output

    def layer(self, op: str, shape: tuple[int, ...], attrs: object, channels: int) -> None:
        """A layer with random weights, whose sums spread over the output's range."""
        index, quant = len(self.nodes), self.image.type.quant
        scale_in = quant.scalar_scale if quant else 1.0
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        scale = per_tensor(float(np.float32(ACTIVATED.scalar_scale / (scale_in * 50 * np.sqrt(weights.size / channels)))), 0)
        w = Value(f"w{index}", TensorType(shape, DType.I8, scale))
        bias = per_tensor(float(np.float32(scale_in) * np.float32(scale.scalar_scale)), 0)
        b = Value(f"b{index}", TensorType((channels,), DType.I32, bias))
        self.constants |= {w.name: weights, b.name: self.rng.integers(-2000, 2000, channels).astype(np.int32)}
        self.add(op, (self.image, w, b), attrs, ACTIVATED)

    def pool(self, op: str, window: tuple[int, int]) -> None:
        self.add(op, (self.image,), PoolAttrs(window, window), ACTIVATED)

    def graph(self, name: str, classes: int = 4) -> Graph:
        """With a fully connected layer at the end."""
        size = self.image.type.elements
        self.add("reshape", (self.image,), ReshapeAttrs((1, size)), ACTIVATED)
        self.layer("fully_connected", (classes, size), ActivationAttrs(), classes)
        return Graph(name, (self.input,), (self.image,), tuple(self.nodes), self.constants)


def electrodes(rows: int = 22, samples: int = 256, temporal: int = 8, spatial: int = 16) -> Graph:
    """Signals of electrodes over time, one row each: a filter in time, one over all rows, poolings, as in EEGNet.

    Source of the shape: Lawhern et al., EEGNet: a compact convolutional network for EEG-based brain-computer interfaces.
    """
    net = _Net((rows, samples, 1))
    net.layer("conv_2d", (temporal, 1, 64, 1), ConvAttrs(padding=(0, 0, 31, 32)), temporal)
    net.layer("conv_2d", (spatial, rows, 1, temporal), ConvAttrs(activation=Activation.RELU6), spatial)
    net.pool("average_pool_2d", (1, 4))
    net.layer("depthwise_conv_2d", (1, 1, 16, spatial), ConvAttrs(padding=(0, 0, 7, 8)), spatial)
    net.layer("conv_2d", (spatial, 1, 1, spatial), ConvAttrs(activation=Activation.RELU6), spatial)
    net.pool("average_pool_2d", (1, 8))
    return net.graph("electrodes")


def line_camera(height: int = 32, width: int = 320, hidden: int = 32) -> Graph:
    """A wide image with one channel, many hidden ones, and a filter of 9x9 over every second pixel."""
    net = _Net((height, width, 1))
    net.layer("conv_2d", (hidden, 3, 3, 1), ConvAttrs(padding=(1, 1, 1, 1), activation=Activation.RELU6), hidden)
    dilated = ConvAttrs(padding=(8, 8, 8, 8), dilation=(2, 2), activation=Activation.RELU6)
    net.layer("depthwise_conv_2d", (1, 9, 9, hidden), dilated, hidden)
    net.pool("max_pool_2d", (4, 4))
    net.layer("conv_2d", (16, 1, 1, hidden), ConvAttrs(activation=Activation.RELU6), 16)
    net.pool("average_pool_2d", (height // 4, width // 4))
    return net.graph("line_camera")
