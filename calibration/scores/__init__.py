"""Metrics by labels: how good a network is in the user's own measure, in float and quantized."""
