"""Test support: small float networks and what ONNX Runtime's own quantizer makes of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from toolchain.ir.types import Array

OPSET = 21


class Network:
    """A float ONNX model in the making, with weights whose channels differ in range as trained ones do."""

    def __init__(self, name: str, seed: int, **inputs: tuple[int, ...]) -> None:
        self.name, self.inputs = name, inputs
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}

    def weight(self, *shape: int, axis: int = 0) -> str:
        """A new weight, its channels along `axis` spread by a factor of e."""
        spread = [1] * len(shape)
        spread[axis] = shape[axis]
        fan = max(int(np.prod(shape)) // shape[axis], 1)
        array = self.random.standard_normal(shape) / np.sqrt(fan) * np.exp(self.random.normal(0, 0.5, spread))
        return self.data(array.astype(np.float32))

    def data(self, array: Any) -> str:
        """A new constant."""
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(array)
        return name

    def add(self, op: str, *operands: str, **attributes: Any) -> str:
        """A node; the name of its result."""
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(operands), [name], name=f"{name}_node", **attributes))
        return name

    def conv(self, x: str, into: int, out: int, kernel: int, stride: int = 1, group: int = 1) -> str:
        """A convolution with padding and bias."""
        operands = (x, self.weight(out, into // group, kernel, kernel), self.weight(out))
        return self.add("Conv", *operands, pads=[kernel // 2] * 4, strides=[stride] * 2, group=group)

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The checked model."""
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in self.inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        made = onnx.shape_inference.infer_shapes(made)
        onnx.checker.check_model(made, full_check=True)
        return made


def vision(seed: int = 0) -> onnx.ModelProto:
    """Convolutions of every kind, a residual, pooling, concat, hard swish, squeeze-excite, resize, transposed convolution."""
    net = Network("vision", seed, x=(1, 3, 12, 10))
    first = net.add("Relu", net.conv("x", 3, 8, 3))
    six = net.add("Clip", net.conv(first, 8, 8, 3, group=8), net.data(np.float32(0)), net.data(np.float32(6)))
    joined = net.add("Relu", net.add("Add", net.conv(six, 8, 8, 1), first))
    pooled = net.add("MaxPool", joined, kernel_shape=[2, 2], strides=[2, 2])
    mean = net.add("AveragePool", joined, kernel_shape=[2, 2], strides=[2, 2])
    wide = net.conv(net.add("Concat", pooled, mean, axis=1), 16, 8, 3)
    hard = net.add("Mul", wide, net.add("HardSigmoid", wide, alpha=1 / 6, beta=0.5))
    gate = net.add("Sigmoid", net.conv(net.add("GlobalAveragePool", hard), 8, 8, 1))
    scaled = net.add("Mul", hard, gate)
    sizes = net.data(np.array([1, 1, 2, 2], np.float32))
    tall = net.add("Resize", scaled, "", sizes, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    up = net.add("ConvTranspose", tall, net.weight(8, 4, 2, 2, axis=1), net.weight(4), strides=[2, 2])
    leaky = net.add("LeakyRelu", up, alpha=0.1)
    flat = net.add("ReduceMean", leaky, net.data(np.array([2, 3])), keepdims=0)
    return net.model(net.add("Softmax", net.add("Gemm", flat, net.weight(5, 4), net.weight(5), transB=1), axis=-1))


def attention(seed: int = 1) -> onnx.ModelProto:
    """A block of self-attention over (1, 6, 16): matrix products of activations, transposes, softmax, tanh, slices, a split."""
    net = Network("attention", seed, x=(1, 6, 16))
    heads = net.data(np.array([1, 6, 2, 8]))

    def projected(x: str, perm: list[int]) -> str:
        y = net.add("Add", net.add("MatMul", x, net.weight(16, 16, axis=1)), net.weight(16))
        return net.add("Transpose", net.add("Reshape", y, heads), perm=perm)

    query, key, value = projected("x", [0, 2, 1, 3]), projected("x", [0, 2, 3, 1]), projected("x", [0, 2, 1, 3])
    scores = net.add("Mul", net.add("MatMul", query, key), net.data(np.float32(0.35)))
    mixed = net.add("Transpose", net.add("MatMul", net.add("Softmax", scores, axis=-1), value), perm=[0, 2, 1, 3])
    back = net.add("Reshape", mixed, net.data(np.array([1, 6, 16])))
    summed = net.add("Add", net.add("MatMul", back, net.weight(16, 16, axis=1)), "x")
    inner = net.add("Tanh", net.add("MatMul", summed, net.weight(16, 24, axis=1)))
    last = net.add("Add", net.add("MatMul", inner, net.weight(24, 16, axis=1)), summed)
    return net.model(last)


def samples(model: onnx.ModelProto, count: int, seed: int) -> list[dict[str, Array]]:
    """Random inputs by name."""
    random = np.random.default_rng(seed)
    shapes = {entry.name: [dim.dim_value for dim in entry.type.tensor_type.shape.dim] for entry in model.graph.input}
    return [{name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(count)]


def quantized(model: onnx.ModelProto, folder: Path, form: str, activations: str, weights: str, **options: Any) -> onnx.ModelProto:
    """What onnxruntime.quantization.quantize_static makes. form: QDQ or QOperator. activations, weights: QInt8, QUInt8, …"""
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):  # type: ignore[misc, no-any-unimported, name-defined, unused-ignore]
        """Random samples."""

        def __init__(self) -> None:
            self._rows = iter(samples(model, 24, 100))

        def get_next(self) -> dict[str, Array] | None:
            """The next sample."""
            return next(self._rows, None)

    logging.disable(logging.WARNING)
    try:
        onnx.save(model, folder / "float.onnx")
        kinds = {"activation_type": q.QuantType[activations], "weight_type": q.QuantType[weights]}
        q.quantize_static(
            str(folder / "float.onnx"), str(folder / "made.onnx"), Reader(), quant_format=q.QuantFormat[form], **kinds, **options
        )
    finally:
        logging.disable(logging.NOTSET)
    made: onnx.ModelProto = onnx.load(folder / "made.onnx")
    return made
