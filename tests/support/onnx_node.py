"""Test support: one node as an ONNX model, run by ONNX Runtime. Operands stay inputs; attributes become ONNX's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolchain.ir.graph import Node
from toolchain.ir.types import Array


class NotInOnnx(Exception):
    """The node has no single ONNX operator."""


@dataclass
class Call:
    """An ONNX operator, its attributes, and its operands as arrays ("" for one left out)."""

    op: str
    operands: list[Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    finish: Callable[[list[Array]], list[Array]] = lambda outputs: outputs
    outputs: int = 1


def _axis_swap(x: Array) -> Array:
    return np.moveaxis(x, -1, 1)


def _resize(node: Node, inputs: Sequence[Array]) -> Call:
    a, x = node.attrs, _axis_swap(inputs[0])
    sizes = np.array([x.shape[0], x.shape[1], *a.size], np.int64)
    attributes = {"mode": "nearest" if node.op == "resize_nearest" else "linear", "coordinate_transformation_mode": a.mode.value}
    if node.op == "resize_nearest":
        attributes["nearest_mode"] = a.nearest.value
    return Call("Resize", [x, "", "", sizes], attributes, lambda outputs: [np.moveaxis(outputs[0], 1, -1)])


def _recurrent(node: Node, inputs: Sequence[Array]) -> Call:
    """ONNX takes (time, batch, features), a direction axis, and its own order of lstm gates: i, o, f, c."""
    x, w, r, b = inputs[:4]
    hidden = r.shape[1]
    order = {"lstm": [0, 3, 1, 2], "gru": [0, 1, 2], "rnn": [0]}[node.op]

    def gates(array: Array) -> Array:
        return np.concatenate([array[i * hidden : (i + 1) * hidden] for i in order])

    bias = b if node.op == "gru" else np.concatenate([gates(b), np.zeros_like(b)])
    operands: list[Any] = [np.moveaxis(x, 0, 1), gates(w)[None], gates(r)[None], bias[None], ""]
    operands += [state[None] for state in inputs[4:]]
    attributes: dict[str, Any] = {"hidden_size": hidden, "direction": "reverse" if node.attrs.reverse else "forward"}
    if node.op == "gru":
        attributes["linear_before_reset"] = int(node.attrs.linear_before_reset)

    def finish(outputs: list[Array]) -> list[Array]:
        return [np.moveaxis(outputs[0][:, 0], 0, 1), *(state[0] for state in outputs[1:])]

    return Call(node.op.upper(), operands, attributes, finish, len(node.outputs))


def _gelu(node: Node, inputs: Sequence[Array]) -> Call:
    return Call("Gelu", list(inputs), {"approximate": "tanh" if node.attrs.tanh else "none"})


def _plain(op: str) -> Callable[[Node, Sequence[Array]], Call]:
    return lambda node, inputs: Call(op, list(inputs))


def _scatter(op: str) -> Callable[[Node, Sequence[Array]], Call]:
    def build(node: Node, inputs: Sequence[Array]) -> Call:
        attributes: dict[str, Any] = {"reduction": node.attrs.reduction.value}
        if op == "ScatterElements":
            attributes["axis"] = node.attrs.axis
        return Call(op, [inputs[0], inputs[1].astype(np.int64), inputs[2]], attributes)

    return build


def _one_hot(node: Node, inputs: Sequence[Array]) -> Call:
    if not node.attrs.wrap and (inputs[0] < 0).any():
        raise NotInOnnx("negative indices that hit nothing")
    values = np.stack([inputs[2], inputs[1]])
    return Call("OneHot", [inputs[0].astype(np.int64), np.array(node.attrs.depth, np.int64), values], {"axis": node.attrs.axis})


def _top_k(node: Node, inputs: Sequence[Array]) -> Call:
    attributes = {"axis": node.attrs.axis, "largest": int(node.attrs.largest), "sorted": 1}
    return Call("TopK", [inputs[0], np.array([node.attrs.k], np.int64)], attributes, outputs=2)


def _arg(op: str) -> Callable[[Node, Sequence[Array]], Call]:
    def build(node: Node, inputs: Sequence[Array]) -> Call:
        a = node.attrs
        return Call(op, list(inputs), {"axis": a.axis, "keepdims": int(a.keepdims), "select_last_index": int(a.last)})

    return build


def _pad(node: Node, inputs: Sequence[Array]) -> Call:
    a = node.attrs
    if a.mode.value == "symmetric":
        raise NotInOnnx("symmetric")
    fill = np.array(a.value, inputs[0].dtype)
    return Call("Pad", [inputs[0], np.array([*a.before, *a.after], np.int64), fill], {"mode": a.mode.value})


def _gather_nd(node: Node, inputs: Sequence[Array]) -> Call:
    return Call("GatherND", [inputs[0], inputs[1].astype(np.int64)], {"batch_dims": node.attrs.batch_dims})


def _isinf(node: Node, inputs: Sequence[Array]) -> Call:
    return Call("IsInf", list(inputs), {"detect_positive": int(node.attrs.positive), "detect_negative": int(node.attrs.negative)})


def _conv(node: Node, inputs: Sequence[Array]) -> Call:
    a, w = node.attrs, inputs[1]
    depthwise = node.op == "depthwise_conv_2d"
    weights = w[0].transpose(2, 0, 1)[:, None] if depthwise else w.transpose(0, 3, 1, 2)
    groups = inputs[0].shape[3] if depthwise else inputs[0].shape[3] // w.shape[3]
    top, bottom, left, right = a.padding
    attributes = {"strides": a.stride, "dilations": a.dilation, "pads": (top, left, bottom, right), "group": groups}
    low, high = a.activation.bounds
    return Call(
        "Conv",
        [_axis_swap(inputs[0]), weights, *inputs[2:]],
        attributes,
        lambda outputs: [np.clip(np.moveaxis(outputs[0], 1, -1), np.float32(low), np.float32(high))],
    )


BUILDERS: dict[str, Callable[[Node, Sequence[Array]], Call]] = {
    "conv_2d": _conv,
    "depthwise_conv_2d": _conv,
    "resize_nearest": _resize,
    "resize_bilinear": _resize,
    "lstm": _recurrent,
    "gru": _recurrent,
    "rnn": _recurrent,
    "gelu": _gelu,
    "elu": lambda node, inputs: Call("Elu", list(inputs), {"alpha": node.attrs.alpha}),
    "hard_sigmoid": lambda node, inputs: Call("HardSigmoid", list(inputs), {"alpha": node.attrs.alpha, "beta": node.attrs.beta}),
    "softplus": _plain("Softplus"),
    "softsign": _plain("Softsign"),
    "isnan": _plain("IsNaN"),
    "isinf": _isinf,
    "pow": _plain("Pow"),
    "mod": lambda node, inputs: Call("Mod", list(inputs), {"fmod": 1}),
    "gather_elements": lambda node, inputs: Call("GatherElements", list(inputs), {"axis": node.attrs.axis}),
    "gather_nd": _gather_nd,
    "scatter_elements": _scatter("ScatterElements"),
    "scatter_nd": _scatter("ScatterND"),
    "one_hot": _one_hot,
    "top_k": _top_k,
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "pad": _pad,
}


def run_onnx(node: Node, inputs: Sequence[Array]) -> list[Array]:
    """Outputs of ONNX Runtime. Raises NotInOnnx where the op has no builder."""
    import onnx
    import onnxruntime

    if node.op not in BUILDERS:
        raise NotInOnnx(node.op)
    call = BUILDERS[node.op](node, inputs)
    named = {f"x{i}": np.asarray(a) for i, a in enumerate(call.operands) if not isinstance(a, str)}
    names = [f"x{i}" if not isinstance(a, str) else "" for i, a in enumerate(call.operands)]
    outputs = [f"y{i}" for i in range(call.outputs)]
    made = onnx.helper.make_node(call.op, names, outputs, **call.attributes)
    graph = onnx.helper.make_graph(
        [made],
        "case",
        [onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in named.items()],
        [onnx.helper.make_empty_tensor_value_info(n) for n in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return call.finish([np.asarray(a) for a in session.run(None, named)])
