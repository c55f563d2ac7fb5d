"""Writes graphs as TensorFlow SavedModels, for TF Serving and others: the TF.js graph in TensorFlow's own form."""
