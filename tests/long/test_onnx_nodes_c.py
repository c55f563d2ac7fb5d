"""ONNX's node tests as C programs on this machine, and the page that lists how each ends."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from docs import proofs
from tests.support.batch import Failure
from tests.support.node_table import RIGHT, Ending, endings, judge
from tests.support.onnx_node_cases import NodeCase, node_cases
from toolchain.errors import CODES

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"
LEAST = 600
SAMPLE = 67


def listed() -> dict[str, str]:
    """What the page says of each test: `right`, or the error's code."""
    right, _, coded = PAGE.read_text().partition("## Coded error")
    found = dict.fromkeys(re.findall(r"`(test_\w+)`", right.partition("## Right")[2]), RIGHT)
    return found | dict(re.findall(r"^\| `(test_\w+)` \| (E\d+) ", coded, re.MULTILINE))


@pytest.fixture(scope="module")
def cases() -> tuple[NodeCase, ...]:
    return node_cases()


def test_the_page_lists_every_test_once(cases: tuple[NodeCase, ...]) -> None:
    assert sorted(listed()) == sorted(case.name for case in cases)
    assert len(re.findall(r"`test_\w+`", PAGE.read_text().partition("## Right")[2])) == len(cases)
    assert list(listed().values()).count(RIGHT) >= LEAST


def test_a_sample_ends_as_the_page_says(cases: tuple[NodeCase, ...]) -> None:
    sample = endings(cases[::SAMPLE])
    assert len(sample) >= 15
    assert {each.name: each.ending for each in sample} == {each.name: listed()[each.name] for each in sample}


def test_wrong_outputs_and_crashes_are_told_from_right_ones(cases: tuple[NodeCase, ...]) -> None:
    case = next(case for case in cases if case.name == "test_add")
    assert judge(case, case.expected) == Ending("test_add", "Add", RIGHT)
    assert judge(case, (case.expected[0] * np.float32(1.0005),)).text == ""
    assert judge(case, (case.expected[0] + np.float32(0.1),)) == Ending("test_add", "Add", "wrong", "output 0 differs")
    assert judge(case, (case.expected[0][0],)).ending == "wrong"
    assert judge(case, ()).ending == "wrong"
    assert not judge(case, Failure("crash", "exit status -11")).is_coded


@pytest.mark.long
def test_every_test_is_right_or_ends_in_a_coded_error() -> None:
    found = endings()
    assert [each for each in found if each.ending != RIGHT and not each.is_coded] == []
    assert {int(each.ending[1:]) for each in found if each.is_coded} <= set(CODES)
    assert sum(each.ending == RIGHT for each in found) >= LEAST
    assert proofs.onnx(found) == PAGE.read_text(), "run python docs/proofs.py onnx"
