"""The `.tflite` front end: file to records (`reader`), records to tensors (`tensors`), operators to nodes (`operators_*`)."""
