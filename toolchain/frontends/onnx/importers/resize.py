"""Resize and Upsample: table ops for images, else a constant matrix along each axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.errors import ModelError
from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode, normal_axis
from toolchain.ir.attrs import GatherAttrs, NearestMode, ResizeAttrs, ResizeMode
from toolchain.ir.graph import Value
from toolchain.ir.types import Array
from toolchain.ir.verifier import MAX_TENSOR_BYTES

TABLE_MODES = set(ResizeMode)
MODES = TABLE_MODES | {"tf_half_pixel_for_nn", "tf_crop_and_resize", "half_pixel_symmetric"}
MAX_MATRIX_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class Axis:
    """How one dimension is resized. scale: output / input; start, end: the region of interest in parts of the input."""

    index: int
    size: int
    result: int
    scale: float
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """The attributes of Resize."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    antialias: bool
    exclude_outside: bool
    extrapolation: float


def resize(b: Builder, node: OnnxNode) -> Value:
    """Resize, opset 10 and later; scales, sizes and the region of interest are constants."""
    x = node.operand(0)
    first = 1 if node.opset < 11 else 2
    sampling = Sampling(
        node.text("mode", "nearest"),
        node.text("coordinate_transformation_mode", "asymmetric" if node.opset < 11 else "half_pixel"),
        node.text("nearest_mode", "floor" if node.opset < 11 else "round_prefer_floor"),
        node.real("cubic_coeff_a", -0.75),
        bool(node.integer("antialias", 0)),
        bool(node.integer("exclude_outside", 0)),
        node.real("extrapolation_value", 0.0),
    )
    chosen = [normal_axis(axis, x.type.rank, node.place) for axis in node.integers("axes") or range(x.type.rank)]
    scales = b.need(node, first, "the scales").reshape(-1) if _given(node, first) else np.zeros(0)
    sizes = b.need(node, 3, "the sizes").reshape(-1) if _given(node, 3) else np.zeros(0)
    roi = np.zeros(0)
    if sampling.coordinates == "tf_crop_and_resize":
        roi = b.need(node, 1, "the region of interest").reshape(-1)
    return _resized(b, node, x, sampling, _axes(node, x, chosen, scales, sizes, roi))


def _given(node: OnnxNode, index: int) -> bool:
    value = node.optional(index)
    return value is not None and value.type.elements > 0


def upsample(b: Builder, node: OnnxNode) -> Value:
    """Upsample (opsets 7 to 9): nearest or linear with constant scales."""
    x = node.operand(0)
    scales = np.array(node.reals("scales") or ()) if node.opset < 9 else b.need(node, 1, "the scales").reshape(-1)
    sampling = Sampling(node.text("mode", "nearest"), "asymmetric", "floor", -0.75, False, False, 0.0)
    return _resized(b, node, x, sampling, _axes(node, x, list(range(x.type.rank)), scales, np.zeros(0), np.zeros(0)))


def _axes(node: OnnxNode, x: Value, chosen: Sequence[int], scales: Array, sizes: Array, roi: Array) -> tuple[Axis, ...]:
    """The dimensions that change, with their results."""
    count = len(chosen)
    if (len(scales) or len(sizes)) != count or (len(roi) and len(roi) != 2 * count):
        raise node.malformed(f"{len(scales)} scales, {len(sizes)} sizes and {len(roi)} bounds for {count} axes")
    lengths = [x.type.shape[axis] for axis in chosen]
    starts, ends = (roi[:count], roi[count:]) if len(roi) else (np.zeros(count), np.ones(count))
    if len(sizes):
        policy = node.text("keep_aspect_ratio_policy", "stretch")
        factors = [float(size) / max(length, 1) for size, length in zip(sizes, lengths, strict=True)]
        if policy != "stretch":
            factors = [min(factors) if policy == "not_larger" else max(factors)] * count
        results = (
            [int(size) for size in sizes]
            if policy == "stretch"
            else [math.floor(f * length + 0.5) for f, length in zip(factors, lengths, strict=True)]
        )
    else:
        factors = [float(np.float32(scale)) for scale in scales]
        if not all(math.isfinite(f) and 0 < f < 2**24 for f in factors):
            raise node.malformed(f"scales {factors} are not positive")
        spans = [n * float(e - s) for n, s, e in zip(lengths, starts, ends, strict=True)]
        results = [math.floor(span * f) for span, f in zip(spans, factors, strict=True)]
    if any(not 0 < result < 2**31 for result in results):
        raise node.malformed(f"the result would have sizes {results}")
    made = zip(chosen, lengths, results, factors, starts, ends, strict=True)
    axes = [Axis(a, n, r, f, float(s), float(e)) for a, n, r, f, s, e in made]
    crops = node.text("coordinate_transformation_mode", "") == "tf_crop_and_resize"
    return tuple(axis for axis in axes if axis.size != axis.result or axis.scale != 1.0 or (crops and len(roi)))


