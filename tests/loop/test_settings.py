"""A loop's file: the example is read, every fault is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.errors import StropError
from toolchain.loop.settings import load_loop

LOOP = Path(__file__).parents[2] / "examples" / "loop" / "loop.toml"


def test_the_example_is_read() -> None:
    found = load_loop(LOOP)
    assert found.compile.targets == ("rp2040_pico", "mps2_an386")
    assert found.gate.min_gain == 0.1 and found.gate.slice_samples == 20 and not found.gate.approval
    assert found.simulation is not None
    assert [change.segment for change in found.simulation.changes] == ["street", "yard"]
    assert found.folder == LOOP.parents[2] / "build" / "loop"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("[gate]", "[gate]\nmin_gian = 1", "E210 loop.toml: key 'gate.min_gian' is unknown. Did you mean 'min_gain'"),
        ("min_gain = 0.1", "min_gain = 2", "E210 loop.toml: key 'gate.min_gain' is 2"),
        ("stages = [5, 25, 100]", "stages = [5, 25]", "E210 loop.toml: key 'rollout.stages' is [5, 25]"),
        ("stages = [5, 25, 100]", "stages = [25, 5, 100]", "E210 loop.toml: key 'rollout.stages' is [25, 5, 100]"),
        ("classes = 10", "classes = 1", "E210 loop.toml: key 'validate.classes' is 1"),
        ('"rp2040_pico", ', '"rp2040_pica", ', "E303"),
        ('segment = "yard"', 'segment = "roof"', "E210 loop.toml: key 'simulation.change[1].segment' is 'roof'"),
        ("[fleet]", "[fleet", "E210 loop.toml: it is not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, old: str, new: str, fault: str) -> None:
    text = LOOP.read_text()
    assert text.count(old) == 1
    (tmp_path / "loop.toml").write_text(text.replace(old, new))
    with pytest.raises(StropError) as caught:
        load_loop(tmp_path / "loop.toml")
    assert str(caught.value).startswith(fault)
