"""A person's approval: needed where the policy says so, and worth nothing without the loop's signature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.loop.test_rollout import prepared
from toolchain.errors import UsageError, VerificationError
from toolchain.loop.run import APPROVAL, Round, approve, approved, rollout
from toolchain.training.recipes.tracking import NoTracker


def waiting(tmp_path: Path) -> Round:
    """A round whose candidate passed a gate that asks for a person."""
    settings, store, fleet, _, _ = prepared(tmp_path)
    asking = replace(settings, folder=tmp_path, gate=replace(settings.gate, approval=True))
    current = Round(asking, store, fleet, NoTracker(), store.open_round())
    store.finish(current.number, "gate", 0.0, {"accepted": True})
    return current


def test_nothing_is_rolled_out_before_somebody_agrees(tmp_path: Path) -> None:
    current = waiting(tmp_path)
    assert not approved(current)
    with pytest.raises(UsageError, match="none has agreed"):
        rollout(current)
    approve(current, "somebody")
    assert approved(current)


@pytest.mark.parametrize("change", [{"by": "somebody else"}, {"signature": "00" * 64}, {"signature": "no hex"}, {"round": 99}])
def test_a_changed_approval_is_none(change: dict[str, Any], tmp_path: Path) -> None:
    current = waiting(tmp_path)
    approve(current, "somebody")
    key = f"{APPROVAL}:{current.number}"
    current.store.keep(key, {**cast("dict[str, Any]", current.store.fact(key)), **change})
    with pytest.raises(VerificationError, match="E603 approval"):
        approved(current)
