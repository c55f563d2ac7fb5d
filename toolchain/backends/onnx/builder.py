"""Collects ONNX nodes and initializers while a graph is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from toolchain.errors import ModelError
from toolchain.ir.attrs import Activation
from toolchain.ir.graph import Graph, NameSource, Node, Value, names_of
from toolchain.ir.quantization import dequantize_array
from toolchain.ir.types import Array, DType, Quant, TensorType

ELEMENT_TYPES: Mapping[DType, int] = {
    DType.F32: TensorProto.FLOAT,
    DType.F16: TensorProto.FLOAT16,
    DType.F64: TensorProto.DOUBLE,
    DType.I4: TensorProto.INT4,
    DType.I8: TensorProto.INT8,
    DType.I16: TensorProto.INT16,
    DType.I32: TensorProto.INT32,
    DType.I64: TensorProto.INT64,
    DType.U8: TensorProto.UINT8,
    DType.U16: TensorProto.UINT16,
    DType.U32: TensorProto.UINT32,
    DType.U64: TensorProto.UINT64,
    DType.BOOL: TensorProto.BOOL,
}
QUANTIZED_TYPES = (DType.I8, DType.U8, DType.I16, DType.U16)
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
LAYER_END = "::"
"""Between a layer's name and what stands for a part of it, in the names of ONNX nodes and of values on the way."""


