"""Ops that move nothing share their operand's buffer, and the program still computes what the graph says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.float_cases import FLAGS, assert_close
from tests.support.kernel_cases import build, run_program
from toolchain.ir.attrs import (
    Attrs,
    AxesAttrs,
    AxisAttrs,
    BlockAttrs,
    PadAttrs,
    PermAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
)
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import f32
from toolchain.lowering.views import is_view, roots
from toolchain.reference.evaluator import run

X = Value("x", f32(1, 4, 1, 3))
FREE: tuple[tuple[str, Attrs], ...] = (
    ("reshape", ReshapeAttrs((12,))),
    ("transpose", PermAttrs((0, 2, 1, 3))),
    ("transpose", PermAttrs((1, 0, 2, 3))),
    ("slice", SliceAttrs((0, 0, 0, 0), (1, 4, 1, 3), (1, 1, 1, 1))),
    ("slice", SliceAttrs((0, 0, 0, 0), (-1, 4, 1, 3), (-1, 1, 1, 1))),
    ("reverse", AxesAttrs((0, 2))),
    ("pad", PadAttrs((0,) * 4, (0,) * 4)),
    ("tile", TileAttrs((1,) * 4)),
    ("broadcast_to", ReshapeAttrs((1, 1, 4, 1, 3))),
    ("concat", AxisAttrs(1)),
    ("split", SplitAttrs(1, (4,))),
    ("space_to_depth", BlockAttrs(1)),
)
MOVING: tuple[tuple[str, Attrs], ...] = (
    ("transpose", PermAttrs((0, 3, 2, 1))),
    ("slice", SliceAttrs((0, 3, 0, 0), (1, -1, 1, 3), (1, -1, 1, 1))),
    ("slice", SliceAttrs((0, 0, 0, 0), (1, 2, 1, 3), (1, 1, 1, 1))),
    ("reverse", AxesAttrs((1,))),
    ("pad", PadAttrs((0, 1, 0, 0), (0,) * 4)),
    ("tile", TileAttrs((1, 1, 2, 1))),
    ("broadcast_to", ReshapeAttrs((1, 4, 2, 3))),
    ("copy", Attrs()),
)


def one(op: str, attrs: Attrs) -> tuple[Graph, Node]:
    node = make_node(op, (X,), ("y",), attrs)
    return Graph("one", (X,), node.outputs, (node,)), node


@pytest.mark.parametrize(("op", "attrs"), FREE, ids=[f"{i}-{op}" for i, (op, _) in enumerate(FREE)])
def test_free(op: str, attrs: Attrs) -> None:
    graph, node = one(op, attrs)
    assert is_view(graph, node)
    assert roots(graph)["y"] == "x"


@pytest.mark.parametrize(("op", "attrs"), MOVING, ids=[f"{i}-{op}" for i, (op, _) in enumerate(MOVING)])
def test_not_free(op: str, attrs: Attrs) -> None:
    graph, node = one(op, attrs)
    assert not is_view(graph, node)


def test_constants_are_moved() -> None:
    node = make_node("reshape", (X,), ("y",), ReshapeAttrs((12,)))
    graph = Graph("one", (), node.outputs, (node,), {"x": np.zeros(X.type.shape, np.float32)})
    assert not is_view(graph, node)


def test_chain_of_views(tmp_path: Path) -> None:
    """Views of an input and of a result, read twice, as outputs more than once."""
    nodes = [make_node("relu", (X,), ("r",))]
    for index, (op, attrs) in enumerate(FREE):
        source = X if index % 2 else nodes[0].output
        nodes.append(make_node(op, (source,), (f"v{index}",), attrs))
    last = make_node("exp", (nodes[1].output,), ("e",))
    outputs = tuple(node.output for node in (*nodes, last))
    graph = Graph("chain", (X,), outputs, (*nodes, last))
    sample = np.linspace(-2, 2, 12, dtype=np.float32).reshape(X.type.shape)
    (found,) = run_program(build(graph, tmp_path, FLAGS), graph, [sample.tobytes()])
    for wanted, value in zip(run(graph, [sample]), outputs, strict=True):
        assert_close(next(array for name, array in found.items() if name.startswith(value.name)), wanted, value.name)
