"""The loop: rounds of steps, each kept when it is done, so that one that was cut off goes on where it was."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fleet.files import write_whole
from toolchain.acquire.acquire import acquire
from toolchain.api.progress import Progress, silent
from toolchain.errors import UsageError, VerificationError
from toolchain.ir.types import Array
from toolchain.loop.build import Built, build, float_model
from toolchain.loop.card import CardFacts, model_card
from toolchain.loop.deliver import deliveries
from toolchain.loop.explain import explain_models, slices
from toolchain.loop.fleet import Fleet, InventoryFleet, version_of
from toolchain.loop.gate import Answers, Candidate, Decision, canonical, decide
from toolchain.loop.lake import ingest, last_commit, quarantine, read_events, take_samples
from toolchain.loop.mirror import mirror
from toolchain.loop.programs import HOST, host_scores
from toolchain.loop.registry import CANDIDATE, CHAMPION, RECORD, open_registry
from toolchain.loop.retrain import FACTS, TRAIN, retrain, take_snapshot, test_sets
from toolchain.loop.rollout import check_record, manifest_digests, next_turn, read_record, roll_out
from toolchain.loop.settings import LoopSettings
from toolchain.loop.signing import holds, public_key, sign
from toolchain.loop.store import Store
from toolchain.loop.validate import check_events, read_samples
from toolchain.loop.watch import watch
from toolchain.training.recipes.recipe import load_recipe
from toolchain.training.recipes.tracking import Tracker

DEPLOYED, APPROVAL, VALIDATED = "deployed", "approval", "validated"
SNAPSHOT, TRAINED, PROGRAMS, CARD = "snapshot", "trained", "programs", "card.md"
EXPLAINED = "explain"
KEYS = "keys"
_TRAIN_CHECKED = 600


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a loop: its number and folder, and what its steps work with."""

    settings: LoopSettings
    store: Store
    fleet: Fleet
    tracker: Tracker
    number: int

    @property
    def folder(self) -> Path:
        """Where the round's files are."""
        return self.settings.folder / "rounds" / f"{self.number:04d}"

    def result(self, step: str) -> dict[str, Any]:
        """What a step that is done gave. Raises UsageError E901 when it is not."""
        found = self.store.result(self.number, step)
        if found is None:
            raise UsageError(901, f"round {self.number}", f"step '{step}' is not done", f"Run `strop loop {step}` first")
        return found

    @property
    def deployed(self) -> dict[str, Any]:
        """The model in use. Raises UsageError E901 where there is none."""
        found = self.store.fact(DEPLOYED)
        if found is None:
            raise UsageError(901, str(self.settings.folder), "no model is in use", "Begin with `strop loop start`")
        return dict(found)

    def programs(self, folder: Path | None = None) -> dict[str, Path]:
        """Bundles of the fleet's targets in the round's folder, or another."""
        return {target: (folder or self.folder / PROGRAMS) / target for target in self.settings.compile.targets}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What running came to. decision: of the round that ended last, None where it waits for a person."""

    round: int
    decision: str | None
    reason: str

    def as_json(self) -> dict[str, object]:
        """The outcome as one object."""
        return {"round": self.round, "decision": self.decision, "reason": self.reason}


def make_fleet(settings: LoopSettings) -> Fleet:
    """The fleet that a loop's file tells of."""
    if settings.simulation is None:
        return InventoryFleet(settings.fleet.devices, settings.fleet.pause_s)
    from toolchain.loop.simulation import SimulatedFleet

    fleet = SimulatedFleet(settings, settings.simulation)
    if not settings.ingest.send:
        return fleet
    from toolchain.loop.forward import ForwardingFleet

    return ForwardingFleet(fleet, settings.fleet.events, settings.ingest.send, settings.folder / "forward")


