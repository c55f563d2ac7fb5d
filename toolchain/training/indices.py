"""Index tables: which element of the operands each element of a result is, found by running the op itself on numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir.attrs import ConvAttrs, PadAttrs, PadMode, TransposeConvAttrs
from toolchain.ir.graph import Node, Value
from toolchain.ir.ops.conv import windows
from toolchain.ir.optable import OPS
from toolchain.ir.types import Array, DType, TensorType

FILL = -1
"""In place of an index: the element comes from no operand."""


@dataclass(frozen=True, slots=True)
class Table:
    """index: of blocks of `block` elements each, of all operands behind each other; FILL where padding goes."""

    index: Array
    block: int

    @property
    def fills(self) -> bool:
        """Whether anything is padded."""
        return bool((self.index == FILL).any())


def movement(node: Node, moved: Sequence[Value], constants: Sequence[Array | None]) -> tuple[Table, ...]:
    """A table for every output of an op that only moves elements, for one sample.

    moved: the operands whose elements it moves, the first ones. constants: of the others, the data.
    """
    offset, numbered = 0, []
    for value in moved:
        numbered.append(np.arange(offset, offset + value.type.elements, dtype=np.int64).reshape(value.type.shape))
        offset += value.type.elements
    attrs = node.attrs
    if isinstance(attrs, PadAttrs) and attrs.mode is PadMode.CONSTANT:
        attrs = replace(attrs, value=float(FILL))
    outputs = tuple(Value(o.name, TensorType(o.type.shape, DType.I64)) for o in node.outputs)
    plain = Node(node.op, node.inputs, outputs, attrs)
    rest = [array for array in constants if array is not None]
    results = OPS[node.op].real(plain, [*numbered, *rest])
    sizes = [value.type.elements for value in moved]
    return tuple(_in_blocks(result.reshape(-1), result.shape, sizes) for result in results)


def _in_blocks(index: Array, shape: Sequence[int], sizes: Sequence[int]) -> Table:
    """The table with the largest blocks, of trailing dimensions, that move as a whole."""
    for first in range(len(shape) + 1):
        block = math.prod(shape[first:])
        if block and all(size % block == 0 for size in sizes):
            rows = index.reshape(-1, block)
            run = (rows[:, :1] % block == 0) & (rows == rows[:, :1] + np.arange(block))
            if (run | (rows == FILL)).all() and (run.all(axis=1) | (rows == FILL).all(axis=1)).all():
                return Table(np.where(rows[:, 0] == FILL, FILL, rows[:, 0] // block), block)
    return Table(index, 1)


def window_pixels(height: int, width: int, kernel: tuple[int, int], attrs: ConvAttrs) -> Array:
    """For every output pixel and kernel position the input pixel under it, FILL for padding: (pixels out, positions)."""
    numbered = np.arange(height * width, dtype=np.int64).reshape(1, height, width, 1)
    found = windows(numbered, kernel, attrs, FILL)
    return found.reshape(found.shape[1] * found.shape[2], -1)


def transposed_pixels(height: int, width: int, kernel: tuple[int, int], attrs: TransposeConvAttrs) -> Array:
    """For every output pixel and kernel position the input pixel that adds to it, FILL where none does."""
    rows, columns = (
        _sources(size, step, taps, before, out)
        for size, step, taps, before, out in zip(
            (height, width), attrs.stride, kernel, (attrs.padding[0], attrs.padding[2]), attrs.output_size, strict=True
        )
    )
    down, across = rows[:, None, :, None], columns[None, :, None, :]
    both = np.where((down == FILL) | (across == FILL), FILL, down * width + across)
    return both.reshape(math.prod(attrs.output_size), -1)


def _sources(size: int, step: int, taps: int, before: int, out: int) -> Array:
    """Along one dimension: the input index that reaches an output index through a kernel position."""
    reach = np.arange(out)[:, None] + before - np.arange(taps)
    at = reach // step
    return np.where((reach % step == 0) & (at >= 0) & (at < size), at, FILL)
