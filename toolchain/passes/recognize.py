"""Finds activations that exporters spell out as several ops."""

from __future__ import annotations

import numpy as np

from toolchain.ir.attrs import Attrs, GeluAttrs, HardSigmoidAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.passes.families import is_float
from toolchain.passes.pattern import Editor, Match, Replacement, Rule, apply, pat, rule


def _number(editor: Editor, value: Value) -> float | None:
    """The value of a constant of one element."""
    data = editor.data(value)
    return float(data.reshape(-1)[0]) if data is not None and data.size == 1 else None


def _scalar_operand(editor: Editor, node: Node) -> tuple[Value, float] | None:
    """The other operand and the number, for an op of a tensor and a constant of one element that does not broadcast it."""
    for i in (0, 1):
        number = _number(editor, node.inputs[i])
        if number is not None and node.inputs[1 - i].type == node.output.type:
            return node.inputs[1 - i], number
    return None


def _plain(node: Node) -> bool:
    return is_float(node) and node.output.type.dtype.is_float and getattr(node.attrs, "activation", "none") == "none"


CLAMPS = {(0.0, 6.0): "relu6", (-1.0, 1.0): "relu_n1_1"}


@rule(pat("minimum|maximum"))
def find_clamp(editor: Editor, match: Match) -> Replacement:
    """max(x, 0) is relu; min(max(x, 0), 6) is relu6; between −1 and 1 is relu_n1_1; in either order."""
    root = match["root"]
    found = _scalar_operand(editor, root)
    if found is None or not _plain(root):
        return None
    x, bound = found
    inner = editor.producer(x)
    if inner is not None and _plain(inner) and editor.private(inner):
        low_high = _bounds(editor, root, bound, inner)
        if low_high is not None and low_high[1] in CLAMPS:
            return [editor.final(CLAMPS[low_high[1]], (low_high[0],), Attrs(), root)]
    return [editor.final("relu", (x,), Attrs(), root)] if root.op == "maximum" and bound == 0.0 else None


def _bounds(editor: Editor, root: Node, bound: float, inner: Node) -> tuple[Value, tuple[float, float]] | None:
    """What two nested clamps read and let pass."""
    if inner.op == "relu" and root.op == "minimum":
        return inner.inputs[0], (0.0, bound)
    if {root.op, inner.op} != {"minimum", "maximum"}:
        return None
    found = _scalar_operand(editor, inner)
    if found is None:
        return None
    return found[0], (found[1], bound) if root.op == "minimum" else (bound, found[1])


@rule(pat("mul"))
def find_swish(editor: Editor, match: Match) -> Replacement:
    """x * sigmoid(x) is swish; x * hard_sigmoid(x) with slope 1/6 is hard_swish."""
    root = match["root"]
    if not _plain(root):
        return None
    for i in (0, 1):
        gate, x = editor.producer(root.inputs[i]), root.inputs[1 - i]
        if gate is None or not gate.inputs or gate.inputs[0] != x:
            continue
        if gate.op == "sigmoid":
            return [editor.final("swish", (x,), Attrs(), root)]
        if gate.op == "hard_sigmoid" and abs(gate.attrs.alpha - 1 / 6) < 1e-6 and gate.attrs.beta == 0.5:
            return [editor.final("hard_swish", (x,), Attrs(), root)]
    return None


@rule(pat("mul|div", pat("relu6", pat("add", name="shift"), name="clamp")))
def find_hard_sigmoid(editor: Editor, match: Match) -> Replacement:
    """relu6(x + 3) / 6 is hard_sigmoid with slope 1/6."""
    root, shift = match["root"], match["shift"]
    added, factor = _scalar_operand(editor, shift), _number(editor, root.inputs[1])
    if added is None or factor is None or added[1] != 3.0 or not _plain(root) or not _plain(shift):
        return None
    if abs((factor if root.op == "mul" else 1 / factor) - 1 / 6) > 1e-6 or root.output.type != added[0].type:
        return None
    return [editor.final("hard_sigmoid", (added[0],), HardSigmoidAttrs(1 / 6, 0.5), root)]


@rule(pat("div|mul"))
def find_hard_swish(editor: Editor, match: Match) -> Replacement:
    """x * relu6(x + 3) / 6 is hard_swish."""
    root = match["root"]
    found = _scalar_operand(editor, root)
    product = None if found is None else editor.producer(found[0])
    if found is None or product is None or product.op != "mul" or not _plain(root) or not _plain(product) or found[1] == 0.0:
        return None
    if abs((found[1] if root.op == "mul" else 1 / found[1]) - 1 / 6) > 1e-6 or not editor.private(product):
        return None
    for i in (0, 1):
        clamp, x = editor.producer(product.inputs[i]), product.inputs[1 - i]
        shift = editor.producer(clamp.inputs[0]) if clamp is not None and clamp.op == "relu6" else None
        added = _scalar_operand(editor, shift) if shift is not None and shift.op == "add" else None
        if added is not None and added == (x, 3.0):
            return [editor.final("hard_swish", (x,), Attrs(), root)]
    return None


