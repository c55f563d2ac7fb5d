"""What simulated devices see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from toolchain.loop.settings import Change, load_loop
from toolchain.loop.simulation import shown

LOOP = Path(__file__).parents[2] / "examples" / "loop" / "loop.toml"


def test_new_classes_are_seen_where_and_when_they_appear(tmp_path: Path) -> None:
    text = LOOP.read_text().replace("rotation = 40\n", "classes = [7, 9]\n").replace("../digits", str(LOOP.parents[1] / "digits"))
    (tmp_path / "loop.toml").write_text(text)
    simulation = load_loop(tmp_path / "loop.toml").simulation
    assert simulation is not None and simulation.changes[1].classes == (7, 9)
    y = np.arange(40) % 10
    before, after = (set(y[shown(y, simulation, "yard", turn)].tolist()) for turn in (4, 5))
    assert before == set(range(10)) - {7, 9} and after == set(range(10))
    assert set(y[shown(y, simulation, "street", 4)].tolist()) == set(range(10))
    both = replace(simulation, changes=(*simulation.changes, Change("yard", classes=(0,))))
    assert 0 not in y[shown(y, both, "yard", 1)]
