"""The text form of a graph: one statement a line, printed and parsed back exactly.

    strop graph 1
    name "kws"
    input %input: i8[1,49,10,1] quant(scale=0.5, zero_point=3)
    const %w: i8[64,10,4,1] quant(axis=0, scale=(0.25, …), zero_point=0)
    %y: i8[1,25,5,64] quant(scale=0.1, zero_point=-128) = conv_2d(%input, %w, %b) stride=(2, 2) activation=relu
    output %y

Attributes that have their default value are left out; floats are printed so that they read back to the same bits.
Names outside `A-Z a-z 0-9 _ . / $ -` are JSON strings after the `%`. Lines that start with `#` are comments.
The text holds no constant data: that lies beside it, by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from toolchain.errors import ModelError
from toolchain.ir.attrs import Attrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import OPS
from toolchain.ir.types import Array, DType, Quant, TensorType, dtype_of

HEADER = "strop graph 1"

_BARE_NAME = re.compile(r"[A-Za-z0-9_./$-]+\Z")
_STRING = r'"(?:[^"\\\x00-\x1f]|\\.)*"'
_TOKEN = re.compile(
    rf"\s*(?:(?P<name>%(?:[A-Za-z0-9_./$-]+|{_STRING}))|(?P<string>{_STRING})"
    r"|(?P<number>-?(?:inf|nan|[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)(?![A-Za-z0-9_.]))"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>[()\[\],:=]))"
)
_MAX_INTEGER_DIGITS = 20
_Result = TypeVar("_Result")


def print_graph(graph: Graph) -> str:
    """The text form of a graph, ASCII, ending in a newline. Constants that nothing reads are not printed."""
    lines = [HEADER, f"name {json.dumps(graph.name)}"]
    lines += [f"input {_declare(value)}" for value in graph.inputs]
    lines += [f"const {_declare(value)}" for value in constant_values(graph)]
    lines += [print_node(node) for node in graph.nodes]
    lines += [f"output {_print_name(value.name)}" for value in graph.outputs]
    return "\n".join(lines) + "\n"


def print_node(node: Node) -> str:
    """One node as its line of the text form."""
    outputs = ", ".join(map(_declare, node.outputs))
    inputs = ", ".join(_print_name(value.name) for value in node.inputs)
    return " ".join([f"{outputs} = {node.op}({inputs})", *_print_attrs(node.attrs)])


def print_type(type_: TensorType) -> str:
    """A tensor type as the text form writes it, for example `i8[1,10] quant(scale=0.5, zero_point=3)`."""
    text = f"{type_.dtype}[{','.join(map(str, type_.shape))}]"
    if type_.quant is None:
        return text
    quant = type_.quant
    if quant.axis is None and len(quant.scale) == len(quant.zero_point) == 1:
        return f"{text} quant(scale={quant.scale[0]!r}, zero_point={quant.zero_point[0]})"
    same = len(quant.zero_point) == len(quant.scale) and len(set(quant.zero_point)) == 1
    zero = str(quant.zero_point[0]) if same else _print_scalar(quant.zero_point)
    axis = "" if quant.axis is None else f"axis={quant.axis}, "
    axis += "" if quant.block is None else f"block={quant.block}, "
    return f"{text} quant({axis}scale={_print_scalar(quant.scale)}, zero_point={zero})"


def constant_values(graph: Graph) -> tuple[Value, ...]:
    """The constants that nodes or graph outputs read, in the order in which the text form declares them."""
    return tuple(value for value in graph.values() if value.name in graph.constants)


def constant_names(text: str, source: str = "graph") -> tuple[str, ...]:
    """The names of the constants that a text form declares, in order. Raises ModelError(103) for a line that cannot be read."""
    return tuple(_at_line(_constant_name, line, number, source) for number, line in _statements(text) if line.startswith("const"))


def parse_graph(text: str, constants: Mapping[str, Array], source: str = "graph") -> Graph:
    """The graph that a text form describes; only constants that it declares are taken from `constants`.

    source: the name of the text in messages. The result is not yet verified.
    Raises ModelError(103) with the line number for text that is no graph, or constant data that contradicts it;
    ModelError(104) for an operation that the op table does not have.
    """
    parser = _GraphParser(constants)
    if text.split("\n", 1)[0].strip() != HEADER:
        raise ModelError(103, f"{source}:1", f"the first line is not {HEADER!r}", "Give a graph in Strop's text form")
    for number, line in _statements(text):
        _at_line(parser.statement, line, number, source)
    return parser.graph()


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Lines after the header that are neither blank nor comments, with their numbers from 1."""
    for number, line in enumerate(text.split("\n")[1:], 2):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield number, stripped


