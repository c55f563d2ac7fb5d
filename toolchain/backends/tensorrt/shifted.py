"""Integer graphs as TensorRT takes them: it quantizes without zero points, so values are stored shifted, which is exact.

A value x = scale * (stored − zero) is scale * stored, which has no zero point, and an offset of −scale * zero. What an offset
adds to a layer's sums is known when compiling and goes into its bias; where images are padded it differs along the edges, and a
constant image is added instead. Other operations add the offset to their operands. Stored bytes are those of the integer graph.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from toolchain.backends.onnx.builder import LAYER_END
from toolchain.backends.onnx.half import with_real_weights
from toolchain.errors import TargetError
from toolchain.ir.attrs import Activation, ActivationAttrs, Attrs, CastAttrs
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.quantization import activation_bounds, dequantize_array, quant_of
from toolchain.ir.types import Array, DType, TensorType, per_tensor
from toolchain.passes.quantize_rules import BIAS, WEIGHT_AXIS, WEIGHTS
from toolchain.reference.evaluator import run_node

U8_SHIFT = 128


def shifted(graph: Graph, least_scale: float = 0.0) -> Graph:
    """The graph with real inputs and outputs (float32) whose quantized values are int8 without zero points.

    least_scale: weights and values with a smaller one stay real, as a narrow type does not hold it. Graphs without quantized
    values come back with plain weights. Raises TargetError E305 that names a layer which has no such form.
    """
    plain = with_real_weights(graph)
    for node in plain.nodes:
        _check(node)
    return _Rewriter(plain, least_scale).run()


class _Rewriter:
    """Builds the new graph in the old order; each stored value gets its real forms where a node first needs one, and once."""

    def __init__(self, graph: Graph, least_scale: float) -> None:
        self._graph, self._names, self._least_scale = graph, names_of(graph), least_scale
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = dict(graph.constants)
        self._stored: dict[str, Value] = {}
        self._centred: dict[str, Value] = {}
        self._real: dict[str, Value] = {}

    def run(self) -> Graph:
        """The rewritten graph."""
        inputs = tuple(Value(value.name, _real_type(value)) for value in self._graph.inputs)
        for made, value in zip(inputs, self._graph.inputs, strict=True):
            if value.type.quant is not None:
                self._store(value, made)
        for node in self._graph.nodes:
            self._add(node)
        outputs = tuple(self._end(value) for value in self._graph.outputs)
        used = {value.name for node in self._nodes for value in node.inputs} | {value.name for value in outputs}
        live = {name: array for name, array in self._constants.items() if name in used}
        return Graph(self._graph.name, inputs, outputs, tuple(self._nodes), MappingProxyType(live))

    def _add(self, node: Node) -> None:
        if node.op in ("quantize", "requantize"):
            self._store(node.output, self._as_real(node.inputs[0]))
            return
        if node.op == "dequantize":
            self._real[node.output.name] = self._as_real(node.inputs[0])
            return
        made = tuple(self._result(value) for value in node.outputs)
        if node.op in WEIGHT_AXIS and self._reads_int8(node):
            self._add_layer(node, made[0])
            return
        inputs = tuple(self._as_real(value) for value in node.inputs)
        self._nodes.append(replace(node, inputs=inputs, outputs=made, attrs=self._needed_attrs(node)))
        for value, real in zip(node.outputs, made, strict=True):
            if value.type.quant is not None:
                self._store(value, real)

    def _add_layer(self, node: Node, made: Value) -> None:
        """A layer of int8 weights on the stored numbers alone; what is left out goes into the bias or an image."""
        x, weights, attrs = node.inputs[0], node.inputs[WEIGHTS], self._needed_attrs(node)
        channels = weights.type.shape[WEIGHT_AXIS[node.op]]
        bias = np.zeros(channels, np.float32)
        if len(node.inputs) > BIAS:
            bias = bias + self._number(node.inputs[BIAS])
        missing = self._offset_sums(node, _offset(x))
        vector = missing.reshape(-1, channels)
        even = bool((vector == vector[0]).all())
        bias = bias + vector[0] if even else bias
        activation = getattr(attrs, "activation", Activation.NONE)
        ends = activation is Activation.NONE and self._is_stored(node.output)
        into = -_offset(node.output) if ends else 0.0
        if even:
            bias = bias + np.float32(into)
        name = f"{node.name}_bias"
        inputs = (self._as_centred(x), weights, self._constant(name, bias.astype(np.float32)))
        if even:
            self._nodes.append(replace(node, inputs=inputs, outputs=(made,), attrs=attrs))
        else:
            summed = Value(self._names.fresh(f"{node.name}{LAYER_END}sums"), made.type)
            bare = replace(attrs, activation=Activation.NONE)
            self._nodes.append(replace(node, inputs=inputs, outputs=(summed,), attrs=bare))
            image = self._constant(f"{node.name}_edges", missing + np.float32(into))
            self._nodes.append(Node("add", (summed, image), (made,), ActivationAttrs(activation)))
        if node.output.type.quant is not None:
            self._store(node.output, made, is_offset=ends)

    def _offset_sums(self, node: Node, offset: float) -> Array:
        """What the offset of a layer's operand adds to its sums: (*output shape), equal everywhere without padding."""
        x, weights = node.inputs[0], node.inputs[WEIGHTS]
        shape = node.output.type.shape
        real = dequantize_array(self._graph.constants[weights.name], quant_of(weights.type))
        bare = replace(node.attrs, activation=Activation.NONE)
        plain = Node(
            node.op,
            (Value("x", TensorType(x.type.shape, DType.F32)), Value("w", TensorType(weights.type.shape, DType.F32))),
            (Value("y", TensorType(shape, DType.F32)),),
            bare,
        )
        return run_node(plain, [np.full(x.type.shape, offset, np.float32), real])[0] if offset else np.zeros(shape, np.float32)

    def _store(self, value: Value, real: Value, *, is_offset: bool = False) -> None:
        """Quantize a real value. is_offset: it already lacks the value's offset."""
        if not self._is_stored(value):
            self._real[value.name] = real
            return
        quant = quant_of(value.type)
        offset = _offset(value)
        if offset and not is_offset:
            real = self._plus(real, -offset, f"{value.name}_shifted")
        name = self._names.fresh(f"{value.name}_stored")
        made = Value(name, TensorType(value.type.shape, DType.I8, per_tensor(quant.scalar_scale)))
        self._nodes.append(Node("quantize", (real,), (made,), CastAttrs(DType.I8)))
        self._stored[value.name] = made

    def _plus(self, value: Value, offset: float, name: str) -> Value:
        made = Value(self._names.fresh(name), value.type)
        number = self._constant(f"{name}_by", np.full((1,) * value.type.rank, offset, np.float32))
        self._nodes.append(Node("add", (value, number), (made,), ActivationAttrs()))
        return made

    def _as_centred(self, value: Value) -> Value:
        """scale * stored: the real value less its offset."""
        if value.name not in self._centred:
            made = Value(self._names.fresh(f"{value.name}_centred"), TensorType(value.type.shape, DType.F32))
            self._nodes.append(Node("dequantize", (self._stored[value.name],), (made,), Attrs()))
            self._centred[value.name] = made
        return self._centred[value.name]

    def _as_real(self, value: Value) -> Value:
        """The real form of any value; what is not quantized is one, but for results of dequantize."""
        if value.name in self._graph.constants:
            return value if value.type.quant is None else self._constant(value.name, self._number(value), known=True)
        if value.type.quant is not None and value.name not in self._real:
            centred, offset = self._as_centred(value), _offset(value)
            self._real[value.name] = self._plus(centred, offset, f"{value.name}_real") if offset else centred
        return self._real.get(value.name, value)

    def _end(self, value: Value) -> Value:
        """A graph output in real units under its own name."""
        real = self._as_real(value)
        if real.name == value.name:
            return real
        made = Value(value.name, _real_type(value))
        if all(made.name != node.name for node in self._nodes):
            self._nodes.append(Node("copy", (real,), (made,), Attrs()))
        return made

    def _result(self, value: Value) -> Value:
        """What a node makes in real units: quantized results get another name first."""
        if value.type.quant is None:
            return value
        return Value(self._names.fresh(f"{value.name}{LAYER_END}result"), _real_type(value))

    def _number(self, value: Value) -> Array:
        array, quant = self._graph.constants[value.name], value.type.quant
        return array if quant is None else dequantize_array(array, quant)

    def _constant(self, base: str, array: Array, *, known: bool = False) -> Value:
        """A new constant; known: one whose numbers replace stored ones of the same name."""
        name = base if known else self._names.fresh(base)
        self._constants[name] = np.ascontiguousarray(array)
        return Value(name, TensorType(array.shape, DType.F32))

    def _is_stored(self, value: Value) -> bool:
        """True for values that are quantized: those of 8 bits whose scale is large enough. Others are real."""
        quant = value.type.quant
        return quant is not None and value.type.dtype in (DType.I8, DType.U8) and quant.scalar_scale >= self._least_scale

    def _needed_attrs(self, node: Node) -> Any:
        """The node's attributes without an activation that the range of the stored numbers is already."""
        attrs, out = node.attrs, node.output
        activation = getattr(attrs, "activation", Activation.NONE)
        if activation is Activation.NONE or not self._is_stored(out):
            return attrs
        implied = activation_bounds(activation, out.type) == out.type.dtype.limits
        return replace(attrs, activation=Activation.NONE) if implied else attrs

    def _reads_int8(self, node: Node) -> bool:
        """True for layers on stored numbers whose weights are constants of int8 without zero points."""
        weights = node.inputs[WEIGHTS]
        users = self._graph.users()[weights.name]
        same = all(user.op in WEIGHT_AXIS and user.inputs[0].name != weights.name for user in users)
        quant = weights.type.quant
        if node.inputs[0].name not in self._stored or quant is None or not same or weights.name not in self._graph.constants:
            return False
        plain = not any(quant.zero_point) and quant.block is None and min(quant.scale) >= self._least_scale
        return weights.type.dtype is DType.I8 and plain


