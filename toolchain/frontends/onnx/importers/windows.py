"""What convolutions and pooling share: window attributes, padding, and the way to channels-last and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import OnnxNode
from toolchain.ir.graph import Value


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows over the spatial dimensions, of which there are one or two. before, after: padding per dimension."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def pair(self) -> Windows2d:
        """The same as two dimensions; one dimension becomes the width."""
        kernel, stride, dilation = _two(self.kernel, 1), _two(self.stride, 1), _two(self.dilation, 1)
        before, after = _two(self.before, 0), _two(self.after, 0)
        return Windows2d(kernel, stride, dilation, (before[0], after[0], before[1], after[1]))

    def spans(self) -> tuple[int, ...]:
        """Elements from the first to the last that a window touches."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))


@dataclass(frozen=True, slots=True)
class Windows2d:
    """Windows over height and width; padding is (top, bottom, left, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]


def _two(numbers: tuple[int, ...], fill: int) -> tuple[int, int]:
    return (fill, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def spatial_rank(node: OnnxNode, x: Value) -> int:
    """Number of spatial dimensions, 1 or 2. Raises ModelError(104) for three, (108) for none."""
    rank = x.type.rank - 2
    if rank > 2:
        raise node.unsupported(f"{rank} spatial dimensions, 1 and 2 are supported", "Use a 2-D layer")
    if rank < 1:
        raise node.malformed(f"the input has shape {x.type.shape}, which has no spatial dimensions")
    return rank


def read_windows(node: OnnxNode, x: Value, kernel: Sequence[int]) -> Windows:
    """Stride, dilation and padding of a convolution or pooling; auto_pad is worked out."""
    rank = spatial_rank(node, x)
    stride = node.integers("strides") or (1,) * rank
    dilation = node.integers("dilations") or (1,) * rank
    pads = node.integers("pads") or (0,) * (2 * rank)
    if not len(kernel) == len(stride) == len(dilation) == rank or len(pads) != 2 * rank:
        raise node.malformed(f"kernel {kernel}, strides {stride}, dilations {dilation}, pads {pads} for {rank} dimensions")
    if min(*kernel, *stride, *dilation) < 1 or min(pads) < 0 or max(*kernel, *stride, *dilation, *pads) >= 2**31:
        raise node.malformed(f"kernel {kernel}, strides {stride}, dilations {dilation}, pads {pads} lie outside 0 to 2^31")
    auto = node.text("auto_pad", "NOTSET")
    plain = Windows(tuple(kernel), stride, dilation, pads[:rank], pads[rank:])
    if auto in ("NOTSET", ""):
        return plain
    if auto == "VALID":
        return Windows(tuple(kernel), stride, dilation, (0,) * rank, (0,) * rank)
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise node.malformed(f"auto_pad is {auto!r}")
    sizes = x.type.shape[2:]
    totals = [max((-(-size // s) - 1) * s + span - size, 0) for size, s, span in zip(sizes, stride, plain.spans(), strict=True)]
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    before, after = (small, large) if auto == "SAME_UPPER" else (large, small)
    return Windows(tuple(kernel), stride, dilation, before, after)


def channels_last(b: Builder, x: Value) -> Value:
    """(n, c, w) or (n, c, h, w) as (n, h, w, c), where h is 1 for the former."""
    if x.type.rank == 4:
        return b.transpose(x, (0, 2, 3, 1))
    moved = b.transpose(x, (0, 2, 1))
    n, width, channels = moved.type.shape
    return b.reshape(moved, (n, 1, width, channels))


def channels_first(b: Builder, y: Value, rank: int) -> Value:
    """(n, h, w, c) as (n, c, h, w), or for rank 3 as (n, c, w)."""
    if rank == 4:
        return b.transpose(y, (0, 3, 1, 2))
    n, _, width, channels = y.type.shape
    return b.transpose(b.reshape(y, (n, width, channels)), (0, 2, 1))


def filters_last(b: Builder, w: Value) -> Value:
    """Convolution weights (out, in, k…) as (out, h, w, in)."""
    return channels_last(b, w)
