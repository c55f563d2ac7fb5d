"""How the ops that move elements are written: reshapes, slices, pads, joins, resizes, look-ups."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from toolchain.backends.tflite.exporter import Exporter
from toolchain.backends.tflite.versions import version_of
from toolchain.frontends.tflite.schema import codes
from toolchain.ir.attrs import NearestMode, PadMode, Reduction, ResizeMode, SliceAttrs
from toolchain.ir.graph import Node, Value
from toolchain.ir.quantization import stored_value
from toolchain.ir.types import DType, TensorType

Export = Callable[[Exporter, Node], None]
FEW_DIMENSIONS = 4


def reshape(exporter: Exporter, node: Node) -> None:
    """reshape; the shape is in the options, which both runtimes read and which needs no tensor."""
    exporter.write("RESHAPE", node.inputs, node.outputs, 1, "ReshapeOptions", newShape=list(node.attrs.shape))


def transpose(exporter: Exporter, node: Node) -> None:
    """transpose; with more than four dimensions, those that stay together are joined first, as TFLM takes five."""
    x, perm = node.inputs[0], node.attrs.perm
    version = version_of("TRANSPOSE", x.type.dtype)
    shape, short = joined_transpose(x.type.shape, perm)
    if len(perm) <= FEW_DIMENSIONS or len(short) >= len(perm):
        exporter.write("TRANSPOSE", [x, exporter.ints(node, perm)], node.outputs, version, "TransposeOptions")
        return
    flat = exporter.like(node, "joined", x, shape)
    moved = exporter.like(node, "moved", x, tuple(shape[axis] for axis in short))
    exporter.write("RESHAPE", [x], [flat], 1, "ReshapeOptions", newShape=list(shape))
    exporter.write("TRANSPOSE", [flat, exporter.ints(node, short)], [moved], version, "TransposeOptions")
    exporter.write("RESHAPE", [moved], node.outputs, 1, "ReshapeOptions", newShape=list(node.output.type.shape))


def copy(exporter: Exporter, node: Node) -> None:
    """copy, as a reshape to the same shape."""
    exporter.write("RESHAPE", node.inputs, node.outputs, 1, "ReshapeOptions", newShape=list(node.output.type.shape))


def joined_transpose(shape: tuple[int, ...], perm: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same movement with the fewest dimensions: those of one dropped, those that stay neighbours joined."""
    groups: list[list[int]] = []
    for axis in perm:
        if shape[axis] == 1:
            continue
        if groups and all(shape[between] == 1 for between in range(groups[-1][-1] + 1, axis)) and groups[-1][-1] < axis:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    order = sorted(range(len(groups)), key=lambda index: groups[index][0])
    sizes = tuple(math.prod(shape[axis] for axis in groups[index]) for index in order)
    return sizes, tuple(order.index(index) for index in range(len(groups)))


def concat(exporter: Exporter, node: Node) -> None:
    """concat."""
    version = version_of("CONCATENATION", node.inputs[0].type.dtype)
    exporter.write("CONCATENATION", node.inputs, node.outputs, version, "ConcatenationOptions", axis=node.attrs.axis)


def split(exporter: Exporter, node: Node) -> None:
    """split: SPLIT into equal parts, else SPLIT_V."""
    x, axis, sizes = node.inputs[0], exporter.ints(node, (node.attrs.axis,), ()), node.attrs.sizes
    if len(set(sizes)) == 1:
        version = version_of("SPLIT", x.type.dtype)
        exporter.write("SPLIT", [axis, x], node.outputs, version, "SplitOptions", numSplits=len(sizes))
    else:
        operands = [x, exporter.ints(node, sizes), axis]
        version = version_of("SPLIT_V", x.type.dtype)
        exporter.write("SPLIT_V", operands, node.outputs, version, "SplitVOptions", numSplits=len(sizes))


def slice_(exporter: Exporter, node: Node) -> None:
    """slice: SLICE for steps of one, else STRIDED_SLICE with a mask where a negative step runs to the front."""
    attrs: SliceAttrs = node.attrs
    x = node.inputs[0]
    if set(attrs.step) <= {1}:
        operands = [x, exporter.ints(node, attrs.begin), exporter.ints(node, node.output.type.shape)]
        exporter.write("SLICE", operands, node.outputs, version_of("SLICE", x.type.dtype), "SliceOptions")
        return
    to_front = sum(1 << axis for axis, end in enumerate(attrs.end) if end < 0)
    operands = [x, *(exporter.ints(node, part) for part in (attrs.begin, [max(end, 0) for end in attrs.end], attrs.step))]
    version = version_of("STRIDED_SLICE", x.type.dtype)
    exporter.write("STRIDED_SLICE", operands, node.outputs, version, "StridedSliceOptions", endMask=to_front)


