"""Representative data, observers, range algorithms and accuracy metrics."""
