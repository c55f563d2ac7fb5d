"""Reads an ONNX file and imports its graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]

from toolchain.errors import ModelError
from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Scope, Surroundings
from toolchain.frontends.onnx.nodes import import_nodes, ordered
from toolchain.frontends.onnx.quantized import input_quantization, raw_tensors
from toolchain.frontends.onnx.table import IMPORTERS
from toolchain.frontends.onnx.tensors import densify, element_type, read_tensor
from toolchain.frontends.signed import as_signed
from toolchain.ir.graph import Graph, Value
from toolchain.ir.types import Array, Quant, TensorType
from toolchain.ir.verifier import MAX_TENSOR_BYTES, verify

Shapes = Mapping[str, Sequence[int]]
MAX_FILE_BYTES = 2**31 - 1
OLDEST_OPSET = 7
MAX_CALL_DEPTH = 64
MAX_EXPANDED_NODES = 100_000
CONVERTING = ("quantize", "dequantize")
FOREIGN = (b"\x80", b"PK\x03\x04", b"\x89HDF", b"{", b"<")


def load_onnx(path: Path, input_shapes: Shapes | None = None, simplify: bool = True) -> Graph:
    """The graph of an .onnx file, verified, named after the file.

    input_shapes: shape by input name, for dimensions that the file leaves open; an open first dimension becomes 1.
    simplify: try onnxsim where it is installed; its result is used when it computes the same and has fewer operations.
    Raises ModelError: 101 to 103 for the file, 104 for operators, 105 for open shapes, 106 for weights that are not
    finite, 107 for tensors of 2 GiB, 108 for malformed graphs, 109 for data outside the file's folder.
    """
    model = read_model(path)
    graph = import_onnx(model, path.stem, path.parent, input_shapes)
    return _simpler(model, graph, path) if simplify else graph


def _simpler(model: onnx.ModelProto, graph: Graph, path: Path) -> Graph:
    """The graph of the simplified model where that has fewer operations, else the given one."""
    from toolchain.frontends.onnx.simplify import simplify

    shapes = {value.name: value.type.shape for value in graph.inputs}
    result = simplify(model, shapes)
    if result.reason:
        return graph
    try:
        simpler = import_onnx(result.model, path.stem, path.parent, shapes)
    except ModelError:
        return graph
    # Folding a dequantize of weights would lose their parameters.
    kept = all(sum(node.op == op for node in simpler.nodes) == sum(node.op == op for node in graph.nodes) for op in CONVERTING)
    same = kept and (simpler.inputs, simpler.outputs) == (graph.inputs, graph.outputs)
    return simpler if same and len(simpler.nodes) < len(graph.nodes) else graph


def read_model(path: Path) -> onnx.ModelProto:
    """The model of a file as it is stored. Raises ModelError(101, 102, 103)."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(107, path.name, f"the file has {path.stat().st_size:,} B", "Keep weights in external data")
        data = path.read_bytes()
    except OSError as fault:
        raise ModelError(101, path.name, f"the file cannot be read: {fault.strerror or fault}", "Check the path") from fault
    return parse_model(data, path.name)


def parse_model(data: bytes, name: str) -> onnx.ModelProto:
    """The model in serialized bytes. Raises ModelError: 102 for bytes that are no ONNX, 103 for damaged ones."""
    if not data or data.startswith(FOREIGN):
        raise ModelError(102, name, f"the first bytes {data[:8]!r} are not those of ONNX", "Give an .onnx file")
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as fault:
        number = 103 if data[0] in (0x08, 0x12, 0x3A) else 102
        raise ModelError(number, name, f"{len(data):,} B do not parse as ONNX", "Export the model again") from fault
    if not model.HasField("graph") or not model.opset_import:
        raise ModelError(102, name, "the file holds no ONNX graph with an opset", "Give an .onnx file")
    return model