class Builder:
    """Nodes in order and initializers by name. Every operand is asked for by its value, so that it is made when needed.

    batched: the first dimension of every computed value is left open, where the graph says 1. real: type that quantized
    values are dequantized to.
    """

    def __init__(self, graph: Graph, batched: bool = False, real: DType = DType.F32) -> None:
        self.batched, self.real = batched, real
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._graph = graph
        self._names = names_of(graph)
        self._real: dict[str, str] = {}
        self._node_names = NameSource(())
        self.layer = ""

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append a node with one new output and return that output's name."""
        return self.add_many(op, inputs, 1, **attributes)[0]

    def add_many(self, op: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Append a node with several new outputs."""
        outputs = [self._names.fresh(f"{op}_onnx") for _ in range(count)]
        self.add_to(op, inputs, outputs, **attributes)
        return outputs

    def add_to(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Append a node that makes the named outputs; attributes that are None are left out.

        It is named after the layer in work, so that what an engine says of it can be traced back.
        """
        given = {key: value for key, value in attributes.items() if value is not None}
        name = self._node_names.fresh(f"{self.layer}{LAYER_END}{op}")
        self.nodes.append(helper.make_node(op, list(inputs), list(outputs), name=name, **given))

    def constant(self, array: Array | Sequence[float] | float, dtype: str | None = None, base: str = "constant_onnx") -> str:
        """The name of a new initializer."""
        name = self._names.fresh(base)
        data = np.ascontiguousarray(np.asarray(array, dtype)).reshape(np.shape(array))
        self.initializers[name] = numpy_helper.from_array(data, name)
        return name

    def integers(self, values: Sequence[int]) -> str:
        """An int64 vector, which is how ONNX takes shapes and axes."""
        return self.constant(np.array(values, np.int64))

    def operand(self, value: Value) -> str:
        """The ONNX name of a value; a quantized one is dequantized, once."""
        if value.type.quant is None:
            return self.stored(value)
        if value.name not in self._real:
            self._real[value.name] = self._dequantized(value)
        return self._real[value.name]

    def stored(self, value: Value) -> str:
        """The ONNX name of a value as it is stored; constants become initializers under their own names."""
        array = self._graph.constants.get(value.name)
        if array is not None and value.name not in self.initializers:
            self.initializers[value.name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), value.name)
        return value.name

    def weights(self, value: Value, perm: Sequence[int]) -> str:
        """A weight tensor with its dimensions permuted; constants are permuted here, not by a node."""
        array = self._graph.constants.get(value.name)
        if array is None:
            return self.add("Transpose", [self.operand(value)], perm=list(perm))
        moved = np.ascontiguousarray(array.transpose(perm))
        quant = value.type.quant
        if quant is None:
            return self.constant(moved, base=f"{value.name}_onnx")
        axis = None if quant.axis is None else list(perm).index(quant.axis)
        return self._dequantize_constant(moved, Quant(quant.scale, quant.zero_point, axis), value)

    def data(self, value: Value) -> Array | None:
        """The numbers of an unquantized constant, or None."""
        return None if value.type.quant is not None else self._graph.constants.get(value.name)

    def numbers(self, value: Value) -> Array:
        """The numbers of a constant as they are stored."""
        return self._graph.constants[value.name]

    def quantize(self, real: str, value: Value) -> None:
        """Append the node that makes a quantized value from its real form."""
        if value.type.quant is not None:
            if value.type.dtype not in QUANTIZED_TYPES:
                what = f"QuantizeLinear makes no {value.type.dtype}"
                raise ModelError(104, value.name, what, "Choose another format")
            scale, zero = self._parameters(value.type.quant, value.type.dtype)
            self.add_to("QuantizeLinear", [real, scale, zero], [value.name], axis=value.type.quant.axis)

    def fresh(self, base: str) -> str:
        """A name that is not in use."""
        return self._names.fresh(base)

    def _dequantized(self, value: Value) -> str:
        array, quant = self._graph.constants.get(value.name), value.type.quant
        assert quant is not None, value
        if array is not None:
            return self._dequantize_constant(array, quant, value)
        scale, zero = self._parameters(quant, value.type.dtype)
        return self.add("DequantizeLinear", [value.name, scale, zero], axis=quant.axis)

    def _dequantize_constant(self, array: Array, quant: Quant, value: Value) -> str:
        """Real form of a stored constant; types that ONNX does not dequantize are written as floats."""
        if value.type.dtype not in (DType.I8, DType.U8, DType.I32, DType.I4):
            return self.constant(dequantize_array(array, quant), str(self.real.numpy), base=f"{value.name}_onnx")
        if quant.block is not None:
            return self._dequantize_blocks(array, quant, value)
        scale, zero = self._parameters(quant, value.type.dtype)
        return self.add("DequantizeLinear", [self._integers(array, value), scale, zero], axis=quant.axis)

    def _dequantize_blocks(self, array: Array, quant: Quant, value: Value) -> str:
        """Blocks run along the second dimension of (channels, the rest), which is then given the shape of the constant."""
        assert quant.axis is not None, value
        moved = np.moveaxis(array, quant.axis, 0)
        rows = moved.reshape(len(moved), -1)
        scale = self.constant(np.array(quant.scale, self.real.numpy).reshape(len(rows), -1))
        operands = [self._integers(rows, value), scale]
        made = self.add("DequantizeLinear", operands, axis=1, block_size=quant.block)
        shaped = self.add("Reshape", [made, self.integers(moved.shape)])
        if quant.axis == 0:
            return shaped
        perm = list(range(1, array.ndim))
        return self.add("Transpose", [shaped], perm=[*perm[: quant.axis], 0, *perm[quant.axis :]])

    def _integers(self, array: Array, value: Value) -> str:
        """A new initializer of stored integers; two of int4 share a byte, the first in the low nibble."""
        if value.type.dtype is not DType.I4:
            return self.constant(array, base=f"{value.name}_onnx")
        name = self._names.fresh(f"{value.name}_onnx")
        flat = array.reshape(-1).astype(np.uint8) & 15
        pairs = np.pad(flat, (0, flat.size % 2)).reshape(-1, 2)
        data = (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8).tobytes()
        self.initializers[name] = helper.make_tensor(name, TensorProto.INT4, array.shape, data, raw=True)
        return name

    def _parameters(self, quant: Quant, dtype: DType) -> tuple[str, str]:
        per_tensor = quant.axis is None
        scale = self.constant(np.array(quant.scale[0] if per_tensor else quant.scale, self.real.numpy))
        if dtype is DType.I4:
            zeros = np.array(quant.zero_point[0] if per_tensor else quant.zero_point, np.int8)
            return scale, self._integers(zeros, Value("zero", TensorType(zeros.shape, dtype)))
        zero = np.array(quant.zero_point[0] if per_tensor else quant.zero_point, dtype.numpy)
        return scale, self.constant(zero)

    def activation(self, name: str, activation: Activation, dtype: DType) -> str:
        """Append a fused activation and return its output, or the input where there is none."""
        if activation is Activation.NONE:
            return name
        if activation is Activation.RELU:
            return self.add("Relu", [name])
        return self.add("Clip", [name, *(self.constant(bound, str(dtype.numpy)) for bound in activation.bounds)])

    def finish(self, name: str, node: Node) -> None:
        """Append the node's fused activation and give the result the name of its output."""
        activation = getattr(node.attrs, "activation", Activation.NONE) if node.output.type.dtype.is_float else Activation.NONE
        self.rename(self.activation(name, activation, node.output.type.dtype), node.output.name)

    def rename(self, name: str, output: str) -> None:
        """Give the newest node's result another name; a result of an older node, or no result, is copied."""
        if self.nodes and list(self.nodes[-1].output) == [name]:
            self.nodes[-1].output[0] = output
        else:
            self.add_to("Identity", [name], [output])

    def to_nchw(self, value: Value) -> str:
        """An NHWC operand as NCHW."""
        return self.add("Transpose", [self.operand(value)], perm=TO_NCHW)

    def finish_nchw(self, name: str, node: Node) -> None:
        """The node's activation, then its output from NCHW back to NHWC."""
        activation: Activation = getattr(node.attrs, "activation", Activation.NONE)
        if not node.output.type.dtype.is_float:
            activation = Activation.NONE
        done = self.activation(name, activation, node.output.type.dtype)
        self.add_to("Transpose", [done], [node.output.name], perm=TO_NHWC)


def unsupported(node: Node, why: str) -> ModelError:
    """The error for what ONNX cannot say."""
    return ModelError(104, node.name, f"{node.op} cannot be written as ONNX: {why}", "Choose another format")