def start(settings: LoopSettings, store: Store, fleet: Fleet, tracker: Tracker) -> dict[str, Any]:
    """Train the first model on the recipe's own samples and install it everywhere; answers at once where one is in use."""
    known = store.fact(DEPLOYED)
    if known is not None:
        return dict(known)
    first = Round(settings, store, fleet, tracker, 0)
    trained = retrain(first.folder / TRAINED, None, settings.train, tracker)
    model = str(trained["model"])
    build(first.folder / PROGRAMS, first.folder / TRAINED, model, settings)
    signed = deliveries("0:new", settings, store, fleet, first.programs())
    fleet.install([device.id for device in fleet.devices()], first.programs(), signed)
    _sign_record(first, {"accepted": True, "reasons": [], "checks": []})
    _register(first, "first", CHAMPION)
    return _deploy(first, model)


def _deploy(current: Round, model: str) -> dict[str, Any]:
    found = {
        "round": current.number,
        "model": str(current.folder / TRAINED / model),
        "programs": str(current.folder / PROGRAMS),
        "versions": [version_of(bundle) for bundle in current.programs().values()],
    }
    current.store.keep(DEPLOYED, found)
    return found


def acquire_all(settings: LoopSettings, store: Store, progress: Progress = silent) -> dict[str, Any]:
    """Step 0, of no round, as often as one likes: what the recipe's sources bring, and what is new in the fleet's stores.

    `start` and the steps that need either do the same. Raises DataError E211 to E214, EnvironmentFault E404, RunError E505.
    """
    listed = load_recipe(settings.train.recipe).data.sources
    found = () if listed is None else acquire(listed, progress=progress)
    return {"sources": [one.as_json() for one in found], "mirrored": mirror(settings, store).as_json()}


def observe(current: Round) -> dict[str, object]:
    """Let the fleet work for one turn."""
    return {"turn": next_turn(current.store, current.fleet)}


def take_in(current: Round) -> dict[str, object]:
    """Step 1: new events into the lake."""
    before = int(current.store.fact(VALIDATED) or 0)
    mirrored = mirror(current.settings, current.store)
    found = ingest(current.settings.fleet.events, current.store, current.settings.ingest)
    files = take_samples(current.settings.fleet.samples, current.store)
    return {**found.as_json(), "sample_files": files, "after": before, "mirrored": mirrored.as_json()}


def validate(current: Round) -> dict[str, object]:
    """Step 2: hold what came in since the last time to its constraints; what breaks them goes to the quarantine."""
    taken, store = current.result("ingest"), current.store
    after, last = int(taken["after"]), last_commit(store)
    table = read_events(store, after=after, hidden=True)
    checked = check_events(table, current.settings.validate, time.time())
    bad = table.filter(~checked.good)
    quarantine(
        store,
        f"round-{current.number:04d}",
        after,
        ~checked.good,
        bad.append_column("reason", [list(checked.why[~checked.good])]),
    )
    store.keep(VALIDATED, last)
    refused, rows = int(taken["refused"]), len(checked.good) + int(taken["refused"])
    share = (int((~checked.good).sum()) + refused) / rows if rows else 0.0
    return {"rows": rows, "bad_share": round(share, 6), "reasons": dict(checked.reasons), "unreadable": refused}


def drift(current: Round) -> dict[str, object]:
    """Step 3: per segment, has what devices see drifted?"""
    segments = {device.id: device.segment for device in current.fleet.devices()}
    settings = current.settings
    found = watch(current.store, segments, current.deployed["versions"], settings.drift)
    return {"segments": [one.as_json() for one in found], "drifted": [one.segment for one in found if one.drifted]}


def train(current: Round) -> dict[str, object]:
    """Step 4: a snapshot, and the recipe on it."""
    settings = current.settings
    files = [
        (settings.fleet.samples / name, int(batch)) for name, batch in current.store.rows("SELECT * FROM samples ORDER BY name")
    ]
    since = {one["segment"]: int(one["since"]) for one in current.result("drift")["segments"] if one["drifted"]}
    samples = read_samples(files, since)
    drifted = int(samples.drifted.sum())
    if drifted < settings.train.min_samples:
        return {"enough": False, "samples": drifted}
    recipe = load_recipe(settings.train.recipe)
    snapshot = take_snapshot(current.folder / SNAPSHOT, settings.train, recipe, samples, settings.validate.classes)
    trained = retrain(current.folder / TRAINED, current.folder / SNAPSHOT, settings.train, current.tracker)
    return {"enough": True, "samples": drifted, "snapshot": snapshot.as_json(), "trained": trained}