def _resized(b: Builder, node: OnnxNode, x: Value, sampling: Sampling, axes: tuple[Axis, ...]) -> Value:
    if sampling.mode not in ("nearest", "linear", "bilinear", "cubic") or sampling.coordinates not in MODES:
        raise node.malformed(f"mode {sampling.mode!r} with {sampling.coordinates!r} is not in the specification")
    shape = list(x.type.shape)
    for axis in axes:
        shape[axis.index] = axis.result
    if math.prod(shape) * x.type.dtype.bits // 8 > MAX_TENSOR_BYTES:
        raise ModelError(107, node.place, f"Resize makes shape {tuple(shape)}", "Use a smaller scale")
    plain = sampling.coordinates in TABLE_MODES and not sampling.antialias and not sampling.exclude_outside
    # The table's align_corners spans whole sizes, ONNX's the exact product of size and scale.
    plain &= sampling.coordinates != "align_corners" or all(axis.scale * axis.size == axis.result for axis in axes)
    smooth = sampling.mode in ("linear", "bilinear")
    if plain and x.type.rank == 4 and all(axis.index in (2, 3) for axis in axes) and (smooth or sampling.mode == "nearest"):
        return _by_table(b, x, sampling, axes, smooth) if axes else x
    outside = np.zeros([1] * x.type.rank, np.bool_)
    y = x
    for axis in axes:
        at = _coordinates(axis, sampling)
        y = _along(b, node, y, axis, sampling, at)
        if sampling.coordinates == "tf_crop_and_resize":
            beyond = (at < 0) | (at > axis.size - 1)
            outside = outside | beyond.reshape([-1 if i == axis.index else 1 for i in range(x.type.rank)])
    if not outside.any():
        return y
    return b.emit("where", (b.constant(outside, "outside"), b.like(sampling.extrapolation, y), y))


def _by_table(b: Builder, x: Value, sampling: Sampling, axes: tuple[Axis, ...], smooth: bool) -> Value:
    """An image by resize_nearest or resize_bilinear."""
    sizes, scales = list(x.type.shape[2:]), [0.0, 0.0]
    for axis in axes:
        sizes[axis.index - 2] = axis.result
        exact = axis.result / axis.size == axis.scale
        scales[axis.index - 2] = 0.0 if exact else axis.scale
    attrs = ResizeAttrs(
        (sizes[0], sizes[1]), ResizeMode(sampling.coordinates), NearestMode(sampling.nearest), (scales[0], scales[1])
    )
    image = b.transpose(x, (0, 2, 3, 1))
    return b.transpose(b.emit("resize_bilinear" if smooth else "resize_nearest", (image,), attrs), (0, 3, 1, 2))


def _coordinates(axis: Axis, sampling: Sampling) -> Array:
    """The input coordinate of each output element, float64. Source: the ONNX specification of Resize."""
    i = np.arange(axis.result, dtype=np.float64)
    exact = axis.scale * axis.size
    match sampling.coordinates:
        case "half_pixel":
            return (i + 0.5) / axis.scale - 0.5
        case "half_pixel_symmetric":
            centre = axis.size / 2
            return centre * (1 - axis.result / exact) + (i + 0.5) / axis.scale - 0.5
        case "pytorch_half_pixel":
            return (i + 0.5) / axis.scale - 0.5 if axis.result > 1 else np.zeros(axis.result)
        case "align_corners":
            return i * (axis.size - 1) / (exact - 1) if exact > 1 else np.zeros(axis.result)
        case "tf_half_pixel_for_nn":
            return (i + 0.5) / axis.scale
        case "tf_crop_and_resize":
            span = (axis.end - axis.start) * (axis.size - 1)
            if axis.result > 1:
                return axis.start * (axis.size - 1) + i * span / (axis.result - 1)
            return np.full(1, (axis.start + axis.end) * (axis.size - 1) / 2)
        case _:
            return i / axis.scale


def _along(b: Builder, node: OnnxNode, x: Value, axis: Axis, sampling: Sampling, at: Array) -> Value:
    """One axis resized: a gather for nearest, else a fully connected layer with a constant matrix."""
    if sampling.mode == "nearest":
        return b.emit("gather", (x, b.ints(_nearest(at, axis.size, sampling.nearest).tolist())), GatherAttrs(axis.index))
    if axis.size * axis.result * 8 > MAX_MATRIX_BYTES:
        raise node.unsupported(f"{sampling.mode} resizing of {axis.size} to {axis.result} elements", "Use nearest resizing")
    matrix = b.constant(_matrix(axis, sampling, at).astype(x.type.dtype.numpy), "resize")
    last = [*(i for i in range(x.type.rank) if i != axis.index), axis.index]
    moved = b.emit("fully_connected", (b.transpose(x, last), matrix))
    return b.transpose(moved, [int(i) for i in np.argsort(last)])


def _nearest(at: Array, size: int, mode: str) -> Array:
    whole = {
        "floor": np.floor(at),
        "ceil": np.ceil(at),
        "round_prefer_floor": np.ceil(at - 0.5),
        "round_prefer_ceil": np.floor(at + 0.5),
    }[mode]
    return np.clip(whole, 0, size - 1).astype(np.int64)


def _matrix(axis: Axis, sampling: Sampling, at: Array) -> Array:
    """Weights (output, input) of a filter centred at each coordinate, stretched when it must not alias."""
    stretch = min(axis.scale, 1.0) if sampling.antialias else 1.0
    kernel, reach = (_cubic(sampling.cubic), 2) if sampling.mode == "cubic" else (_triangle, 1)
    rows = np.zeros((axis.result, axis.size))
    for row, centre in zip(rows, at, strict=True):
        first = math.floor(centre - reach / stretch) + 1
        taps = np.arange(first, math.ceil(centre + reach / stretch))
        taps = taps if len(taps) else np.array([math.floor(centre)])
        weights = kernel((taps - centre) * stretch)
        if sampling.exclude_outside:
            weights = np.where((taps >= 0) & (taps < axis.size), weights, 0.0)
        if sampling.antialias or sampling.exclude_outside:
            weights = weights / weights.sum()
        np.add.at(row, np.clip(taps, 0, axis.size - 1), weights)
    return rows


def _triangle(distance: Array) -> Array:
    return np.clip(1 - np.abs(distance), 0, 1)


def _cubic(a: float) -> Callable[[Array], Array]:
    """Keys' cubic kernel with coefficient a."""

    def kernel(distance: Array) -> Array:
        d = np.abs(distance)
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0.0))

    return kernel


IMPORTERS: dict[str, Importer] = {"Resize": resize, "Upsample": upsample}
