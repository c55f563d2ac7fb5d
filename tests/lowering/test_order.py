"""The order of the least memory: exact against all orders, the given one where none is better, and what programs gain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from targets.load import load_target
from toolchain.ir.attrs import ActivationAttrs, Attrs, AxesAttrs, ReduceAttrs, ReshapeAttrs, TileAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import f32
from toolchain.ir.verifier import verify
from toolchain.lowering.lower import lower
from toolchain.lowering.order import ordered
from toolchain.lowering.views import roots
from toolchain.reference.evaluator import run


def peak(graph: Graph) -> int:
    """The most bytes alive, counted from the text of the graph: every tensor from its making to its last reading."""
    most, results = 0, {value.name for value in graph.outputs}
    made = {value.name: -1 for value in graph.inputs} | {v.name: i for i, n in enumerate(graph.nodes) for v in n.outputs}
    sizes = {v.name: -(-v.type.bytes // 16) * 16 for v in graph.values()}
    for step in range(-1, len(graph.nodes)):
        read = {v.name for node in graph.nodes[max(step, 0) :] for v in node.inputs} | results
        own = {v.name for v in graph.nodes[step].outputs} if step >= 0 else set[str]()
        most = max(most, sum(sizes[name] for name, at in made.items() if at <= step and name in read | own))
    return most


def orders(graph: Graph, done: tuple[Node, ...] = ()) -> Iterator[tuple[Node, ...]]:
    """All orders in which every node comes after what it reads."""
    made = {v.name for v in graph.inputs} | {v.name for node in done for v in node.outputs}
    left = [node for node in graph.nodes if node not in done]
    if not left:
        yield done
    for node in left:
        if all(value.name in made for value in node.inputs):
            yield from orders(graph, (*done, node))


def random_graph(seed: int) -> Graph:
    """Tensors of one row that grow, shrink and meet in sums, in an order by chance."""
    rng = np.random.default_rng(seed)
    x = Value("x", f32(1, 8))
    nodes: list[Node] = []
    values = [x]
    for number in range(int(rng.integers(4, 7))):
        value = values[int(rng.integers(len(values)))]
        name = (f"t{number}",)
        kind = rng.random()
        if kind < 0.4:
            nodes.append(make_node("tile", (value,), name, TileAttrs((1, int(rng.integers(1, 6))))))
        elif kind < 0.7:
            nodes.append(make_node("reduce_max", (value,), name, ReduceAttrs((1,), keepdims=True)))
        else:
            other = values[int(rng.integers(len(values)))]
            small = make_node("reduce_max", (other,), (f"s{number}",), ReduceAttrs((1,), keepdims=True))
            nodes += [small, make_node("add", (value, small.output), name, ActivationAttrs())]
        values.append(nodes[-1].output)
    ends = tuple(v for v in values if not any(v in node.inputs for node in nodes))
    return Graph("random", (x,), ends, tuple(nodes))


@pytest.mark.parametrize("seed", range(40))
def test_no_order_of_a_small_graph_has_a_lower_peak(seed: int) -> None:
    graph = random_graph(seed)
    found = ordered(graph)
    verify(found)
    assert peak(found) == min(peak(replace(graph, nodes=nodes)) for nodes in orders(graph))
    assert (found is graph) == (peak(found) == peak(graph))
    x = np.arange(8, dtype=np.float32).reshape(1, 8)
    for wanted, array in zip(run(graph, [x]), run(found, [x]), strict=True):
        np.testing.assert_array_equal(array, wanted)


def branches(count: int, *, late: bool) -> Graph:
    """Branches that each grow an input of 64 bytes to 1024 and shrink it to 16, summed; late: all grow before any shrinks."""
    x = Value("x", f32(1, 16))
    grown: list[Node] = []
    others: list[list[Node]] = []
    total: Value | None = None
    for i in range(count):
        grown.append(make_node("tile", (x,), (f"wide{i}",), TileAttrs((1, 16))))
        others.append([make_node("reduce_max", grown[i].outputs, (f"small{i}",), ReduceAttrs((1,), keepdims=True))])
        small = others[i][0].output
        if total is not None:
            others[i].append(make_node("add", (total, small), (f"sum{i}",), ActivationAttrs()))
        total = others[i][-1].output
    pairs = zip(grown, others, strict=True)
    nodes = [*grown, *(n for each in others for n in each)] if late else [n for wide, each in pairs for n in (wide, *each)]
    return Graph("branches", (x,), others[-1][-1].outputs, tuple(nodes))


BEST = 64 + 1024 + 16 + 16
"""The input, a wide tensor, what it shrinks to, and the sum so far."""


def test_branches_run_one_after_the_other() -> None:
    worst = branches(6, late=True)
    assert peak(worst) == 64 + 6 * 1024
    assert peak(ordered(worst)) == BEST


def test_many_branches_are_ordered_within_bounds() -> None:
    assert peak(ordered(branches(24, late=True))) == BEST


def test_what_cannot_be_better_stays_as_it_is() -> None:
    graph = branches(6, late=False)
    assert peak(graph) == BEST
    assert ordered(graph) is graph


def test_programs_take_the_better_order() -> None:
    host = load_target("host")
    early, late = (lower(branches(6, late=late), host).plan.arena_bytes for late in (False, True))
    assert early == late <= BEST


def test_views_take_no_memory() -> None:
    """A reshape of a wide tensor is the wide tensor: no order is better than the given one."""
    x = Value("x", f32(1, 16))
    wide = make_node("tile", (x,), ("wide",), TileAttrs((1, 16)))
    flat = make_node("reshape", wide.outputs, ("flat",), ReshapeAttrs((256,)))
    back = make_node("reverse", flat.outputs, ("back",), AxesAttrs((0,)))
    other = make_node("tile", (x,), ("other",), TileAttrs((1, 20)))
    graph = Graph("views", (x,), (back.output, other.output), (wide, flat, back, other))
    assert ordered(graph, roots(graph)) is graph


def test_a_graph_without_nodes() -> None:
    x = Value("x", f32(4))
    graph = Graph("none", (x,), (x,), ())
    assert ordered(graph) is graph
    copy = make_node("copy", (x,), ("y",), Attrs())
    single = Graph("one", (x,), copy.outputs, (copy,))
    assert ordered(single) is single
