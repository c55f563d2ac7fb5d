"""Which version the registry's aliases say after a rollout, and after one that went back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loop.test_rollout import prepared
from toolchain.errors import UsageError
from toolchain.loop import run
from toolchain.loop.run import PROGRAMS, STEPS, Round, run_round, run_step
from toolchain.loop.settings import LoopSettings
from toolchain.training.recipes.tracking import NoTracker


class Recorder:
    """A registry that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int | None]] = []

    def point(self, alias: str, number: int) -> str:
        self.told.append(("point", alias, number))
        return "1"

    def drop(self, alias: str) -> None:
        self.told.append(("drop", alias, None))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(("complete", "decision", "champion"), [(True, "rolled out", 1), (False, "rolled back", 0)])
def test_the_champion_is_the_model_in_use(
    complete: bool, decision: str, champion: int, alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, store, fleet, _, _ = prepared(tmp_path)
    recorder = Recorder()

    def opened(given: LoopSettings) -> Recorder:
        assert given is settings
        return recorder

    monkeypatch.setattr(run, "open_registry", opened)
    current = Round(settings, store, fleet, NoTracker(), store.open_round())
    store.keep("deployed", {"round": 0})
    results: dict[str, dict[str, object]] = {step: {} for step in STEPS}
    results |= {"validate": {"bad_share": 0.0}, "drift": {"drifted": ["a"]}, "gate": {"accepted": True}}
    results |= {"train": {"enough": True, "trained": {"model": "model.keras"}}}
    results |= {"rollout": {"complete": complete, "stages": [{"fault": "" if complete else "it is slow"}]}}
    for step, result in results.items():
        store.finish(current.number, step, 0.0, result)
    for target in settings.compile.targets:
        bundle = current.folder / PROGRAMS / target
        bundle.mkdir(parents=True)
        (bundle / "manifest.json").write_text("{}")
    if alone:
        for _ in range(2):
            assert run_step(settings, store, fleet, NoTracker(), "rollout")["outcome"]["decision"] == decision
        with pytest.raises(UsageError, match=rf"E901 round 1: it has ended: {decision}"):
            store.rows("DELETE FROM steps WHERE step = 'gate'")
            run_step(settings, store, fleet, NoTracker(), "gate")
    else:
        assert run_round(settings, store, fleet, NoTracker()).decision == decision
    assert recorder.told == [("point", "champion", champion), ("drop", "candidate", None)]
    assert store.fact("deployed")["round"] == champion
