"""Attributes of operations: one frozen dataclass per shape of attributes, shared by the ops that need no more.

Sizes are in elements. Padding is explicit, (top, bottom, left, right). Every field has a type the text form can print:
int, float, bool, str, an enum, or a tuple of ints or floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from toolchain.ir.types import DType

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]


class Activation(StrEnum):
    """A clamp fused onto the end of an op."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"
    RELU_N1_1 = "relu_n1_1"

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest real value that passes."""
        inf = float("inf")
        return {"none": (-inf, inf), "relu": (0.0, inf), "relu6": (0.0, 6.0), "relu_n1_1": (-1.0, 1.0)}[self.value]


class PadMode(StrEnum):
    """How `pad` fills: a constant, the mirror without the edge, the mirror with the edge, or the edge itself."""

    CONSTANT = "constant"
    REFLECT = "reflect"
    SYMMETRIC = "symmetric"
    EDGE = "edge"
    WRAP = "wrap"


class ResizeMode(StrEnum):
    """How resize maps an output index to an input coordinate (ONNX's names)."""

    ASYMMETRIC = "asymmetric"
    HALF_PIXEL = "half_pixel"
    ALIGN_CORNERS = "align_corners"
    PYTORCH_HALF_PIXEL = "pytorch_half_pixel"


class NearestMode(StrEnum):
    """How resize_nearest rounds a fractional input coordinate (ONNX's names)."""

    FLOOR = "floor"
    CEIL = "ceil"
    ROUND_PREFER_FLOOR = "round_prefer_floor"
    ROUND_PREFER_CEIL = "round_prefer_ceil"


@dataclass(frozen=True, slots=True)
class Attrs:
    """No attributes; the base of all attribute classes."""


@dataclass(frozen=True, slots=True)
class ActivationAttrs(Attrs):
    """A fused activation alone (add, sub, mul, div)."""

    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class ConvAttrs(Attrs):
    """2-D convolution, depthwise convolution: strides and dilations are (height, width)."""

    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class TransposeConvAttrs(Attrs):
    """Transposed convolution: padding is cut from the full result, (input − 1) * stride + kernel; output_size is (height, width).

    output_size is the full result less padding; a negative bottom or right adds rows or columns of bias (output padding).
    """

    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    output_size: Pair = (1, 1)
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class PoolAttrs(Attrs):
    """Pooling windows. Average pooling divides by the window inside the input, or by all of it with count_padding."""

    window: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    activation: Activation = Activation.NONE
    count_padding: bool = False


@dataclass(frozen=True, slots=True)
class AxisAttrs(Attrs):
    """One axis, counted from the front (0 ≤ axis < rank)."""

    axis: int = 0


@dataclass(frozen=True, slots=True)
class ReduceAttrs(Attrs):
    """Axes that are reduced, ascending, counted from the front; keepdims leaves them as 1."""

    axes: tuple[int, ...] = ()
    keepdims: bool = False


@dataclass(frozen=True, slots=True)
class ArgAttrs(Attrs):
    """The axis of argmax or argmin; last chooses the last of equal elements; dtype is that of the indices."""

    axis: int = 0
    keepdims: bool = False
    last: bool = False
    dtype: DType = DType.I32


@dataclass(frozen=True, slots=True)
class ReshapeAttrs(Attrs):
    """The new shape, without −1."""

    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PermAttrs(Attrs):
    """Output dimension i is input dimension perm[i]."""

    perm: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PadAttrs(Attrs):
    """Elements added before and after each dimension; value is a real number (of the stored type for unquantized integers)."""

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    mode: PadMode = PadMode.CONSTANT
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class SliceAttrs(Attrs):
    """Start, end (exclusive, after clamping) and step per dimension; a negative step runs down to end + 1 (end may be −1)."""

    begin: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    step: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitAttrs(Attrs):
    """The axis and the sizes of the parts along it."""

    axis: int = 0
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ResizeAttrs(Attrs):
    """Output (height, width) of an NHWC image and the coordinate rule; nearest is read by resize_nearest alone.

    scale: output / input per dimension where it is not size / input size (ONNX's `scales`), else 0.
    TFLite's half_pixel_centers for nearest is HALF_PIXEL with ROUND_PREFER_CEIL, its align_corners ALIGN_CORNERS with that.
    """

    size: Pair = (1, 1)
    mode: ResizeMode = ResizeMode.ASYMMETRIC
    nearest: NearestMode = NearestMode.FLOOR
    scale: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class AlphaAttrs(Attrs):
    """One real parameter: the slope of leaky_relu, the alpha of elu."""

    alpha: float = 0.0


@dataclass(frozen=True, slots=True)
class GeluAttrs(Attrs):
    """tanh chooses the tanh approximation instead of erf."""

    tanh: bool = False


@dataclass(frozen=True, slots=True)
class SoftmaxAttrs(Attrs):
    """Softmax over the last axis of beta * x; wide gives int16 probabilities from an int8 input."""

    beta: float = 1.0
    wide: bool = False


@dataclass(frozen=True, slots=True)
class CastAttrs(Attrs):
    """The element type of the output."""

    dtype: DType = DType.F32


@dataclass(frozen=True, slots=True)
class BlockAttrs(Attrs):
    """The block size of space_to_depth and depth_to_space."""

    block: int = 1


@dataclass(frozen=True, slots=True)
class MatmulAttrs(Attrs):
    """Batched matrix product with operands optionally transposed in their last two dimensions."""

    transpose_a: bool = False
    transpose_b: bool = False


@dataclass(frozen=True, slots=True)
class GatherAttrs(Attrs):
    """The gathered axis; the first batch_dims dimensions of data and indices go together."""

    axis: int = 0
    batch_dims: int = 0


@dataclass(frozen=True, slots=True)
class RecurrentAttrs(Attrs):
    """LSTM, GRU and RNN over time (axis 1 of NWC): direction, and ONNX's linear_before_reset for GRU."""

    reverse: bool = False
    linear_before_reset: bool = True


@dataclass(frozen=True, slots=True)
class HardSigmoidAttrs(Attrs):
    """hard_sigmoid: min(max(alpha * x + beta, 0), 1). Keras and torch have alpha 1/6."""

    alpha: float = 0.2
    beta: float = 0.5


@dataclass(frozen=True, slots=True)
class AxesAttrs(Attrs):
    """Axes counted from the front, ascending (reverse)."""

    axes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TileAttrs(Attrs):
    """How often each dimension is repeated."""

    repeats: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CumsumAttrs(Attrs):
    """Running sum along an axis; exclusive leaves out the element itself, reverse runs from the end."""

    axis: int = 0
    exclusive: bool = False
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class OneHotAttrs(Attrs):
    """The new axis (0 ≤ axis ≤ rank of the indices) and its length; wrap counts negative indices from the end (ONNX)."""

    axis: int = 0
    depth: int = 1
    wrap: bool = False


class Reduction(StrEnum):
    """What scatter does with the element that is there."""

    NONE = "none"
    ADD = "add"
    MUL = "mul"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class ScatterAttrs(Attrs):
    """Scattered axis (scatter_elements alone) and how an update joins the old element. TFLite's scatter_nd adds to zeros."""

    axis: int = 0
    reduction: Reduction = Reduction.NONE


@dataclass(frozen=True, slots=True)
class TopKAttrs(Attrs):
    """The k largest (or smallest) along an axis, best first, of equals the first; dtype is that of the indices."""

    axis: int = 0
    k: int = 1
    largest: bool = True
    dtype: DType = DType.I32


@dataclass(frozen=True, slots=True)
class IsInfAttrs(Attrs):
    """Which infinities isinf finds."""

    positive: bool = True
    negative: bool = True
