"""What a framework has to bring: some twenty operations on its own tensors. All the rest is written once, on these.

Besides them tensors take +, −, *, / and comparisons, with Python numbers or with tensors of the same element type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from toolchain.ir.types import Array

Tensor = Any
"""A tensor of the framework."""

Kind = Literal["f32", "f64", "i64"]
Bound = Any
"""A number or a tensor that broadcasts."""


class Primitives(Protocol):
    """Operations that carry gradients where floats go in and come out. Axis 0 of activations counts samples."""

    def constant(self, array: Array) -> Tensor:
        """A tensor of the array's element type, without gradient."""
        ...

    def cast(self, x: Tensor, kind: Kind) -> Tensor:
        """The tensor in another element type; fractions are cut off."""
        ...

    def straight(self, exact: Tensor, smooth: Tensor) -> Tensor:
        """`exact`, with the gradient that `smooth` has (straight-through estimator)."""
        ...

    def stop(self, x: Tensor) -> Tensor:
        """The tensor without gradient."""
        ...

    def clip(self, x: Tensor, low: Bound, high: Bound) -> Tensor:
        """The tensor within bounds; no gradient goes to what lies beyond them, all of it to what is on them."""
        ...

    def take(self, x: Tensor, index: Array) -> Tensor:
        """Elements of axis 1 at constant indices: (N, R, B) and (M,) give (N, M, B)."""
        ...

    def look_up(self, table: Tensor, index: Tensor) -> Tensor:
        """table[index] of a one-dimensional table, without gradient."""
        ...

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The elements in another shape; one size may be −1."""
        ...

    def transpose(self, x: Tensor, perm: Sequence[int]) -> Tensor:
        """Dimension i of the result is dimension perm[i]."""
        ...

    def concat(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Tensors of one element type behind each other."""
        ...

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """Products of the last two dimensions, those before broadcast; exact where all partial sums are."""
        ...

    def sum(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """The sum along axes, which stay as 1."""
        ...

    def max(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """The largest along axes, which stay as 1."""
        ...

    def maximum(self, a: Tensor, b: Tensor) -> Tensor:
        """The larger of two tensors."""
        ...

    def where(self, condition: Tensor, a: Bound, b: Bound) -> Tensor:
        """a where the condition holds, else b; one of them is a tensor."""
        ...

    def function(self, name: Literal["exp", "log", "sqrt", "tanh", "floor"], x: Tensor) -> Tensor:
        """A function of floats, element by element."""
        ...

    def shift_left(self, x: Bound, bits: Bound) -> Tensor:
        """x * 2**bits of int64; one of them is a tensor."""
        ...

    def shift_right(self, x: Tensor, bits: Bound) -> Tensor:
        """x / 2**bits of int64, rounded down."""
        ...

    def float_bits(self, x: Tensor) -> Tensor:
        """The bits of float64 numbers as int64."""
        ...

    def unless_zero(self, small: Tensor, made: Callable[[], Tensor], x: Tensor) -> Tensor:
        """`x` where every element of a small tensor is 0, else what is then made, of the same shape and type."""
        ...

    def on_host(
        self, function: Callable[..., Sequence[Array]], inputs: Sequence[Tensor], shapes: Sequence[Sequence[int]], kind: Kind
    ) -> list[Tensor]:
        """NumPy arrays to NumPy arrays of one element type, without gradient. shapes: of the results, −1 for unknown sizes."""
        ...
