"""TensorRT: an ONNX model that it takes, engines built here by TensorRT-RTX, or a script that builds one where the GPU is."""
