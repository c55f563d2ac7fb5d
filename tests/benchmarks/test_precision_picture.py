"""The picture and the table of what `--precision auto` had to choose from."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from benchmarks.report.precisions import precision_picture, precision_rows, precisions_section, unbeaten
from toolchain.bundle.manifest import PrecisionFigures

FOUND = (
    PrecisionFigures(0, 2e-3, 1000, 500, 64, 10.0, True),
    PrecisionFigures(1, 1e-3, 1010, 500, 80, 12.0, True, True),
    PrecisionFigures(2, 1.5e-3, 1020, None, 90, 14.0, True),
    PrecisionFigures(5, 2e-4, 1100, 500, 128, 20.0, False),
    PrecisionFigures(9, 1e-4),
)


def test_only_what_no_other_beats_is_joined() -> None:
    assert [each.wide for each in unbeaten(FOUND[:4])] == [0, 1, 5]


def test_dots_lie_where_time_and_loss_put_them() -> None:
    root = ElementTree.fromstring(precision_picture(FOUND))
    dots = {each.get("class"): (float(each.get("cx", "")), float(each.get("cy", ""))) for each in root.iter("circle")}
    assert len(list(root.iter("circle"))) == 4
    assert dots["chosen"][0] < dots["dear"][0]
    assert dots["chosen"][1] < dots["dear"][1]
    (line,) = root.iter("polyline")
    assert len(line.get("points", "").split()) == 3
    notes = [each.text or "" for each in root.iter("title")]
    assert notes[0] == "0 nodes in int16: loss 0.002, 10 ms, 1,500 B of flash"


@pytest.mark.parametrize(("low", "high"), [(1e-5, 1e-1), (1.9e-4, 1.6e-4), (1e-4, 1e-4)])
def test_there_always_is_a_number_on_both_axes(low: float, high: float) -> None:
    found = [PrecisionFigures(0, low, 1, 1, 1, 3.0, True), PrecisionFigures(1, high, 1, 1, 1, 3.5, True)]
    marks = re.findall(r'<text class="(end|middle)"[^>]*>([0-9.e-]+)</text>', precision_picture(found))
    assert {kind for kind, _ in marks} == {"end", "middle"}


def test_the_table_says_what_costs_too_much() -> None:
    rows = precision_rows(FOUND)
    assert rows[1] == ("1", "0.001", "80", "1,510", "12", "chosen")
    assert rows[2][3] == "1,020"
    assert rows[4] == ("9", "0.0001", "", "", "", "takes too much")


def test_nothing_is_shown_where_nothing_was_tried() -> None:
    assert precisions_section(()) == ""
    assert precision_picture(FOUND[:1]) == ""
    assert "Precision of nodes" in precisions_section(FOUND)
