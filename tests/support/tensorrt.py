"""Test support: whether TensorRT-RTX is installed, and small graphs for it."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from toolchain.ir.attrs import Activation, ActivationAttrs, ConvAttrs, ReshapeAttrs, SoftmaxAttrs
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import f32

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed; `make venv` installs it"
)
SMS = {"rtx_2080": 75, "a100": 80, "a10_rtx3090": 86, "rtx_4090": 89, "rtx_5090": 120, "dgx_spark": 121}
"""Targets whose engines TensorRT-RTX builds without the GPU."""


def small_float_graph() -> Graph:
    """x → padded conv with relu → residual sum → fully connected → softmax."""
    rng = np.random.default_rng(3)
    shapes = {"w": (4, 3, 3, 4), "b": (4,), "v": (5, 120), "c": (5,)}
    constants = {name: (0.3 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    x, w, b, v, c = Value("x", f32(1, 5, 6, 4)), *(Value(name, f32(*shape)) for name, shape in shapes.items())
    conv = make_node("conv_2d", (x, w, b), ("conv",), ConvAttrs(padding=(1, 1, 1, 1), activation=Activation.RELU))
    total = make_node("add", (conv.output, x), ("total",), ActivationAttrs(Activation.RELU))
    flat = make_node("reshape", (total.output,), ("flat",), ReshapeAttrs((1, 120)))
    logits = make_node("fully_connected", (flat.output, v, c), ("logits",), ActivationAttrs())
    probabilities = make_node("softmax", (logits.output,), ("probabilities",), SoftmaxAttrs())
    return Graph("small", (x,), (probabilities.output,), (conv, total, flat, logits, probabilities), constants)
