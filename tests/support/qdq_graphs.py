"""Test support: small models with QuantizeLinear and DequantizeLinear, their integer form, and ONNX Runtime as the judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_graphs import onnxruntime_outputs
from toolchain.frontends.onnx.load import import_onnx
from toolchain.ir.graph import Graph
from toolchain.ir.quantization import quantize_array
from toolchain.ir.types import Array
from toolchain.passes.canonical import canonicalize
from toolchain.passes.qdq.notes import Note, Notes
from toolchain.passes.qdq.settle import fill_in, finish
from toolchain.reference.evaluator import run

OPSET = 21


class Qdq:
    """A model in the making: operators between conversions that are written out one by one."""

    def __init__(self, **inputs: tuple[int, ...]) -> None:
        self.inputs = inputs
        self.nodes: list[onnx.NodeProto] = []
        self.data: dict[str, Array] = {}
        self.random = np.random.default_rng(3)

    def const(self, array: Any, dtype: Any = np.float32) -> str:
        """A stored tensor."""
        name = f"k{len(self.data)}"
        self.data[name] = np.asarray(array, dtype)
        return name

    def op(self, op: str, *operands: str, outputs: int = 1, **attributes: Any) -> str:
        """A node; the name of its first result (`NAME_1` and so on are the others)."""
        name = f"t{len(self.nodes)}"
        names = [name, *(f"{name}_{index}" for index in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(operands), names, **attributes))
        return name

    def quant(self, x: str, scale: float, zero: int = 0, dtype: Any = np.int8) -> str:
        """x quantized, as stored integers."""
        return self.op("QuantizeLinear", x, self.const(scale), self.const(zero, dtype))

    def pair(self, x: str, scale: float, zero: int = 0, dtype: Any = np.int8) -> str:
        """x quantized and dequantized."""
        stored = self.quant(x, scale, zero, dtype)
        return self.op("DequantizeLinear", stored, self.const(scale), self.const(zero, dtype))

    def weights(self, shape: tuple[int, ...], axis: int | None = None, zero: int = 0, dtype: Any = np.int8) -> str:
        """Random stored weights, dequantized, with one scale per index of an axis."""
        low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max)
        reach = 127 if np.dtype(dtype).itemsize == 1 else high
        stored = self.const(self.random.integers(max(low, zero - reach), min(high, zero + reach) + 1, shape), dtype)
        count = 1 if axis is None else shape[axis]
        scales = self.random.random(count) * 0.01 + 0.005
        size = 127 / max(abs(low), abs(high)) if np.dtype(dtype).itemsize > 1 else 1.0
        scale = self.const(scales * size if axis is not None else scales[0] * size)
        zeros = self.const([zero] * count if axis is not None else zero, dtype)
        return self.op("DequantizeLinear", stored, scale, zeros, **({} if axis is None else {"axis": axis}))

    def bias(self, values: Any, scale: Any) -> str:
        """A stored int32 bias, dequantized."""
        operands = (self.const(values, np.int32), self.const(scale), self.const(np.zeros(np.shape(scale)), np.int32))
        return self.op("DequantizeLinear", *operands, **({"axis": 0} if np.ndim(scale) else {}))

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The checked model of float inputs."""
        graph = helper.make_graph(
            self.nodes,
            "qdq",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in self.inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.data.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        return onnx.shape_inference.infer_shapes(made)


def integer_form(model: onnx.ModelProto) -> tuple[Graph, tuple[Note, ...]]:
    """The integer graph of a model and what of its parameters could not be kept."""
    notes = Notes()
    filled = fill_in(canonicalize(import_onnx(model, "qdq", Path())), notes)
    return canonicalize(finish(filled, notes)), notes.made


def steps_apart(model: onnx.ModelProto, graph: Graph, count: int = 10, size: float = 1.0) -> list[Array]:
    """Per output the differences to ONNX Runtime in the graph's steps, over random inputs of a spread of `size`."""
    random = np.random.default_rng(11)
    found: list[list[Array]] = [[] for _ in graph.outputs]
    for _ in range(count):
        shapes = {entry.name: [dim.dim_value for dim in entry.type.tensor_type.shape.dim] for entry in model.graph.input}
        given = {name: (size * random.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
        got = run(graph, stored_inputs(graph, given))
        for index, (value, want) in enumerate(zip(graph.outputs, onnxruntime_outputs(model, given), strict=True)):
            quant = value.type.quant
            expected = want if quant is None else quantize_array(want, value.type.dtype, quant)
            found[index].append(got[index].astype(np.int64) - expected.astype(np.int64))
    return [np.concatenate([each.reshape(-1) for each in rows]) for rows in found]


def stored_inputs(graph: Graph, given: dict[str, Array]) -> list[Array]:
    """Real inputs as the graph stores them."""
    found: list[Array] = []
    for value in graph.inputs:
        quant = value.type.quant
        found.append(given[value.name] if quant is None else quantize_array(given[value.name], value.type.dtype, quant))
    return found


def ops(graph: Graph) -> Sequence[str]:
    """The operations in order."""
    return [node.op for node in graph.nodes]
