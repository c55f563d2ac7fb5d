"""What an entry of the op table says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.ir.attrs import Attrs
from toolchain.ir.graph import Node
from toolchain.ir.types import Array, DType, TensorType

Infer = Callable[[Any, Sequence[TensorType]], tuple[TensorType, ...]]
Meaning = Callable[[Node, Sequence[Array]], tuple[Array, ...]]


class ShapeError(ValueError):
    """Operand types that an op does not take; the verifier turns it into a coded error that names the node."""


@dataclass(frozen=True, slots=True)
class Op:
    """One operation, declared once.

    infer: attributes and input types to output types; raises ShapeError. The quant of the result is the op's own
    when the specification fixes it, else None (the node's outputs carry it).
    real: NumPy meaning on unquantized tensors. integer: NumPy meaning on quantized tensors, TFLite's specification
    as TFLM computes it, bit for bit; None where there is no such meaning.
    same_quant: quantized outputs must have the parameters of the first input.
    integer_types: element types of the first quantized operand that `integer` takes.
    macs: multiply-accumulate operations of one run.
    """

    name: str
    attrs: type[Attrs]
    inputs: tuple[int, int]
    infer: Infer
    real: Meaning
    integer: Meaning | None = None
    same_quant: bool = False
    macs: Callable[[Node], int] = lambda node: 0
    integer_types: tuple[DType, ...] = (DType.I8, DType.I16)

    def has_integer(self, dtype: DType) -> bool:
        """True where the op has an integer meaning for quantized operands of the element type."""
        return self.integer is not None and dtype in self.integer_types
