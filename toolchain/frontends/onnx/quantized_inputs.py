"""Which raw integer tensors of a file carry quantization."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from toolchain.ir.graph import Value
from toolchain.ir.types import Quant


def input_quantization(proto: onnx.GraphProto, scope: Mapping[str, Value | None]) -> dict[str, Quant]:
    """placeholder"""
    return {}
