"""The candidate's model card: what it is for, what it learnt from, how right it is and how sure that is, what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.loop.gate import Answers, Decision
from toolchain.loop.settings import CardPart

_Z95 = 1.959963984540054
_UNKNOWN = "Nobody has said."


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card is written of. name, number: of loop and round. times: first and last event looked at, ISO 8601, or None.

    snapshot, trained, drift, built: what steps gave. answers: of the integer programs. float_accuracy, integer_accuracy: shares.
    """

    name: str
    number: int
    said: CardPart
    times: tuple[str, str] | None
    snapshot: Mapping[str, Any]
    trained: Mapping[str, Any]
    drift: Mapping[str, Any]
    built: Sequence[Mapping[str, Any]]
    answers: Sequence[Answers]
    float_accuracy: float
    integer_accuracy: float
    decision: Decision


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score; (0, 1) of nothing."""
    if not count:
        return 0.0, 1.0
    share, z2 = right / count, _Z95 * _Z95
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def model_card(facts: CardFacts) -> str:
    """The card as Markdown."""
    parts = (_use, _data, _drift, _training, _fairness, _costs, _limits, _privacy)
    verdict = "It was accepted." if facts.decision.accepted else f"It was refused: {'; '.join(facts.decision.reasons)}."
    head = f"# {facts.name}, candidate of round {facts.number}\n\n{verdict}"
    return "\n\n".join([head, *(part(facts) for part in parts)]) + "\n"


def _use(facts: CardFacts) -> str:
    classes = len(facts.snapshot["doubt"])
    what = (
        f"A classifier for the devices of the fleet `{facts.name}`. It answers with one of {classes} classes and its probability."
    )
    return f"## Use\n\n{facts.said.use or what}"


def _data(facts: CardFacts) -> str:
    snapshot = facts.snapshot
    segments = ", ".join(f"{key} {count:,}" for key, count in sorted(snapshot["segments"].items())) or "none"
    refused = ", ".join(f"{count:,} because {reason}" for reason, count in snapshot["refused"].items()) or "none"
    sources = "".join(
        f"\nSource of old samples `{one['name']}`: licence {one['licence']}, SHA-256 `{one['sha256']}`, {one['url']}"
        for one in snapshot.get("sources", ())
    )
    when = "no event was read" if facts.times is None else f"{facts.times[0]} to {facts.times[1]}"
    return f"""## Data

Snapshot `{snapshot["digest"]}`:
{snapshot["old"]:,} old samples and {snapshot["field"]:,} from the field, whose labels users gave;
{snapshot["drifted"]:,} of these are of segments that drift, since they do. Samples of other groups were kept for testing.
Events of the fleet: {when}. Licence of the samples: {facts.said.licence or _UNKNOWN}{sources}
Field samples by segment: {segments}. Refused: {refused}.
Labels of a class that their neighbours contradict, above what is usual: at most {max(snapshot["doubt"]):.1%}."""


def _drift(facts: CardFacts) -> str:
    told = []
    for one in facts.drift["segments"]:
        if one["drifted"]:
            told.append(f"- {one['segment']}: {', '.join(dict.fromkeys(one['causes'])) or 'no single figure'}")
    return "## Drift that it was made for\n\n" + ("\n".join(told) or "None.")


def _training(facts: CardFacts) -> str:
    trained = facts.trained
    count = f"{trained['parameters']:,} parameters, {trained['epochs']} epochs"
    return f"## Training\n\n{count}; validation loss {trained['validation_loss']:.4f}."


def _fairness(facts: CardFacts) -> str:
    rows = []
    for one in facts.answers:
        parts: dict[str, Any] = {"all": one.y >= 0}
        parts |= {f"segment {name}": one.segment == name for name in sorted(set(one.segment.tolist())) if name}
        parts |= {f"class {value}": one.y == value for value in sorted(set(one.y.tolist()))}
        for name, chosen in parts.items():
            count = int(chosen.sum())
            if count:
                old, new = (_share(int((each[chosen] == one.y[chosen]).sum()), count) for each in (one.old, one.new))
                rows.append(f"| {one.kind} | {name} | {count:,} | {old} | {new} |")
    table = "\n".join(["| samples | slice | number | program in use | candidate |", "|---|---|---|---|---|", *rows])
    return f"## Right answers by slice\n\nOf the integer programs, with 95 % intervals by Wilson's score.\n\n{table}"


def _share(right: int, count: int) -> str:
    low, high = wilson(right, count)
    return f"{right / count:.1%} ({low:.1%} to {high:.1%})"


def _costs(facts: CardFacts) -> str:
    def told(value: Any, form: str) -> str:
        return "unknown" if value is None else form.format(value)

    rows = [
        f"| {one['target']} | {told(one['ram_bytes'], '{:,}')} | {told(one['flash_bytes'], '{:,}')} "
        f"| {told(one['latency_ms'], '{:.2f}')} | {'yes' if one['bit_exact'] else 'no'} |"
        for one in facts.built
    ]
    heads = "| target | RAM, bytes | flash, bytes | latency, ms | the reference's bytes |\n|---|---|---|---|---|"
    lost = facts.float_accuracy - facts.integer_accuracy
    note = (
        f"Right answers on all test samples: {facts.float_accuracy:.1%} in float, {facts.integer_accuracy:.1%} in integers; "
        f"quantization costs {100 * lost:.2f} points. Costs are the compiler's predictions."
    )
    return f"## Costs\n\n{note}\n\n{heads}\n" + "\n".join(rows)


def _limits(facts: CardFacts) -> str:
    own = f"{facts.said.limits}\n\n" if facts.said.limits else ""
    return f"""## Limits

{own}Slices above are all that is known: what no segment has sent, no test covers, and a slice with few samples has a wide
interval. The candidate was not tested on inputs of other kinds; it always answers with one of its classes."""


def _privacy(_: CardFacts) -> str:
    return """## Privacy

Telemetry holds figures of inputs, no inputs. Samples with labels are inputs that users chose to send; they stay in the loop's
folder and in no bundle, but for what training keeps of them in weights."""
