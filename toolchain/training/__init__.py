"""Quantization-aware fine-tuning: a float model whose forward is Strop's integer arithmetic, byte for byte, in torch and Keras."""
