"""Collects the nodes and weights of a TF.js graph model while a graph is written."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from toolchain.backends.tfjs.weights import Weight, byte_weight, half_weight, plain_weight
from toolchain.errors import TargetError
from toolchain.ir.attrs import Activation
from toolchain.ir.graph import Graph, NameSource, Node, Value
from toolchain.ir.quantization import dequantize_array
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor
from toolchain.lowering.stored import is_conversion

Attribute = bool | int | float | str | Sequence[int] | Sequence[str] | DType
Move = Callable[[Array], Array]
"""Rearranges an array: permutes and reshapes its dimensions, the same for a tensor and for the scales of its channels."""

TYPE_NAMES: Mapping[DType, str] = {DType.BOOL: "bool", **{dtype: "float32" for dtype in DType if dtype.is_float}}
GRAPH_TYPES = {"float32": "DT_FLOAT", "int32": "DT_INT32", "bool": "DT_BOOL"}
_NO_LETTERS = re.compile(r"[^A-Za-z0-9_.]")
_SMALL = (DType.I4, DType.I8, DType.U8, DType.I16, DType.U16)
_CLAMPING = ("conv_2d", "depthwise_conv_2d", "transpose_conv_2d", "fully_connected", "add", "sub", "mul", "div")
INT32 = np.iinfo(np.int32)


class Builder:
    """Nodes in order and weights by name. Every operand is asked for by its value, so that it is made when needed.

    Node names are value names without what TF.js reads as syntax. Weights whose channels have scales of their own are
    stored as integers; `initializer` is the graph that makes real numbers of them, once, when the model is loaded.
    """

    def __init__(self, graph: Graph) -> None:
        self.nodes: list[dict[str, object]] = []
        self.initializer: list[dict[str, object]] = []
        self.captured: list[str] = []
        self.weights: list[Weight] = []
        self._graph = graph
        self._names = NameSource(())
        self._made: dict[str, str] = {}
        self._cached: dict[tuple[str, str, tuple[int, ...], bytes], str] = {}
        self._sources = {node.name: node.inputs[0] for node in graph.nodes if is_conversion(graph, node)}

    def add(self, op: str, inputs: Sequence[str], **attributes: Attribute) -> str:
        """Append a node and return its name, which is that of its first output too."""
        name = self._names.fresh("n")
        self.nodes.append(node_entry(name, op, inputs, attributes))
        return name

    def placeholder(self, value: Value) -> str:
        """Append a graph input; quantized ones are taken as the real numbers that they stand for."""
        name = self._names.fresh(clean_name(value.name))
        self._made[value.name] = name
        sizes = [{"size": str(size)} for size in value.type.shape]
        attr = {"dtype": {"type": GRAPH_TYPES[type_name(value)]}, "shape": {"shape": {"dim": sizes}}}
        self.nodes.append({"name": name, "op": "Placeholder", "attr": attr})
        return name

    def output(self, value: Value) -> str:
        """Append a graph output under its own name."""
        source = self.operand(value)
        name = self._names.fresh(clean_name(value.name))
        self.nodes.append(node_entry(name, "Identity", [source], {}))
        return name

    def bind(self, value: Value, name: str) -> None:
        """Say which node makes a value."""
        self._made[value.name] = name

    def operand(self, value: Value) -> str:
        """The name of a value's real numbers, or of its plain integers or bools."""
        if value.name not in self._made:
            self._made[value.name] = self.moved(value, lambda array: array)
        return self._made[value.name]

    def moved(self, value: Value, move: Move) -> str:
        """A constant rearranged when the file is written. Raises TargetError(305) for a computed value."""
        source = self._sources.get(value.name, value)
        array = self._graph.constants.get(source.name)
        if array is None:
            raise TargetError(305, value.name, "TF.js takes these weights as constants alone", "Change this layer")
        return self._stored(source, array, move)

    def is_constant(self, value: Value) -> bool:
        """True for constants, also for those whose conversion to float is a node."""
        return self._sources.get(value.name, value).name in self._graph.constants

    def data(self, value: Value) -> Array | None:
        """The numbers of an unquantized constant, or None."""
        return None if value.type.quant is not None else self._graph.constants.get(value.name)

    def skips(self, node: Node) -> bool:
        """True for a node that does nothing but convert a stored constant."""
        return node.name in self._sources

    def constant(self, array: Array | Sequence[float] | float, dtype: str) -> str:
        """The name of a weight of the file's own; equal ones are stored once."""
        data = np.ascontiguousarray(np.asarray(array, dtype)).reshape(np.shape(array))
        key = ("", dtype, data.shape, data.tobytes())
        if key not in self._cached:
            self._cached[key] = self._weight(lambda name: plain_weight(name, data), self.nodes)
        return self._cached[key]

    def integers(self, values: Sequence[int]) -> str:
        """An int32 vector, which is how TF.js takes shapes and axes."""
        return self.constant(np.array(values, np.int32).reshape(len(values)), "int32")

    def scalar(self, value: float, type_: TensorType) -> str:
        """A number of the type that a tensor has in TF.js."""
        return self.constant(value, _kind(type_))

    def finish(self, node: Node, name: str, done: Activation = Activation.NONE) -> None:
        """Append the node's activation unless `done` is it, and take the result for the node's output."""
        wanted = activation_of(node)
        self.bind(node.output, name if wanted is done else self.activation(name, wanted))

    def activation(self, name: str, activation: Activation) -> str:
        """Append an activation and return its output, or the input where there is none."""
        match activation:
            case Activation.NONE:
                return name
            case Activation.RELU:
                return self.add("Relu", [name])
            case Activation.RELU6:
                return self.add("Relu6", [name])
            case Activation.RELU_N1_1:
                return self.add("ClipByValue", [name, self.constant(-1.0, "float32"), self.constant(1.0, "float32")])

    def _stored(self, value: Value, array: Array, move: Move) -> str:
        """The weight of a constant in the fewest bytes that TF.js reads."""
        type_, quant = value.type, value.type.quant
        if quant is None:
            return self._unquantized(value, move(array))
        if type_.dtype not in _SMALL:
            return self._weight(lambda name: plain_weight(name, move(dequantize_array(array, quant))), self.nodes)
        if quant.axis is None:
            return self._weight(lambda name: byte_weight(name, move(array), type_.dtype, quant), self.nodes)
        if quant.block is not None:
            return self._weight(lambda name: half_or_float(name, move(dequantize_array(array, quant))), self.nodes)
        return self._per_channel(type_.dtype, quant, array, move)

    def _unquantized(self, value: Value, array: Array) -> str:
        if array.dtype == np.float16:
            return self._weight(lambda name: half_weight(name, array), self.nodes)
        kind = _kind(value.type)
        if kind == "int32" and array.size and (array.min() < INT32.min or array.max() > INT32.max):
            what = f"TF.js holds integers in 32 bits, {value.name} reaches {array.min():,} to {array.max():,}"
            raise TargetError(305, value.name, what, "Choose another format")
        return self.constant(array, kind)

    def _per_channel(self, dtype: DType, quant: Quant, array: Array, move: Move) -> str:
        """Integers as bytes with one zero point, times a vector of scales in the initializer graph."""
        spread = [1] * array.ndim
        spread[quant.axis or 0] = -1
        scale = move(np.array(quant.scale, np.float32).reshape(spread))
        zeros = np.array(quant.zero_point, np.float32).reshape(spread)
        shared = quant.zero_point[0] if len(set(quant.zero_point)) == 1 else 0
        whole = per_tensor(1.0, shared)
        made = self._weight(lambda name: byte_weight(name, move(array), dtype, whole), self.initializer)
        if shared == 0 and zeros.any():
            made = self._initial("Sub", made, move(zeros))
        made = self._initial("Mul", made, scale)
        self.captured.append(made)
        self.nodes.append({"name": made, "op": "Placeholder", "attr": {"dtype": {"type": GRAPH_TYPES["float32"]}}})
        return made

    def _initial(self, op: str, name: str, other: Array) -> str:
        """Append a node to the initializer graph, with a weight as its second operand."""
        operand = self._weight(lambda weight: plain_weight(weight, other), self.initializer)
        made = self._names.fresh("n")
        self.initializer.append(node_entry(made, op, [name, operand], {}))
        return made

    def _weight(self, make: Callable[[str], Weight], nodes: list[dict[str, object]]) -> str:
        """Append a weight, and its node to a graph; of equal ones there is one."""
        shown = make("")
        key = ("init" if nodes is self.initializer else "", repr(shown.entry), (), shown.data)
        if key not in self._cached:
            name = self._names.fresh("w")
            self._cached[key] = name
            self.weights.append(make(name))
            nodes.append({"name": name, "op": "Const"})
        return self._cached[key]


