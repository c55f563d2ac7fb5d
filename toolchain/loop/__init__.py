"""The retraining loop: from what devices report to a better model on them. Steps are functions with typed inputs and outputs."""
