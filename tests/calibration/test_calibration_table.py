from __future__ import annotations

import json
import math

import pytest

from toolchain.errors import DataError
from toolchain.ir.calibration_table import CalibrationTable, ValueRange, table_from_json

ROW = ValueRange(-0.1, 1 / 3, -5.0, 7.25, (0.1, 1e-300), (7.25, 5.0))
TABLE = CalibrationTable("percentile:99.99", 100, {"b": ROW, "a": ValueRange(0.0, 0.0, 0.0, 0.0)})


def test_json_reads_back_to_the_same_table() -> None:
    again = table_from_json(TABLE.to_json(), "table")
    assert (again.method, again.samples, dict(again.ranges)) == (TABLE.method, TABLE.samples, dict(TABLE.ranges))


def test_json_does_not_depend_on_the_order_of_values() -> None:
    turned = CalibrationTable(TABLE.method, TABLE.samples, dict(reversed(list(TABLE.ranges.items()))))
    assert turned.to_json() == TABLE.to_json()


def test_json_keeps_every_bit_of_a_float() -> None:
    assert json.loads(TABLE.to_json())["ranges"]["b"]["high"] == 1 / 3


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 2}', '{"version": 2, "ranges": {"a": 3}}', "[" * 100_000])
def test_other_text_is_a_coded_error(text: str) -> None:
    with pytest.raises(DataError, match=r"E205 table: this is no calibration table \(\w+\)\. Calibrate again\."):
        table_from_json(text, "table")


def test_another_version_is_a_coded_error() -> None:
    with pytest.raises(DataError, match=r"E205 table: table version 9, 2 is read"):
        table_from_json(TABLE.to_json().replace('"version": 2', '"version": 9'), "table")


@pytest.mark.parametrize("change", [{"low": 2.0}, {"minimum": 8.0}, {"high": math.inf}, {"mean": [math.nan]}])
def test_impossible_ranges_are_coded_errors(change: dict[str, object]) -> None:
    whole = json.loads(TABLE.to_json())
    whole["ranges"]["b"].update(change)
    with pytest.raises(DataError, match=r"E205 table b: the range "):
        table_from_json(json.dumps(whole), "table")
