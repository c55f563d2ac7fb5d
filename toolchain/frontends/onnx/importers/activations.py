"""Activation functions and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode, normal_axis
from toolchain.ir.attrs import AlphaAttrs, ArgAttrs, GeluAttrs, HardSigmoidAttrs, OneHotAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import Array, DType

RELUS: dict[tuple[float | None, float | None], str] = {(0.0, None): "relu", (0.0, 6.0): "relu6", (-1.0, 1.0): "relu_n1_1"}
LastAxis = Callable[[Value], Value]


def leaky_relu(b: Builder, node: OnnxNode) -> Value:
    """LeakyRelu."""
    return b.emit("leaky_relu", (node.operand(0),), AlphaAttrs(node.real("alpha", 0.01)))


def prelu(b: Builder, node: OnnxNode) -> Value:
    """PRelu: the slope broadcasts to the operand."""
    return b.emit("prelu", (node.operand(0), node.operand(1)))


def elu(b: Builder, node: OnnxNode) -> Value:
    """Elu."""
    return b.emit("elu", (node.operand(0),), AlphaAttrs(node.real("alpha", 1.0)))


def selu(b: Builder, node: OnnxNode) -> Value:
    """Selu: gamma * elu(x, alpha)."""
    x = node.operand(0)
    gamma = node.real("gamma", 1.05070102214813232421875)
    inner = b.emit("elu", (x,), AlphaAttrs(node.real("alpha", 1.67326319217681884765625)))
    return b.mul(inner, b.like(gamma, x))


def celu(b: Builder, node: OnnxNode) -> Value:
    """Celu: alpha * elu(x / alpha, 1)."""
    x, alpha = node.operand(0), node.real("alpha", 1.0)
    if alpha == 1.0:
        return b.emit("elu", (x,), AlphaAttrs(1.0))
    inner = b.emit("elu", (b.div(x, b.like(alpha, x)),), AlphaAttrs(1.0))
    return b.mul(inner, b.like(alpha, x))


def gelu(b: Builder, node: OnnxNode) -> Value:
    """Gelu, by erf or its tanh approximation."""
    approximate = node.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise node.malformed(f"approximate is {approximate!r}")
    return b.emit("gelu", (node.operand(0),), GeluAttrs(approximate == "tanh"))


def hard_sigmoid(b: Builder, node: OnnxNode) -> Value:
    """HardSigmoid."""
    attrs = HardSigmoidAttrs(node.real("alpha", 0.2), node.real("beta", 0.5))
    return b.emit("hard_sigmoid", (node.operand(0),), attrs)


def swish(b: Builder, node: OnnxNode) -> Value:
    """Swish: x * sigmoid(alpha * x)."""
    x, alpha = node.operand(0), node.real("alpha", 1.0)
    if alpha == 1.0:
        return b.unary("swish", x)
    return b.mul(x, b.unary("sigmoid", b.mul(x, b.like(alpha, x))))


def mish(b: Builder, node: OnnxNode) -> Value:
    """Mish: x * tanh(softplus(x))."""
    x = node.operand(0)
    return b.mul(x, b.unary("tanh", b.unary("softplus", x)))


def thresholded_relu(b: Builder, node: OnnxNode) -> Value:
    """ThresholdedRelu: x where x > alpha, else 0."""
    x = node.operand(0)
    above = b.emit("greater", (x, b.like(node.real("alpha", 1.0), x)))
    return b.emit("where", (above, x, b.like(0, x)))


def shrink(b: Builder, node: OnnxNode) -> Value:
    """Shrink: x + bias below −lambd, x − bias above lambd, else 0."""
    x, lambd, bias = node.operand(0), node.real("lambd", 0.5), node.real("bias", 0.0)
    if not x.type.dtype.is_float and (lambd != round(lambd) or bias != round(bias)):
        lambd = math.floor(lambd)
    below = b.emit("less", (x, b.like(-lambd, x)))
    above = b.emit("greater", (x, b.like(lambd, x)))
    inner = b.emit("where", (above, b.sub(x, b.like(bias, x)), b.like(0, x)))
    return b.emit("where", (below, b.add(x, b.like(bias, x)), inner))


def clip(b: Builder, node: OnnxNode) -> Value:
    """Clip with bounds as attributes (opset 6) or operands (from 11)."""
    x = node.operand(0)
    low: Value | None = node.optional(1)
    high: Value | None = node.optional(2)
    if node.opset < 11:
        low = b.like(node.real("min", -3.4028234663852886e38), x)
        high = b.like(node.real("max", 3.4028234663852886e38), x)
    return clamp(b, x, low, high)


def clamp(b: Builder, x: Value, low: Value | None, high: Value | None) -> Value:
    """min(max(x, low), high), as a relu where the bounds are those of one."""
    bounds = _bound(b.data(low), low), _bound(b.data(high), high)
    if x.type.dtype is DType.F32 and low is not None:
        named = RELUS.get(bounds)
        if named is not None:
            return b.unary(named, x)
    if low is not None and bounds[0] is not None:
        x = b.emit("maximum", (x, low))
    if high is not None and bounds[1] is not None:
        x = b.emit("minimum", (x, high))
    return x


def _bound(data: Array | None, value: Value | None) -> float | None:
    """A constant bound; None for one that passes every float, NaN for one known at run time only."""
    if value is None:
        return None
    if data is None:
        return math.nan
    number = float(data.reshape(-1)[0])
    return None if value.type.dtype is DType.F32 and abs(number) >= 3.4028234e38 else number


def softmax(b: Builder, node: OnnxNode) -> Value:
    """Softmax over one axis, or before opset 13 over all from it on."""
    return over_axis(b, node, node.operand(0), lambda x: b.unary("softmax", x))


def log_softmax(b: Builder, node: OnnxNode) -> Value:
    """LogSoftmax over one axis, or before opset 13 over all from it on."""
    return over_axis(b, node, node.operand(0), lambda x: b.unary("log_softmax", x))


def hardmax(b: Builder, node: OnnxNode) -> Value:
    """Hardmax: 1 at the first largest element, 0 elsewhere."""

    def last_axis(x: Value) -> Value:
        rank = x.type.rank
        index = b.emit("argmax", (x,), ArgAttrs(rank - 1))
        return b.emit("one_hot", (index, b.like(1, x), b.like(0, x)), OneHotAttrs(rank - 1, x.type.shape[-1]))

    return over_axis(b, node, node.operand(0), last_axis)


def over_axis(b: Builder, node: OnnxNode, x: Value, function: LastAxis) -> Value:
    """Apply a function of the last axis along the axis that the node names; com.microsoft's softmax names its opset."""
    shape, rank = x.type.shape, x.type.rank
    if node.integer("opset", node.opset) >= 13:
        axis = normal_axis(node.integer("axis", -1), max(rank, 1), node.place)
        if rank == 0:
            return b.reshape(function(b.reshape(x, (1,))), ())
        perm = [*(i for i in range(rank) if i != axis), axis]
        inverse = tuple(int(i) for i in np.argsort(perm))
        return b.transpose(function(b.transpose(x, perm)), inverse)
    axis = node.axis(rank, 1)
    if axis == rank - 1:
        return function(x)
    flat = b.reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:])))
    return b.reshape(function(flat), shape)


IMPORTERS: dict[str, Importer] = {
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Elu": elu,
    "Selu": selu,
    "Celu": celu,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "Swish": swish,
    "Mish": mish,
    "ThresholdedRelu": thresholded_relu,
    "Shrink": shrink,
    "Clip": clip,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "Hardmax": hardmax,
}