def explain(current: Round) -> dict[str, object]:
    """Step 5: slices where the float models differ, and what each looks at."""
    done, sets = current.result("train"), test_sets(current.folder / SNAPSHOT)
    files = (Path(current.deployed["model"]), current.folder / TRAINED / done["trained"]["model"])
    old, new = (float_model(file) for file in files)
    answers = [Answers(one.kind, old(one.x).argmax(1), new(one.x).argmax(1), one.y, one.segment) for one in sets]
    with np.load(current.folder / SNAPSHOT / TRAIN, allow_pickle=False) as stored:
        background = stored["x"]
    found = explain_models(current.folder / EXPLAINED, files, background, sets, answers, current.settings.explain)
    right = sum(int((one.new == one.y).sum()) for one in answers) / max(1, sum(len(one.y) for one in answers))
    parts = [part.as_json() for part in slices(answers)]
    return {"slices": parts, "float_accuracy": right, "missing": found["attribution"].get("missing", "")}


def compile_all(current: Round) -> dict[str, object]:
    """Step 6: bundles for every target, bit-exact."""
    model, settings = current.result("train")["trained"]["model"], current.settings
    found = build(current.folder / PROGRAMS, current.folder / TRAINED, model, settings)
    return {"built": [one.as_json() for one in found]}


def gate(current: Round) -> dict[str, object]:
    """Step 7: the decision and its signed record."""
    explained, built = current.result("explain"), current.result("compile")["built"]
    snapshot = current.result("train")["snapshot"]
    old, new = Path(current.deployed["programs"]) / HOST, current.folder / PROGRAMS / HOST
    answers = tuple(
        Answers(one.kind, host_scores(old, one.x).argmax(1), host_scores(new, one.x).argmax(1), one.y, one.segment)
        for one in test_sets(current.folder / SNAPSHOT)
    )
    right = {one.kind: float((one.new == one.y).mean()) if len(one.y) else 0.0 for one in answers}
    sizes = {one.kind: len(one.y) for one in answers}
    shares = {"old": snapshot["old"], "field": snapshot["field"] - snapshot["drifted"], "drifted": snapshot["drifted"]}
    mix = sum(right[kind] * count for kind, count in shares.items()) / sum(shares.values())
    integer = sum(right[kind] * sizes[kind] for kind in right) / max(1, sum(sizes.values()))
    candidate = Candidate(
        answers=answers,
        train_accuracy=_trained_right(current.folder / SNAPSHOT / TRAIN, new),
        test_accuracy=mix,
        float_accuracy=float(explained["float_accuracy"]),
        integer_accuracy=integer,
        built=tuple(Built(**one) for one in built),
        drifted=tuple(current.result("drift")["drifted"]),
        doubt=tuple(snapshot["doubt"]),
    )
    decision = decide(candidate, current.settings.gate)
    card = model_card(_card_facts(current, candidate, decision))
    write_whole(current.folder / CARD, card.encode())
    more = {"snapshot": snapshot["digest"], "card": hashlib.sha256(card.encode()).hexdigest(), **decision.as_json()}
    _sign_record(current, more)
    version = _register(current, "accepted" if decision.accepted else "refused", CANDIDATE if decision.accepted else None)
    before = {one.kind: float((one.old == one.y).mean()) if len(one.y) else 0.0 for one in answers}
    return {**decision.as_json(), "before": before, "after": right, "version": version}


def _sign_record(current: Round, more: Mapping[str, Any]) -> None:
    """Write the decision on a round's bundles with the loop's signature."""
    record: dict[str, Any] = {
        "loop": current.settings.name,
        "round": current.number,
        "policy": current.settings.digest,
        "bundles": manifest_digests(current.programs()),
        **more,
    }
    signature = sign(current.settings.folder / KEYS, canonical(record))
    write_whole(current.folder / RECORD, canonical({"record": record, "signature": signature}))


