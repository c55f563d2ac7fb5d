"""One module per family of ONNX operators; each importer takes the builder and a node and returns its results."""
