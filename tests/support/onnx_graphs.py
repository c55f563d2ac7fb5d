"""Test support: small ONNX models, built by hand or drawn at random, and ONNX Runtime as the judge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from toolchain.ir.types import Array

OPSET = 17


def model_of(
    nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int | str, ...]], outputs: list[str], weights: dict[str, Array]
) -> onnx.ModelProto:
    """A checked model of float inputs; the shapes of outputs are left open."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def small_cnn(seed: int = 0) -> onnx.ModelProto:
    """conv, relu, pool, conv, relu, flatten, gemm, softmax over (n, 3, 8, 8), as exporters write it."""
    random = np.random.default_rng(seed)

    def draw(*shape: int) -> Array:
        return (random.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 1))).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Flatten", ["r2"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["g"], transB=1),
        helper.make_node("Softmax", ["g"], ["y"]),
    ]
    weights = {"w1": draw(4, 3, 3, 3), "b1": draw(4), "w2": draw(6, 4, 3, 3), "b2": draw(6), "w3": draw(5, 96), "b3": draw(5)}
    return model_of(nodes, {"x": ("n", 3, 8, 8)}, ["y"], weights)


def onnxruntime_outputs(model: onnx.ModelProto, inputs: dict[str, Array]) -> list[Array]:
    """ONNX Runtime's outputs without its graph optimizations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(None, inputs)]


def error_of(got: Array, want: Array) -> float:
    """The largest difference as a part of the largest expected element."""
    largest = float(np.abs(want).max(initial=0.0)) or 1.0
    return float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0.0)) / largest


class Drawing:
    """A model in the making: each step reads the current tensor and makes the next."""

    def __init__(self, draw: st.DrawFn, shape: tuple[int, ...]) -> None:
        self.draw = draw
        self.shape = shape
        self.name = "x"
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.random = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.seen: dict[tuple[int, ...], str] = {shape: "x"}

    def pick(self, *choices: int) -> int:
        """One of some numbers."""
        return self.draw(st.sampled_from(choices))

    def weight(self, *shape: int) -> str:
        """A new random weight."""
        name = f"w{len(self.weights)}"
        fan = max(int(np.prod(shape[1:])), 1)
        self.weights[name] = (self.random.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)
        return name

    def data(self, array: Array) -> str:
        """A new constant."""
        name = f"w{len(self.weights)}"
        self.weights[name] = array
        return name

    def step(self, op: str, operands: list[str], shape: tuple[int, ...], **attributes: object) -> None:
        """Append a node whose first output is the current tensor from now on."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, operands, [name], **attributes))
        self.seen.setdefault(self.shape, self.name)
        self.name, self.shape = name, shape