def _offset(value: Value) -> float:
    """What a value is more than its scale times its stored (signed) number, in single precision."""
    quant = value.type.quant
    if quant is None:
        return 0.0
    zero = quant.scalar_zero_point - (U8_SHIFT if value.type.dtype is DType.U8 else 0)
    return float(np.float32(-zero) * np.float32(quant.scalar_scale))


def _real_type(value: Value) -> TensorType:
    return value.type if value.type.quant is None else TensorType(value.type.shape, DType.F32)


def _check(node: Node) -> None:
    """Raise TargetError E305 for what TensorRT's int8 cannot say."""
    if node.op.startswith("dynamic_"):
        what = f"{node.op} finds its ranges when it runs, and TensorRT takes fixed ones alone"
        raise TargetError(305, node.name, what, "Compile the float model with --calibrate DATA, or with --precision float16")
    if node.op == "cast" and node.inputs[0].type.quant is not None:
        what = "cast takes the stored numbers of a quantized tensor, which TensorRT stores otherwise"
        raise TargetError(305, node.name, what, "Use --precision float16")
    refused = (DType.I16, DType.I32) if node.op in WEIGHT_AXIS else (DType.I32,)
    wide = next((value for value in node.outputs if value.type.quant is not None and value.type.dtype in refused), None)
    if wide is not None:
        what = f"{node.op} computes in {wide.type.dtype}, and TensorRT quantizes to int8 alone"
        raise TargetError(305, node.name, what, "Use --precision int8 or float16")
