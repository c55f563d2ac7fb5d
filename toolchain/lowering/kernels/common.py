"""Pieces that the bindings of all kernel families share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from targets.model import Target
from toolchain.errors import TargetError
from toolchain.ir.fixed_point import Multiplier
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import Array, DType, TensorType
from toolchain.lowering.cost import Cost, Prediction, predict
from toolchain.lowering.program import Constant, Field, KernelCall, Operand, ShapeField

MAX_LOOPS = 6
C_TYPES: dict[DType, str] = {
    DType.F32: "float",
    DType.I8: "int8_t",
    DType.I16: "int16_t",
    DType.I32: "int32_t",
    DType.I64: "int64_t",
    DType.U8: "uint8_t",
    DType.U16: "uint16_t",
    DType.U32: "uint32_t",
    DType.U64: "uint64_t",
    DType.BOOL: "uint8_t",
}
ELEMENT_TYPES: dict[DType, str] = {
    DType.I8: "STROP_S8",
    DType.U8: "STROP_U8",
    DType.I16: "STROP_S16",
    DType.I32: "STROP_S32",
}
"""Enumerators of `strop_type`, for kernels that take any of these."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a variant makes of a node: literals of its shape struct and its operands in the kernel's order."""

    shape: tuple[ShapeField, ...]
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the kernel table.

    name: `<folder>.<function without strop_>`; the folder is one of the target core's kernel folders.
    accepts: may this variant run the node on a core of that kernel set. bind: its literals and operands, or those of
    several calls that run one after the other (concat takes one per operand). generic: one copy that reads its shape is
    smaller than copies for three shapes. spoils: it destroys its first operand.
    """

    op: str
    folder: str
    header: str
    function: str
    shape_type: str
    accepts: Callable[[Graph, Node], bool]
    bind: Callable[[Graph, Node], Binding | tuple[Binding, ...]]
    cost: Cost
    generic: bool = False
    spoils: bool = False

    @property
    def name(self) -> str:
        """The variant's name in plans and explanations."""
        return f"{self.folder}.{self.function.removeprefix('strop_')}"

    def predict(self, graph: Graph, node: Node, target: Target) -> Prediction:
        """What the node takes on the target's core."""
        has_fpu = not target.core.features.isdisjoint({"fpu_sp", "host"})
        return predict(self.cost, self.name, self.cost.units(graph, node), target.core.costs, has_fpu=has_fpu)

    def calls(self, graph: Graph, node: Node, target: Target) -> tuple[KernelCall, ...]:
        """The kernel calls that run the node, in order."""
        made = self.bind(graph, node)
        parts = made if isinstance(made, tuple) else (made,)
        work = self.predict(graph, node, target)
        share = round(work.instructions / len(parts))
        cycles = None if work.cycles is None else round(work.cycles / len(parts))
        names = (self.name, self.header, self.function, self.shape_type)
        return tuple(KernelCall(node, *names, part.shape, part.operands, share, cycles, self.generic) for part in parts)


def c_type(type_: TensorType, node_name: str) -> str:
    """C element type of a tensor. Raises TargetError(305) for types that C programs do not hold."""
    if type_.dtype not in C_TYPES:
        raise TargetError(305, node_name, f"element type {type_.dtype} has no C kernels", "Use float32 or integer types")
    return C_TYPES[type_.dtype]


def fields(**values: Field) -> tuple[ShapeField, ...]:
    """Shape fields in the order given."""
    return tuple(ShapeField(name, value) for name, value in values.items())


def read(graph: Graph, value: Value) -> Operand:
    """A read-only operand: the tensor itself, or its data when it is constant."""
    ctype = c_type(value.type, value.name)
    data = graph.constant(value)
    if data is not None:
        flat = np.ascontiguousarray(data).reshape(-1)
        return Operand(ctype, constant=Constant(ctype, flat.view(np.uint8) if flat.dtype == np.bool_ else flat))
    return Operand(ctype, value=value)


def write(value: Value) -> Operand:
    """A writable operand: an output of the node."""
    return Operand(c_type(value.type, value.name), value=value, writable=True)


def as_untyped(operand: Operand) -> Operand:
    """The same operand as a pointer to void, for kernels that take any element type."""
    return replace(operand, ctype="void")


def packed(ctype: str, data: Array) -> Operand:
    """An operand of packed constants."""
    return Operand(ctype, constant=Constant(ctype, np.ascontiguousarray(data)))


