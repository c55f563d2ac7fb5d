"""Amounts as people write them: bytes with binary K and M, milliseconds with or without a unit; all else is refused."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from toolchain.cli.options import byte_count, milliseconds


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("65536", 65536),
        ("65,536 B", 65536),
        ("65_536", 65536),
        ("64k", 65536),
        ("64K", 65536),
        ("64KiB", 65536),
        ("64KB", 64000),
        ("1.5MiB", 1572864),
        ("2M", 2097152),
        ("1MB", 1000000),
    ],
)
def test_bytes(text: str, wanted: int) -> None:
    assert byte_count(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"), [("20", 20.0), ("1.5ms", 1.5), ("300us", 0.3), ("300 µs", 0.3), ("2s", 2000.0), ("1,000", 1000.0)]
)
def test_milliseconds(text: str, wanted: float) -> None:
    assert milliseconds(text) == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "1e3", "0x10", "k", "5 apples", "9" * 400, "1.2.3", "٣"])
def test_what_is_no_amount(text: str) -> None:
    for read in (byte_count, milliseconds):
        with pytest.raises(ArgumentTypeError):
            read(text)
