"""The table of ops: how each is computed on tensors. Ops that are not here run where nothing depends on their gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolchain.errors import ModelError
from toolchain.ir.functions import UNARY
from toolchain.ir.graph import Graph, Node
from toolchain.training import elementwise, layers, movement
from toolchain.training.primitives import Tensor
from toolchain.training.program import Run, Step, kind_of


def _powers(run: Run, x: Tensor) -> Tensor:
    return run.p.function("exp", x - run.p.stop(run.p.max(x, (-1,))))


def softmax(run: Run, node: Node) -> tuple[Tensor]:
    """Float softmax of the operand in real units."""
    powers = _powers(run, run.real(node.inputs[0]) * float(node.attrs.beta))
    return (powers / run.p.sum(powers, (-1,)),)


def log_softmax(run: Run, node: Node) -> tuple[Tensor]:
    """Float logarithm of the softmax."""
    x = run.real(node.inputs[0])
    shifted = x - run.p.stop(run.p.max(x, (-1,)))
    return (shifted - run.p.function("log", run.p.sum(_powers(run, x), (-1,))),)


def sigmoid(run: Run, node: Node) -> tuple[Tensor]:
    """Float sigmoid, by the hyperbolic tangent, which does not overflow."""
    return (run.p.function("tanh", run.real(node.inputs[0]) * 0.5) * 0.5 + 0.5,)


def _l2_norm(run: Run, node: Node) -> tuple[Tensor]:
    p, x = run.p, run.real(node.inputs[0])
    return (x / p.clip(p.function("sqrt", p.sum(x * x, (-1,)) + 1e-24), 1e-6, float("inf")),)


def _div(run: Run, node: Node) -> tuple[Tensor]:
    p, (x, y) = run.p, (run.real(value) for value in node.inputs)
    return (x / p.where(y == 0.0, p.straight(y * 0.0 + 1.0, y), y),)


def _squared_difference(run: Run, node: Node) -> tuple[Tensor]:
    x, y = (run.real(value) for value in node.inputs)
    return ((x - y) * (x - y),)


def _prelu(run: Run, node: Node) -> tuple[Tensor]:
    x, slope = (run.real(value) for value in node.inputs)
    return (run.p.where(x >= 0.0, x, x * slope),)


def _by_evaluator(smooth: Step) -> Step:
    """The evaluator's bytes with the gradient of a float form."""

    def step(run: Run, node: Node) -> tuple[Tensor]:
        p, out = run.p, node.output
        (exact,), (real,) = run.on_host(node), smooth(run, node)
        if out.type.quant is None:
            return (p.straight(exact, real),)
        steps = real / run.scale(out) + run.zero(out)
        return (p.straight(exact, run.unsaturated(steps, out.type.dtype.limits)),)

    return step


def _without_gradient(run: Run, node: Node) -> Sequence[Tensor]:
    return run.on_host(node)


MOVES = (
    *("reshape", "copy", "transpose", "concat", "split", "slice", "pad", "tile", "broadcast_to", "reverse", "space_to_depth"),
    *("depth_to_space", "resize_nearest", "gather", "gather_nd", "gather_elements"),
)

STEPS: Mapping[str, Step] = {
    **dict.fromkeys(MOVES, movement.move),
    **dict.fromkeys(UNARY, elementwise.unary),
    "conv_2d": layers.conv_2d,
    "transpose_conv_2d": layers.conv_2d,
    "depthwise_conv_2d": layers.depthwise_conv_2d,
    "fully_connected": layers.fully_connected,
    "batch_matmul": layers.batch_matmul,
    "add": elementwise.add,
    "sub": elementwise.add,
    "mul": elementwise.mul,
    "quantize": elementwise.quantize,
    "dequantize": elementwise.dequantize,
    "requantize": elementwise.requantize,
    "max_pool_2d": movement.max_pool_2d,
    "average_pool_2d": movement.average_pool_2d,
    "resize_bilinear": movement.resize_bilinear,
    "reduce_max": movement.extreme,
    "reduce_min": movement.extreme,
    "reduce_sum": movement.reduced_sum,
    "reduce_mean": movement.reduced_mean,
    "maximum": movement.pick,
    "minimum": movement.pick,
    "where": movement.choose,
    "softmax": _by_evaluator(softmax),
    "log_softmax": _by_evaluator(log_softmax),
    "l2_norm": _by_evaluator(_l2_norm),
    "div": _by_evaluator(_div),
    "squared_difference": _by_evaluator(_squared_difference),
    "prelu": _by_evaluator(_prelu),
    **dict.fromkeys(
        ("argmax", "argmin", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), _without_gradient
    ),
    **dict.fromkeys(("logical_and", "logical_or", "logical_not", "cast", "floor_div", "floor_mod"), _without_gradient),
}
ENDS: Mapping[str, Step] = {"softmax": softmax, "log_softmax": log_softmax, "sigmoid": sigmoid}
"""Ops at the network's end whose result a loss takes the logarithm of."""

MOVED_PLAIN = frozenset({*MOVES, "reduce_max", "reduce_min", "maximum", "minimum", "where", "quantize", "dequantize"})
"""Ops whose step is right for tensors that are not quantized as well."""


def check_steps(graph: Graph) -> None:
    """Raise ModelError E104 for the first op that cannot be trained."""
    for node in graph.nodes:
        plain = all(value.type.quant is None for value in (*node.inputs, *node.outputs))
        step = STEPS.get(node.op)
        floats = any(kind_of(value) == "f32" for value in node.outputs)
        if step is None or (step is _without_gradient and floats) or (plain and floats and node.op not in MOVED_PLAIN):
            where = "in float" if plain else "on integers"
            what = f"{node.op} {where} has no form that can be trained"
            raise ModelError(104, node.name, what, "Replace the operation, or quantize the model after training")
