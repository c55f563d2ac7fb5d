"""Test support: what calibration is given, by the reference evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calibration.calibrate import Executor
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.reference.evaluator import evaluate


def executor(graph: Graph) -> Executor:
    """What runs a float graph and gives every value that nodes make."""
    names = [output.name for node in graph.nodes for output in node.outputs]

    def execute(sample: Sequence[Array]) -> Mapping[str, Array]:
        return evaluate(graph, sample, names)

    return execute
