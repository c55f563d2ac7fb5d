"""Moving the elements of weights, stored as floats or as quantized data behind a dequantize."""

from __future__ import annotations

from collections.abc import Callable

from toolchain.ir.graph import Node, Value
from toolchain.ir.types import Array, Quant
from toolchain.passes.pattern import Editor


def move_weights(
    editor: Editor, value: Value, move: Callable[[Array], Array], nodes: list[Node], rows: Array | None = None
) -> Value | None:
    """Weights with elements moved within rows of axis 0, whose shape `move` keeps; None for computed weights.

    nodes: gets the dequantize that new quantized weights need. rows: the order in which `move` puts rows, where it moves
    them as well; their parameters go along.
    """
    data = editor.data(value)
    if data is not None:
        return editor.stored(value, move(data), _ordered(value.type.quant, rows)) if _rowwise(value) else None
    node = editor.producer(value)
    if node is None or node.op != "dequantize":
        return None
    stored = node.inputs[0]
    data = editor.data(stored)
    if data is None or not _rowwise(stored):
        return None
    moved = editor.stored(stored, move(data), _ordered(stored.type.quant, rows))
    nodes.append(editor.make("dequantize", (moved,), base=value.name))
    return nodes[-1].output


def _ordered(quant: Quant | None, rows: Array | None) -> Quant | None:
    if quant is None or quant.axis is None or rows is None:
        return quant
    scale = tuple(quant.scale[row] for row in rows)
    return Quant(scale, tuple(quant.zero_point[row] for row in rows), quant.axis)


def _rowwise(value: Value) -> bool:
    return value.type.quant is None or value.type.quant.axis in (None, 0)
