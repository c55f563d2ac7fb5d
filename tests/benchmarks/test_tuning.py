"""Tuning: fits of known costs, tables that are read back, and a core measured for real."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tuning.cases import MAKERS, tuning_cases
from benchmarks.tuning.fit import fit
from benchmarks.tuning.measure import Row, graph_of
from benchmarks.tuning.tune import check, table_text, tune
from targets.costs import CodeCost, UnitCost, load_costs, read_costs
from targets.load import load_target, target_names
from tests.support.engines import needs_arm_gcc, needs_qemu, needs_unicorn
from toolchain.errors import EnvironmentFault, StropError, TargetError, UsageError
from toolchain.ir.verifier import verify
from toolchain.lowering.variants import VARIANTS


def rows_of(step: float, call: float, count: int) -> list[Row]:
    """Rows of a made-up variant that takes `step` per step and `call` per call, twice as many cycles."""
    rng = np.random.default_rng(4)
    node = tuning_cases("add", 1, 1)[0].node
    rows = []
    for _ in range(count):
        steps = int(rng.integers(1, 2000))
        taken = step * steps + call
        rows.append(Row(node, "made.up", {"step": steps, "never": 0, "call": 1}, 0.0, round(taken), round(2 * taken)))
    return rows


def test_known_costs_are_found() -> None:
    found = fit(rows_of(11.0, 47.0, 40))
    assert set(found) == {"step", "call"}
    assert found["step"].instructions == pytest.approx(11.0, rel=1e-3)
    assert found["call"].instructions == pytest.approx(47.0, rel=0.05)
    assert found["step"].cycles == pytest.approx(22.0, rel=1e-3)


def test_a_table_is_read_back() -> None:
    costs = {
        "armv7em.x": {"step": UnitCost(11.0, 17.0), "call": UnitCost(40.5, 80.25)},
        "portable.y": {"mac": UnitCost(3.0, None)},
    }
    code = {"armv7em.x": CodeCost(900.0, 130.0)}
    table = read_costs(table_text("cortex-m4f", "a compiler, an emulator", costs, code).encode(), "x.toml")
    assert table.core == "cortex-m4f"
    assert table.tools == "a compiler, an emulator"
    assert table.variants == costs
    assert table.code == code


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[variants."a.b"]\nstep = [1, 2, 3]', r"variants\.a\.b\.step' has 3 numbers"),
        ('[variants."a.b"]\nstep = [-1]', r"step\[0\]' must be a number from 0 up, is -1"),
        ('[variants."a.b"]\nstep = ["1"]', "must be a number"),
        ('[variants."a.b"]\nstep = 1', "must be an array of numbers"),
        ("more = 1\n[variants]", "'more' is unknown"),
    ],
)
def test_bad_tables_are_refused(text: str, said: str) -> None:
    head = 'core = "cortex-m4f"\ndate = "2026-11-25"\ntools = "t"\n'
    with pytest.raises(TargetError, match=said) as refused:
        read_costs((head + text + "\n[code]\n").encode(), "x.toml")
    assert refused.value.number == 304


def test_kept_tables_name_variants_and_units_that_exist() -> None:
    known = {variant.name: variant.cost.prior for variant in VARIANTS}
    cores = {load_target(name).core.name for name in target_names()}
    tables = [load_costs(core) for core in cores if load_costs(core).variants]
    assert tables
    for table in tables:
        for variant, units in table.variants.items():
            assert set(units) <= set(known[variant]), f"{table.core} {variant}"


@pytest.mark.parametrize("op", MAKERS)
def test_cases_are_sound_and_repeat(op: str) -> None:
    cases = tuning_cases(op, 1, 5)
    assert [case.node for case in cases] == [case.node for case in tuning_cases(op, 1, 5)]
    for case in cases:
        verify(graph_of([case]))


@needs_qemu
@needs_unicorn
@needs_arm_gcc
def test_a_core_is_tuned_and_checked(tmp_path: Path) -> None:
    report = tune("mps2_an386", ops=["add"], output=tmp_path / "costs.toml")
    written = tomllib.loads((tmp_path / "costs.toml").read_text())
    assert written["core"] == "cortex-m4f"
    assert "gcc" in written["tools"]
    assert {"armv7em.add_dsp"} <= set(written["variants"])
    assert max(fit.largest_error for fit in report.fits if fit.variant == "armv7em.add_dsp") < 0.05
    assert report.as_json()["written"] == str(tmp_path / "costs.toml")
    checked = check("mps2_an386", ops=["add"])
    assert checked.written is None
    assert [fit.variant for fit in checked.fits] == ["armv7em.add_dsp"]


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"target": "mps2_an386", "ops": ["gelu2"]}, UsageError, "'gelu2' is not measured"),
        ({"target": "mps2_an386", "place": "host"}, UsageError, "'host' is no emulator"),
        ({"target": "host"}, EnvironmentFault, "not counted on this machine"),
        ({"target": "nowhere"}, TargetError, "no such target"),
    ],
)
def test_what_cannot_be_tuned(arguments: dict[str, object], kind: type[StropError], said: str) -> None:
    with pytest.raises(kind, match=said):
        tune(**arguments)  # type: ignore[arg-type]