def pad(exporter: Exporter, node: Node) -> None:
    """pad: PAD with zeros, PADV2 with another value, MIRROR_PAD; the edge and wrapping modes do not exist."""
    attrs, x = node.attrs, node.inputs[0]
    sizes = exporter.ints(node, [n for pair in zip(attrs.before, attrs.after, strict=True) for n in pair], (x.type.rank, 2))
    dtype = x.type.dtype
    if attrs.mode is PadMode.CONSTANT and attrs.value == 0:
        exporter.write("PAD", [x, sizes], node.outputs, version_of("PAD", dtype), "PadOptions")
    elif attrs.mode is PadMode.CONSTANT:
        fill = np.array(stored_value(attrs.value, x.type), dtype.numpy)
        value = exporter.constant(node, "fill", fill, TensorType((), dtype, x.type.quant))
        exporter.write("PADV2", [x, sizes, value], node.outputs, version_of("PADV2", dtype), "PadV2Options")
    elif attrs.mode in (PadMode.REFLECT, PadMode.SYMMETRIC):
        mode = codes("MirrorPadMode")[attrs.mode.name]
        exporter.write("MIRROR_PAD", [x, sizes], node.outputs, version_of("MIRROR_PAD", dtype), "MirrorPadOptions", mode=mode)
    else:
        raise exporter.refuse(node, f"of mode {attrs.mode}")


_NEAREST = {
    (ResizeMode.ASYMMETRIC, NearestMode.FLOOR): {},
    (ResizeMode.ALIGN_CORNERS, NearestMode.ROUND_PREFER_CEIL): {"alignCorners": True},
    (ResizeMode.HALF_PIXEL, NearestMode.ROUND_PREFER_CEIL): {"halfPixelCenters": True},
}
_BILINEAR: dict[ResizeMode, dict[str, Any]] = {
    ResizeMode.ASYMMETRIC: {},
    ResizeMode.ALIGN_CORNERS: {"alignCorners": True},
    ResizeMode.HALF_PIXEL: {"halfPixelCenters": True},
}


def resize_nearest(exporter: Exporter, node: Node) -> None:
    """resize_nearest in the three forms that TFLite has."""
    fields = _NEAREST.get((node.attrs.mode, node.attrs.nearest))
    _resize(exporter, node, "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", fields)


def resize_bilinear(exporter: Exporter, node: Node) -> None:
    """resize_bilinear in the three forms that TFLite has."""
    _resize(exporter, node, "RESIZE_BILINEAR", "ResizeBilinearOptions", _BILINEAR.get(node.attrs.mode))


def _resize(exporter: Exporter, node: Node, builtin: str, options: str, fields: dict[str, Any] | None) -> None:
    attrs, x = node.attrs, node.inputs[0]
    if fields is None or attrs.scale != (0.0, 0.0):
        raise exporter.refuse(node, f"of mode {attrs.mode}, {attrs.nearest} with scale {attrs.scale}")
    version = version_of(builtin, x.type.dtype)
    if "halfPixelCenters" in fields or (fields and builtin == "RESIZE_NEAREST_NEIGHBOR"):
        version = max(version, 3)
    exporter.write(builtin, [x, exporter.ints(node, attrs.size)], node.outputs, version, options, **fields)


def gather(exporter: Exporter, node: Node) -> None:
    """gather."""
    version = 5 if node.attrs.batch_dims else version_of("GATHER", node.inputs[0].type.dtype)
    fields = {"axis": node.attrs.axis, "batchDims": node.attrs.batch_dims}
    operands = [node.inputs[0], _short_indices(exporter, node)]
    exporter.write("GATHER", operands, node.outputs, version, "GatherOptions", **fields)


def _short_indices(exporter: Exporter, node: Node) -> Value:
    """The second operand, as int32 when it is a constant of int64, which TFLM does not take."""
    indices = node.inputs[1]
    data = exporter.data_of(indices)
    if data is None or indices.type.dtype is not DType.I64:
        return indices
    short = np.clip(data, *DType.I32.limits).astype(np.int32)
    return exporter.constant(node, "indices", short, TensorType(short.shape, DType.I32))


def gather_nd(exporter: Exporter, node: Node) -> None:
    """gather_nd without batch dimensions."""
    if node.attrs.batch_dims:
        raise exporter.refuse(node, f"with {node.attrs.batch_dims} batch dimensions")
    version = version_of("GATHER_ND", node.inputs[0].type.dtype)
    exporter.write("GATHER_ND", node.inputs, node.outputs, version, "GatherNdOptions")


def _block(builtin: str, options: str) -> Export:
    def run(exporter: Exporter, node: Node) -> None:
        version = version_of(builtin, node.inputs[0].type.dtype)
        exporter.write(builtin, node.inputs, node.outputs, version, options, blockSize=node.attrs.block)

    return run