def half_or_float(name: str, array: Array) -> Weight:
    """Float16 where that keeps every number, else float32."""
    half = array.astype(np.float16)
    return half_weight(name, half) if np.array_equal(half.astype(np.float32), array) else plain_weight(name, array)


def type_name(value: Value) -> str:
    """The type of a value's numbers in TF.js: float32 for floats and quantized values, int32 for integers, bool."""
    return _kind(value.type)


def _kind(type_: TensorType) -> str:
    return "float32" if type_.quant is not None else TYPE_NAMES.get(type_.dtype, "int32")


def clean_name(name: str) -> str:
    """A value's name without characters that TF.js gives a meaning."""
    plain = _NO_LETTERS.sub("_", name)
    return plain if plain[:1].isalnum() else f"v{plain}"


def node_entry(name: str, op: str, inputs: Sequence[str], attributes: Mapping[str, Attribute]) -> dict[str, object]:
    """A node as the JSON of the graph has it."""
    entry: dict[str, object] = {"name": name, "op": op, "input": list(inputs)}
    if attributes:
        entry["attr"] = {key: _attribute(value) for key, value in attributes.items()}
    return entry


def _attribute(value: Attribute) -> dict[str, object]:
    match value:
        case bool():
            return {"b": value}
        case DType():
            return {"type": GRAPH_TYPES[TYPE_NAMES.get(value, "int32")]}
        case int():
            return {"i": str(value)}
        case float():
            return {"f": value}
        case str():
            return {"s": _text(value)}
        case _:
            items = list(value)
            if items and isinstance(items[0], str):
                return {"list": {"s": [_text(str(item)) for item in items]}}
            return {"list": {"i": [str(item) for item in items]}}


def _text(text: str) -> str:
    """Strings are base64 in the JSON form of a graph."""
    return base64.b64encode(text.encode()).decode()


def activation_of(node: Node) -> Activation:
    """The node's fused activation; of a quantized output also a range that ends at 0, which clamps as well as any.

    Where a range of what is not negative ends at 6, to within a step, it is taken for relu6; other saturation is not imitated.
    """
    activation: Activation = getattr(node.attrs, "activation", Activation.NONE)
    quant = node.output.type.quant
    if quant is None:
        return activation if node.output.type.dtype.is_float else Activation.NONE
    low, high = node.output.type.dtype.limits
    zero, scale = quant.scalar_zero_point, quant.scalar_scale
    positive = activation is Activation.RELU or (activation is Activation.NONE and zero == low and node.op in _CLAMPING)
    if not positive:
        return activation
    return Activation.RELU6 if abs(scale * (high - zero) - 6.0) < scale else Activation.RELU


def refuse(node: Node, why: str = "", hint: str = "Choose another format, or change this layer") -> TargetError:
    """The E305 for a node that TF.js, and so a SavedModel, cannot say."""
    return TargetError(305, node.name, f"TF.js and SavedModels have no {node.op} {why}".rstrip(), hint)