def import_onnx(model: onnx.ModelProto, name: str, base_dir: Path, input_shapes: Shapes | None = None) -> Graph:
    """The graph of a model in memory, verified. base_dir: where external data may lie. Raises as load_onnx does."""
    model = _inline_functions(model, name)
    opsets = {entry.domain if entry.domain != "ai.onnx" else "": int(entry.version) for entry in model.opset_import}
    if not OLDEST_OPSET <= opsets.get("", OLDEST_OPSET) <= onnx.defs.onnx_opset_version():
        newest = onnx.defs.onnx_opset_version()
        what = f"opset {opsets.get('')} is not supported, {OLDEST_OPSET} to {newest} are"
        raise ModelError(104, name, what, "Convert the model with onnx.version_converter")
    proto = model.graph
    builder = Builder(base_dir, _names_in(proto))
    scope: Scope = {"": None}
    _check_definitions(proto)
    for constant, array in _initializers(proto, base_dir).items():
        scope[constant] = builder.named_constant(constant, array)
    builder.raw = raw_tensors(proto)
    quants = input_quantization(proto, builder.raw, base_dir)
    inputs = _graph_inputs(proto, scope, dict(input_shapes or {}), quants)
    scope.update({value.name: value for value in inputs})
    import_nodes(builder, ordered(proto.node, scope), Surroundings(scope, {"": OLDEST_OPSET} | opsets, IMPORTERS), top=True)
    outputs = _graph_outputs(builder, proto, scope)
    return verify(as_signed(verify(builder.finish(name, inputs, outputs))))


