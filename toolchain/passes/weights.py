"""Moving the elements of weights, stored as floats or as quantized data behind a dequantize."""

from __future__ import annotations

from collections.abc import Callable

from toolchain.ir.graph import Node, Value
from toolchain.ir.types import Array
from toolchain.passes.pattern import Editor


def move_weights(editor: Editor, value: Value, move: Callable[[Array], Array], nodes: list[Node]) -> Value | None:
    """Weights with elements moved within rows of axis 0, whose shape `move` keeps; None for computed weights.

    nodes: gets the dequantize that new quantized weights need.
    """
    data = editor.data(value)
    if data is not None:
        return editor.stored(value, move(data), value.type.quant) if _rowwise(value) else None
    node = editor.producer(value)
    if node is None or node.op != "dequantize":
        return None
    stored = node.inputs[0]
    data = editor.data(stored)
    if data is None or not _rowwise(stored):
        return None
    nodes.append(editor.make("dequantize", (editor.stored(stored, move(data), stored.type.quant),), base=value.name))
    return nodes[-1].output


def _rowwise(value: Value) -> bool:
    return value.type.quant is None or value.type.quant.axis in (None, 0)