def _at_line(read: Callable[[_Line], _Result], line: str, number: int, source: str) -> _Result:
    try:
        return read(_Line(line))
    except _TextError as fault:
        code = 104 if isinstance(fault, _UnknownOp) else 103
        raise ModelError(code, f"{source}:{number}", str(fault), "Mend the line or make the file again") from None


def _declare(value: Value) -> str:
    return f"{_print_name(value.name)}: {print_type(value.type)}"


def _print_name(name: str) -> str:
    return f"%{name}" if _BARE_NAME.match(name) else f"%{json.dumps(name)}"


def _print_attrs(attrs: Attrs) -> list[str]:
    printed: list[str] = []
    for field in fields(attrs):
        text = _print_scalar(getattr(attrs, field.name))
        if text != _print_scalar(field.default):
            printed.append(f"{field.name}={text}")
    return printed


def _print_scalar(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_print_scalar, value))})"
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    return repr(float(value)) if isinstance(value, float) else str(value)


class _TextError(ValueError):
    """A fault in one line; parse_graph adds the line number."""


class _UnknownOp(_TextError):
    """A line names an operation that there is not."""


class _Line:
    """The tokens of one line, read from the left."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._next = 0
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise _TextError(f"column {at + 1} cannot be read: {text[at : at + 20]!r}")
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()

    @property
    def done(self) -> bool:
        """True when every token has been read."""
        return self._next == len(self._tokens)

    def take(self, text: str) -> bool:
        """Read the next token if it is `text`."""
        found = not self.done and self._tokens[self._next][1] == text
        self._next += found
        return found

    def expect(self, text: str) -> None:
        """Read the next token, which must be `text`."""
        if not self.take(text):
            raise _TextError(f"{text!r} is needed, {self._rest()} stands there")

    def read(self, kind: str) -> str:
        """Read the next token, which must be of a kind of the token pattern."""
        if self.done or self._tokens[self._next][0] != kind:
            raise _TextError(f"a {kind} is needed, {self._rest()} stands there")
        self._next += 1
        return self._tokens[self._next - 1][1]

    def end(self) -> None:
        """Raise unless every token has been read."""
        if not self.done:
            raise _TextError(f"the line should end before {self._rest()}")

    def list_of(self, read: Callable[[], Any], close: str) -> tuple[Any, ...]:
        """Items with commas between them up to and with the closing mark."""
        items: list[Any] = []
        while not self.take(close):
            if items:
                self.expect(",")
            items.append(read())
        return tuple(items)

    def name(self) -> str:
        """Read a value's name."""
        token = self.read("name")[1:]
        return _unquote(token) if token.startswith('"') else token

    def string(self) -> str:
        """Read a JSON string."""
        return _unquote(self.read("string"))

    def integer(self) -> int:
        """Read a whole number of at most 20 digits."""
        token = self.read("number")
        if not token.lstrip("-").isdigit() or len(token) > _MAX_INTEGER_DIGITS:
            raise _TextError(f"{token[:40]!r} is not a whole number of at most {_MAX_INTEGER_DIGITS} digits")
        return int(token)

    def real(self) -> float:
        """Read a real number, `inf`, `-inf` or `nan`."""
        return float(self.read("number"))

    def _rest(self) -> str:
        return "nothing" if self.done else repr(self._tokens[self._next][1][:40])


def _unquote(token: str) -> str:
    try:
        return str(json.loads(token))
    except ValueError:
        raise _TextError(f"{token[:40]} is not a JSON string") from None