def tile(exporter: Exporter, node: Node) -> None:
    """tile; TFLM, which has no TILE, concatenates axis by axis."""
    x, repeats = node.inputs[0], node.attrs.repeats
    if not exporter.is_compact or 0 in repeats:
        exporter.write("TILE", [x, exporter.ints(node, repeats)], node.outputs, 1, "TileOptions")
        return
    version = version_of("CONCATENATION", x.type.dtype)
    value, axes = x, [axis for axis, count in enumerate(repeats) if count > 1] or [0] * min(x.type.rank, 1)
    for position, axis in enumerate(axes):
        shape = tuple(size * (repeats[axis] if axis == at else 1) for at, size in enumerate(value.type.shape))
        result = node.output if position == len(axes) - 1 else exporter.like(node, "tile", value, shape)
        exporter.write("CONCATENATION", [value] * repeats[axis], [result], version, "ConcatenationOptions", axis=axis)
        value = result
    if not axes:
        copy(exporter, node)


def broadcast_to(exporter: Exporter, node: Node) -> None:
    """broadcast_to."""
    shape = exporter.ints(node, node.attrs.shape)
    version = version_of("BROADCAST_TO", node.inputs[0].type.dtype)
    exporter.write("BROADCAST_TO", [node.inputs[0], shape], node.outputs, version, "BroadcastToOptions")


def reverse(exporter: Exporter, node: Node) -> None:
    """reverse: one REVERSE_V2 for each axis, as TFLite takes one axis (adjacent ones at most)."""
    value, last = node.inputs[0], len(node.attrs.axes) - 1
    for position, axis in enumerate(node.attrs.axes):
        result = node.output if position == last else exporter.like(node, "reverse", value, value.type.shape)
        version = version_of("REVERSE_V2", value.type.dtype)
        exporter.write("REVERSE_V2", [value, exporter.ints(node, (axis,))], [result], version, "ReverseV2Options")
        value = result
    if last < 0:
        exporter.write("RESHAPE", node.inputs, node.outputs, 1, "ReshapeOptions", newShape=list(node.output.type.shape))


def cumsum(exporter: Exporter, node: Node) -> None:
    """cumsum."""
    axis = exporter.ints(node, (node.attrs.axis,), ())
    fields = {"exclusive": node.attrs.exclusive, "reverse": node.attrs.reverse}
    exporter.write("CUMSUM", [node.inputs[0], axis], node.outputs, 1, "CumsumOptions", **fields)


def top_k(exporter: Exporter, node: Node) -> None:
    """top_k of the largest along the last axis."""
    attrs, x = node.attrs, node.inputs[0].type
    if not attrs.largest or attrs.axis != x.rank - 1 or attrs.dtype is not DType.I32:
        raise exporter.refuse(node, f"along axis {attrs.axis} of {x.rank}, largest {attrs.largest}, with {attrs.dtype} indices")
    operands = [node.inputs[0], exporter.ints(node, (attrs.k,), ())]
    exporter.write("TOPK_V2", operands, node.outputs, version_of("TOPK_V2", x.dtype), "TopKV2Options")


def scatter_nd(exporter: Exporter, node: Node) -> None:
    """scatter_nd that adds to zeros, which is all that TFLite has."""
    data, indices, updates = node.inputs
    start = exporter.data_of(data)
    if start is None or start.any() or node.attrs.reduction is not Reduction.ADD:
        raise exporter.refuse(node, f"into data that is not zero, by {node.attrs.reduction}")
    operands = [indices, updates, exporter.ints(node, data.type.shape)]
    exporter.write("SCATTER_ND", operands, node.outputs, 1, "ScatterNdOptions")


def one_hot(exporter: Exporter, node: Node) -> None:
    """one_hot; TFLite counts no negative index from the end."""
    if node.attrs.wrap:
        raise exporter.refuse(node, "that counts negative indices from the end")
    depth = exporter.ints(node, (node.attrs.depth,), ())
    indices, on, off = node.inputs
    axis = -1 if node.attrs.axis == indices.type.rank else node.attrs.axis
    exporter.write("ONE_HOT", [indices, depth, on, off], node.outputs, 1, "OneHotOptions", axis=axis)


MOVEMENT: dict[str, Export] = {
    "reshape": reshape,
    "copy": copy,
    "transpose": transpose,
    "concat": concat,
    "split": split,
    "slice": slice_,
    "pad": pad,
    "resize_nearest": resize_nearest,
    "resize_bilinear": resize_bilinear,
    "gather": gather,
    "gather_nd": gather_nd,
    "space_to_depth": _block("SPACE_TO_DEPTH", "SpaceToDepthOptions"),
    "depth_to_space": _block("DEPTH_TO_SPACE", "DepthToSpaceOptions"),
    "tile": tile,
    "broadcast_to": broadcast_to,
    "reverse": reverse,
    "cumsum": cumsum,
    "top_k": top_k,
    "one_hot": one_hot,
    "scatter_nd": scatter_nd,
}
