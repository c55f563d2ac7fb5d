"""Reference networks that no file is needed for: int8 graphs of well-known shape with random weights from a fixed seed."""

from __future__ import annotations

import math

import numpy as np

from toolchain.ir.attrs import (
    Activation,
    ActivationAttrs,
    AxisAttrs,
    ConvAttrs,
    PoolAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    SoftmaxAttrs,
)
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor


def _single(scale: float) -> float:
    """The scale as a file stores it, in single precision."""
    return float(np.float32(scale))


IMAGE = per_tensor(1 / 128, 0)
RELU6_OUT = per_tensor(_single(6 / 255), -128)
LINEAR_OUT = per_tensor(_single(0.05), 3)
SUM_OUT = per_tensor(_single(0.07), -2)
LOGITS = per_tensor(_single(0.1), 0)
PROBABILITIES = per_tensor(1 / 256, -128)
# Expansion, channels, repeats, stride. Source: Sandler et al., MobileNetV2, table 2.
BOTTLENECKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class _Builder:
    """Appends int8 layers to a graph."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.rng = name, np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}

    def image(self, shape: tuple[int, int, int]) -> Value:
        """An input image."""
        return Value("image", TensorType((1, *shape), DType.I8, IMAGE))

    def layer(
        self, op: str, x: Value, shape: tuple[int, ...], axis: int, attrs: ConvAttrs | ActivationAttrs, out: Quant
    ) -> Value:
        """A layer with random weights of the shape (channels on `axis`), whose sums spread over the output's range."""
        index, channels = len(self.nodes), shape[axis]
        data = self.rng.integers(-127, 128, shape).astype(np.int8)
        scale_in = x.type.quant.scalar_scale if x.type.quant else 1.0
        spread = 50.0 * math.sqrt(data.size / channels)
        scales = tuple(_single(s) for s in self.rng.uniform(0.5, 1.5, channels) * out.scalar_scale / (scale_in * spread))
        w = Value(f"w{index}", TensorType(shape, DType.I8, Quant(scales, (0,) * channels, axis)))
        products = tuple(float(np.float32(scale_in) * np.float32(scale)) for scale in scales)
        b = Value(f"b{index}", TensorType((channels,), DType.I32, Quant(products, (0,) * channels, 0)))
        self.constants[w.name] = data
        self.constants[b.name] = self.rng.integers(-2000, 2000, channels).astype(np.int32)
        return self.add(op, (x, w, b), attrs, out)

    def add(self, op: str, inputs: tuple[Value, ...], attrs: object, out: Quant | None = None) -> Value:
        """A node of any op."""
        node = make_node(op, inputs, (f"t{len(self.nodes)}",), attrs, out)  # type: ignore[arg-type]
        self.nodes.append(node)
        return node.output

    def conv(self, x: Value, channels: int, kernel: int, stride: int, out: Quant, act: Activation) -> Value:
        """A convolution whose output is the input's size over the stride."""
        attrs = ConvAttrs((stride, stride), _same(x, kernel, stride), (1, 1), act)
        return self.layer("conv_2d", x, (channels, kernel, kernel, x.type.shape[3]), 0, attrs, out)

    def depthwise(self, x: Value, stride: int) -> Value:
        """A 3x3 depthwise convolution with ReLU6."""
        attrs = ConvAttrs((stride, stride), _same(x, 3, stride), (1, 1), Activation.RELU6)
        return self.layer("depthwise_conv_2d", x, (1, 3, 3, x.type.shape[3]), 3, attrs, RELU6_OUT)

    def graph(self, image: Value, output: Value) -> Graph:
        """The graph from image to output."""
        return Graph(self.name, (image,), (output,), tuple(self.nodes), self.constants)


def _same(x: Value, kernel: int, stride: int) -> tuple[int, int, int, int]:
    """TFLite's SAME padding."""
    pads: list[int] = []
    for size in x.type.shape[1:3]:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return pads[0], pads[1], pads[2], pads[3]


def _divisible(channels: float) -> int:
    """The multiple of eight that MobileNet rounds channels to."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def mobilenet_v2(alpha: float, size: int, classes: int) -> Graph:
    """MobileNetV2 on RGB images of size x size, of width alpha, with global pooling, one dense layer and softmax."""
    b = _Builder(f"mobilenet_v2_{round(alpha * 100)}_{size}", 2)
    image = b.image((size, size, 3))
    x = b.conv(image, _divisible(32 * alpha), 3, 2, RELU6_OUT, Activation.RELU6)
    for expansion, channels, repeats, first_stride in BOTTLENECKS:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            wide = x if expansion == 1 else b.conv(x, x.type.shape[3] * expansion, 1, 1, RELU6_OUT, Activation.RELU6)
            narrow = b.conv(b.depthwise(wide, stride), _divisible(channels * alpha), 1, 1, LINEAR_OUT, Activation.NONE)
            residual = stride == 1 and x.type.shape == narrow.type.shape
            x = b.add("add", (x, narrow), ActivationAttrs(), SUM_OUT) if residual else narrow
    x = b.conv(x, 1280 if alpha <= 1 else _divisible(1280 * alpha), 1, 1, RELU6_OUT, Activation.RELU6)
    pooled = b.add("average_pool_2d", (x,), PoolAttrs((x.type.shape[1], x.type.shape[2]), (1, 1)), x.type.quant)
    row = b.add("reshape", (pooled,), ReshapeAttrs((1, x.type.shape[3])), x.type.quant)
    logits = b.layer("fully_connected", row, (classes, x.type.shape[3]), 0, ActivationAttrs(), LOGITS)
    return b.graph(image, b.add("softmax", (logits,), SoftmaxAttrs(), PROBABILITIES))


def unet(size: int = 96, base: int = 16, levels: int = 3, classes: int = 2) -> Graph:
    """A U-Net on RGB images of size x size: two 3x3 convolutions a level, base channels at the top and twice as many a
    level down.

    Images are enlarged by repeating pixels, then stand beside the image of that level from the way down.
    """
    b = _Builder(f"unet_{size}", 3)
    image = x = b.image((size, size, 3))
    passed: list[Value] = []
    for level in range(levels):
        if level > 0:
            passed.append(x)
            x = b.add("max_pool_2d", (x,), PoolAttrs((2, 2), (2, 2)), x.type.quant)
        for _ in range(2):
            x = b.conv(x, base << level, 3, 1, RELU6_OUT, Activation.RELU6)
    for level, beside in reversed(list(enumerate(passed))):
        large = b.add("resize_nearest", (x,), ResizeAttrs((size >> level, size >> level)), x.type.quant)
        x = b.add("concat", (large, beside), AxisAttrs(3), x.type.quant)
        for _ in range(2):
            x = b.conv(x, base << level, 3, 1, RELU6_OUT, Activation.RELU6)
    return b.graph(image, b.conv(x, classes, 1, 1, LINEAR_OUT, Activation.NONE))
