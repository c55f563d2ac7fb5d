"""Writes graphs as TensorFlow SavedModels, for TF Serving and whatever else opens them: the TF.js graph, in TensorFlow's own form."""
