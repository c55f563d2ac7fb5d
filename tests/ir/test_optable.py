"""The op table as a whole: every op generates, infers, verifies; faults in shapes have texts; costs are right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.property.cases import CELLS, MAKERS, random_case
from toolchain.errors import ModelError
from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.op import ShapeError
from toolchain.ir.optable import FAMILIES, OPS, infer, macs, make_node
from toolchain.ir.types import DType, Quant, TensorType, f32, i8, per_tensor
from toolchain.ir.verifier import verify
from toolchain.reference.evaluator import run


def i32(*shape: int) -> TensorType:
    return TensorType(tuple(shape), DType.I32)


def test_names_are_unique() -> None:
    assert len(OPS) == sum(len(family) for family in FAMILIES)


def test_every_op_generates_in_some_cell() -> None:
    assert set(MAKERS) >= set(OPS)
    assert [op for op, cells in CELLS.items() if not cells] == []


@pytest.mark.parametrize(("op", "cell"), [(op, cell) for op, cells in CELLS.items() for cell in cells])
def test_generated_cases_verify_and_run(op: str, cell: str) -> None:
    for seed in range(50):
        case = random_case(op, cell, seed)
        verify(case.graph)
        for value, result in zip(case.graph.outputs, run(case.graph, case.samples), strict=True):
            assert result.shape == value.type.shape
            assert result.dtype == value.type.dtype.numpy


def test_the_same_seed_gives_the_same_case() -> None:
    first, second = random_case("conv_2d", "int8", 7), random_case("conv_2d", "int8", 7)
    assert first.node == second.node
    assert all((a == b).all() for a, b in zip(first.inputs, second.inputs, strict=True))


FAULTS: list[tuple[str, at.Attrs | None, Sequence[TensorType], str]] = [
    ("conv_2d", None, [f32(1, 4, 4, 3), f32(2, 5, 5, 3)], "a window of 5 with stride 1 does not fit 4 + 0 elements of padding"),
    ("conv_2d", None, [f32(1, 4, 4, 3), f32(2, 3, 3, 2)], "input (1, 4, 4, 3) and weights (2, 3, 3, 2)"),
    ("conv_2d", None, [f32(1, 4, 4, 4), f32(3, 1, 1, 2)], "3 output channels do not divide into 2 groups"),
    ("conv_2d", None, [f32(1, 4, 4, 3), f32(2, 1, 1, 3), f32(3)], "the bias has shape (3,), (2,) is needed"),
    ("depthwise_conv_2d", None, [f32(1, 4, 4, 3), f32(1, 3, 3, 4)], "(1, height, width, in * multiplier) do not fit"),
    (
        "transpose_conv_2d",
        at.TransposeConvAttrs((2, 2), (0, 0, 0, 0), (4, 4)),
        [f32(1, 2, 2, 3), f32(5, 3, 3, 3)],
        "output (4, 4) is not the full (5, 5) less padding (0, 0, 0, 0)",
    ),
    ("fully_connected", None, [f32(2, 3), f32(4, 5)], "input (2, 3) and weights (4, 5) (out, in) do not fit"),
    ("batch_matmul", None, [f32(2, 3), f32(4, 5)], "inner sizes 3 and 4"),
    ("batch_matmul", None, [f32(3), f32(3, 5)], "need two dimensions or more"),
    ("max_pool_2d", at.PoolAttrs(padding=(1, 0, 0, 0)), [f32(1, 2, 2, 1)], "leaves a window of (1, 1) without an element"),
    ("add", None, [f32(2, 3), f32(2, 4)], "shapes (2, 3) and (2, 4) do not broadcast"),
    ("add", None, [f32(2), i32(2)], "element types f32 and i32 differ"),
    ("shift_left", None, [f32(2), f32(2)], "takes integers, not f32"),
    ("logical_and", None, [i32(2), i32(2)], "takes bools, not i32"),
    ("minimum", None, [i8((2,), 0.5), i8((2,), 0.25)], "different quantizations"),
    ("where", None, [f32(2), f32(2), f32(2)], "the condition has element type f32, bool is needed"),
    ("prelu", None, [f32(2, 3), f32(4)], "do not broadcast"),
    ("reduce_sum", at.ReduceAttrs((2,)), [f32(2, 3)], "axes (2,) do not exist in a tensor of 2 dimensions"),
    ("argmax", at.ArgAttrs(0), [f32(0, 3)], "axis 0 of shape (0, 3) is empty"),
    ("top_k", at.TopKAttrs(0, 5), [f32(3)], "k is 5, axis 0 has 3 elements"),
    ("reshape", at.ReshapeAttrs((5,)), [f32(2, 3)], "(2, 3) has 6 elements, (5,) has 5"),
    ("transpose", at.PermAttrs((0, 0)), [f32(2, 3)], "(0, 0) is no permutation of the 2 dimensions"),
    ("concat", at.AxisAttrs(0), [f32(2, 3), f32(2, 4)], "differ outside axis 0"),
    ("split", at.SplitAttrs(0, (1, 2)), [f32(4)], "parts of (1, 2) do not make up the 4 elements of axis 0"),
    ("slice", at.SliceAttrs((0,), (5,), (1,)), [f32(4)], "leave shape (4,)"),
    ("slice", at.SliceAttrs((0,), (4,), (0,)), [f32(4)], "do not fit shape (4,)"),
    ("pad", at.PadAttrs((3,), (0,), at.PadMode.REFLECT), [f32(3)], "reflect padding of 3 needs more than 3 elements"),
    ("tile", at.TileAttrs((2,)), [f32(2, 2)], "repeats (2,) do not fit shape (2, 2)"),
    ("broadcast_to", at.ReshapeAttrs((4,)), [f32(3)], "shape (3,) does not broadcast to (4,)"),
    ("space_to_depth", at.BlockAttrs(2), [f32(1, 3, 4, 1)], "does not divide into blocks of 2"),
    ("depth_to_space", at.BlockAttrs(2), [f32(1, 2, 2, 3)], "has no channels for blocks of 2"),
    ("gather", at.GatherAttrs(0), [f32(3), f32(2)], "indices have element type f32, a plain integer is needed"),
    ("gather", at.GatherAttrs(0), [f32(0, 2), i32(1)], "axis 0 has no elements to pick from"),
    ("gather_nd", at.GatherAttrs(), [f32(3), i32(2, 2)], "do not address (3,)"),
    ("gather_elements", at.AxisAttrs(0), [f32(3, 2), i32(3, 4)], "are larger than (3, 2) outside axis 0"),
    ("scatter_nd", at.ScatterAttrs(), [f32(3), i32(2, 1), f32(3)], "updates have shape (3,), (2,) is needed"),
    ("one_hot", at.OneHotAttrs(3, 4), [i32(2), f32(), f32()], "axis 3, depth 4"),
    ("resize_nearest", at.ResizeAttrs((0, 1)), [f32(1, 2, 2, 1)], "cannot be resized to (0, 1)"),
    ("lstm", None, [f32(1, 2, 3), f32(8, 3), f32(8, 2), f32(7)], "weights and bias have shapes"),
    (
        "gru",
        None,
        [f32(1, 2, 3), f32(6, 3), f32(6, 2), f32(12), f32(1, 3)],
        "first states have shapes ((1, 3),), (1, 2) is needed",
    ),
    ("softmax", at.SoftmaxAttrs(wide=True), [f32(2)], "wide softmax takes quantized i8, not f32"),
    ("softmax", None, [i8((2,), 1e-8)], "softmax of a scale of 1e-08 with beta 1, over 1.49e-08 is needed"),
    ("log_softmax", None, [i8((2,), 1e-8)], "log_softmax of a scale of 1e-08"),
    ("quantize", at.CastAttrs(DType.I8), [i32(2)], "quantize takes floats, not i32"),
    ("dequantize", None, [i32(2)], "dequantize takes a quantized tensor"),
]


@pytest.mark.parametrize(("op", "attrs", "types", "text"), FAULTS, ids=[f"{f[0]}-{i}" for i, f in enumerate(FAULTS)])
def test_shape_faults_say_what_is_wrong(op: str, attrs: at.Attrs | None, types: Sequence[TensorType], text: str) -> None:
    with pytest.raises(ShapeError, match=re.escape(text)):
        infer(op, attrs or OPS[op].attrs(), types)


def test_the_verifier_names_the_node() -> None:
    x, y = Value("x", f32(2, 3)), Value("y", f32(2, 4))
    graph = Graph("g", (x, y), (Value("z", f32(2, 3)),), (Node("add", (x, y), (Value("z", f32(2, 3)),), at.ActivationAttrs()),))
    with pytest.raises(ModelError, match=r"E108 z: add: shapes \(2, 3\) and \(2, 4\) do not broadcast\. Check the shapes"):
        verify(graph)


def test_a_moving_op_must_keep_the_quantization() -> None:
    node = make_node("reshape", [Value("x", i8((4,), 0.5, 3))], ["y"], at.ReshapeAttrs((2, 2)))
    assert node.output.type.quant == per_tensor(0.5, 3)
    other = replace(node, outputs=(Value("y", i8((2, 2), 0.25, 3)),))
    with pytest.raises(ModelError, match="E111 y: reshape must keep the quantization of its input"):
        verify(Graph("g", node.inputs, other.outputs, (other,)))


@pytest.mark.parametrize(
    ("op", "quant"),
    [
        ("sigmoid", per_tensor(1 / 256, -128)),
        ("softmax", per_tensor(1 / 256, -128)),
        ("tanh", per_tensor(1 / 128)),
        ("log_softmax", per_tensor(1 / 16, 127)),
        ("l2_norm", per_tensor(1 / 128)),
    ],
)
def test_the_specification_fixes_some_outputs(op: str, quant: Quant) -> None:
    assert infer(op, OPS[op].attrs(), [i8((2, 3), 0.1)])[0].quant == quant


def test_wide_softmax_has_its_own_output() -> None:
    out = infer("softmax", at.SoftmaxAttrs(wide=True), [i8((2, 3), 0.1)])[0]
    assert (out.dtype, out.quant) == (DType.I16, per_tensor(1 / 65536, -32768))


@pytest.mark.parametrize(
    ("op", "attrs", "types", "count"),
    [
        ("conv_2d", at.ConvAttrs(padding=(1, 1, 1, 1)), [f32(1, 4, 5, 3), f32(7, 3, 3, 3)], 4 * 5 * 7 * 27),
        ("conv_2d", None, [f32(1, 4, 4, 6), f32(4, 1, 1, 3)], 4 * 4 * 4 * 3),
        ("depthwise_conv_2d", None, [f32(1, 4, 4, 3), f32(1, 3, 3, 6)], 2 * 2 * 6 * 9),
        ("fully_connected", None, [f32(2, 10), f32(5, 10)], 100),
        ("batch_matmul", at.MatmulAttrs(True), [f32(3, 4, 2), f32(3, 4, 5)], 3 * 2 * 5 * 4),
        (
            "transpose_conv_2d",
            at.TransposeConvAttrs((2, 2), (0, 0, 0, 0), (4, 4)),
            [f32(1, 2, 2, 3), f32(5, 2, 2, 3)],
            4 * 4 * 15,
        ),
        ("lstm", None, [f32(1, 7, 3), f32(8, 3), f32(8, 2), f32(8)], 7 * 8 * 5),
        ("add", None, [f32(2), f32(2)], 0),
    ],
)
def test_macs(op: str, attrs: at.Attrs | None, types: Sequence[TensorType], count: int) -> None:
    outputs = [f"y{i}" for i in range(len(infer(op, attrs or OPS[op].attrs(), types)))]
    assert macs(make_node(op, [Value(f"x{i}", t) for i, t in enumerate(types)], outputs, attrs)) == count