def channel_stream(bias: Array, factors: Sequence[Multiplier]) -> Operand:
    """The `strop_channel` array of bias, mantissa and shift per output channel."""
    rows = [(int(b), m.mantissa, m.shift) for b, m in zip(bias.reshape(-1), factors, strict=True)]
    return packed("strop_channel", np.array(rows, np.int32).reshape(-1, 3))


def is_i8(*values: Value) -> bool:
    """True when every value is quantized int8."""
    return all(value.type.dtype is DType.I8 and value.type.quant is not None for value in values)


def is_i16(*values: Value) -> bool:
    """True when every value is quantized int16 with zero point 0."""
    return all(v.type.dtype is DType.I16 and v.type.quant is not None and not any(v.type.quant.zero_point) for v in values)


def factor_field(name: str, factor: Multiplier) -> ShapeField:
    """A member of type `strop_factor`."""
    return ShapeField(name, fields(mantissa=factor.mantissa, shift=factor.shift))


def wide_factor_field(name: str, factor: Multiplier) -> ShapeField:
    """A member of type `strop_wide_factor`."""
    mantissa, right = wide_factor(factor)
    return ShapeField(name, fields(mantissa=mantissa, right=right))


def factor_rows(factors: Sequence[Multiplier]) -> Operand:
    """The `strop_factor` array of mantissa and shift per output channel."""
    return packed("strop_factor", np.array([(m.mantissa, m.shift) for m in factors], np.int32).reshape(-1, 2))


def wide_factor(factor: Multiplier) -> tuple[int, int]:
    """The 16-bit mantissa and right shift of `strop_wide_factor`, as the 16x8 arithmetic rounds them."""
    mantissa = (factor.mantissa + (1 << 15)) >> 16 if factor.mantissa < 0x7FFF0000 else 0x7FFF
    return mantissa, 15 - factor.shift


def wide_factor_rows(factors: Sequence[Multiplier]) -> Operand:
    """The `strop_wide_factor` array, one per output channel."""
    return packed("strop_wide_factor", np.array([wide_factor(m) for m in factors], np.int32).reshape(-1, 2))


def merge_dimensions(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """Merge neighbouring dimensions that every operand steps through evenly. strides: per operand, in elements."""
    sizes: list[int] = []
    merged: list[list[int]] = [[] for _ in strides]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        steps = [operand[axis] for operand in strides]
        if sizes and all(m[-1] == step * size for m, step in zip(merged, steps, strict=True)):
            sizes[-1] *= size
            for operand, step in zip(merged, steps, strict=True):
                operand[-1] = step
        else:
            sizes.append(size)
            for operand, step in zip(merged, steps, strict=True):
                operand.append(step)
    return sizes, merged


def row_strides(shape: Sequence[int]) -> list[int]:
    """Elements from one index to the next along each dimension of a contiguous tensor."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def broadcast_strides(shape: Sequence[int], output: Sequence[int]) -> list[int]:
    """Elements that an operand advances per step of each output dimension; 0 where it broadcasts."""
    padded = [1] * (len(output) - len(shape)) + list(shape)
    strides = [0] * len(padded)
    step = 1
    for axis in reversed(range(len(padded))):
        strides[axis] = step if padded[axis] != 1 else 0
        step *= padded[axis]
    return strides


def loops_field(node_name: str, output: Sequence[int], inputs: Iterable[Sequence[int]], names: Sequence[str]) -> ShapeField:
    """The `loops` member of elementwise shapes: sizes and one stride list per operand, padded in front to MAX_LOOPS."""
    return merged_loops(node_name, output, [broadcast_strides(shape, output) for shape in inputs], names)


def merged_loops(
    node_name: str, shape: Sequence[int], strides: Sequence[Sequence[int]], names: Sequence[str], most: int = MAX_LOOPS
) -> ShapeField:
    """The `loops` member for operands that advance by the given elements per dimension of `shape`, padded in front to `most`."""
    sizes, merged = merge_dimensions(shape, strides)
    if len(sizes) > most:
        raise TargetError(305, node_name, f"the operation needs {len(sizes)} loops, {most} are built", "Reshape first")
    front = most - len(sizes)
    parts = [ShapeField("size", tuple([1] * front + sizes))]
    parts += [ShapeField(name, tuple([0] * front + steps)) for name, steps in zip(names, merged, strict=True)]
    return ShapeField("loops", tuple(parts))
