"""Importers of operators that move elements: reshapes, slices, pads, joins, resizes."""

from __future__ import annotations

import math

import numpy as np

from toolchain.frontends.tflite.compute import Import
from toolchain.frontends.tflite.importer import Importer
from toolchain.frontends.tflite.reader import OperatorRecord
from toolchain.frontends.tflite.schema import names
from toolchain.ir.attrs import (
    Activation,
    AxesAttrs,
    AxisAttrs,
    BlockAttrs,
    CumsumAttrs,
    GatherAttrs,
    NearestMode,
    OneHotAttrs,
    PadAttrs,
    PadMode,
    PermAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
    TopKAttrs,
)
from toolchain.ir.graph import Value
from toolchain.ir.quantization import dequantize_array


def axis_of(importer: Importer, op: OperatorRecord, axis: int, rank: int) -> int:
    """The axis counted from the front; raises ModelError(103) when there is no such dimension."""
    if not -rank <= axis < rank:
        raise importer.damaged(op, f"has axis {axis} for {rank} dimensions")
    return axis % rank


def reshape(importer: Importer, op: OperatorRecord) -> None:
    """RESHAPE by its second operand, else by its option; one -1 is filled in."""
    x = importer.value(op, 0)
    if importer.has_input(op, 1):
        shape = importer.integers(op, 1)
    else:
        stored = importer.options(op, "ReshapeOptions").newShape
        shape = () if stored is None else tuple(int(size) for size in stored)
    known = math.prod(size for size in shape if size != -1)
    if shape.count(-1) == 1 and known > 0:
        shape = tuple(x.type.elements // known if size == -1 else size for size in shape)
    importer.emit(op, "reshape", [x], ReshapeAttrs(shape))


def squeeze(importer: Importer, op: OperatorRecord) -> None:
    """SQUEEZE of the listed axes, or of every dimension of one."""
    x, listed = importer.value(op, 0), importer.options(op, "SqueezeOptions").squeezeDims
    rank = x.type.rank
    axes = {axis_of(importer, op, int(axis), rank) for axis in (listed if listed is not None else ())}
    gone = axes or {axis for axis, size in enumerate(x.type.shape) if size == 1}
    importer.emit(op, "reshape", [x], ReshapeAttrs(tuple(size for axis, size in enumerate(x.type.shape) if axis not in gone)))


def expand_dims(importer: Importer, op: OperatorRecord) -> None:
    """EXPAND_DIMS: a new dimension of one."""
    x, axes = importer.value(op, 0), importer.integers(op, 1)
    if len(axes) != 1:
        raise importer.damaged(op, f"has axes {axes}, one is needed")
    axis = axis_of(importer, op, axes[0], x.type.rank + 1)
    importer.emit(op, "reshape", [x], ReshapeAttrs((*x.type.shape[:axis], 1, *x.type.shape[axis:])))


def transpose(importer: Importer, op: OperatorRecord) -> None:
    """TRANSPOSE by a constant permutation."""
    x = importer.value(op, 0)
    perm = tuple(axis_of(importer, op, axis, x.type.rank) for axis in importer.integers(op, 1))
    importer.emit(op, "transpose", [x], PermAttrs(perm))


def concatenation(importer: Importer, op: OperatorRecord) -> None:
    """CONCATENATION along an axis."""
    options, parts = importer.options(op, "ConcatenationOptions"), importer.operands(op)
    if not parts:
        raise importer.damaged(op, "has no inputs")
    axis = axis_of(importer, op, options.axis, parts[0].type.rank)
    if importer.activation(op, options.fusedActivationFunction) is not Activation.NONE:
        raise importer.unsupported(op, "has a fused activation")
    importer.emit(op, "concat", parts, AxisAttrs(axis))


def pack(importer: Importer, op: OperatorRecord) -> None:
    """PACK: a new dimension for each part, then a concatenation."""
    options, parts = importer.options(op, "PackOptions"), importer.operands(op)
    if not parts:
        raise importer.damaged(op, "has no inputs")
    axis = axis_of(importer, op, options.axis, parts[0].type.rank + 1)
    widened = [
        importer.inner(op, "reshape", [part], ReshapeAttrs((*part.type.shape[:axis], 1, *part.type.shape[axis:])))
        for part in parts
    ]
    importer.emit(op, "concat", widened, AxisAttrs(axis))


def unpack(importer: Importer, op: OperatorRecord) -> None:
    """UNPACK: one slice for each output, its dimension of one removed."""
    options, x = importer.options(op, "UnpackOptions"), importer.value(op, 0)
    axis = axis_of(importer, op, options.axis, x.type.rank)
    if x.type.shape[axis] != len(op.outputs):
        raise importer.damaged(op, f"has {len(op.outputs)} outputs for {x.type.shape[axis]} parts")
    rest = (*x.type.shape[:axis], *x.type.shape[axis + 1 :])
    for position, output in enumerate(op.outputs):
        begin = tuple(position if i == axis else 0 for i in range(x.type.rank))
        end = tuple(position + 1 if i == axis else size for i, size in enumerate(x.type.shape))
        part = importer.inner(op, "slice", [x], SliceAttrs(begin, end, (1,) * x.type.rank))
        importer.emit_to(op, "reshape", [part], [output], ReshapeAttrs(rest))


def split(importer: Importer, op: OperatorRecord) -> None:
    """SPLIT (axis, x) into equal parts."""
    axes, x = importer.integers(op, 0), importer.value(op, 1)
    axis = axis_of(importer, op, axes[0] if axes else 0, x.type.rank)
    parts = len(op.outputs)
    if not parts or x.type.shape[axis] % parts:
        raise importer.damaged(op, f"cuts {x.type.shape[axis]} elements into {parts} parts")
    importer.emit(op, "split", [x], SplitAttrs(axis, (x.type.shape[axis] // parts,) * parts))


def split_v(importer: Importer, op: OperatorRecord) -> None:
    """SPLIT_V (x, sizes, axis); one size of -1 takes the rest."""
    x, sizes, axes = importer.value(op, 0), importer.integers(op, 1), importer.integers(op, 2)
    axis = axis_of(importer, op, axes[0] if axes else 0, x.type.rank)
    rest = x.type.shape[axis] - sum(size for size in sizes if size != -1)
    importer.emit(op, "split", [x], SplitAttrs(axis, tuple(rest if size == -1 else size for size in sizes)))


def slice_(importer: Importer, op: OperatorRecord) -> None:
    """SLICE (x, begin, size); a size of -1 goes to the end."""
    x, begin, size = importer.value(op, 0), importer.integers(op, 1), importer.integers(op, 2)
    rank = x.type.rank
    if len(begin) != rank or len(size) != rank:
        raise importer.damaged(op, f"has begin {begin} and size {size} for {rank} dimensions")
    end = tuple(full if s == -1 else b + s for b, s, full in zip(begin, size, x.type.shape, strict=True))
    if any(not 0 <= b <= e <= full for b, e, full in zip(begin, end, x.type.shape, strict=True)):
        raise importer.damaged(op, f"cuts {begin} to {end} out of {x.type.shape}")
    importer.emit(op, "slice", [x], SliceAttrs(begin, end, (1,) * rank))


def strided_slice(importer: Importer, op: OperatorRecord) -> None:
    """STRIDED_SLICE with its five masks, as a slice and, where dimensions come or go, a reshape."""
    options, x = importer.options(op, "StridedSliceOptions"), importer.value(op, 0)
    spec = list(zip(importer.integers(op, 1), importer.integers(op, 2), importer.integers(op, 3), strict=False))
    ranges, shape = _ranges(importer, op, options, x, spec)
    attrs = SliceAttrs(*(tuple(r[part] for r in ranges) for part in range(3)))
    sizes = tuple(len(range(*r)) for r in ranges)
    if tuple(shape) == sizes:
        importer.emit(op, "slice", [x], attrs)
    else:
        importer.emit(op, "reshape", [importer.inner(op, "slice", [x], attrs)], ReshapeAttrs(tuple(shape)))


def _ranges(
    importer: Importer, op: OperatorRecord, options: object, x: Value, spec: list[tuple[int, int, int]]
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """(start, end, step) for every dimension of x, and the shape after new and dropped dimensions."""

    def bit(mask: str, position: int) -> bool:
        return bool(int(getattr(options, mask)) >> position & 1)

    ranges: list[tuple[int, int, int]] = []
    shape: list[int] = []
    new_axes = sum(bit("newAxisMask", i) and not bit("ellipsisMask", i) for i in range(len(spec)))
    has_ellipsis = any(bit("ellipsisMask", i) for i in range(len(spec)))
    for i, (begin, end, step) in enumerate(spec):
        if bit("ellipsisMask", i):
            missing = x.type.rank - (len(spec) - new_axes - 1)
            for size in x.type.shape[len(ranges) : len(ranges) + missing]:
                ranges.append((0, size, 1))
                shape.append(size)
            continue
        if bit("newAxisMask", i):
            shape.append(1)
            continue
        if len(ranges) >= x.type.rank or step == 0:
            raise importer.damaged(op, f"has {len(spec)} ranges with step {step} for {x.type.rank} dimensions")
        size = x.type.shape[len(ranges)]
        if bit("shrinkAxisMask", i):
            start = axis_of(importer, op, begin, size)
            ranges.append((start, start + 1, 1))
            continue
        first, last = None if bit("beginMask", i) else begin, None if bit("endMask", i) else end
        if options_offset(options) and last is not None:
            last = begin + end
        ranges.append(slice(first, last, step).indices(size))
        shape.append(len(range(*ranges[-1])))
    if not has_ellipsis or len(ranges) < x.type.rank:
        for size in x.type.shape[len(ranges) :]:
            ranges.append((0, size, 1))
            shape.append(size)
    return ranges, shape


def options_offset(options: object) -> bool:
    """True when STRIDED_SLICE's end counts from its begin."""
    return bool(getattr(options, "offset", False))


def _paddings(importer: Importer, op: OperatorRecord, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    flat = importer.integers(op, 1)
    if len(flat) != 2 * rank or min(flat, default=0) < 0:
        raise importer.damaged(op, f"has paddings {flat} for {rank} dimensions")
    return flat[0::2], flat[1::2]


def pad(importer: Importer, op: OperatorRecord) -> None:
    """PAD and PADV2: constant fill; the value of quantized tensors is real."""
    x = importer.value(op, 0)
    before, after = _paddings(importer, op, x.type.rank)
    fill = 0.0
    if importer.has_input(op, 2):
        operand, data = importer.value(op, 2), importer.constant(op, 2)
        if data.size != 1:
            raise importer.damaged(op, f"has {data.size} fill values")
        real = data if operand.type.quant is None else dequantize_array(data, operand.type.quant)
        fill = float(np.reshape(real, ())[()])
    importer.emit(op, "pad", [x], PadAttrs(before, after, PadMode.CONSTANT, fill))


def mirror_pad(importer: Importer, op: OperatorRecord) -> None:
    """MIRROR_PAD, reflecting without the edge or with it."""
    x, mode = importer.value(op, 0), names("MirrorPadMode").get(importer.options(op, "MirrorPadOptions").mode)
    before, after = _paddings(importer, op, x.type.rank)
    importer.emit(op, "pad", [x], PadAttrs(before, after, PadMode.REFLECT if mode == "REFLECT" else PadMode.SYMMETRIC))


def _size(importer: Importer, op: OperatorRecord) -> tuple[int, int]:
    size = importer.integers(op, 1)
    if len(size) != 2 or min(size) < 1:
        raise importer.damaged(op, f"resizes to {size}")
    return size[0], size[1]


def resize_bilinear(importer: Importer, op: OperatorRecord) -> None:
    """RESIZE_BILINEAR."""
    options = importer.options(op, "ResizeBilinearOptions")
    mode = ResizeMode.ALIGN_CORNERS if options.alignCorners else ResizeMode.ASYMMETRIC
    if options.halfPixelCenters:
        mode = ResizeMode.HALF_PIXEL
    importer.emit(op, "resize_bilinear", [importer.value(op, 0)], ResizeAttrs(_size(importer, op), mode))


def resize_nearest(importer: Importer, op: OperatorRecord) -> None:
    """RESIZE_NEAREST_NEIGHBOR; floor((i + 0.5) * scale) is rounding half up of the half-pixel coordinate."""
    options = importer.options(op, "ResizeNearestNeighborOptions")
    if options.alignCorners and options.halfPixelCenters:
        raise importer.unsupported(op, "has both align_corners and half_pixel_centers")
    mode, nearest = ResizeMode.ASYMMETRIC, NearestMode.FLOOR
    if options.alignCorners:
        mode, nearest = ResizeMode.ALIGN_CORNERS, NearestMode.ROUND_PREFER_CEIL
    if options.halfPixelCenters:
        mode, nearest = ResizeMode.HALF_PIXEL, NearestMode.ROUND_PREFER_CEIL
    importer.emit(op, "resize_nearest", [importer.value(op, 0)], ResizeAttrs(_size(importer, op), mode, nearest))


def gather(importer: Importer, op: OperatorRecord) -> None:
    """GATHER along an axis, with batch dimensions."""
    options, x, indices = importer.options(op, "GatherOptions"), importer.value(op, 0), importer.value(op, 1)
    axis = axis_of(importer, op, options.axis, x.type.rank)
    batch = options.batchDims + (indices.type.rank if options.batchDims < 0 else 0)
    importer.emit(op, "gather", [x, indices], GatherAttrs(axis, batch))


def embedding_lookup(importer: Importer, op: OperatorRecord) -> None:
    """EMBEDDING_LOOKUP (indices, table): a gather of rows."""
    table = importer.value(op, 1)
    importer.emit(op, "gather", [importer.float_weights(op, table), importer.value(op, 0)], GatherAttrs(0))


def _block(ir_op: str, options_name: str) -> Import:
    def run(importer: Importer, op: OperatorRecord) -> None:
        block = importer.options(op, options_name).blockSize
        if block < 1:
            raise importer.damaged(op, f"has block size {block}")
        importer.emit(op, ir_op, [importer.value(op, 0)], BlockAttrs(block))

    return run


def reverse(importer: Importer, op: OperatorRecord) -> None:
    """REVERSE_V2."""
    x = importer.value(op, 0)
    axes = {axis_of(importer, op, axis, x.type.rank) for axis in importer.integers(op, 1)}
    importer.emit(op, "reverse", [x], AxesAttrs(tuple(sorted(axes))))


def tile(importer: Importer, op: OperatorRecord) -> None:
    """TILE by constant counts."""
    importer.emit(op, "tile", [importer.value(op, 0)], TileAttrs(importer.integers(op, 1)))


def broadcast_to(importer: Importer, op: OperatorRecord) -> None:
    """BROADCAST_TO a constant shape."""
    importer.emit(op, "broadcast_to", [importer.value(op, 0)], ReshapeAttrs(importer.integers(op, 1)))


def gather_nd(importer: Importer, op: OperatorRecord) -> None:
    """GATHER_ND."""
    importer.emit(op, "gather_nd", [importer.value(op, 0), importer.value(op, 1)], GatherAttrs())


def cumsum(importer: Importer, op: OperatorRecord) -> None:
    """CUMSUM along a constant axis."""
    options, x, axes = importer.options(op, "CumsumOptions"), importer.value(op, 0), importer.integers(op, 1)
    axis = axis_of(importer, op, axes[0] if axes else 0, x.type.rank)
    importer.emit(op, "cumsum", [x], CumsumAttrs(axis, bool(options.exclusive), bool(options.reverse)))


def top_k(importer: Importer, op: OperatorRecord) -> None:
    """TOPK_V2 along the last axis."""
    x, count = importer.value(op, 0), importer.integers(op, 1)
    if len(count) != 1 or x.type.rank < 1 or len(op.outputs) != 2:
        raise importer.damaged(op, f"has k {count}, input {x.type.shape} and {len(op.outputs)} outputs")
    importer.emit(op, "top_k", [x], TopKAttrs(x.type.rank - 1, count[0]))


def one_hot(importer: Importer, op: OperatorRecord) -> None:
    """ONE_HOT (indices, depth, on, off)."""
    indices, depth = importer.value(op, 0), importer.integers(op, 1)
    if len(depth) != 1:
        raise importer.damaged(op, f"has depth {depth}")
    axis = axis_of(importer, op, importer.options(op, "OneHotOptions").axis, indices.type.rank + 1)
    importer.emit(op, "one_hot", [indices, importer.value(op, 2), importer.value(op, 3)], OneHotAttrs(axis, depth[0]))


MOVEMENT: dict[str, Import] = {
    "RESHAPE": reshape,
    "SQUEEZE": squeeze,
    "EXPAND_DIMS": expand_dims,
    "TRANSPOSE": transpose,
    "CONCATENATION": concatenation,
    "PACK": pack,
    "UNPACK": unpack,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
    "REVERSE_V2": reverse,
    "PAD": pad,
    "PADV2": pad,
    "MIRROR_PAD": mirror_pad,
    "RESIZE_BILINEAR": resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest,
    "GATHER": gather,
    "GATHER_ND": gather_nd,
    "EMBEDDING_LOOKUP": embedding_lookup,
    "TILE": tile,
    "BROADCAST_TO": broadcast_to,
    "CUMSUM": cumsum,
    "TOPK_V2": top_k,
    "ONE_HOT": one_hot,
    "SPACE_TO_DEPTH": _block("space_to_depth", "SpaceToDepthOptions"),
    "DEPTH_TO_SPACE": _block("depth_to_space", "DepthToSpaceOptions"),
}
