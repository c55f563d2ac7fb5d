"""The primitives of training on torch tensors, of any device with float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from toolchain.ir.types import Array
from toolchain.training.primitives import Bound, Kind

KINDS: dict[Kind, torch.dtype] = {"f32": torch.float32, "f64": torch.float64, "i64": torch.int64}
FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
    "floor": torch.floor,
}


class _Straight(torch.autograd.Function):
    """The first operand with the gradient of the second."""

    @staticmethod
    def forward(ctx: Any, exact: torch.Tensor, smooth: torch.Tensor) -> torch.Tensor:
        """The first operand."""
        return exact.view_as(exact)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """All of the gradient to the second operand."""
        return None, grads[0]


class TorchPrimitives:
    """See `Primitives`. device: where constants are put."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")

    def constant(self, array: Array) -> torch.Tensor:
        """A tensor of the array's element type, without gradient."""
        return torch.as_tensor(np.ascontiguousarray(array).reshape(np.shape(array)), device=self.device)

    def cast(self, x: torch.Tensor, kind: Kind) -> torch.Tensor:
        """The tensor in another element type; fractions are cut off."""
        return x.to(KINDS[kind])

    def straight(self, exact: torch.Tensor, smooth: torch.Tensor) -> torch.Tensor:
        """`exact`, with the gradient that `smooth` has (straight-through estimator)."""
        return _Straight.apply(exact, smooth)  # type: ignore[no-any-return, no-untyped-call, unused-ignore]

    def stop(self, x: torch.Tensor) -> torch.Tensor:
        """The tensor without gradient."""
        return x.detach()

    def clip(self, x: torch.Tensor, low: Bound, high: Bound) -> torch.Tensor:
        """The tensor within bounds; no gradient goes to what lies beyond them, all of it to what is on them."""
        if not isinstance(low, torch.Tensor) and not isinstance(high, torch.Tensor):
            return torch.clamp(x, low, high)
        bounds = [torch.as_tensor(bound, dtype=x.dtype, device=x.device) for bound in (low, high)]
        return torch.clamp(x, bounds[0], bounds[1])

    def take(self, x: torch.Tensor, index: Array) -> torch.Tensor:
        """Elements of axis 1 at constant indices: (N, R, B) and (M,) give (N, M, B)."""
        return torch.index_select(x, 1, self.constant(index))

    def look_up(self, table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """table[index] of a one-dimensional table, without gradient."""
        return torch.take(table, index)

    def reshape(self, x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """The elements in another shape; one size may be −1."""
        return x.reshape(tuple(shape))

    def transpose(self, x: torch.Tensor, perm: Sequence[int]) -> torch.Tensor:
        """Dimension i of the result is dimension perm[i]."""
        return x.permute(tuple(perm))

    def concat(self, parts: Sequence[torch.Tensor], axis: int) -> torch.Tensor:
        """Tensors of one element type behind each other."""
        return torch.cat(list(parts), dim=axis)

    def matmul(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Products of the last two dimensions, those before broadcast; exact where all partial sums are."""
        return torch.matmul(a, b)

    def sum(self, x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
        """The sum along axes, which stay as 1."""
        return torch.sum(x, dim=tuple(axes), keepdim=True)

    def max(self, x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
        """The largest along axes, which stay as 1."""
        return torch.amax(x, dim=tuple(axes), keepdim=True)

    def maximum(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The larger of two tensors."""
        return torch.maximum(a, b)

    def where(self, condition: torch.Tensor, a: Bound, b: Bound) -> torch.Tensor:
        """a where the condition holds, else b; one of them is a tensor."""
        return torch.where(condition, a, b)

    def function(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """A function of floats, element by element."""
        return FUNCTIONS[name](x)

    def shift_left(self, x: torch.Tensor, bits: Bound) -> torch.Tensor:
        """x * 2**bits of int64; one of them is a tensor."""
        return torch.bitwise_left_shift(x, bits)

    def shift_right(self, x: torch.Tensor, bits: Bound) -> torch.Tensor:
        """x / 2**bits of int64, rounded down."""
        return torch.bitwise_right_shift(x, bits)

    def float_bits(self, x: torch.Tensor) -> torch.Tensor:
        """The bits of float64 numbers as int64."""
        return x.view(torch.int64)

    def unless_zero(self, small: torch.Tensor, made: Callable[[], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """`x` where every element of a small tensor is 0, else what is then made, of the same shape and type."""
        return made() if bool(small.any()) else x

    def on_host(
        self,
        function: Callable[..., Sequence[Array]],
        inputs: Sequence[torch.Tensor],
        shapes: Sequence[Sequence[int]],
        kind: Kind,
    ) -> list[torch.Tensor]:
        """NumPy arrays to NumPy arrays of one element type, without gradient. shapes: of the results, −1 for unknown sizes."""
        found = function(*(x.detach().cpu().numpy() for x in inputs))
        return [self.cast(self.constant(array), kind) for array in found]
