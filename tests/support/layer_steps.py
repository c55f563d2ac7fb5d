"""Test support: each layer of a compiled graph, fed ONNX Runtime's own values, beside what ONNX Runtime makes of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.quantization import quantize_array
from toolchain.ir.types import Array, DType
from toolchain.reference.evaluator import run_node

STORED = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT16, onnx.TensorProto.UINT16}
SHIFT = {"uint8": 128, "uint16": 32768}
_TAG = re.compile(r"(q\d+z)(_\d+)*")


@dataclass(slots=True)
class Layer:
    """Steps between a layer's results and ONNX Runtime's. nodes: what computes it from values that ONNX Runtime gave."""

    name: str
    nodes: tuple[Node, ...]
    steps: list[Array] = field(default_factory=list)

    @property
    def differences(self) -> Array:
        """All differences in stored steps."""
        return np.concatenate([each.reshape(-1) for each in self.steps])

    @property
    def ops(self) -> str:
        """The operations, first to last."""
        return " ".join(node.op for node in self.nodes)


def tagged(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with names `q0z`, `q1z`, … for its stored activations, so that a compiled graph's values can be told apart."""
    inferred = onnx.shape_inference.infer_shapes(model)
    constant = {tensor.name for tensor in model.graph.initializer}
    ends = {entry.name for entry in (*model.graph.input, *model.graph.output)}
    stored = {entry.name for entry in inferred.graph.value_info if entry.type.tensor_type.elem_type in STORED}
    for node in model.graph.node:
        if set(node.input) <= constant:
            constant.update(node.output)
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    names: dict[str, str] = {}
    for index, node in enumerate(copy.graph.node):
        node.name = f"n{index}z"
        for name in node.output:
            moved = bool(names.keys() & set(node.input[:1])) and node.op_type != "DequantizeLinear"
            made = name in stored or moved or node.op_type.startswith("QLinear") or node.op_type in ("QGemm", "QuantizeLinear")
            if made and name not in constant and name not in ends:
                names[name] = f"q{len(names)}z"
    for node in copy.graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
    del copy.graph.value_info[:]
    return copy


def stored_values(model: onnx.ModelProto, inputs: Mapping[str, Array], optimize: bool = False) -> dict[str, Array]:
    """ONNX Runtime's stored values of a tagged model by name, as signed integers, its outputs, and the inputs."""
    import onnxruntime as ort

    copy = onnx.ModelProto.FromString(model.SerializeToString())
    names = [name for node in copy.graph.node for name in node.output if _TAG.fullmatch(name)]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs = [entry.name for entry in session.get_outputs()]
    found = dict(inputs)
    found.update({name: np.asarray(array) for name, array in zip(outputs, session.run(outputs, dict(inputs)), strict=True)})
    return {name: _signed(array) for name, array in found.items()}


def parameters(model: onnx.ModelProto) -> dict[str, tuple[float, int]]:
    """Scale and zero point (of the signed form) of what a QuantizeLinear or QLinear operator makes, and of quantized inputs."""
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    inputs = {entry.name for entry in model.graph.input}
    places = {"QuantizeLinear": 1, "QLinearConcat": 0, "QGemm": 7, "QLinearConv": 6, "QLinearMatMul": 6}
    places |= {"QLinearAdd": 6, "QLinearMul": 6}
    found: dict[str, tuple[float, int]] = {}
    for node in model.graph.node:
        if node.op_type in places or node.op_type.startswith("QLinear"):
            place = places.get(node.op_type, 3)
            zero = arrays[node.input[place + 1]]
            number = int(zero.reshape(-1)[0]) - SHIFT.get(str(zero.dtype), 0)
            found[node.output[0]] = (float(arrays[node.input[place]].reshape(-1)[0]), number)
            if node.op_type == "QuantizeLinear" and node.input[0] in inputs:
                found[node.input[0]] = found[node.output[0]]
    return found


def _signed(array: Array) -> Array:
    shift = SHIFT.get(str(array.dtype))
    return array if shift is None else (array.astype(np.int32) - shift).astype(str(array.dtype)[1:])


def end_tensors(model: onnx.ModelProto) -> dict[str, str]:
    """By name of an output the stored tensor that it is dequantized from, else itself; every input as itself."""
    found = {entry.name: entry.name for entry in (*model.graph.input, *model.graph.output)}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] in found:
            found[node.output[0]] = node.input[0]
    return found


