"""Graph to `.tflite`: nodes to operators (`operators`), operators and tensors to bytes (`packer`), all of it (`writer`)."""