def _inline_functions(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with calls of its own functions replaced by their bodies."""
    if not model.functions:
        return model
    _check_functions(model, name)
    import onnx.inliner

    try:
        return onnx.inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, DecodeError, EncodeError, onnx.checker.ValidationError) as fault:
        raise ModelError(108, name, f"the model's functions cannot be inlined: {fault}", "Export without functions") from fault


def _check_functions(model: onnx.ModelProto, name: str) -> None:
    """Raise ModelError: 108 when a function calls itself, 104 when all calls would expand to too many nodes."""
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    path: list[tuple[str, str]] = []

    def size(key: tuple[str, str]) -> int:
        if key in path or len(path) > MAX_CALL_DEPTH:
            raise ModelError(
                108, f"{key[0]}::{key[1]}", "the function calls itself or nests too deeply", "Export without functions"
            )
        if key not in sizes:
            path.append(key)
            sizes[key] = count(bodies[key])
            path.pop()
        return sizes[key]

    def count(nodes: Iterable[onnx.NodeProto]) -> int:
        inner = (attribute.g.node for node in nodes for attribute in node.attribute if attribute.HasField("g"))
        calls = sum(size((node.domain, node.op_type)) if (node.domain, node.op_type) in bodies else 1 for node in nodes)
        return calls + sum(count(body) for body in inner)

    total = count(model.graph.node)
    if total > MAX_EXPANDED_NODES:
        raise ModelError(104, name, f"the model's functions expand to {total:,} nodes", f"Keep them below {MAX_EXPANDED_NODES:,}")


def _names_in(proto: onnx.GraphProto) -> set[str]:
    names = {value.name for value in (*proto.input, *proto.output, *proto.initializer)}
    return names | {name for node in proto.node for name in (*node.input, *node.output)}


def _check_definitions(proto: onnx.GraphProto) -> None:
    """Raise ModelError(108) when a tensor is made twice or an input has no name."""
    seen: set[str] = set()
    made = [value.name for value in proto.input] + [name for node in proto.node for name in node.output if name]
    for name in made:
        if name in seen or not name:
            raise ModelError(108, name or "graph", "the tensor is defined twice or has no name", "Give every tensor its own name")
        seen.add(name)
    computed = {name for node in proto.node for name in node.output}
    for tensor in proto.initializer:
        if tensor.name in computed:
            raise ModelError(108, tensor.name, "the tensor is both stored and computed", "Give every tensor its own name")
    stored = [tensor.name for tensor in proto.initializer]
    if len(set(stored)) != len(stored):
        raise ModelError(108, next(n for n in stored if stored.count(n) > 1), "two weights have this name", "Rename one of them")


MULTIPLYING = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "Mul", "BatchNormalization", "LSTM", "GRU", "RNN", "PRelu", "LayerNormalization"}
)


def _initializers(proto: onnx.GraphProto, base_dir: Path) -> dict[str, Array]:
    """Stored tensors by name. Raises ModelError(106) for NaN, and for infinity where it would be multiplied."""
    multiplied = {name for node in proto.node if node.op_type in MULTIPLYING for name in node.input}
    found = {tensor.name: read_tensor(tensor, base_dir) for tensor in proto.initializer}
    found |= {sparse.values.name: densify(sparse, base_dir) for sparse in proto.sparse_initializer}
    for name, array in found.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = np.flatnonzero(~np.isfinite(array) if name in multiplied else np.isnan(array))
            if bad.size:
                what = f"{bad.size} of {array.size} elements are not finite, the first at flat index {bad[0]}"
                raise ModelError(106, name, what, "Train or export the model again")
    return found


def _graph_inputs(
    proto: onnx.GraphProto, scope: Scope, shapes: dict[str, Sequence[int]], quants: Mapping[str, Quant]
) -> list[Value]:
    """Inputs that are not stored, with static shapes; the same symbol is the same size everywhere."""
    open_inputs = [entry for entry in proto.input if entry.name not in scope]
    unknown = sorted(set(shapes) - {entry.name for entry in open_inputs})
    if unknown:
        names = ", ".join(entry.name for entry in open_inputs)
        raise ModelError(105, unknown[0], "a shape was given for an input the model has not got", f"Its inputs are {names}")
    symbols: dict[str, int] = {}
    for entry in open_inputs:
        if entry.name in shapes:
            _learn_symbols(entry, shapes[entry.name], symbols)
        elif entry.type.tensor_type.shape.dim and entry.type.tensor_type.shape.dim[0].dim_param:
            symbols.setdefault(entry.type.tensor_type.shape.dim[0].dim_param, 1)
    found: list[Value] = []
    for entry in open_inputs:
        type_ = _input_type(entry, shapes.get(entry.name), symbols)
        found.append(Value(entry.name, TensorType(type_.shape, type_.dtype, quants.get(entry.name))))
    return found


def _tensor_type(entry: onnx.ValueInfoProto) -> onnx.TypeProto.Tensor:
    if not entry.type.HasField("tensor_type"):
        kind = entry.type.WhichOneof("value") or "no type"
        raise ModelError(104, entry.name, f"the input has {kind}, only tensors are supported", "Export with tensor inputs")
    return entry.type.tensor_type


def _learn_symbols(entry: onnx.ValueInfoProto, shape: Sequence[int], symbols: dict[str, int]) -> None:
    for dim, size in zip(_tensor_type(entry).shape.dim, shape, strict=False):
        if dim.dim_param:
            symbols[dim.dim_param] = int(size)


def _input_type(entry: onnx.ValueInfoProto, given: Sequence[int] | None, symbols: dict[str, int]) -> TensorType:
    tensor = _tensor_type(entry)
    dtype = element_type(tensor.elem_type, entry.name)
    if not tensor.HasField("shape"):
        if given is None:
            raise ModelError(105, entry.name, "the shape is unknown", f"Give --input-shape {entry.name}=1,…")
        return TensorType(tuple(int(size) for size in given), dtype)
    dims = tensor.shape.dim
    if given is not None and len(given) != len(dims):
        what = f"{len(given)} sizes were given, the model has {len(dims)} dimensions"
        raise ModelError(105, entry.name, what, "Give one size for each dimension")
    sizes: list[int] = []
    for index, dim in enumerate(dims):
        stored = int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value >= 0 else None
        if given is not None:
            sizes.append(_agreed(entry.name, index, stored, int(given[index])))
        elif stored is not None:
            sizes.append(stored)
        elif dim.dim_param in symbols or index == 0:
            sizes.append(symbols.get(dim.dim_param, 1))
        else:
            what = f"dimension {index} of {len(dims)} is {dim.dim_param or 'unknown'}"
            raise ModelError(105, entry.name, what, f"Give --input-shape {entry.name}=… with {len(dims)} sizes")
    _check_size(entry.name, sizes, dtype.bits)
    return TensorType(tuple(sizes), dtype)


def _check_size(name: str, sizes: Sequence[int], bits: int) -> None:
    total = bits
    for size in sizes:
        total *= size
    if total > 8 * MAX_TENSOR_BYTES:
        raise ModelError(107, name, f"shape {tuple(sizes)} needs {total // 8:,} B", f"Keep tensors below {MAX_TENSOR_BYTES:,} B")


def _agreed(name: str, index: int, stored: int | None, given: int) -> int:
    """A given size, which must be positive and equal to a size the model fixes."""
    if given < 1 or (stored is not None and stored != given):
        what = f"size {given} was given for dimension {index}, the model has {stored or 'an open size'}"
        raise ModelError(105, name, what, "Give positive sizes that agree with the model")
    return given


def _graph_outputs(builder: Builder, proto: onnx.GraphProto, scope: Scope) -> list[Value]:
    """The graph's outputs under the model's names; a value that is passed through is copied."""
    found: list[Value] = []
    taken: set[str] = set()
    for entry in proto.output:
        value = scope.get(entry.name)
        if value is None:
            raise ModelError(108, entry.name, "the graph output is made by no node", "Check the model's output list")
        if entry.name in taken:
            raise ModelError(108, entry.name, "the graph output is listed twice", "Check the model's output list")
        found.append(value if value.name == entry.name else builder.as_output(value, entry.name, taken))
        taken.add(entry.name)
    return found
