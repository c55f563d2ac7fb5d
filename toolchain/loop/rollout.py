"""Roll out: a signed candidate goes to more and more of the fleet while its telemetry is well; else everything goes back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import VerificationError
from toolchain.ir.types import Array
from toolchain.loop.deliver import deliveries
from toolchain.loop.fleet import Fleet, first_percent, version_of
from toolchain.loop.gate import canonical
from toolchain.loop.lake import RUN, ingest, last_commit, read_events
from toolchain.loop.mirror import mirror
from toolchain.loop.settings import LoopSettings, RolloutPart
from toolchain.loop.signing import holds, public_key
from toolchain.loop.store import Store

OF_THE_WAY = ("E405", "E506", "E507", "E508", "E511", "E512")
"""Errors of a line or of an update: no sample failed by them."""

MAX_TURNS = 20
"""Turns that a stage may wait for its inferences."""


@dataclass(frozen=True, slots=True)
class Health:
    """Telemetry of devices with a model. confidence, latency_us: means, NaN without inferences. failures: share."""

    inferences: int
    failures: float
    confidence: float
    latency_us: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. fault: why it was the last, empty when it was well."""

    percent: int
    devices: int
    inferences: int
    failures: float
    confidence: float
    confidence_before: float
    fault: str

    def as_json(self) -> dict[str, object]:
        """The stage as one object."""
        return asdict(self)


def check_record(record: Mapping[str, Any], signature: str, keys: Path, bundles: Mapping[str, Path]) -> None:
    """Hold bundles to the signed record that let them pass. Raises VerificationError E603."""
    if not holds(public_key(keys), canonical(record), signature):
        raise VerificationError(603, "decision", "its signature is not of this loop's key", "Run the gate again")
    for target, bundle in bundles.items():
        digest = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
        if record["bundles"].get(target) != digest:
            raise VerificationError(603, str(bundle), "it is not the bundle that was decided on", "Compile and decide again")


def roll_out(
    number: int, settings: LoopSettings, store: Store, fleet: Fleet, bundles: Mapping[str, Path], before: Mapping[str, Path]
) -> dict[str, object]:
    """Stage after stage; goes on where a process that was killed left off. before: bundles to go back to."""
    key, policy = f"rollout:{number}", settings.rollout
    state: dict[str, Any] = store.fact(key) or {"stages": [], "marker": None}
    everyone = fleet.devices()
    new, old = ([version_of(path) for path in own.values()] for own in (bundles, before))
    while len(state["stages"]) < len(policy.stages) and not any(stage["fault"] for stage in state["stages"]):
        percent = policy.stages[len(state["stages"])]
        chosen = first_percent(everyone, percent, f"{settings.name}:{number}")
        if state["marker"] is None:
            state["marker"] = last_commit(store)
            store.keep(key, state)
        fleet.install(chosen, bundles, deliveries(f"{number}:new", settings, store, fleet, bundles))
        health = _watched(settings, store, fleet, new, int(state["marker"]), chosen)
        usual = _health(store, old, 0)
        fault = _refusals(fleet, chosen, policy) or _fault(health, usual, policy)
        stage = Stage(percent, len(chosen), health.inferences, health.failures, health.confidence, usual.confidence, fault)
        state = {"stages": [*state["stages"], stage.as_json()], "marker": None}
        store.keep(key, state)
    whole = not any(stage["fault"] for stage in state["stages"])
    if not whole:
        back = deliveries(f"{number}:back", settings, store, fleet, before)
        fleet.install([device.id for device in everyone], before, back)
    return {"complete": whole, "stages": state["stages"]}


def next_turn(store: Store, fleet: Fleet) -> int:
    """Let the fleet work one more turn. The number is kept when the turn is done, so a killed one is asked for again."""
    turn = int(store.fact("turn") or 0) + 1
    fleet.wait(turn)
    store.keep("turn", turn)
    return turn


def _watched(
    settings: LoopSettings, store: Store, fleet: Fleet, versions: Sequence[str], marker: int, chosen: Sequence[str]
) -> Health:
    health = _health(store, versions, marker)
    for _ in range(MAX_TURNS):
        if health.inferences >= settings.rollout.inferences or _refusals(fleet, chosen, settings.rollout):
            break
        next_turn(store, fleet)
        mirror(settings, store)
        ingest(settings.fleet.events, store, settings.ingest)
        health = _health(store, versions, marker)
    return health


def _health(store: Store, versions: Sequence[str], marker: int) -> Health:
    table = read_events(store, ("version", "kind", "success", "confidence", "latency_us", "code"), marker)
    mine = np.isin(np.asarray(table["version"].to_pylist(), dtype=str), list(versions))
    mine &= np.isin(np.asarray(table["kind"].to_pylist(), dtype=str), RUN)
    mine &= ~np.isin(np.asarray(table["code"].to_pylist(), dtype=str), OF_THE_WAY)
    success = np.asarray(table["success"].to_numpy(zero_copy_only=False), bool)
    count = int(mine.sum())

    def mean(name: str) -> float:
        values: Array = np.asarray(table[name].to_numpy(zero_copy_only=False), np.float64)[mine & success]
        values = values[np.isfinite(values)]
        return round(float(values.mean()), 6) if len(values) else 0.0

    failures = float((mine & ~success).sum()) / count if count else 0.0
    return Health(count, round(failures, 6), mean("confidence"), mean("latency_us"))


def _refusals(fleet: Fleet, chosen: Sequence[str], policy: RolloutPart) -> str:
    """That more devices do not take the bundle than may, and the first one's reason; empty where they do."""
    refused = fleet.refused(chosen)
    if len(refused) <= policy.max_failures * len(chosen):
        return ""
    first = min(refused)
    return f"{len(refused)} of {len(chosen)} devices did not take it, {first}: {refused[first]}"


def _fault(health: Health, usual: Health, policy: RolloutPart) -> str:
    if health.inferences < policy.inferences:
        return f"{health.inferences} inferences came in, {policy.inferences} are needed"
    if health.failures > policy.max_failures:
        return f"{health.failures:.1%} of inferences failed, the limit is {policy.max_failures:.1%}"
    if usual.inferences and health.confidence < usual.confidence - policy.max_confidence_loss:
        return f"mean confidence is {health.confidence:.3f}, it was {usual.confidence:.3f}"
    if usual.latency_us and health.latency_us > usual.latency_us * policy.max_latency:
        return f"an inference takes {health.latency_us:,.0f} us, it took {usual.latency_us:,.0f}"
    return ""


def manifest_digests(bundles: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of every bundle's manifest, by target: what a record signs."""
    return {target: hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest() for target, path in bundles.items()}


def read_record(place: Path) -> tuple[dict[str, Any], str]:
    """A decision's record and its signature. Raises VerificationError E603 when they cannot be read."""
    try:
        document = json.loads(place.read_text())
        return document["record"], str(document["signature"])
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise VerificationError(603, str(place), f"it cannot be read: {fault!s:.100}", "Run the gate again") from fault
