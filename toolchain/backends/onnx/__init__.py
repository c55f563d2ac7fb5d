"""Writes graphs as ONNX models: float graphs as they are, quantized ones with quantize and dequantize around every op."""
