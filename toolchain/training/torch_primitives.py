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
        return exact.view_as(exact)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, grads[0]


class TorchPrimitives:
    """See `Primitives`. device: where constants are put."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")

    def constant(self, array: Array) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(array).reshape(np.shape(array)), device=self.device)

    def cast(self, x: torch.Tensor, kind: Kind) -> torch.Tensor:
        return x.to(KINDS[kind])

    def straight(self, exact: torch.Tensor, smooth: torch.Tensor) -> torch.Tensor:
        return _Straight.apply(exact, smooth)  # type: ignore[no-any-return, no-untyped-call, unused-ignore]

    def stop(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach()

    def clip(self, x: torch.Tensor, low: Bound, high: Bound) -> torch.Tensor:
        if not isinstance(low, torch.Tensor) and not isinstance(high, torch.Tensor):
            return torch.clamp(x, low, high)
        bounds = [torch.as_tensor(bound, dtype=x.dtype, device=x.device) for bound in (low, high)]
        return torch.clamp(x, bounds[0], bounds[1])

    def take(self, x: torch.Tensor, index: Array) -> torch.Tensor:
        return torch.index_select(x, 1, self.constant(index))

    def look_up(self, table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return torch.take(table, index)

    def reshape(self, x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        return x.reshape(tuple(shape))

    def transpose(self, x: torch.Tensor, perm: Sequence[int]) -> torch.Tensor:
        return x.permute(tuple(perm))

    def concat(self, parts: Sequence[torch.Tensor], axis: int) -> torch.Tensor:
        return torch.cat(list(parts), dim=axis)

    def matmul(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)

    def sum(self, x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
        return torch.sum(x, dim=tuple(axes), keepdim=True)

    def max(self, x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
        return torch.amax(x, dim=tuple(axes), keepdim=True)

    def maximum(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.maximum(a, b)

    def where(self, condition: torch.Tensor, a: Bound, b: Bound) -> torch.Tensor:
        return torch.where(condition, a, b)

    def function(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return FUNCTIONS[name](x)

    def shift_left(self, x: torch.Tensor, bits: Bound) -> torch.Tensor:
        return torch.bitwise_left_shift(x, bits)

    def shift_right(self, x: torch.Tensor, bits: Bound) -> torch.Tensor:
        return torch.bitwise_right_shift(x, bits)

    def float_bits(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(torch.int64)

    def on_host(
        self,
        function: Callable[..., Sequence[Array]],
        inputs: Sequence[torch.Tensor],
        shapes: Sequence[Sequence[int]],
        kind: Kind,
    ) -> list[torch.Tensor]:
        found = function(*(x.detach().cpu().numpy() for x in inputs))
        return [self.cast(self.constant(array), kind) for array in found]
