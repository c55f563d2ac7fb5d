"""The primitives of training on TensorFlow's tensors, in eager mode and in graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf  # type: ignore[import-untyped, unused-ignore]

from toolchain.ir.types import Array
from toolchain.training.primitives import Bound, Kind, Tensor

KINDS: dict[Kind, Any] = {"f32": tf.float32, "f64": tf.float64, "i64": tf.int64}
FUNCTIONS: dict[str, Any] = {"exp": tf.exp, "log": tf.math.log, "sqrt": tf.sqrt, "tanh": tf.tanh, "floor": tf.floor}


def _straight_gradient(exact: Tensor, smooth: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[None, Tensor]]]:
    return tf.identity(exact), lambda upstream: (None, upstream)


_straight: Any = tf.custom_gradient(_straight_gradient)


class KerasPrimitives:
    """See `Primitives`."""

    def constant(self, array: Array) -> Tensor:
        """A tensor of the array's element type, without gradient."""
        return tf.constant(array)

    def cast(self, x: Tensor, kind: Kind) -> Tensor:
        """The tensor in another element type; fractions are cut off."""
        return tf.cast(x, KINDS[kind])

    def straight(self, exact: Tensor, smooth: Tensor) -> Tensor:
        """`exact`, with the gradient that `smooth` has (straight-through estimator)."""
        return _straight(exact, smooth)

    def stop(self, x: Tensor) -> Tensor:
        """The tensor without gradient."""
        return tf.stop_gradient(x)

    def clip(self, x: Tensor, low: Bound, high: Bound) -> Tensor:
        """The tensor within bounds; no gradient goes to what lies beyond them, all of it to what is on them."""
        return tf.clip_by_value(x, tf.cast(low, x.dtype), tf.cast(high, x.dtype))

    def take(self, x: Tensor, index: Array) -> Tensor:
        """Elements of axis 1 at constant indices: (N, R, B) and (M,) give (N, M, B)."""
        return tf.gather(x, index, axis=1)

    def look_up(self, table: Tensor, index: Tensor) -> Tensor:
        """table[index] of a one-dimensional table, without gradient."""
        return tf.stop_gradient(tf.gather(table, index))

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The elements in another shape; one size may be −1."""
        return tf.reshape(x, tuple(shape))

    def transpose(self, x: Tensor, perm: Sequence[int]) -> Tensor:
        """Dimension i of the result is dimension perm[i]."""
        return tf.transpose(x, tuple(perm))

    def concat(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Tensors of one element type behind each other."""
        return tf.concat(list(parts), axis=axis)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """Products of the last two dimensions, those before broadcast; exact where all partial sums are."""
        if len(b.shape) == 2 and len(a.shape) != 2:
            return tf.tensordot(a, b, 1)
        return tf.matmul(a, b)

    def sum(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """The sum along axes, which stay as 1."""
        return tf.reduce_sum(x, axis=tuple(axes), keepdims=True)

    def max(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """The largest along axes, which stay as 1."""
        return tf.reduce_max(x, axis=tuple(axes), keepdims=True)

    def maximum(self, a: Tensor, b: Tensor) -> Tensor:
        """The larger of two tensors."""
        return tf.maximum(a, b)

    def where(self, condition: Tensor, a: Bound, b: Bound) -> Tensor:
        """a where the condition holds, else b; one of them is a tensor."""
        given = a if tf.is_tensor(a) else b
        return tf.where(condition, tf.cast(a, given.dtype), tf.cast(b, given.dtype))

    def function(self, name: str, x: Tensor) -> Tensor:
        """A function of floats, element by element."""
        return FUNCTIONS[name](x)

    def shift_left(self, x: Tensor, bits: Bound) -> Tensor:
        """x * 2**bits of int64; one of them is a tensor."""
        return tf.bitwise.left_shift(x, tf.cast(bits, tf.int64))

    def shift_right(self, x: Tensor, bits: Bound) -> Tensor:
        """x / 2**bits of int64, rounded down."""
        return tf.bitwise.right_shift(x, tf.cast(bits, tf.int64))

    def float_bits(self, x: Tensor) -> Tensor:
        """The bits of float64 numbers as int64."""
        return tf.bitcast(x, tf.int64)

    def unless_zero(self, small: Tensor, made: Callable[[], Tensor], x: Tensor) -> Tensor:
        """`x` where every element of a small tensor is 0, else what is then made, of the same shape and type."""
        return tf.cond(tf.reduce_any(small != 0), made, lambda: x)

    def on_host(
        self,
        function: Callable[..., Sequence[Array]],
        inputs: Sequence[Tensor],
        shapes: Sequence[Sequence[int]],
        kind: Kind,
    ) -> list[Tensor]:
        """NumPy arrays to NumPy arrays of one element type, without gradient. shapes: of the results, −1 for unknown sizes."""
        numpy_type = KINDS[kind].as_numpy_dtype

        def run(*arrays: Array) -> list[Array]:
            return [np.asarray(array).astype(numpy_type) for array in function(*arrays)]

        made = tf.numpy_function(run, list(inputs), [KINDS[kind]] * len(shapes))
        # Eagerly, a list of one comes back as that one.
        found = made if isinstance(made, (list, tuple)) else [made]
        return [
            tf.stop_gradient(tf.ensure_shape(x, [None if size < 0 else size for size in shape]))
            for x, shape in zip(found, shapes, strict=True)
        ]
