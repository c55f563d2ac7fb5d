"""Bindings of the Armv7E-M depthwise convolutions: planes of one channel, rows of taps as pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir.attrs import ConvAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, quant_of
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.common import Binding, Variant, fields, packed, read, write
from toolchain.lowering.kernels.conv import biases_of, weight_rows
from toolchain.lowering.kernels.dsp_costs import bounded, is_signed
from toolchain.lowering.kernels.dsp_stream import fits, parameters_of, scales_of
from toolchain.lowering.program import Operand, ShapeField

PAIRS_3X3 = (0, 1, 1, 2)


@dataclass(frozen=True, slots=True)
class Axis:
    """A layer along one of its two dimensions. step_in, step_out: elements from one index to the next."""

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    padding: int
    step_in: int
    step_out: int

    @property
    def parts(self) -> int:
        """Parts of a dilated plane row that windows begin in."""
        return self.dilation // math.gcd(self.dilation, self.stride)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a layer is computed: row by row of outputs, each along `row`, one below the other along `column`."""

    column: Axis
    row: Axis

    @property
    def is_3x3(self) -> bool:
        """True for the shapes of the 3x3 kernel."""
        plain = self.column.dilation == self.row.dilation == 1 and self.column.kernel == self.row.kernel == 3
        return plain and self.row.stride <= 2

    @property
    def plane_h(self) -> int:
        """Rows of a plane."""
        return (self.column.out - 1) * self.column.stride + (self.column.kernel - 1) * self.column.dilation + 1

    @property
    def plane_w(self) -> int:
        """Elements of one part of a plane row, even: all that windows and whole words read."""
        row = self.row
        if self.is_3x3:
            return -(-row.out // 2) * 2 * row.stride + 2
        reach = (row.stride * x // row.dilation for x in range(row.out))
        return -(-(max(reach) + -(-row.kernel // 2) * 2) // 2) * 2

    @property
    def groups(self) -> tuple[int, int]:
        """Groups of four and of two outputs of a row of the 3x3 kernel."""
        return self.row.out // 4, (self.row.out % 4 + 1) // 2


def _layout(node: Node) -> Layout:
    attrs: ConvAttrs = node.attrs
    (_, height, width, channels), (_, out_h, out_w, outs) = node.inputs[0].type.shape, node.output.type.shape
    kernel, stride, dilation, padding = node.inputs[1].type.shape[1:3], attrs.stride, attrs.dilation, attrs.padding
    column = Axis(height, out_h, kernel[0], stride[0], dilation[0], padding[0], width * channels, out_w * outs)
    return Layout(column, Axis(width, out_w, kernel[1], stride[1], dilation[1], padding[2], channels, outs))


def _exchanged(layout: Layout) -> Layout:
    return Layout(layout.row, layout.column)


def _multiplier(node: Node) -> int:
    return node.output.type.shape[3] // node.inputs[0].type.shape[3]


def _copies(layout: Layout) -> tuple[int, int, int]:
    """Rows, groups of four and single elements of one channel's copy into its plane."""
    row, column = layout.row, layout.column
    rows, copied, fours, rest = max(min(column.size, layout.plane_h - column.padding), 0), 0, 0, 0
    for part in range(row.dilation):
        first = (part - row.padding) % row.dilation
        at = (first + row.padding) // row.dilation
        columns = min(-(-(row.size - first) // row.dilation), layout.plane_w - at)
        if columns > 0:
            copied, fours, rest = copied + 1, fours + columns // 4, rest + columns % 4
    return rows * copied, rows * fours, rows * rest


def _shared_units(node: Node, layout: Layout) -> dict[str, float]:
    """Work that both kernels do: copies, borders, bounds."""
    batch, channels = node.inputs[0].type.shape[0], node.inputs[0].type.shape[3]
    rows, fours, rest = _copies(layout)
    return {
        "copied_row": batch * channels * rows,
        "copied_four": batch * channels * fours,
        "copied_one": batch * channels * rest,
        "border": layout.plane_h * layout.plane_w * layout.row.dilation / 2,
        "bounded": bounded(node),
        "channel": batch * node.output.type.shape[3],
        "call": 1,
    }


SHARED_PRIOR = {"copied_row": 15, "copied_four": 9, "copied_one": 3, "border": 4, "bounded": 2.5, "call": 40}


def _units_3x3(_graph: Graph, node: Node) -> Work:
    return _work_3x3(node, _best_3x3(node))


def _work_3x3(node: Node, layout: Layout) -> Work:
    planes = node.inputs[0].type.shape[0] * node.output.type.shape[3]
    rows = planes * layout.column.out
    return _shared_units(node, layout) | {
        "row": rows,
        "four": rows * layout.groups[0],
        "two": rows * layout.groups[1],
        "strided": rows * (layout.groups[0] + 0.5 * layout.groups[1]) * (layout.row.stride - 1),
        "signed": node.output.type.elements if is_signed(node) else 0,
    }


PRIOR_3X3 = SHARED_PRIOR | {"channel": 30, "row": 13, "four": 60, "two": 38, "strided": 3, "signed": 1.2}


def _predicted(node: Node, layout: Layout) -> float:
    return sum(PRIOR_3X3[unit] * count for unit, count in _work_3x3(node, layout).items())


def _best_3x3(node: Node) -> Layout:
    """Rows along the dimension that takes fewer instructions."""
    layouts = [each for each in (_layout(node), _exchanged(_layout(node))) if each.is_3x3]
    return min(layouts, key=lambda layout: _predicted(node, layout))


def _is_3x3(node: Node) -> bool:
    return _layout(node).is_3x3 or _exchanged(_layout(node)).is_3x3


def _work(node: Node, layout: Layout) -> Work:
    row, planes = layout.row, node.inputs[0].type.shape[0] * node.output.type.shape[3]
    outputs = [-(-(row.out - first) // row.parts) for first in range(min(row.parts, row.out))]
    groups = planes * layout.column.out * sum(-(-n // 4) for n in outputs)
    tap_rows = groups * layout.column.kernel
    return _shared_units(node, layout) | {
        "row": planes * layout.column.out * len(outputs),
        "four": groups,
        "tap_row": tap_rows,
        "tap_pair": tap_rows * -(-row.kernel // 2),
        "part": planes * len(outputs),
    }


PRIOR = SHARED_PRIOR | {"channel": 25, "row": 15, "four": 47, "tap_row": 5, "tap_pair": 11, "part": 20}


def _best(node: Node) -> Layout:
    """Rows along the dimension that takes fewer instructions."""

    def predicted(layout: Layout) -> float:
        return sum(PRIOR[unit] * count for unit, count in _work(node, layout).items())

    return min(_layout(node), _exchanged(_layout(node)), key=predicted)


def _units(_graph: Graph, node: Node) -> Work:
    return _work(node, _best(node))


def _shape(node: Node, layout: Layout) -> tuple[ShapeField, ...]:
    row, column = layout.row, layout.column
    low, high = activation_bounds(node.attrs.activation, node.output.type)
    return fields(
        batch=node.inputs[0].type.shape[0],
        channels=node.inputs[0].type.shape[3],
        multiplier=_multiplier(node),
        in_h=column.size,
        in_w=row.size,
        in_row=column.step_in,
        in_column=row.step_in,
        out_h=column.out,
        out_w=row.out,
        out_row=column.step_out,
        out_column=row.step_out,
        k_h=column.kernel,
        k_w=row.kernel,
        stride_h=column.stride,
        stride_w=row.stride,
        dilation_h=column.dilation,
        dilation_w=row.dilation,
        pad_top=column.padding,
        pad_left=row.padding,
        plane_h=layout.plane_h,
        plane_w=layout.plane_w,
        zero=quant_of(node.inputs[0].type).scalar_zero_point,
        act_min=low,
        act_max=high,
        is_signed=int(is_signed(node)),
    )


def _bind(graph: Graph, node: Node, layout: Layout, words: Callable[[Array], Array]) -> Binding:
    """words: what a (channels, rows, columns) filter becomes, int16 lanes along the last axis."""
    bias = biases_of(graph, node, node.output.type.shape[3])
    rows = weight_rows(graph, node).astype(np.int64)
    scales = scales_of(node, rows, bias)
    folded = bias - quant_of(node.inputs[0].type).scalar_zero_point * rows.sum(axis=1)
    filters = rows.reshape(-1, *node.inputs[1].type.shape[1:3])
    lanes = words(2 * (filters if layout.row == _layout(node).row else filters.transpose(0, 2, 1)))
    pairs = np.ascontiguousarray(lanes.reshape(len(rows), -1).astype(np.int16)).view(np.int32)
    sums = np.array([0 if s.mantissa == 0 else 2 * b for s, b in zip(scales, folded, strict=True)]).reshape(-1, 1)
    stream = np.concatenate([sums, pairs, parameters_of(scales)], axis=1).astype(np.int32)
    scratch = Operand("int16_t", scratch_bytes=2 * layout.plane_h * layout.row.dilation * layout.plane_w)
    operands = (read(graph, node.inputs[0]), packed("int32_t", stream.reshape(-1)), scratch, write(node.output))
    return Binding(_shape(node, layout), operands)


def _pairs_3x3(filters: Array) -> Array:
    return filters[:, :, PAIRS_3X3]


def _pairs(filters: Array) -> Array:
    return np.pad(filters, ((0, 0), (0, 0), (0, filters.shape[2] % 2)))


def _bind_3x3(graph: Graph, node: Node) -> Binding:
    return _bind(graph, node, _best_3x3(node), _pairs_3x3)


def _bind_any(graph: Graph, node: Node) -> Binding:
    return _bind(graph, node, _best(node), _pairs)


def _accepts_3x3(graph: Graph, node: Node) -> bool:
    return _is_3x3(node) and fits(graph, node)


_ANY = Variant(
    "depthwise_conv_2d",
    "armv7em",
    "depthwise_dsp.h",
    "strop_depthwise_dsp",
    "strop_depthwise_dsp_shape",
    fits,
    _bind_any,
    Cost(_units, PRIOR),
)

VARIANTS = (
    replace(_ANY, function="strop_depthwise_3x3_dsp", accepts=_accepts_3x3, bind=_bind_3x3, cost=Cost(_units_3x3, PRIOR_3X3)),
    _ANY,
)
