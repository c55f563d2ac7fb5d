"""Writes graphs as TF.js graph models: `model.json` and shards of weights. Quantized graphs become float arithmetic there."""
