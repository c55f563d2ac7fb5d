"""Quantization benchmark: how near int8 comes to the float model, beside other converters on the same split."""