@rule(pat("mul"))
def find_gelu(editor: Editor, match: Match) -> Replacement:
    """0.5 * x * (1 + erf(x / sqrt(2))), multiplied in any order, is gelu."""
    root = match["root"]
    if not _plain(root):
        return None
    factors, scale = _factors(editor, root, 0)
    gates = [i for i, value in enumerate(factors) if _erf_gate(editor, value) is not None]
    if len(factors) != 2 or not gates or scale != 0.5:
        return None
    x = factors[1 - gates[0]]
    if _erf_gate(editor, factors[gates[0]]) != x or x.type != root.output.type:
        return None
    return [editor.final("gelu", (x,), GeluAttrs(False), root)]


def _factors(editor: Editor, node: Node, depth: int) -> tuple[list[Value], float]:
    """The tensors and the product of scalars that nested multiplications join."""
    tensors: list[Value] = []
    scale = 1.0
    for value in node.inputs:
        number, inner = _number(editor, value), editor.producer(value)
        if number is not None:
            scale *= number
        elif inner is not None and inner.op == "mul" and depth < 2 and editor.private(inner) and _plain(inner):
            more, part = _factors(editor, inner, depth + 1)
            tensors, scale = tensors + more, scale * part
        else:
            tensors.append(value)
    return tensors, scale


def _erf_gate(editor: Editor, value: Value) -> Value | None:
    """x where the value is 1 + erf(x / sqrt(2))."""
    add = editor.producer(value)
    shifted = _scalar_operand(editor, add) if add is not None and add.op == "add" else None
    erf = editor.producer(shifted[0]) if shifted is not None and shifted[1] == 1.0 else None
    scaled = editor.producer(erf.inputs[0]) if erf is not None and erf.op == "erf" else None
    if scaled is None or scaled.op not in ("mul", "div"):
        return None
    found = _scalar_operand(editor, scaled)
    if found is None or found[1] == 0.0:
        return None
    slope = found[1] if scaled.op == "mul" else 1 / found[1]
    return found[0] if abs(slope - np.sqrt(0.5)) < 1e-4 else None


@rule(pat("mul"))
def find_tanh_gelu(editor: Editor, match: Match) -> Replacement:
    """0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x³))), multiplied in any order, is gelu by tanh."""
    root = match["root"]
    if not _plain(root):
        return None
    factors, scale = _factors(editor, root, 0)
    if len(factors) != 2 or scale != 0.5:
        return None
    for x, gate in (factors, factors[::-1]):
        inner = _tanh_gate(editor, gate)
        if inner is not None and x.type == root.output.type and _is_cubic(editor, inner, x):
            return [editor.final("gelu", (x,), GeluAttrs(True), root)]
    return None


def _tanh_gate(editor: Editor, value: Value) -> Value | None:
    """z where the value is 1 + tanh(sqrt(2 / pi) * z)."""
    add = editor.producer(value)
    shifted = _scalar_operand(editor, add) if add is not None and add.op == "add" else None
    tanh = editor.producer(shifted[0]) if shifted is not None and shifted[1] == 1.0 else None
    scaled = editor.producer(tanh.inputs[0]) if tanh is not None and tanh.op == "tanh" else None
    found = _scalar_operand(editor, scaled) if scaled is not None and scaled.op == "mul" else None
    return found[0] if found is not None and abs(found[1] - np.sqrt(2 / np.pi)) < 1e-4 else None


def _is_cubic(editor: Editor, value: Value, x: Value) -> bool:
    """True where the value is x + 0.044715 * x³."""
    add = editor.producer(value)
    if add is None or add.op != "add" or x not in add.inputs:
        return False
    term = editor.producer(add.inputs[1] if add.inputs[0] == x else add.inputs[0])
    if term is None or term.op != "mul":
        return False
    tensors, scale = _factors(editor, term, 0)
    power = sum(_power(editor, tensor, x) for tensor in tensors)
    return abs(scale - 0.044715) < 1e-6 and power == 3.0


def _power(editor: Editor, value: Value, x: Value) -> float:
    """The power of x that a value is; NaN for none."""
    if value == x:
        return 1.0
    node = editor.producer(value)
    if node is None or not node.inputs or node.inputs[0] != x:
        return float("nan")
    if node.op == "pow":
        return _number(editor, node.inputs[1]) or float("nan")
    return 2.0 if node.op == "square" or (node.op == "mul" and node.inputs[1] == x) else float("nan")


@rule(pat("log", pat("softmax", name="softmax", private=True)))
def find_log_softmax(editor: Editor, match: Match) -> Replacement:
    """log(softmax(x)) is log_softmax(x), which cannot underflow."""
    root, softmax = match["root"], match["softmax"]
    if not _plain(root) or softmax.attrs.beta != 1.0:
        return None
    return [editor.final("log_softmax", softmax.inputs, Attrs(), root)]


@rule(pat("mul"))
def find_square(editor: Editor, match: Match) -> Replacement:
    """x * x is square."""
    root = match["root"]
    if root.inputs[0] != root.inputs[1] or not _plain(root):
        return None
    return [editor.final("square", root.inputs[:1], Attrs(), root)]


RULES: tuple[Rule, ...] = (
    find_clamp,
    find_hard_sigmoid,
    find_hard_swish,
    find_swish,
    find_gelu,
    find_tanh_gelu,
    find_log_softmax,
    find_square,
)


def recognize(graph: Graph) -> Graph:
    """The graph with spelled-out activations as single ops; equal up to float rounding."""
    return apply(graph, RULES)
