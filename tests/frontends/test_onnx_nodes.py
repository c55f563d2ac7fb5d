"""ONNX's node tests through the importer, the evaluator and the passes."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.onnx_node_cases import NodeCase, differences, import_case, node_cases
from toolchain.errors import ModelError
from toolchain.passes.canonical import canonicalize
from toolchain.reference.evaluator import run

REFUSED = frozenset({104, 105})


@pytest.fixture(scope="module")
def cases() -> tuple[NodeCase, ...]:
    return node_cases()


def test_the_part_is_as_large_as_expected(cases: tuple[NodeCase, ...]) -> None:
    assert len(cases) > 1000


@pytest.mark.parametrize("passes", [False, True])
def test_right_or_refused(cases: tuple[NodeCase, ...], passes: bool) -> None:
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    for case in cases:
        try:
            imported = import_case(case)
        except ModelError as fault:
            assert fault.number in REFUSED, f"{case.name}: {fault}"
            assert fault.place and fault.hint
            tally["refused"] += 1
            continue
        graph = canonicalize(imported.graph) if passes else imported.graph
        names = [value.name for value in case.model.graph.output]
        assert [value.name for value in graph.outputs] == names, case.name
        wrong.extend(f"{case.name}: {each}" for each in differences(case, run(graph, imported.inputs)))
        tally["right"] += 1
    assert not wrong
    assert tally["right"] >= 960
