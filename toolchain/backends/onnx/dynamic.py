"""Dynamic range layers: inputs are quantized at run time. NHWC here, NCHW in ONNX."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from toolchain.backends.onnx.builder import Builder
from toolchain.backends.onnx.layers import pads
from toolchain.ir.attrs import ConvAttrs
from toolchain.ir.graph import Node
from toolchain.ir.ops.dynamic import OUTPUT_AXIS, SMALLEST_SPAN, STEPS
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array

WEIGHT_ZERO = 128
FLOAT = "float32"


def dynamic_layer(builder: Builder, node: Node) -> None:
    """DynamicQuantizeLinear and an integer product for one image or row, which has the one grid that ONNX knows.

    Several have grids of their own: their counts of steps are whole floats, as are the weights, and the product is a float one.
    """
    shape = node.inputs[0].type.shape
    rows = shape[0] if len(shape) == 4 and "conv" in node.op else node.inputs[0].type.elements // max(shape[-1], 1)
    sums, step = _on_integers(builder, node) if rows == 1 else _on_whole_floats(builder, node)
    images = "conv" in node.op
    scales = np.array(quant_of(node.inputs[1].type).scale, np.float32)
    scaled = builder.add("Mul", [sums, step])
    scaled = builder.add("Mul", [scaled, builder.constant(scales.reshape(-1, 1, 1) if images else scales)])
    if len(node.inputs) > 2:
        bias = builder.operand(node.inputs[2])
        if images:
            bias = builder.add("Reshape", [bias, builder.integers((-1, 1, 1))])
        scaled = builder.add("Add", [scaled, bias])
    (builder.finish_nchw if images else builder.finish)(scaled, node)


def _weights(builder: Builder, node: Node) -> Array:
    """Stored weights in ONNX's order: (out, in, height, width), (out, 1, height, width) or (in, out)."""
    perm = {0: (0, 3, 1, 2), 3: (3, 0, 1, 2)}[OUTPUT_AXIS[node.op]] if "conv" in node.op else (1, 0)
    return np.ascontiguousarray(builder.numbers(node.inputs[1]).transpose(perm))


def _on_integers(builder: Builder, node: Node) -> tuple[str, str]:
    """Sums as floats, and the size of a step."""
    x, weights = node.inputs[0], _weights(builder, node)
    name = builder.to_nchw(x) if "conv" in node.op else builder.operand(x)
    stored, step, zero = builder.add_many("DynamicQuantizeLinear", [name], 3)
    if "conv" in node.op:
        # ONNX Runtime convolves uint8 weights alone.
        shifted = builder.constant((weights.astype(np.int16) + WEIGHT_ZERO).astype(np.uint8))
        operands = [stored, shifted, zero, builder.constant(np.array(WEIGHT_ZERO, np.uint8))]
        sums = builder.add("ConvInteger", operands, **_window(node))
    else:
        sums = builder.add("MatMulInteger", [stored, builder.constant(weights), zero])
    return builder.add("Cast", [sums], to=TensorProto.FLOAT), step


def _on_whole_floats(builder: Builder, node: Node) -> tuple[str, str]:
    images = "conv" in node.op
    name = builder.to_nchw(node.inputs[0]) if images else builder.operand(node.inputs[0])
    axes, nothing = builder.integers((1, 2, 3) if images else (-1,)), builder.constant(0.0, FLOAT)
    low = builder.add("Min", [builder.add("ReduceMin", [name, axes], keepdims=1), nothing])
    high = builder.add("Max", [builder.add("ReduceMax", [name, axes], keepdims=1), nothing])
    span = builder.add("Sub", [high, low])
    known = builder.add("Greater", [span, builder.constant(SMALLEST_SPAN, FLOAT)])
    some = builder.add("Where", [known, span, builder.constant(1.0, FLOAT)])
    inverse = builder.add("Where", [known, builder.add("Div", [builder.constant(float(STEPS), FLOAT), some]), nothing])
    least = builder.add("Round", [builder.add("Mul", [low, inverse])])
    counted = builder.add("Round", [builder.add("Mul", [name, inverse])])
    most = builder.add("Add", [least, builder.constant(float(STEPS), FLOAT)])
    counted = builder.add("Min", [builder.add("Max", [counted, least]), most])
    weights = builder.add("Cast", [builder.constant(_weights(builder, node))], to=TensorProto.FLOAT)
    sums = builder.add("Conv", [counted, weights], **_window(node)) if images else builder.add("MatMul", [counted, weights])
    step = builder.add("Where", [known, builder.add("Div", [span, builder.constant(float(STEPS), FLOAT)]), nothing])
    return sums, step


def _window(node: Node) -> dict[str, object]:
    attrs: ConvAttrs = node.attrs
    depth = 1 if OUTPUT_AXIS[node.op] else node.inputs[1].type.shape[3]
    group = node.inputs[0].type.shape[3] // depth
    return {"strides": attrs.stride, "pads": pads(attrs.padding), "dilations": attrs.dilation, "group": group}
