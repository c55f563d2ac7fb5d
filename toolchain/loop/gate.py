"""Gate: may a candidate go to the fleet? Every condition of the policy is a check with numbers; the record of all is signed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from toolchain.ir.types import Array
from toolchain.loop.build import Built
from toolchain.loop.settings import GatePart


@dataclass(frozen=True, slots=True)
class Answers:
    """What two models say to one test set, `old`, `field` or `drifted`.

    old, new: (n,) classes by the integer programs. y: (n,) right ones. segment: (n,) texts.
    """

    kind: str
    old: Array
    new: Array
    y: Array
    segment: Array


@dataclass(frozen=True, slots=True)
class Candidate:
    """All that a gate looks at. train_accuracy: of the program on samples trained on; test_accuracy: on others of that mix.

    float_accuracy, integer_accuracy: on all test samples. drifted: segments whose drift opened the training.
    doubt: `label_doubt`.
    """

    answers: tuple[Answers, ...]
    train_accuracy: float
    test_accuracy: float
    float_accuracy: float
    integer_accuracy: float
    built: tuple[Built, ...]
    drifted: tuple[str, ...]
    doubt: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """One condition: what it is about, the number found and its limit, whether it holds."""

    name: str
    found: float
    limit: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """accepted: all checks hold. reasons: those that do not, as sentences."""

    accepted: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...] = field(default=())

    def as_json(self) -> dict[str, object]:
        """The decision as one object."""
        return {"accepted": self.accepted, "reasons": list(self.reasons), "checks": [asdict(check) for check in self.checks]}


def decide(candidate: Candidate, policy: GatePart) -> Decision:
    """Hold a candidate to a policy."""
    checks = [
        *_accuracies(candidate.answers, policy),
        *_slices(candidate.answers, policy),
        _most(
            "points of accuracy between samples trained on and others",
            candidate.train_accuracy - candidate.test_accuracy,
            policy.max_gap,
        ),
        _most("points lost by quantization", candidate.float_accuracy - candidate.integer_accuracy, policy.max_quantization_loss),
        *_costs(candidate.built, policy),
        *(_most(f"labels of class {one} in doubt", value, policy.max_label_doubt) for one, value in enumerate(candidate.doubt)),
        *_covered(candidate),
    ]
    failed = tuple(_sentence(check) for check in checks if not check.passed)
    return Decision(not failed, failed, tuple(checks))


def _most(name: str, found: float, limit: float) -> Check:
    return Check(name, round(found, 6), limit, found <= limit + 1e-12)


def _least(name: str, found: float, limit: float) -> Check:
    return Check(name, round(found, 6), limit, found >= limit - 1e-12)


def _sentence(check: Check) -> str:
    return f"{check.name}: {check.found:g}, the limit is {check.limit:g}"


def _right(classes: Array, y: Array) -> float:
    return float((classes == y).mean()) if len(y) else 0.0


def _accuracies(answers: Sequence[Answers], policy: GatePart) -> list[Check]:
    found: list[Check] = []
    for one in answers:
        gain = _right(one.new, one.y) - _right(one.old, one.y)
        if one.kind == "old":
            found.append(_most("points lost on old samples", -gain, policy.max_loss))
        elif one.kind == "drifted":
            found.append(_least("points won on drifted samples", gain, policy.min_gain))
    return found


def _slices(answers: Sequence[Answers], policy: GatePart) -> list[Check]:
    """Classes of every test set, segments of the field, and what of the field did not drift."""
    found: list[Check] = []
    for one in answers:
        parts: dict[str, Array] = {"all": one.y >= 0} if one.kind == "field" else {}
        parts |= {f"class {value}": one.y == value for value in sorted(set(one.y.tolist()))}
        parts |= {f"segment {name}": one.segment == name for name in sorted(set(one.segment.tolist())) if name}
        for name, chosen in parts.items():
            if int(chosen.sum()) >= policy.slice_samples:
                loss = _right(one.old[chosen], one.y[chosen]) - _right(one.new[chosen], one.y[chosen])
                found.append(_most(f"points lost on {one.kind} samples of {name}", loss, policy.max_slice_loss))
    return found


def _costs(built: Sequence[Built], policy: GatePart) -> list[Check]:
    found: list[Check] = []
    for one in built:
        found.append(_least(f"{one.target} gives the reference's bytes", float(one.bit_exact), 1.0))
        limits: Mapping[str, tuple[float | None, float]] = {
            "bytes of RAM": (one.ram_bytes, policy.max_ram_bytes),
            "bytes of flash": (one.flash_bytes, policy.max_flash_bytes),
            "milliseconds": (one.latency_ms, policy.max_latency_ms),
        }
        found += [
            _most(f"{name} on {one.target}", value, limit)
            for name, (value, limit) in limits.items()
            if limit and value is not None
        ]
    return found


def _covered(candidate: Candidate) -> list[Check]:
    """Each drifted segment is among the test samples, and the candidate is no worse there."""
    field_sets = [one for one in candidate.answers if one.kind == "drifted"]
    counts = {name: sum(int((one.segment == name).sum()) for one in field_sets) for name in candidate.drifted}
    return [_least(f"test samples of drifted segment {name}", float(count), 1.0) for name, count in counts.items()]


def canonical(record: Mapping[str, object]) -> bytes:
    """The bytes of a record that a signature is of."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