class _GraphParser:
    """Collects the statements of one graph."""

    def __init__(self, constants: Mapping[str, Array]) -> None:
        self._given = constants
        self._name = ""
        self._values: dict[str, Value] = {}
        self._inputs: list[Value] = []
        self._outputs: list[Value] = []
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = {}

    def graph(self) -> Graph:
        """The graph of all statements so far."""
        constants = MappingProxyType(self._constants)
        return Graph(self._name, tuple(self._inputs), tuple(self._outputs), tuple(self._nodes), constants)

    def statement(self, line: _Line) -> None:
        """Take one line."""
        if line.take("name"):
            self._name = line.string()
        elif line.take("input"):
            self._inputs.append(self._define(_value(line)))
        elif line.take("const"):
            self._constant(self._define(_value(line)))
        elif line.take("output"):
            self._outputs.append(self._known(line.name()))
        else:
            self._node(line)
        line.end()

    def _define(self, value: Value) -> Value:
        if value.name in self._values:
            raise _TextError(f"{value.name!r} is defined twice")
        self._values[value.name] = value
        return value

    def _known(self, name: str) -> Value:
        if name not in self._values:
            raise _TextError(f"{name!r} is not defined above")
        return self._values[name]

    def _constant(self, value: Value) -> None:
        array = self._given.get(value.name)
        if array is None:
            raise _TextError(f"there is no data for constant {value.name!r}")
        stored = DType.I8 if value.type.dtype is DType.I4 else value.type.dtype
        if array.shape != value.type.shape or dtype_of(array) is not stored:
            raise _TextError(f"the data of {value.name!r} is {array.dtype} {array.shape}, not {print_type(value.type)}")
        self._constants[value.name] = array

    def _node(self, line: _Line) -> None:
        outputs = [_value(line)]
        while line.take(","):
            outputs.append(_value(line))
        line.expect("=")
        op = line.read("word")
        if op not in OPS:
            raise _UnknownOp(f"there is no operation {op!r}")
        line.expect("(")
        inputs = line.list_of(lambda: self._known(line.name()), ")")
        attrs = _read_attrs(line, op)
        self._nodes.append(Node(op, inputs, tuple(map(self._define, outputs)), attrs))


def _constant_name(line: _Line) -> str:
    line.expect("const")
    return line.name()


def _value(line: _Line) -> Value:
    name = line.name()
    line.expect(":")
    return Value(name, _read_type(line))


def _read_type(line: _Line) -> TensorType:
    word = line.read("word")
    if word not in set(DType):
        raise _TextError(f"there is no element type {word!r}")
    line.expect("[")
    shape = line.list_of(line.integer, "]")
    quant = _read_quant(line) if line.take("quant") else None
    return TensorType(shape, DType(word), quant)


def _read_quant(line: _Line) -> Quant:
    """`(axis=…, block=…, scale=…, zero_point=…)`; one zero point stands for as many as there are scales."""
    line.expect("(")
    axis, block = _read_count(line, "axis"), _read_count(line, "block")
    line.expect("scale")
    line.expect("=")
    scale = line.list_of(line.real, ")") if line.take("(") else (line.real(),)
    line.expect(",")
    line.expect("zero_point")
    line.expect("=")
    zero = line.list_of(line.integer, ")") if line.take("(") else (line.integer(),) * len(scale)
    line.expect(")")
    return Quant(scale, zero, axis, block)


def _read_count(line: _Line, name: str) -> int | None:
    """`name=…,` where it stands."""
    if not line.take(name):
        return None
    line.expect("=")
    count = line.integer()
    line.expect(",")
    return count


@cache
def _field_types(op: str) -> Mapping[str, Any]:
    return get_type_hints(OPS[op].attrs)


def _read_attrs(line: _Line, op: str) -> Attrs:
    types = _field_types(op)
    given: dict[str, Any] = {}
    while not line.done:
        name = line.read("word")
        if name not in types:
            raise _TextError(f"{op} has no attribute {name!r}; it has {', '.join(types) or 'none'}")
        if name in given:
            raise _TextError(f"attribute {name!r} is given twice")
        line.expect("=")
        given[name] = _read_scalar(line, types[name], name)
    try:
        return OPS[op].attrs(**given)
    except TypeError:
        raise _TextError(f"{op} needs the attributes {', '.join(types)}") from None


def _read_scalar(line: _Line, kind: Any, name: str) -> Any:
    """One attribute value of a declared type."""
    if get_origin(kind) is tuple:
        return _read_tuple(line, get_args(kind), name)
    if issubclass(kind, StrEnum):
        word = line.read("word")
        if word not in set(kind):
            raise _TextError(f"{name} is one of {', '.join(kind)}, not {word!r}")
        return kind(word)
    if kind is bool:
        if line.take("true"):
            return True
        line.expect("false")
        return False
    return {int: line.integer, float: line.real, str: line.string}[kind]()


def _read_tuple(line: _Line, kinds: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """A tuple whose items are all of the first declared type, as many as are declared (any number after `...`)."""
    line.expect("(")
    items = line.list_of(lambda: _read_scalar(line, kinds[0], name), ")")
    if Ellipsis not in kinds and len(items) != len(kinds):
        raise _TextError(f"{name} has {len(items)} numbers, {len(kinds)} are needed")
    return items