def _card_facts(current: Round, candidate: Candidate, decision: Decision) -> CardFacts:
    trained = current.result("train")
    return CardFacts(
        name=current.settings.name,
        number=current.number,
        said=current.settings.card,
        times=_times(current),
        snapshot=trained["snapshot"],
        trained=trained["trained"],
        drift=current.result("drift"),
        built=current.result("compile")["built"],
        answers=candidate.answers,
        float_accuracy=candidate.float_accuracy,
        integer_accuracy=candidate.integer_accuracy,
        decision=decision,
    )


def _times(current: Round) -> tuple[str, str] | None:
    """The first and the last event of the lake, ISO 8601."""
    moments = read_events(current.store, ("time",))["time"].cast("int64").to_numpy()
    if not len(moments):
        return None
    first, last = (
        datetime.fromtimestamp(int(each) / 1e6, UTC).isoformat(timespec="seconds") for each in (moments.min(), moments.max())
    )
    return first, last


def _register(current: Round, decision: str, alias: str | None) -> str | None:
    """Keep a round's candidate in the registry, once; its version, None without a registry."""
    registry = open_registry(current.settings)
    if registry is None:
        return None
    files = {name: current.folder / name for name in (RECORD, CARD, EXPLAINED)}
    files |= {f"{SNAPSHOT}/{FACTS}": current.folder / SNAPSHOT / FACTS}
    files |= {f"{PROGRAMS}/{target}": place for target, place in current.programs().items()}
    version = registry.register(current.number, decision, files)
    if alias is not None:
        registry.point(alias, current.number)
    return version


def _champion(current: Round) -> None:
    """Let the registry's champion be the model in use; no candidate waits any more."""
    registry = open_registry(current.settings)
    if registry is not None:
        registry.point(CHAMPION, int(current.deployed["round"]))
        registry.drop(CANDIDATE)


