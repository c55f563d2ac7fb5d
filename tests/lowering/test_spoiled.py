"""Kernels that destroy what they read: only where nobody else needs it, and the memory checker knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from targets.load import load_target
from toolchain.errors import TargetError
from toolchain.ir.attrs import ActivationAttrs, ReshapeAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, TensorType, i8, per_tensor
from toolchain.lowering.check_memory import faults
from toolchain.lowering.lower import lower
from toolchain.lowering.variants import candidates

TARGET = load_target("mps2_an386")
UNSTAGED = "armv7em.fully_connected_unstaged_dsp"
X = Value("x", i8((1, 16), 0.02, 3))
W = Value("w", i8((20, 16), 0.01, 0))
ONES = np.ones((20, 16), np.int8)


def dense(x: Value, name: str = "y") -> Node:
    """A fully connected layer of 16 inputs."""
    return make_node("fully_connected", (x, W), (name,), ActivationAttrs(), per_tensor(0.05, 0))


def flat(x: Value) -> Node:
    """The row under another name, at the same place."""
    return make_node("reshape", (x,), ("flat",), ReshapeAttrs((1, 1, 16)))


def graph_of(nodes: Sequence[Node], outputs: Sequence[Value], weights: Array = ONES) -> Graph:
    """Nodes on the row."""
    return Graph("spoiled", (X,), tuple(outputs), tuple(nodes), {"w": weights})


def taken(graph: Graph, name: str = "y", kept: frozenset[str] = frozenset()) -> bool:
    """True when the kernel that spoils its inputs may run the node."""
    node = next(node for node in graph.nodes if node.output.name == name)
    return any(variant.name == UNSTAGED for variant in candidates(graph, node, TARGET, kept))


def alone() -> Graph:
    """One layer on the input."""
    node = dense(X)
    return graph_of([node], [node.output])


def read_twice() -> Graph:
    """Another layer reads the same row."""
    nodes = [dense(X), dense(X, "z")]
    return graph_of(nodes, [node.output for node in nodes])


def read_through_a_view() -> Graph:
    """Another layer reads the same bytes by another name."""
    first, view = dense(X), flat(X)
    nodes = [first, view, make_node("abs", (view.output,), ("z",), None, X.type.quant)]
    return graph_of(nodes, [nodes[0].output, nodes[-1].output])


def shown() -> Graph:
    """What the layer reads is also an output."""
    before = make_node("abs", (X,), ("z",), None, X.type.quant)
    node = dense(before.output)
    return graph_of([before, node], [node.output, before.output])


def test_the_last_reader_may_destroy_a_row() -> None:
    assert taken(alone())
    node = flat(X)
    behind = dense(node.output)
    assert taken(graph_of([node, behind], [behind.output]))


@pytest.mark.parametrize("make", [read_twice, read_through_a_view, shown])
def test_a_row_that_others_need_is_kept(make: Callable[[], Graph]) -> None:
    assert not taken(make())


def test_a_row_of_the_caller_is_kept() -> None:
    assert not taken(alone(), kept=frozenset({"x"}))
    assert lower(alone(), TARGET, "arena", fixed={"y": UNSTAGED}).calls[0].variant == UNSTAGED
    for objective in ("speed", "size", "ram", "balanced"):
        program = lower(alone(), TARGET, "caller", objective=objective)
        assert not any(operand.spoiled for call in program.calls for operand in call.operands)
    with pytest.raises(TargetError, match=r"no kernel armv7em\.fully_connected_unstaged_dsp runs fully_connected"):
        lower(alone(), TARGET, "caller", fixed={"y": UNSTAGED})


def test_what_lies_between_two_layers_may_be_destroyed_when_the_caller_owns_the_ends() -> None:
    first = make_node("abs", (X,), ("between",), None, X.type.quant)
    second = dense(first.output)
    program = lower(graph_of([first, second], [second.output]), TARGET, "caller", fixed={"y": UNSTAGED})
    assert program.calls[1].variant == UNSTAGED


@pytest.mark.parametrize(("pair", "fits"), [((-128, -1), True), ((-128, 0), False), ((-127, 127), True), ((127, -128), True)])
def test_weights_have_to_fit_the_lanes(pair: tuple[int, int], fits: bool) -> None:
    """127 + 256 * 127 and -128 - 256 * 127 fit 16 bits, 256 * 128 does not."""
    weights = ONES.copy()
    weights[3, 4:6] = pair
    node = dense(X)
    assert taken(graph_of([node], [node.output], weights)) == fits


@pytest.mark.parametrize(("depth", "fits"), [(8, True), (12, False), (16, True), (17, False)])
def test_a_row_is_whole_steps(depth: int, fits: bool) -> None:
    x, w = Value("x", i8((1, depth), 0.02, 3)), Value("w", TensorType((2, depth), W.type.dtype, W.type.quant))
    node = make_node("fully_connected", (x, w), ("y",), ActivationAttrs(), per_tensor(0.05, 0))
    assert taken(Graph("depth", (x,), (node.output,), (node,), {"w": np.ones((2, depth), np.int8)})) == fits


def test_the_checker_finds_a_reader_of_what_was_spoiled() -> None:
    nodes = [dense(X, "z"), dense(X)]
    graph = graph_of(nodes, [node.output for node in nodes])
    program = lower(graph, TARGET, fixed={"z": "portable.conv_2d_s8", "y": "portable.conv_2d_s8"})
    assert faults(program) == []
    calls = [replace(call, operands=(replace(call.operands[0], spoiled=True), *call.operands[1:])) for call in program.calls]
    assert faults(replace(program, calls=(program.calls[0], calls[1]))) == []
    (found,) = faults(replace(program, calls=(calls[0], program.calls[1])))
    assert found.startswith("call 2, fully_connected y, reads x rows None at ")
    assert found.endswith(", where something else lies")