def conv(d: Drawing) -> None:
    """A convolution, grouped, strided, dilated or depthwise."""
    n, c, *spatial = d.shape
    kernel = [d.pick(1, 2, 3) for _ in spatial]
    stride = [d.pick(1, 2) for _ in spatial]
    dilation = [d.pick(1, 1, 2) for _ in spatial]
    pads = [d.pick(0, 1, 2) for _ in range(2 * len(spatial))]
    half = len(spatial)
    sizes = [(s + pads[i] + pads[i + half] - (kernel[i] - 1) * dilation[i] - 1) // stride[i] + 1 for i, s in enumerate(spatial)]
    if min(s + pads[i] + pads[i + half] - (kernel[i] - 1) * dilation[i] for i, s in enumerate(spatial)) < 1:
        return
    group = d.pick(1, *(g for g in (2, c) if c % g == 0))
    out = group * d.pick(1, 2, 3)
    operands = [d.name, d.weight(out, c // group, *kernel)] + ([d.weight(out)] if d.pick(0, 1) else [])
    d.step("Conv", operands, (n, out, *sizes), strides=stride, dilations=dilation, pads=pads, group=group)


def pool(d: Drawing) -> None:
    """A maximum or average over windows."""
    n, c, *spatial = d.shape
    kernel = [d.pick(1, 2, 3) for _ in spatial]
    stride = [d.pick(1, 2) for _ in spatial]
    half = len(spatial)
    pads = [min(d.pick(0, 1), kernel[i % half] - 1) for i in range(2 * half)]
    if any(s + pads[i] + pads[i + half] < kernel[i] for i, s in enumerate(spatial)):
        return
    sizes = tuple((s + pads[i] + pads[i + half] - kernel[i]) // stride[i] + 1 for i, s in enumerate(spatial))
    if d.pick(0, 1):
        d.step("MaxPool", [d.name], (n, c, *sizes), kernel_shape=kernel, strides=stride, pads=pads)
    else:
        include = d.pick(0, 1)
        attributes = {"kernel_shape": kernel, "strides": stride, "pads": pads, "count_include_pad": include}
        d.step("AveragePool", [d.name], (n, c, *sizes), **attributes)


def activation(d: Drawing) -> None:
    """An elementwise function."""
    op = d.draw(st.sampled_from(["Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Elu", "Softplus", "Neg", "Abs"]))
    d.step(op, [d.name], d.shape)


def gate(d: Drawing) -> None:
    """x times a function of x."""
    x, shape = d.name, d.shape
    d.step("Sigmoid", [x], shape)
    d.step("Mul", [x, d.name], shape)


def clip(d: Drawing) -> None:
    """A clamp."""
    low, high = d.draw(st.sampled_from([(0.0, 6.0), (-1.0, 1.0), (-0.5, 2.0)]))
    d.step("Clip", [d.name, d.data(np.array(low, np.float32)), d.data(np.array(high, np.float32))], d.shape)


def batch_norm(d: Drawing) -> None:
    """A batch normalization with running statistics."""
    c = d.shape[1]
    variance = d.data(np.abs(d.random.standard_normal(c)).astype(np.float32) + np.float32(0.1))
    d.step("BatchNormalization", [d.name, d.weight(c), d.weight(c), d.weight(c), variance], d.shape)


def skip(d: Drawing) -> None:
    """A sum or concatenation with an earlier tensor of the same shape."""
    other = d.seen.get(d.shape)
    if other is None or other == d.name:
        return
    if d.pick(0, 1):
        d.step("Add", [d.name, other], d.shape)
    else:
        d.step("Concat", [d.name, other], (d.shape[0], 2 * d.shape[1], *d.shape[2:]), axis=1)


def squeeze_excite(d: Drawing) -> None:
    """Channels weighed by a function of their means."""
    n, c, *spatial = d.shape
    x, shape = d.name, d.shape
    d.step("GlobalAveragePool", [x], (n, c, *[1] * len(spatial)))
    d.step("Conv", [d.name, d.weight(c, c, *[1] * len(spatial))], d.shape)
    d.step("Sigmoid", [d.name], d.shape)
    d.step("Mul", [x, d.name], shape)


def affine(d: Drawing) -> None:
    """A sum, difference or product with a constant that broadcasts."""
    op = d.draw(st.sampled_from(["Add", "Sub", "Mul"]))
    shape = d.draw(st.sampled_from([(1,), d.shape, (d.shape[1], *[1] * (len(d.shape) - 2)), (d.shape[-1],)]))
    operands = [d.name, d.weight(*shape)]
    d.step(op, operands[:: d.pick(1, -1)], d.shape)


def pad(d: Drawing) -> None:
    """A border of a constant, or a mirror."""
    rank = len(d.shape)
    widths = [0, 0, *(d.pick(0, 1) for _ in range(rank - 2))]
    shape = tuple(s + 2 * w for s, w in zip(d.shape, widths, strict=True))
    reflect = d.pick(0, 1) and min(d.shape[2:]) > 1
    d.step("Pad", [d.name, d.data(np.array(widths * 2, np.int64))], shape, mode="reflect" if reflect else "constant")


def shuffle(d: Drawing) -> None:
    """A shuffle of channels by reshape, transpose, reshape."""
    n, c, *spatial = d.shape
    if c % 2:
        return
    shape = d.shape
    order = [0, 2, 1, *range(3, len(shape) + 1)]
    cut = (n, 2, c // 2, *spatial)
    d.step("Reshape", [d.name, d.data(np.array(cut, np.int64))], cut)
    d.step("Transpose", [d.name], (n, c // 2, 2, *spatial), perm=order)
    d.step("Reshape", [d.name, d.data(np.array(shape, np.int64))], shape)


def split(d: Drawing) -> None:
    """Halves of the channels, swapped."""
    if d.shape[1] % 2:
        return
    names = [f"s{len(d.nodes)}", f"u{len(d.nodes)}"]
    d.nodes.append(helper.make_node("Split", [d.name], names, axis=1))
    d.step("Concat", names[::-1], d.shape, axis=1)


def crop(d: Drawing) -> None:
    """A slice of the last dimension, also backwards."""
    size = d.shape[-1]
    if size < 2:
        return
    backward = d.pick(0, 1)
    bounds = (-1, -size, -2) if backward else (1, size, 1)
    count = len(range(*slice(*bounds).indices(size)))
    operands = [d.data(np.array([v], np.int64)) for v in (bounds[0], bounds[1], len(d.shape) - 1, bounds[2])]
    d.step("Slice", [d.name, *operands], (*d.shape[:-1], count))


def resize(d: Drawing) -> None:
    """An image of twice the size."""
    if len(d.shape) != 4:
        return
    scales = d.data(np.array([1, 1, 2, 2], np.float32))
    mode = d.draw(st.sampled_from(["nearest", "linear"]))
    extra = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"} if mode == "nearest" else {}
    d.step("Resize", [d.name, "", scales], (*d.shape[:2], 2 * d.shape[2], 2 * d.shape[3]), mode=mode, **extra)


def normalize(d: Drawing) -> None:
    """A softmax along some axis, or an instance normalization."""
    if d.pick(0, 1) and int(np.prod(d.shape[2:])) > 2:
        c = d.shape[1]
        d.step("InstanceNormalization", [d.name, d.weight(c), d.weight(c)], d.shape, epsilon=0.01)
    else:
        d.step("Softmax", [d.name], d.shape, axis=d.pick(1, -1))


BLOCKS: tuple[Callable[[Drawing], None], ...] = (
    conv,
    conv,
    pool,
    activation,
    gate,
    clip,
    batch_norm,
    batch_norm,
    skip,
    squeeze_excite,
    affine,
    pad,
    shuffle,
    split,
    crop,
    resize,
    normalize,
)


def head(d: Drawing) -> None:
    """How a network ends: means, a flattening and a fully connected layer, or nothing."""
    n, c, *_ = d.shape
    kind = d.pick(0, 1, 2)
    if kind == 1:
        d.step("ReduceMean", [d.name], (n, c), axes=list(range(2, len(d.shape))), keepdims=0)
    if kind >= 1:
        width = int(np.prod(d.shape[1:]))
        d.step("Flatten", [d.name], (n, width))
        d.step("Gemm", [d.name, d.weight(width, 3), d.weight(3)], (n, 3))


@st.composite
def networks(draw: st.DrawFn) -> onnx.ModelProto:
    """A convolutional network of one or two spatial dimensions with up to eight blocks."""
    channels, size = draw(st.sampled_from([1, 2, 3, 4])), draw(st.sampled_from([4, 5, 7]))
    shape = (1, channels, size, size + 1) if draw(st.booleans()) else (1, channels, size)
    d = Drawing(draw, shape)
    for block in draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=8)):
        if int(np.prod(d.shape)) < 600:
            block(d)
    head(d)
    if not d.nodes:
        d.step("Relu", ["x"], shape)
    return model_of(d.nodes, {"x": shape}, [d.name], d.weights)
