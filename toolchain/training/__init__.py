"""Quantization-aware fine-tuning: float models whose forward is Strop's integer arithmetic, byte for byte, in torch and Keras."""
