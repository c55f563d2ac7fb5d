"""Derived integer parameters of quantized ops: what the evaluator computes with and what the C backend prints."""

from toolchain.ir.quantization.core import (
    ADD_LEFT_SHIFT,
    SOFTMAX_INTEGER_BITS,
    AddParameters,
    SoftmaxParameters,
    activation_bounds,
    add_parameters,
    conv_multipliers,
    dequantize_array,
    fixed_output_quant,
    matmul_multiplier,
    quant_of,
    quantize_array,
    softmax_parameters,
    stored_value,
)

__all__ = [
    "ADD_LEFT_SHIFT",
    "SOFTMAX_INTEGER_BITS",
    "AddParameters",
    "SoftmaxParameters",
    "activation_bounds",
    "add_parameters",
    "conv_multipliers",
    "dequantize_array",
    "fixed_output_quant",
    "matmul_multiplier",
    "quant_of",
    "quantize_array",
    "softmax_parameters",
    "stored_value",
]
