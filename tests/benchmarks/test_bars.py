"""What the kept counts must reach. Another test holds the counts themselves to what the code does."""

from __future__ import annotations

import pytest

from benchmarks.suites.gate import counts_path, read_counts
from benchmarks.suites.results import Count

SPEED = {(count.model, count.target): count for count in read_counts(counts_path("speed"))}
SIZE = {count.model: count for count in read_counts(counts_path("size"))}
M4, M7, M33, M55 = "mps2_an386", "mps2_an500", "mps2_an505", "mps3_an547"
# Millions of instructions of one inference: M4 and M7, M33, M55.
INSTRUCTIONS = {
    "resnet8": (12.0, 12.6, 2.4),
    "vww": (5.5, 5.8, 2.0),
    "vww_all_channels": (8.5, 9.0, 2.8),
    "kws": (3.3, 3.5, 0.75),
    "ad": (0.29, 0.31, 0.060),
}
# Millions of modelled cycles on a Cortex-M4 at zero wait states.
M4_CYCLES = {"resnet8": 15.5, "vww": 7.5, "kws": 4.3, "ad": 0.40}
PER_MAC = {
    ("resnet8", "mps2_an385"): 2.6,
    ("resnet8", "rp2040_pico"): 4.5,
    ("resnet8", "rv32_virt"): 3.0,
    ("mobilenet_v2_30_80", M4): 1.3,
    ("mobilenet_v2_30_80", M7): 1.3,
}
SPEED_CODE_BYTES, SIZE_CODE_BYTES, SIZE_SLOWER = 24 * 1024, 8 * 1024, 1.6
AD_BYTE_WEIGHTS = 310_000
PREDICTION = 0.05


@pytest.mark.parametrize(("model", "most"), INSTRUCTIONS.items())
def test_instructions(model: str, most: tuple[float, float, float]) -> None:
    for target, limit in ((M4, most[0]), (M7, most[0]), (M33, most[1]), (M55, most[2])):
        assert SPEED[model, target].instructions <= limit * 1e6, target


@pytest.mark.parametrize(("model", "most"), M4_CYCLES.items())
def test_cycles(model: str, most: float) -> None:
    cycles = SPEED[model, M4].cycles
    assert cycles is not None
    assert cycles <= most * 1e6


@pytest.mark.parametrize(("place", "most"), PER_MAC.items())
def test_instructions_per_mac(place: tuple[str, str], most: float) -> None:
    count = SPEED[place]
    assert count.instructions <= most * count.macs


def test_a_dense_network_does_not_need_wide_weights() -> None:
    count = SIZE["ad"]
    assert count.weight_bytes < AD_BYTE_WEIGHTS
    assert count.instructions <= 360_000


@pytest.mark.parametrize("count", SPEED.values(), ids=lambda count: f"{count.model}-{count.target}")
def test_predictions(count: Count) -> None:
    assert abs(count.predicted / count.instructions - 1) <= PREDICTION


@pytest.mark.parametrize("model", SIZE)
def test_code(model: str) -> None:
    assert SPEED[model, M4].code_bytes <= SPEED_CODE_BYTES
    assert SIZE[model].code_bytes <= SIZE_CODE_BYTES
    assert SIZE[model].instructions <= SIZE_SLOWER * SPEED[model, M4].instructions
