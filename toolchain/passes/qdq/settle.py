"""From an already quantized model to an integer graph: what of it is quantized, what is missing, and the whole way."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import replace

from toolchain.errors import ModelError
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.optable import OPS, make_node
from toolchain.ir.types import DType, Quant, TensorType
from toolchain.ir.verifier import verify
from toolchain.passes.families import CONVERSIONS
from toolchain.passes.pattern import apply
from toolchain.passes.qdq import moves
from toolchain.passes.qdq.ends import integer_ends
from toolchain.passes.qdq.layers import Folder
from toolchain.passes.qdq.missing import Gaps, activation_type, with_pairs
from toolchain.passes.qdq.notes import Notes
from toolchain.passes.quantize_parameters import range_quant, represented

NAMED = 6
NEVER_NEGATIVE = frozenset({"relu", "relu6", "sigmoid", "softmax", "hard_sigmoid", "abs", "square", "exp", "sqrt", "softplus"})


def is_prequantized(graph: Graph) -> bool:
    """True for a graph whose float layers read dequantized activations, as QDQ models have them."""
    return any(stored not in graph.constants for stored in _dequantized_operands(graph))


def stores_weights(graph: Graph) -> bool:
    """True for a graph some of whose float layers have weights that are stored as integers."""
    return any(stored in graph.constants for stored in _dequantized_operands(graph))


def _dequantized_operands(graph: Graph) -> Iterator[str]:
    """Names of the stored values that float nodes read dequantized."""
    producers = graph.producers()
    for node in graph.nodes:
        if node.op not in CONVERSIONS and any(value.type.dtype is DType.F32 for value in node.outputs):
            before = (producers.get(value.name) for value in node.inputs)
            yield from (source.inputs[0].name for source in before if source is not None and source.op == "dequantize")


def fold_qdq(graph: Graph, notes: Notes) -> Graph:
    """The graph with integer layers for all that stands between conversions; the rest stays between them.

    notes: gets what of the model's parameters the integer specification does not allow, and what was done.
    """
    return apply(_plain_types(graph, notes), (*moves.RULES, *Folder(notes).rules))


def fill_in(graph: Graph, notes: Notes) -> Graph:
    """The folded graph, with the parameters that follow from its ops for values that have none."""
    return _inferred(fold_qdq(graph, notes), activation_type(graph), notes)


def _inferred(folded: Graph, dtype: DType, notes: Notes) -> Graph:
    for _ in range(len(folded.nodes) + 1):
        quants = Gaps(folded, dtype).inferred(notes)
        if not quants:
            break
        folded = fold_qdq(with_pairs(folded, quants, dtype), notes)
    return verify(folded)


def gaps(graph: Graph) -> tuple[Value, ...]:
    """The real values of a folded graph that need parameters for its layers to be integer."""
    return Gaps(graph, activation_type(graph)).leading


def fill_from(graph: Graph, table: CalibrationTable, notes: Notes) -> Graph:
    """The graph with the parameters that calibration gives the values that have none."""
    dtype = activation_type(graph)
    for _ in range(len(graph.nodes) + 1):
        found = {v.name: table.ranges[v.name] for v in Gaps(graph, dtype).leading if v.name in table.ranges}
        if not found:
            break
        for name, range_ in found.items():
            notes.add(name, "the model has no parameters of its own for it", f"calibrated: {range_.low:.4g} to {range_.high:.4g}")
        quants = {name: range_quant(range_.low, range_.high, dtype) for name, range_ in found.items()}
        graph = _inferred(fold_qdq(with_pairs(graph, quants, dtype), notes), dtype, notes)
    return verify(graph)


def finish(graph: Graph, notes: Notes) -> Graph:
    """The graph with integer inputs and outputs. Raises ModelError E111 where values still lack parameters."""
    missing = gaps(graph)
    if missing:
        names = ", ".join(value.name for value in missing[:NAMED]) + (", …" if len(missing) > NAMED else "")
        count = f"{len(missing)} tensors have" if len(missing) > 1 else "a tensor has"
        what = f"the model is quantized, but {count} no quantization parameters: {names}"
        raise ModelError(111, graph.name, what, "Give --calibrate DATA, or quantize them in the model")
    for node in graph.nodes:
        if any(value.type.dtype.is_float for value in node.outputs) and node.op not in CONVERSIONS:
            notes.add(node.name, f"{node.op} has no integer form here", "kept in float32 between conversions")
    return verify(integer_ends(graph))


def _plain_types(graph: Graph, notes: Notes) -> Graph:
    """The graph with activations per tensor, and int16 ones with zero point 0, as the integer specification has them."""
    inputs, producers = {value.name for value in graph.inputs}, graph.producers()
    changed: dict[str, TensorType] = {}
    cut: set[str] = set()
    for value in graph.values():
        quant = value.type.quant
        if quant is None or value.name in graph.constants or value.name in inputs:
            continue
        made = _plain(quant, value.type.dtype)
        if made == quant:
            continue
        changed[value.name] = replace(value.type, quant=made)
        if producers[value.name].op == "quantize":
            what = f"{len(quant.scale)} scales per channel" if quant.axis is not None else f"zero point {quant.zero_point[0]}"
            done = f"one scale {made.scalar_scale:.6g} zero point {made.scalar_zero_point} that covers them"
            notes.add(value.name, f"{value.type.dtype} activations have {what}", done)
            if all(zero == value.type.dtype.limits[0] for zero in quant.zero_point):
                cut.add(value.name)
    if not changed or not all(_free(node, changed) for node in graph.nodes):
        return graph
    plain = graph.map_values(lambda value: replace(value, type=changed.get(value.name, value.type)))
    return _with_relus(plain, cut)


def _with_relus(graph: Graph, cut: Container[str]) -> Graph:
    """The graph with a relu before each quantize of those that used to store nothing below 0, unless nothing is there."""
    names, producers = names_of(graph), graph.producers()
    nodes: list[Node] = []
    for node in graph.nodes:
        source = producers.get(node.inputs[0].name) if node.inputs else None
        if node.name in cut and node.op == "quantize" and not (source is not None and _never_negative(source, producers, cut)):
            nodes.append(make_node("relu", node.inputs, (names.fresh(f"{node.inputs[0].name}_relu"),)))
            node = replace(node, inputs=(nodes[-1].output,))
        nodes.append(node)
    return graph.rewrite(nodes)


def _never_negative(node: Node, producers: Mapping[str, Node], cut: Container[str]) -> bool:
    """True where no result of a node is below 0."""
    if node.op in NEVER_NEGATIVE or getattr(node.attrs, "activation", "none") in ("relu", "relu6"):
        return True
    if node.op in CONVERSIONS or OPS[node.op].same_quant or node.op == "reduce_mean":
        before = [producers.get(value.name) for value in node.inputs]
        return node.name in cut or all(each is not None and _never_negative(each, producers, cut) for each in before)
    return False


def _plain(quant: Quant, dtype: DType) -> Quant:
    """Parameters of an activation: one scale, and zero point 0 for int16."""
    if quant.axis is None and not (dtype is DType.I16 and quant.scalar_zero_point):
        return quant
    ranges = [represented(Quant((s,), (z,)), dtype) for s, z in zip(quant.scale, quant.zero_point, strict=True)]
    return range_quant(min(low for low, _ in ranges), max(high for _, high in ranges), dtype)


def _free(node: Node, changed: Mapping[str, TensorType]) -> bool:
    """True for conversions, and for ops whose stored results follow their operand's parameters."""
    touched = any(value.name in changed for value in (*node.inputs, *node.outputs))
    return not touched or node.op in CONVERSIONS or OPS[node.op].same_quant
