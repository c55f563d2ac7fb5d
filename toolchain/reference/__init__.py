"""The reference evaluator: what a graph means, on the host, in NumPy."""
