"""Operators that move elements, and those that only tell shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolchain.errors import ModelError
from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode, normal_axes, normal_axis
from toolchain.ir.attrs import AxisAttrs, BlockAttrs, PadAttrs, PadMode, SliceAttrs, SplitAttrs, TileAttrs
from toolchain.ir.graph import Value


def reshape(b: Builder, node: OnnxNode) -> Value:
    """Reshape with a constant shape; 0 copies a size and −1 takes what is left."""
    x = node.operand(0)
    wanted = [int(size) for size in b.need(node, 1, "the shape").reshape(-1)]
    if not node.integer("allowzero", 0):
        wanted = [x.type.shape[i] if size == 0 and i < x.type.rank else size for i, size in enumerate(wanted)]
    if wanted.count(-1) > 1 or any(size < -1 for size in wanted):
        raise node.malformed(f"the shape {wanted} has more than one open size")
    if -1 in wanted:
        rest = math.prod(size for size in wanted if size != -1)
        if rest == 0 or x.type.elements % rest:
            raise node.malformed(f"shape {x.type.shape} does not fit {wanted}")
        wanted[wanted.index(-1)] = x.type.elements // rest
    return b.reshape(x, wanted)


def flatten(b: Builder, node: OnnxNode) -> Value:
    """Flatten to two dimensions at an axis."""
    x = node.operand(0)
    axis = node.integer("axis", 1)
    if not -x.type.rank <= axis <= x.type.rank:
        raise node.malformed(f"axis {axis} does not exist in {x.type.rank} dimensions")
    axis = axis + x.type.rank if axis < 0 else axis
    return b.reshape(x, (math.prod(x.type.shape[:axis]), math.prod(x.type.shape[axis:])))


def _axes(b: Builder, node: OnnxNode) -> tuple[int, ...] | None:
    """Axes of squeeze and unsqueeze: an attribute, or an operand from opset 13."""
    if node.optional(1) is not None:
        return tuple(int(axis) for axis in b.need(node, 1, "the axes").reshape(-1))
    return node.integers("axes")


def squeeze(b: Builder, node: OnnxNode) -> Value:
    """Squeeze named dimensions, or all of size 1."""
    x = node.operand(0)
    given = _axes(b, node)
    axes = (
        normal_axes(given, x.type.rank, node.place)
        if given is not None
        else tuple(axis for axis, size in enumerate(x.type.shape) if size == 1)
    )
    if any(x.type.shape[axis] != 1 for axis in axes):
        raise node.malformed(f"axes {axes} of shape {x.type.shape} are not all 1")
    return b.reshape(x, [size for axis, size in enumerate(x.type.shape) if axis not in axes])


def unsqueeze(b: Builder, node: OnnxNode) -> Value:
    """Unsqueeze: new dimensions of size 1 at places in the result."""
    x = node.operand(0)
    given = _axes(b, node)
    if given is None:
        raise node.malformed("lacks axes")
    axes = normal_axes(given, x.type.rank + len(given), node.place)
    rest = iter(x.type.shape)
    return b.reshape(x, [1 if axis in axes else next(rest) for axis in range(x.type.rank + len(axes))])


def transpose(b: Builder, node: OnnxNode) -> Value:
    """Transpose; without perm the dimensions are reversed."""
    x = node.operand(0)
    return b.transpose(x, node.integers("perm") or tuple(reversed(range(x.type.rank))))


def concat(b: Builder, node: OnnxNode) -> Value:
    """Concat along an axis."""
    parts = node.operands()
    return b.emit("concat", parts, AxisAttrs(node.axis(parts[0].type.rank, 1)))


def split(b: Builder, node: OnnxNode) -> Sequence[Value]:
    """Split into given sizes, or into as equal parts as there are outputs."""
    x = node.operand(0)
    axis = node.axis(x.type.rank, 0)
    length = x.type.shape[axis]
    sizes = node.integers("split")
    if node.optional(1) is not None:
        sizes = tuple(int(size) for size in b.need(node, 1, "the sizes").reshape(-1))
    if sizes is None:
        count = node.integer("num_outputs", len(node.outputs))
        if not 1 <= count <= 65_536:
            raise node.malformed(f"num_outputs is {count}")
        part = -(-length // count)
        sizes = tuple(min(part, max(length - i * part, 0)) for i in range(count))
    if len(sizes) < len(node.outputs):
        raise node.malformed(f"{len(sizes)} sizes for {len(node.outputs)} outputs")
    return b.emit_all("split", (x,), SplitAttrs(axis, sizes), outputs=len(sizes))


def slice_(b: Builder, node: OnnxNode) -> Value:
    """Slice with constant bounds, as attributes (opset 9) or operands."""
    x = node.operand(0)
    if node.opset < 10:
        starts, ends, axes, steps = node.integers("starts") or (), node.integers("ends") or (), node.integers("axes"), None
    else:
        starts, ends = _ints(b, node, 1, "the starts"), _ints(b, node, 2, "the ends")
        axes = _ints(b, node, 3, "the axes") if node.optional(3) is not None else None
        steps = _ints(b, node, 4, "the steps") if node.optional(4) is not None else None
    chosen = axes if axes is not None else tuple(range(len(starts)))
    each = steps if steps is not None else (1,) * len(starts)
    if not len(starts) == len(ends) == len(chosen) == len(each) or 0 in each:
        raise node.malformed(f"starts {starts}, ends {ends}, axes {chosen}, steps {each} do not fit")
    begin, end, step = [0] * x.type.rank, list(x.type.shape), [1] * x.type.rank
    for first, last, axis, stride in zip(starts, ends, chosen, each, strict=True):
        at = normal_axis(axis, x.type.rank, node.place)
        begin[at], end[at], step[at] = slice(first, last, stride).indices(x.type.shape[at])
    return _cut(b, x, begin, end, step)


def _cut(b: Builder, x: Value, begin: Sequence[int], end: Sequence[int], step: Sequence[int]) -> Value:
    """A slice; a whole one emits nothing."""
    if list(begin) == [0] * x.type.rank and tuple(end) == x.type.shape and set(step) <= {1}:
        return x
    return b.emit("slice", (x,), SliceAttrs(tuple(begin), tuple(end), tuple(step)))


def _ints(b: Builder, node: OnnxNode, index: int, what: str) -> tuple[int, ...]:
    return tuple(int(number) for number in b.need(node, index, what).reshape(-1))


PAD_MODES = {"constant": PadMode.CONSTANT, "reflect": PadMode.REFLECT, "edge": PadMode.EDGE, "wrap": PadMode.WRAP}


def pad(b: Builder, node: OnnxNode) -> Value:
    """Pad with constant widths; negative ones cut off."""
    x = node.operand(0)
    rank = x.type.rank
    if node.opset < 11:
        widths, fill, axes = node.integers("pads") or (), node.real("value", 0.0), None
    else:
        widths = _ints(b, node, 1, "the padding")
        filler = b.need(node, 2, "the padding value").reshape(-1) if node.optional(2) is not None else np.zeros(1)
        fill = float(filler[0])
        axes = _ints(b, node, 3, "the axes") if node.optional(3) is not None else None
    chosen = [normal_axis(axis, rank, node.place) for axis in (axes if axes is not None else range(rank))]
    mode = PAD_MODES.get(node.text("mode", "constant"))
    if len(widths) != 2 * len(chosen) or mode is None:
        raise node.malformed(f"pads {widths} with mode {node.text('mode', 'constant')!r} do not fit {len(chosen)} axes")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(chosen):
        before[axis], after[axis] = widths[i], widths[i + len(chosen)]
    begin = [max(-p, 0) for p in before]
    end = [size - max(-p, 0) for size, p in zip(x.type.shape, after, strict=True)]
    x = _cut(b, x, begin, [max(e, s) for e, s in zip(end, begin, strict=True)], [1] * rank)
    if not any(p > 0 for p in (*before, *after)):
        return x
    attrs = PadAttrs(tuple(max(p, 0) for p in before), tuple(max(p, 0) for p in after), mode, fill)
    return b.emit("pad", (x,), attrs)


def center_crop_pad(b: Builder, node: OnnxNode) -> Value:
    """CenterCropPad: cut or fill evenly to a constant shape."""
    x = node.operand(0)
    sizes = _ints(b, node, 1, "the shape")
    axes = node.integers("axes") or tuple(range(x.type.rank))
    if len(axes) != len(sizes):
        raise node.malformed(f"{len(sizes)} sizes for {len(axes)} axes")
    begin, end = [0] * x.type.rank, list(x.type.shape)
    before, after = [0] * x.type.rank, [0] * x.type.rank
    for axis, want in zip(axes, sizes, strict=True):
        at = normal_axis(axis, x.type.rank, node.place)
        spare = x.type.shape[at] - want
        if spare >= 0:
            begin[at] = spare // 2
            end[at] = begin[at] + want
        else:
            before[at] = -spare // 2
            after[at] = -spare - before[at]
    cut = _cut(b, x, begin, end, [1] * x.type.rank)
    return b.emit("pad", (cut,), PadAttrs(tuple(before), tuple(after))) if any((*before, *after)) else cut


def expand(b: Builder, node: OnnxNode) -> Value:
    """Expand: broadcasting in both directions with a constant shape."""
    x = node.operand(0)
    target = np.broadcast_shapes(x.type.shape, tuple(_ints(b, node, 1, "the shape")))
    return b.expand(x, target)


def tile(b: Builder, node: OnnxNode) -> Value:
    """Tile with constant repeats."""
    x = node.operand(0)
    repeats = _ints(b, node, 1, "the repeats")
    return x if set(repeats) <= {1} else b.emit("tile", (x,), TileAttrs(repeats))


def depth_to_space(b: Builder, node: OnnxNode) -> Value:
    """DepthToSpace in DCR or CRD order of channels."""
    x, block = node.operand(0), node.integer("blocksize", 1)
    if x.type.rank != 4 or block < 1 or x.type.shape[1] % (block * block):
        raise node.malformed(f"shape {x.type.shape} has no channels for blocks of {block}")
    image = b.transpose(x, (0, 2, 3, 1))
    if node.text("mode", "DCR") == "CRD":
        n, height, width, channels = image.type.shape
        cut = b.reshape(image, (n, height, width, channels // (block * block), block * block))
        image = b.reshape(b.transpose(cut, (0, 1, 2, 4, 3)), image.type.shape)
    return b.transpose(b.emit("depth_to_space", (image,), BlockAttrs(block)), (0, 3, 1, 2))


def space_to_depth(b: Builder, node: OnnxNode) -> Value:
    """SpaceToDepth in DCR or CRD order of channels."""
    x, block = node.operand(0), node.integer("blocksize", 1)
    if x.type.rank != 4:
        raise node.malformed(f"shape {x.type.shape} is no image")
    image = b.emit("space_to_depth", (b.transpose(x, (0, 2, 3, 1)),), BlockAttrs(block))
    if node.text("mode", "DCR") == "CRD":
        n, height, width, channels = image.type.shape
        cut = b.reshape(image, (n, height, width, block * block, channels // (block * block)))
        image = b.reshape(b.transpose(cut, (0, 1, 2, 4, 3)), image.type.shape)
    return b.transpose(image, (0, 3, 1, 2))


def shape(b: Builder, node: OnnxNode) -> Value:
    """Shape of the operand, or a part of it, as a constant."""
    sizes = node.operand(0).type.shape
    end = node.integer("end", len(sizes))
    return b.ints(sizes[slice(node.integer("start", 0), end)])


def size(b: Builder, node: OnnxNode) -> Value:
    """Number of elements as a constant."""
    return b.constant(np.array(node.operand(0).type.elements, np.int64), "size")


def optional_has_element(b: Builder, node: OnnxNode) -> Value:
    """OptionalHasElement of a tensor: true."""
    return b.constant(np.array(node.optional(0) is not None), "present")


def get_tensor(b: Builder, node: OnnxNode) -> Value:
    """OptionalGetElement of a tensor: the tensor. Raises ModelError(108) when there is none."""
    if node.optional(0) is None:
        raise ModelError(108, node.place, f"{node.op} of nothing", "Give the tensor")
    return node.operand(0)


IMPORTERS: dict[str, Importer] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Pad": pad,
    "CenterCropPad": center_crop_pad,
    "Expand": expand,
    "Tile": tile,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Shape": shape,
    "Size": size,
    "OptionalHasElement": optional_has_element,
    "OptionalGetElement": get_tensor,
}
