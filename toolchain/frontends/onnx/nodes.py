"""Imports the nodes of a graph or subgraph one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx

from toolchain.errors import ModelError
from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode, Scope, Surroundings
from toolchain.ir.graph import Value


def ordered(nodes: Iterable[onnx.NodeProto], known: Mapping[str, object]) -> list[onnx.NodeProto]:
    """The nodes in an order in which operands come first. Raises ModelError(108) for cycles and missing tensors."""
    waiting = list(nodes)
    made = {name for node in waiting for name in node.output} | set(known)
    missing: dict[int, int] = {}
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(waiting):
        needed = {name for name in node.input if name and name not in known}
        for name in needed:
            if name not in made:
                what = f"{node.op_type} reads {name!r}, which nothing makes"
                raise ModelError(108, place_of(node), what, "Export the model again")
            readers.setdefault(name, []).append(index)
        missing[index] = len(needed)
    ready = [index for index, count in missing.items() if count == 0]
    order: list[int] = []
    for index in ready:
        order.append(index)
        for name in dict.fromkeys(waiting[index].output):
            for reader in readers.get(name, ()):
                missing[reader] -= 1
                if missing[reader] == 0:
                    ready.append(reader)
    if len(order) < len(waiting):
        stuck = next(waiting[index] for index, count in missing.items() if count > 0)
        raise ModelError(108, place_of(stuck), f"{stuck.op_type} lies on a cycle", "A graph must have no cycle")
    return [waiting[index] for index in (order if _disordered(waiting, known) else range(len(waiting)))]


def _disordered(nodes: list[onnx.NodeProto], known: Mapping[str, object]) -> bool:
    seen = set(known)
    for node in nodes:
        if any(name and name not in seen for name in node.input):
            return True
        seen.update(node.output)
    return False


def place_of(node: onnx.NodeProto) -> str:
    """The name of a node in messages: its own, else that of its first output."""
    return node.name or next((name for name in node.output if name), node.op_type)


def import_nodes(b: Builder, nodes: Iterable[onnx.NodeProto], within: Surroundings, top: bool) -> None:
    """Import nodes in order and enter their results in the scope.

    top: give results the model's names. Raises ModelError(104) for unknown operators, others as importers do.
    """
    for node in nodes:
        place = place_of(node)
        domain = "" if node.domain == "ai.onnx" else node.domain
        importer = within.table.get((domain, node.op_type))
        if importer is None or domain not in within.opsets:
            known = f"{domain}::{node.op_type}" if domain else node.op_type
            hint = "Replace the layer, or export it as standard operators"
            raise ModelError(104, place, f"operator {known} is not supported", hint)
        b.enter(place)
        operands = tuple(_resolve(within.scope, name, node) for name in node.input)
        attributes = {attribute.name: attribute for attribute in node.attribute}
        wrapped = OnnxNode(node.op_type, place, operands, tuple(node.output), attributes, within.opsets[domain], within)
        results = _run(b, importer, wrapped)
        b.place = place
        for name in node.output[len(results) :]:
            if name:
                raise ModelError(104, place, f"{node.op_type}: output {name!r} is not supported", "Leave it unused")
        for name, value in zip(node.output, results, strict=False):
            if name and value is None:
                raise ModelError(104, place, f"{node.op_type}: output {name!r} is not supported", "Leave it unused")
            within.scope[name] = value if name else None
            if top and name and value is not None:
                b.rename(value, name)


def _run(b: Builder, importer: Importer, node: OnnxNode) -> tuple[Value | None, ...]:
    """The results of an importer; what it could not compute with becomes E108 that names the node."""
    try:
        results = importer(b, node)
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, MemoryError, RecursionError) as fault:
        what = f"{node.op}: its attributes and operands contradict each other ({type(fault).__name__}: {str(fault)[:120]})"
        raise ModelError(108, node.place, what, "Export the model again") from fault
    return (results,) if isinstance(results, Value) else tuple(results)


def _resolve(scope: Scope, name: str, node: onnx.NodeProto) -> Value | None:
    if not name:
        return None
    if name not in scope:
        raise ModelError(108, place_of(node), f"{node.op_type} reads {name!r}, which nothing makes", "Export the model again")
    return scope[name]
