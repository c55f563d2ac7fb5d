"""If, Loop and Scan: chosen, merged or unrolled at import."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from toolchain.errors import ModelError
from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode, Scope, Surroundings, normal_axis
from toolchain.frontends.onnx.nodes import import_nodes, ordered
from toolchain.frontends.onnx.tensors import densify, read_tensor
from toolchain.ir.attrs import AxesAttrs, AxisAttrs, SliceAttrs
from toolchain.ir.graph import Value

MAX_STEPS = 10_000
MAX_DEPTH = 16


def run_body(b: Builder, node: OnnxNode, body: onnx.GraphProto, inputs: Sequence[Value]) -> list[Value]:
    """The results of a subgraph for given inputs; it sees the tensors around it."""
    if len(body.input) != len(inputs):
        raise node.malformed(f"the body takes {len(body.input)} inputs, {len(inputs)} are given")
    if node.within.depth >= MAX_DEPTH:
        raise node.unsupported(f"more than {MAX_DEPTH} nested subgraphs", "Export without nested control flow")
    scope: Scope = dict(node.within.scope)
    scope |= {entry.name: value for entry, value in zip(body.input, inputs, strict=True)}
    scope |= {tensor.name: b.constant(read_tensor(tensor, b.base_dir), tensor.name) for tensor in body.initializer}
    scope |= {s.values.name: b.constant(densify(s, b.base_dir), s.values.name) for s in body.sparse_initializer}
    place = b.place
    within = Surroundings(scope, node.within.opsets, node.within.table, node.within.depth + 1)
    import_nodes(b, ordered(body.node, scope), within, top=False)
    b.place = place
    found = [scope.get(entry.name) for entry in body.output]
    missing = next((entry.name for entry, value in zip(body.output, found, strict=True) if value is None), None)
    if missing is not None:
        raise ModelError(108, node.place, f"the body makes no {missing!r}", "Export the model again")
    return [value for value in found if value is not None]


def if_(b: Builder, node: OnnxNode) -> Sequence[Value]:
    """If: the branch a constant condition names, else both and a choice between equal shapes."""
    condition = node.operand(0)
    data = b.data(condition)
    if data is not None:
        return run_body(b, node, node.graph("then_branch" if bool(data.reshape(-1)[0]) else "else_branch"), ())
    results = [run_body(b, node, node.graph(name), ()) for name in ("then_branch", "else_branch")]
    chosen = b.reshape(condition, ())
    if [value.type for value in results[0]] != [value.type for value in results[1]]:
        raise node.unsupported("the branches make different shapes", "Make the condition a constant")
    return [b.emit("where", (chosen, yes, no)) for yes, no in zip(*results, strict=True)]


def loop(b: Builder, node: OnnxNode) -> Sequence[Value]:
    """Loop: unrolled; the trip count, and the condition where it is used, are constants."""
    body = node.graph("body")
    limit = int(b.need(node, 0, "the trip count").reshape(-1)[0]) if node.optional(0) is not None else MAX_STEPS + 1
    going = bool(b.need(node, 1, "the condition").reshape(-1)[0]) if node.optional(1) is not None else True
    states = [node.operand(i) for i in range(2, len(node.inputs))]
    scans: list[list[Value]] = [[] for _ in range(len(body.output) - 1 - len(states))]
    step = 0
    while going and step < limit:
        if step >= MAX_STEPS:
            raise node.unsupported(f"more than {MAX_STEPS:,} steps", "Bound the loop")
        results = run_body(b, node, body, (b.constant(np.array(step, np.int64)), b.constant(np.array(True)), *states))
        state = b.data(results[0])
        if state is None:
            raise ModelError(105, node.place, "Loop: its condition is only known at run time", "Make it a constant of the model")
        going, step = bool(state.reshape(-1)[0]), step + 1
        states = results[1 : 1 + len(states)]
        for scan, value in zip(scans, results[1 + len(states) :], strict=True):
            scan.append(b.reshape(value, (1, *value.type.shape)))
    if scans and step == 0:
        raise node.unsupported("no steps but stacked results", "Give it one step or more")
    return [*states, *(_joined(b, scan, 0) for scan in scans)]


def _joined(b: Builder, parts: Sequence[Value], axis: int) -> Value:
    return parts[0] if len(parts) == 1 else b.emit("concat", parts, AxisAttrs(axis))


def scan(b: Builder, node: OnnxNode) -> Sequence[Value]:
    """Scan: unrolled over the scanned axis."""
    if node.opset < 9:
        raise node.unsupported("the form before opset 9", "Convert the model with onnx.version_converter")
    body, count = node.graph("body"), node.integer("num_scan_inputs", 0)
    operands = node.operands()
    if not 0 < count <= len(operands):
        raise node.malformed(f"num_scan_inputs is {count}")
    states, sources = list(operands[: len(operands) - count]), operands[len(operands) - count :]
    axes = node.integers("scan_input_axes") or (0,) * count
    backward = node.integers("scan_input_directions") or (0,) * count
    at = [normal_axis(axis, x.type.rank, node.place) for axis, x in zip(axes, sources, strict=True)]
    lengths = {x.type.shape[axis] for axis, x in zip(at, sources, strict=True)}
    if len(lengths) != 1 or not 1 <= max(lengths) <= MAX_STEPS:
        raise node.unsupported(f"scanned lengths {sorted(lengths)}", f"Scan 1 to {MAX_STEPS:,} steps")
    steps = lengths.pop()
    stacks: list[list[Value]] = [[] for _ in range(len(body.output) - len(states))]
    for t in range(steps):
        now = [_picked(b, x, axis, steps - 1 - t if back else t) for x, axis, back in zip(sources, at, backward, strict=True)]
        results = run_body(b, node, body, (*states, *now))
        states = results[: len(states)]
        for stack, value in zip(stacks, results[len(states) :], strict=True):
            stack.append(value)
    return [*states, *_stacked(b, node, stacks)]


def _picked(b: Builder, x: Value, axis: int, index: int) -> Value:
    shape = x.type.shape
    begin, end = [0] * len(shape), list(shape)
    begin[axis], end[axis] = index, index + 1
    part = b.emit("slice", (x,), SliceAttrs(tuple(begin), tuple(end), (1,) * len(shape)))
    return b.reshape(part, (*shape[:axis], *shape[axis + 1 :]))


def _stacked(b: Builder, node: OnnxNode, stacks: Sequence[Sequence[Value]]) -> list[Value]:
    axes = node.integers("scan_output_axes") or (0,) * len(stacks)
    backward = node.integers("scan_output_directions") or (0,) * len(stacks)
    found: list[Value] = []
    for stack, axis, back in zip(stacks, axes, backward, strict=True):
        shape = stack[0].type.shape
        at = normal_axis(axis, len(shape) + 1, node.place)
        whole = _joined(b, [b.reshape(value, (*shape[:at], 1, *shape[at:])) for value in stack], at)
        found.append(b.emit("reverse", (whole,), AxesAttrs((at,))) if back else whole)
    return found


IMPORTERS: dict[str, Importer] = {"If": if_, "Loop": loop, "Scan": scan}
