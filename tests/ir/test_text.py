"""The text form prints and parses back, and refuses text that is no graph with a line number."""

from __future__ import annotations

import enum
import math
import typing
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import ModelError, StropError
from toolchain.ir.attrs import Activation, Attrs, ConvAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import OPS, make_node
from toolchain.ir.text import parse_graph, print_graph
from toolchain.ir.types import DType, Quant, TensorType, i8

DTYPES = st.sampled_from(list(DType))
FLOATS = st.floats(allow_nan=False)
NAMES = st.text(min_size=1, max_size=12)


@st.composite
def quants(draw: st.DrawFn) -> Quant | None:
    kind = draw(st.sampled_from(["none", "tensor", "axis"]))
    if kind == "none":
        return None
    count = 1 if kind == "tensor" else draw(st.integers(1, 4))
    scale = tuple(draw(st.lists(FLOATS, min_size=count, max_size=count)))
    zero = tuple(draw(st.lists(st.integers(-(2**31), 2**31), min_size=count, max_size=count)))
    if kind == "tensor":
        return Quant(scale, zero)
    return Quant(scale, zero, draw(st.integers(0, 3)), draw(st.none() | st.integers(1, 64)))


TYPES = st.builds(TensorType, st.lists(st.integers(0, 5), max_size=4).map(tuple), DTYPES, quants())


def field_values(kind: typing.Any) -> st.SearchStrategy[typing.Any]:
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        item = field_values(inner[0])
        if Ellipsis in inner:
            return st.lists(item, max_size=4).map(tuple)
        return st.tuples(*[item] * len(inner))
    if issubclass(kind, enum.Enum):
        return st.sampled_from(list(kind))
    return {bool: st.booleans(), int: st.integers(-(10**18), 10**18), float: FLOATS, str: st.text(max_size=8)}[kind]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs of any form the data structure can hold, mostly not well typed: the text form does not judge."""
    names = draw(st.lists(NAMES, min_size=4, max_size=12, unique=True))
    values = [Value(name, draw(TYPES)) for name in names]
    inputs, const, rest = values[:1], values[1], values[2:]
    zeros = np.zeros(const.type.shape, const.type.dtype.numpy)
    nodes, known = [], [*inputs, const]
    for value in rest:
        op = OPS[draw(st.sampled_from(sorted(OPS)))]
        hints = typing.get_type_hints(op.attrs)
        attrs = op.attrs(**{field.name: draw(field_values(hints[field.name])) for field in fields(op.attrs)})
        nodes.append(Node(op.name, tuple(draw(st.lists(st.sampled_from(known), max_size=3))), (value,), attrs))
        known.append(value)
    nodes.append(Node("add", (const, inputs[0]), (Value("".join(names), draw(TYPES)),), OPS["add"].attrs()))
    outputs = draw(st.lists(st.sampled_from(known), max_size=2))
    return Graph(draw(NAMES), tuple(inputs), tuple(outputs), tuple(nodes), {const.name: zeros})


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_round_trip(graph: Graph) -> None:
    text = print_graph(graph)
    assert text.isascii()
    back = parse_graph(text, graph.constants)
    assert replace(back, constants={}) == replace(graph, constants={})
    assert set(back.constants) == set(graph.constants)
    assert print_graph(back) == text


def small_graph() -> Graph:
    x = Value("x", i8((1, 4, 4, 1), 0.5, 3))
    w = Value("w", TensorType((2, 3, 3, 1), DType.I8, Quant((0.25, 0.1), (0, 0), 0)))
    attrs = ConvAttrs(stride=(2, 2), activation=Activation.RELU)
    conv = make_node("conv_2d", [x, w], ["model/conv;1"], attrs, Quant((0.1,), (-128,)))
    return Graph("small net", (x,), conv.outputs, (conv,), {"w": np.zeros((2, 3, 3, 1), np.int8)})


GOLDEN = """\
strop graph 1
name "small net"
input %x: i8[1,4,4,1] quant(scale=0.5, zero_point=3)
const %w: i8[2,3,3,1] quant(axis=0, scale=(0.25, 0.1), zero_point=0)
%"model/conv;1": i8[1,1,1,2] quant(scale=0.1, zero_point=-128) = conv_2d(%x, %w) stride=(2, 2) activation=relu
output %"model/conv;1"
"""


def test_golden() -> None:
    assert print_graph(small_graph()) == GOLDEN


def test_comments_blank_lines_and_carriage_returns_are_skipped() -> None:
    text = GOLDEN.replace("\n", "\r\n# a remark\r\n\r\n")
    assert print_graph(parse_graph(text, small_graph().constants)) == GOLDEN


def test_negative_zero_and_infinity_keep_their_bits() -> None:
    pad = OPS["softmax"].attrs
    x = Value("x", TensorType((1, 2), DType.F32))
    for beta in (-0.0, math.inf, -math.inf, 5e-324):
        node = Node("softmax", (x,), (Value("y", x.type),), pad(beta=beta))
        back = parse_graph(print_graph(Graph("g", (x,), (), (node,))), {})
        assert repr(back.nodes[0].attrs.beta) == repr(beta)


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("strop graph 1", "strop graph 2", 1, "first line"),
        ("(%x, %w)", "(%x, %v)", 5, "'v' is not defined"),
        ("conv_2d(", "__import__(", 5, "no operation '__import__'"),
        ("activation=relu", "activation=os", 5, "activation is one of"),
        ("activation=relu", "wings=2", 5, "no attribute 'wings'"),
        ("stride=(2, 2)", "stride=(2)", 5, "stride has 1 numbers"),
        ("stride=(2, 2)", "stride=(2.5, 2)", 5, "whole number"),
        ("stride=(2, 2)", f"stride=({'9' * 5000}, 2)", 5, "whole number"),
        ("stride=(2, 2)", "stride=(2, 2) stride=(2, 2)", 5, "twice"),
        ("scale=0.5", "scale=open", 3, "a number is needed"),
        ("i8[1,4,4,1]", "i9[1,4,4,1]", 3, "no element type"),
        ("i8[1,4,4,1]", "i8[1,4,4,1", 3, "','"),
        ("const %w", "const %x", 4, "defined twice"),
        ("i8[2,3,3,1]", "i8[2,3,3,2]", 4, "the data of 'w'"),
        ("const %w", "const %q", 4, "no data"),
        ('"small net"', '"small \\q net"', 2, "not a JSON string"),
        ("input %x", "input %x %y", 3, "':'"),
        ("input %x", "input {x}", 3, "cannot be read"),
        ('output %"', 'output 4 %"', 6, "name is needed"),
    ],
)
def test_faults_name_the_line(old: str, new: str, line: int, what: str) -> None:
    assert old in GOLDEN
    with pytest.raises(ModelError) as fault:
        parse_graph(GOLDEN.replace(old, new, 1), small_graph().constants, "net.strop")
    assert fault.value.place == f"net.strop:{line}"
    assert what in fault.value.message
    assert fault.value.number == (104 if "operation" in what else 103)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_gives_a_coded_error_or_a_graph(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOLDEN)))
    text = GOLDEN[:at] + data.draw(st.text(max_size=6)) + GOLDEN[at + data.draw(st.integers(0, 9)) :]
    try:
        assert isinstance(parse_graph(text, small_graph().constants), Graph)
    except StropError as fault:
        assert fault.number in (103, 104)


def test_every_attribute_class_can_be_printed() -> None:
    for op in OPS.values():
        assert issubclass(op.attrs, Attrs)
        for kind in typing.get_type_hints(op.attrs).values():
            field_values(kind)
