"""`strop agent`: runs a bundle on a Linux board and reports what happened. Python 3.9, NumPy and an engine are all it needs."""