def _trained_right(place: Path, bundle: Path) -> float:
    with np.load(place, allow_pickle=False) as stored:
        x, y = stored["x"], stored["y"]
    chosen: Array = np.arange(0, len(y), max(1, len(y) // _TRAIN_CHECKED))
    return float((host_scores(bundle, x[chosen]).argmax(1) == y[chosen]).mean())


def rollout(current: Round) -> dict[str, object]:
    """Step 8: to the fleet, in stages."""
    if not approved(current):
        hint = "A person agrees by `strop loop approve`"
        raise UsageError(901, f"round {current.number}", "the policy asks for a person, and none has agreed", hint)
    bundles, before = current.programs(), current.programs(Path(current.deployed["programs"]))
    check_record(*read_record(current.folder / RECORD), current.settings.folder / KEYS, bundles)
    return roll_out(current.number, current.settings, current.store, current.fleet, bundles, before)


Step = Callable[[Round], dict[str, object]]
STEPS: Mapping[str, Step] = {
    "observe": observe,
    "ingest": take_in,
    "validate": validate,
    "drift": drift,
    "train": train,
    "explain": explain,
    "compile": compile_all,
    "gate": gate,
    "rollout": rollout,
}
FIRST = next(iter(STEPS))


def do_step(current: Round, step: str) -> dict[str, Any]:
    """Do a step of a round and keep what it gave; one that is done answers at once."""
    known = current.store.result(current.number, step)
    if known is not None:
        return known
    begin = time.monotonic()
    found = STEPS[step](current)
    current.store.finish(current.number, step, time.monotonic() - begin, found)
    return dict(found)


def run_round(settings: LoopSettings, store: Store, fleet: Fleet, tracker: Tracker, progress: Progress = silent) -> Outcome:
    """Go on with the open round, or begin one, until it is decided or waits for a person."""
    current = Round(settings, store, fleet, tracker, store.open_round())
    for step in STEPS:
        progress(f"round {current.number}: {step}")
        if step == "rollout" and not approved(current):
            return Outcome(current.number, None, "the policy asks for a person: `strop loop approve`")
        ended = _end(current, step, do_step(current, step))
        if ended is not None:
            return ended
    raise AssertionError("a rollout ends a round")


def run_step(settings: LoopSettings, store: Store, fleet: Fleet, tracker: Tracker, step: str) -> dict[str, Any]:
    """Do a step alone, and end the round where the step does; one that is done answers at once, also of the round that it ended.

    The first step opens a round where none is. Raises UsageError E901 where the round has ended before, or lacks a step.
    """
    number, decision, reason = store.last_round()
    if decision is not None and step != FIRST:
        known = store.result(number, step)
        if known is None:
            what = f"it has ended: {decision}" if number else "there is none"
            raise UsageError(901, f"round {number}", what, f"Begin one by `strop loop {FIRST}` or `strop loop run`")
        return {**known, "outcome": Outcome(number, decision, reason).as_json()}
    current = Round(settings, store, fleet, tracker, store.open_round())
    found = do_step(current, step)
    ended = _end(current, step, found)
    return found if ended is None else {**found, "outcome": ended.as_json()}


def _end(current: Round, step: str, found: Mapping[str, Any]) -> Outcome | None:
    """End the round where the step does."""
    ended = _ended(current, step, found)
    if ended is not None:
        current.store.close_round(current.number, ended.decision or "", ended.reason)
    return ended


def approve(current: Round, by: str) -> None:
    """A person lets the round's candidate pass; kept with a signature.

    Raises UsageError E901 where there is nothing to agree to.
    """
    if not by:
        raise UsageError(901, "--by", "an approval has no name", "Say who agrees: --by NAME")
    if not current.result("gate")["accepted"]:
        raise UsageError(901, f"round {current.number}", "its candidate was refused", "Nothing is to be approved")
    record = {"round": current.number, "by": by, "at": round(time.time(), 3)}
    current.store.keep(
        f"{APPROVAL}:{current.number}", {**record, "signature": sign(current.settings.folder / KEYS, canonical(record))}
    )


def approved(current: Round) -> bool:
    """Whether the round may be rolled out: the policy asks for nobody, or somebody agreed.

    Raises VerificationError E603 for an approval that this loop's key did not sign, or of another round.
    """
    if not current.settings.gate.approval:
        return True
    kept = current.store.fact(f"{APPROVAL}:{current.number}")
    if kept is None:
        return False
    record = {key: value for key, value in kept.items() if key != "signature"}
    signed = holds(public_key(current.settings.folder / KEYS), canonical(record), str(kept.get("signature", "")))
    if not signed or record.get("round") != current.number:
        raise VerificationError(603, "approval", "its signature is not of this loop's key", "Approve it again")
    return True


def _ended(current: Round, step: str, found: Mapping[str, Any]) -> Outcome | None:
    """The decision of a round that goes no further than this step."""
    number, settings = current.number, current.settings
    if step == "validate" and found["bad_share"] > settings.validate.max_quarantine:
        why = f"{found['bad_share']:.1%} of what came in does not hold, the limit is {settings.validate.max_quarantine:.1%}"
        return Outcome(number, "stopped", why)
    if step == "drift" and not found["drifted"]:
        return Outcome(number, "no drift", "")
    if step == "train" and not found["enough"]:
        return Outcome(
            number,
            "too few samples",
            f"{found['samples']:,} labelled ones of drifted segments, {settings.train.min_samples:,} are needed",
        )
    if step == "gate" and not found["accepted"]:
        return Outcome(number, "refused", "; ".join(found["reasons"]))
    if step == "rollout":
        if found["complete"]:
            _deploy(current, current.result("train")["trained"]["model"])
        _champion(current)
        if found["complete"]:
            return Outcome(number, "rolled out", "")
        return Outcome(number, "rolled back", str(found["stages"][-1]["fault"]))
    return None
