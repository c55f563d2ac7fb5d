"""Models that come quantized, as layers between dequantize and quantize, become integer graphs with their parameters kept."""
