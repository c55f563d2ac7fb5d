"""Finds out layer by layer what quantization costs, and what would mend it."""
