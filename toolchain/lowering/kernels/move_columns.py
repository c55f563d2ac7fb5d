"""Bindings of the kernel that cuts columns out of images and puts images side by side, row of bytes by row of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from toolchain.ir.graph import Graph, Node, Value
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.common import Binding, Variant, as_untyped, fields, read, write

WIDTH = 2
WORD_BYTES = 4


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows of bytes that move: starts and steps in bytes."""

    source: Value
    target: Value
    rows: int
    bytes: int
    starts: tuple[int, int]
    steps: tuple[int, int]

    @property
    def has_words(self) -> bool:
        """True when every row begins and ends at a word of both images."""
        return not any(number % WORD_BYTES for number in (self.bytes, *self.starts, *self.steps))


def moves_columns(node: Node) -> bool:
    """True for neighbouring columns of one image, and for images side by side, of elements of whole bytes."""
    shapes = [value.type.shape for value in (*node.inputs, *node.outputs)]
    if node.output.type.dtype.bits % 8 or any(len(shape) != WIDTH + 2 for shape in shapes):
        return False
    others = {(*shape[:WIDTH], *shape[WIDTH + 1 :]) for shape in shapes}
    cut = all(step == 1 for step in node.attrs.step) if node.op == "slice" else node.attrs.axis == WIDTH
    return cut and len(others) == 1


def _runs(node: Node) -> Iterator[_Run]:
    if node.op == "slice":
        start = node.attrs.begin[WIDTH] * _pixel_bytes(node.output)
        yield _run(node.inputs[0], node.output, node.output, (start, 0))
        return
    starts = accumulate((value.type.shape[WIDTH] * _pixel_bytes(value) for value in node.inputs[:-1]), initial=0)
    for value, start in zip(node.inputs, starts, strict=True):
        yield _run(value, node.output, value, (0, start))


def _run(source: Value, target: Value, moved: Value, starts: tuple[int, int]) -> _Run:
    batch, height, width, _ = moved.type.shape
    steps = source.type.shape[WIDTH] * _pixel_bytes(source), target.type.shape[WIDTH] * _pixel_bytes(target)
    return _Run(source, target, batch * height, width * _pixel_bytes(moved), starts, steps)


def _pixel_bytes(value: Value) -> int:
    return value.type.shape[-1] * value.type.dtype.bits // 8


def _bind(graph: Graph, node: Node) -> tuple[Binding, ...]:
    """One move for a slice, one per operand for images side by side."""
    return tuple(
        Binding(
            fields(rows=run.rows, bytes=run.bytes, in_start=run.starts[0], in_step=run.steps[0])
            + fields(out_start=run.starts[1], out_step=run.steps[1]),
            (as_untyped(read(graph, run.source)), as_untyped(write(run.target))),
        )
        for run in _runs(node)
    )


def _units(_graph: Graph, node: Node) -> Work:
    """`row`, `word` and `byte` that move, `call`."""
    runs = list(_runs(node))
    words, others = (sum(run.rows * run.bytes for run in runs if run.has_words is whole) for whole in (True, False))
    return {"row": sum(run.rows for run in runs), "word": words / WORD_BYTES, "byte": others, "call": len(runs)}


_COST = Cost(_units, {"row": 15.0, "word": 1.5, "byte": 5.0, "call": 20.0})
VARIANTS = tuple(
    Variant(
        op,
        "portable",
        "move_columns.h",
        "strop_move_columns",
        "strop_columns_shape",
        lambda _graph, node: moves_columns(node),
        _bind,
        _COST,
    )
    for op in ("slice", "concat")
)
