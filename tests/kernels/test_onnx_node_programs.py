"""ONNX's own node tests as portable C: every case that the importer takes, many to a program, against what ONNX expects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from targets.load import load_target
from tests.support.float_cases import FLAGS
from tests.support.kernel_cases import build, run_program
from tests.support.onnx_node_cases import ImportedCase, NodeCase, differences, import_case, node_cases
from toolchain.errors import ModelError, TargetError
from toolchain.ir.graph import Graph, Value
from toolchain.lowering.lower import lower, with_own_outputs

CHUNKS = 18
LEAST = 950


def programs() -> list[tuple[NodeCase, ImportedCase]]:
    """Cases that have a program."""
    found: list[tuple[NodeCase, ImportedCase]] = []
    for case in node_cases():
        try:
            imported = import_case(case)
            lower(imported.graph, load_target("host"))
        except (ModelError, TargetError):
            continue
        found.append((case, imported))
    return found


@pytest.fixture(scope="module")
def cases() -> list[tuple[NodeCase, ImportedCase]]:
    return programs()


def renamed(graph: Graph, prefix: str) -> Graph:
    """The graph with a prefix on every name."""
    changed = graph.map_values(lambda value: Value(prefix + value.name, value.type))
    data = {name if name.startswith(prefix) else prefix + name: array for name, array in changed.constants.items()}
    return Graph(graph.name, changed.inputs, changed.outputs, changed.nodes, data)


def joined(graphs: Sequence[Graph]) -> Graph:
    """One graph of several that share nothing."""
    inputs = tuple(value for graph in graphs for value in graph.inputs)
    outputs = tuple(value for graph in graphs for value in graph.outputs)
    nodes = tuple(node for graph in graphs for node in graph.nodes)
    return Graph("all", inputs, outputs, nodes, {name: array for graph in graphs for name, array in graph.constants.items()})


@pytest.mark.long
def test_most_cases_have_a_program(cases: list[tuple[NodeCase, ImportedCase]]) -> None:
    assert len(cases) >= LEAST


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_expected_outputs(chunk: int, cases: list[tuple[NodeCase, ImportedCase]], tmp_path: Path) -> None:
    part = cases[chunk::CHUNKS]
    graphs = [with_own_outputs(renamed(imported.graph, f"g{i}_")) for i, (_, imported) in enumerate(part)]
    whole = joined(graphs)
    data = b"".join(np.ascontiguousarray(array).tobytes() for _, imported in part for array in imported.inputs)
    (found,) = run_program(build(whole, tmp_path, FLAGS), whole, [data])
    for (case, _), graph in zip(part, graphs, strict=True):
        outputs = tuple(found[value.name] for value in graph.outputs)
        assert not list(differences(case, outputs)), case.name
