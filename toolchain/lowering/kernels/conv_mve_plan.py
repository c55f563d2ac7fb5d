"""How the Helium (MVE) convolution kernels walk a layer: strips of gathered pixels, or pixels read in place."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.ir.attrs import ConvAttrs
from toolchain.ir.graph import Node
from toolchain.ir.quantization import activation_bounds, quant_of

LANES = 16
STRIP_BYTES = 2048
SMALL_COLUMN = 4


def is_signed(node: Node) -> bool:
    """True when outputs below the zero point are possible, so that halves have to be rounded away from zero."""
    low, _ = activation_bounds(node.attrs.activation, node.output.type)
    return low < quant_of(node.output.type).scalar_zero_point


def rows_of(node: Node) -> int:
    """Rows of a fully connected layer's input."""
    return node.inputs[0].type.elements // node.inputs[1].type.shape[1]


@dataclass(frozen=True, slots=True)
class Plan:
    """How conv_2d_mve.h walks a layer; the fields of its shape struct that the geometry does not give.

    column: bytes of a column of the filter. strip: pixels gathered at once. rows: rows of outputs gathered at once.
    in_place: 1x1 filters that read the input. apart: every pixel has columns of its own. strip_bytes: of the scratch of one row.
    """

    depth: int
    groups: int
    kernel: tuple[int, int]
    column: int
    strip: int
    rows: int
    in_place: bool
    apart: bool
    strip_bytes: int

    @property
    def steps(self) -> int:
        """Sixteen taps each."""
        return -(-self.kernel[1] * self.column // LANES)

    @property
    def scratch_bytes(self) -> int:
        """Of the columns, or of two filled pixels."""
        return 2 * LANES * self.steps if self.in_place else self.rows * self.strip_bytes


def plan_rows(depth: int) -> Plan:
    """A fully connected layer: a 1x1 filter over a row of pixels."""
    return Plan(depth, 1, (1, 1), depth, 1, 1, True, False, 0)


def plan_conv(node: Node) -> Plan:
    """The plan of a convolution."""
    attrs: ConvAttrs = node.attrs
    x, w, y = node.inputs[0].type.shape, node.inputs[1].type.shape, node.output.type.shape
    (height, width, depth), (out_h, out_w) = w[1:], y[1:3]
    reach = [(out - 1) * stride < size for out, stride, size in zip((out_h, out_w), attrs.stride, x[1:3], strict=True)]
    in_place = height * width == 1 and attrs.padding[0] == attrs.padding[2] == 0 and all(reach)
    column = height * depth
    steps = -(-width * column // LANES)
    if depth == SMALL_COLUMN - 1 and not in_place and -(-width * (column + 1) // LANES) == steps:
        column += 1
    apart = attrs.dilation[1] > 1 or attrs.stride[1] > width
    pixel = column * (width if apart else attrs.stride[1])
    room = max(0, STRIP_BYTES - LANES * steps) // pixel + 1
    strip = out_w if room >= out_w else max(2, room // 2 * 2)
    rows = 2 if out_w % 2 == 1 and out_h > 1 and strip == out_w else 1
    return Plan(depth, x[3] // depth, (height, width), column, strip, rows, in_place, apart, (strip - 1) * pixel + LANES * steps)
