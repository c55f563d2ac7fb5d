"""Real functions of one variable: the meaning of the unary ops, and what the tables of quantized ops are made from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from toolchain.ir.attrs import AlphaAttrs, Attrs, GeluAttrs, HardSigmoidAttrs
from toolchain.ir.types import Array

Function = Callable[[Any, Array], Array]
"""(attributes, float64 array) to float64 array."""

_erf_of_objects = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    """The error function of a float64 array."""
    return np.asarray(_erf_of_objects(x), np.float64)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(−x)) without overflow."""
    power = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, power) / (1.0 + power)


def _leaky_relu(attrs: AlphaAttrs, x: Array) -> Array:
    return np.where(x >= 0, x, x * np.float64(np.float32(attrs.alpha)))


def _elu(attrs: AlphaAttrs, x: Array) -> Array:
    return np.where(x >= 0, x, attrs.alpha * np.expm1(np.minimum(x, 0.0)))


def _gelu(attrs: GeluAttrs, x: Array) -> Array:
    if attrs.tanh:
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))


def _hard_swish(attrs: Attrs, x: Array) -> Array:
    return x * np.clip(x + 3.0, 0.0, 6.0) / 6.0


def _hard_sigmoid(attrs: HardSigmoidAttrs, x: Array) -> Array:
    return np.clip(attrs.alpha * x + attrs.beta, 0.0, 1.0)


def _softplus(attrs: Attrs, x: Array) -> Array:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


UNARY: dict[str, Function] = {
    "relu": lambda attrs, x: np.maximum(x, 0.0),
    "relu6": lambda attrs, x: np.clip(x, 0.0, 6.0),
    "relu_n1_1": lambda attrs, x: np.clip(x, -1.0, 1.0),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "hard_swish": _hard_swish,
    "hard_sigmoid": _hard_sigmoid,
    "swish": lambda attrs, x: x * sigmoid(x),
    "tanh": lambda attrs, x: np.tanh(x),
    "sigmoid": lambda attrs, x: sigmoid(x),
    "softplus": _softplus,
    "softsign": lambda attrs, x: x / (1.0 + np.abs(x)),
    "exp": lambda attrs, x: np.exp(x),
    "log": lambda attrs, x: np.log(x),
    "sqrt": lambda attrs, x: np.sqrt(x),
    "rsqrt": lambda attrs, x: 1.0 / np.sqrt(x),
    "reciprocal": lambda attrs, x: 1.0 / x,
    "abs": lambda attrs, x: np.abs(x),
    "neg": lambda attrs, x: -x,
    "square": lambda attrs, x: x * x,
    "floor": lambda attrs, x: np.floor(x),
    "ceil": lambda attrs, x: np.ceil(x),
    "round": lambda attrs, x: np.rint(x),
    "sign": lambda attrs, x: np.sign(x),
    "erf": lambda attrs, x: erf(x),
    "sin": lambda attrs, x: np.sin(x),
    "cos": lambda attrs, x: np.cos(x),
    "tan": lambda attrs, x: np.tan(x),
    "asin": lambda attrs, x: np.arcsin(x),
    "acos": lambda attrs, x: np.arccos(x),
    "atan": lambda attrs, x: np.arctan(x),
    "sinh": lambda attrs, x: np.sinh(x),
    "cosh": lambda attrs, x: np.cosh(x),
    "asinh": lambda attrs, x: np.arcsinh(x),
    "acosh": lambda attrs, x: np.arccosh(x),
    "atanh": lambda attrs, x: np.arctanh(x),
}
"""By op name. `round` takes halves to even; `erf`, trigonometric and hyperbolic functions follow libm."""

DOMAIN: dict[str, tuple[float, float]] = {
    "log": (0.0, math.inf),
    "sqrt": (0.0, math.inf),
    "rsqrt": (0.0, math.inf),
    "asin": (-1.0, 1.0),
    "acos": (-1.0, 1.0),
    "acosh": (1.0, math.inf),
    "atanh": (-1.0, 1.0),
}
"""Where functions are defined, if not everywhere; quantized arguments outside are taken to the edge."""