def known_values(graph: Graph, model: onnx.ModelProto) -> dict[str, str]:
    """The tensor of the tagged model that each of the graph's values is; of several values of one name the last."""
    names = {name for node in model.graph.node for name in node.output}
    found: dict[str, str] = {}
    for value in (*graph.inputs, *(output for node in graph.nodes for output in node.outputs)):
        match = _TAG.fullmatch(value.name)
        if match is not None and match[1] in names and value.type.quant is not None:
            found[match[1]] = value.name
    ends = {value.name for value in (*graph.inputs, *graph.outputs)}
    named = {value: tensor for tensor, value in found.items()}
    return named | {name: tensor for name, tensor in end_tensors(model).items() if name in ends}


def in_layout(array: Array, value: Value) -> Array | None:
    """ONNX's channels-first data in the shape of a channels-last value; None where that has yet another shape, or either fits."""
    shape = value.type.shape
    last = np.moveaxis(array, 1, -1) if array.ndim > 2 else array
    if last.shape == shape and (array.shape != shape or np.array_equal(last, array)):
        return np.ascontiguousarray(last)
    return array if array.shape == shape and last.shape != shape else None


def as_stored(array: Array, value: Value) -> Array | None:
    """ONNX Runtime's tensor as a value stores it: in its layout, and quantized where the model leaves it real at its end."""
    placed = array if array.dtype.kind == "f" and array.shape == value.type.shape else in_layout(array, value)
    if placed is None or placed.dtype.kind != "f" or value.type.quant is None:
        return placed
    return quantize_array(placed, value.type.dtype, value.type.quant)


def fitting(graph: Graph, known: Mapping[str, str], given: Mapping[str, Array]) -> dict[str, str]:
    """The known values whose layout is known as well."""
    types = {value.name: value for value in graph.values()}
    return {name: tensor for name, tensor in known.items() if as_stored(given[tensor], types[name]) is not None}


def layers(graph: Graph, known: Mapping[str, str]) -> list[Layer]:
    """One layer per known value that a node makes, from the known values, inputs and constants before it."""
    producers = graph.producers()
    found: list[Layer] = []
    for node in graph.nodes:
        for output in node.outputs:
            if output.name in known:
                nodes: dict[str, Node] = {}
                _collect(node, producers, known, nodes)
                found.append(Layer(output.name, tuple(each for each in graph.nodes if each.name in nodes)))
    return found


def _collect(node: Node, producers: Mapping[str, Node], known: Mapping[str, str], found: dict[str, Node]) -> None:
    found[node.name] = node
    for value in node.inputs:
        before = producers.get(value.name)
        if before is not None and value.name not in known and before.name not in found:
            _collect(before, producers, known, found)


def sources(layer: Layer, graph: Graph) -> list[Value]:
    """What a layer reads besides constants and its own values."""
    made = {output.name for node in layer.nodes for output in node.outputs}
    read = {value.name: value for node in layer.nodes for value in node.inputs}
    return [value for name, value in read.items() if name not in made and name not in graph.constants]


def layer_graph(layer: Layer, graph: Graph) -> Graph:
    """A layer as a graph of its own."""
    output = next(value for node in layer.nodes for value in node.outputs if value.name == layer.name)
    return Graph("layer", tuple(sources(layer, graph)), (output,), layer.nodes, graph.constants).rewrite(layer.nodes)


def compare(graph: Graph, found: Sequence[Layer], known: Mapping[str, str], given: Mapping[str, Array]) -> None:
    """Add one sample: each layer computed by the reference evaluator from ONNX Runtime's values."""
    types = {value.name: value for value in graph.values()}
    found_values = {name: as_stored(given[tensor], types[name]) for name, tensor in known.items()}
    values = {name: array for name, array in found_values.items() if array is not None}
    for layer in found:
        local = dict(graph.constants)
        local.update({value.name: values[value.name] for value in sources(layer, graph)})
        for node in layer.nodes:
            results = run_node(node, [local[value.name] for value in node.inputs])
            local.update({output.name: result for output, result in zip(node.outputs, results, strict=True)})
        layer.steps.append(local[layer.name].astype(np.int64) - values[layer.name].astype(np.int64))


def table(found: Sequence[Layer]) -> str:
    """One line per layer: values, exact, within one step, largest difference."""
    lines = [f"{'layer':<14}{'values':>9}{'exact %':>9}{'<= 1 %':>9}{'max':>5}  operations"]
    for layer in found:
        steps = np.abs(layer.differences)
        line = (
            f"{layer.name:<14}{steps.size:>9,}{100 * (steps == 0).mean():>9.3f}{100 * (steps <= 1).mean():>9.3f}{steps.max():>5}"
        )
        lines.append(f"{line}  {layer.ops}")
    return "\n".join(lines)


def float_values(graph: Graph) -> list[str]:
    """Values of a floating type."""
    return [value.name for value in graph.values() if value.type.dtype in (DType.F32, DType.F16, DType.F64)]
