"""Explain: where the old and the new model differ, which pixels each looks at, and the candidate's model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from toolchain.loop.gate import Answers


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the test samples: how many, and the shares both models have right."""

    kind: str
    name: str
    samples: int
    old: float
    new: float

    def as_json(self) -> dict[str, object]:
        """The slice as one object."""
        return asdict(self)


def slices(answers: Sequence[Answers]) -> tuple[Slice, ...]:
    """Every test set as a whole, by class and by segment; those that change most come first."""
    found: list[Slice] = []
    for one in answers:
        parts: dict[str, Any] = {"all": one.y >= 0}
        parts |= {f"class {value}": one.y == value for value in sorted(set(one.y.tolist()))}
        parts |= {f"segment {name}": one.segment == name for name in sorted(set(one.segment.tolist())) if name}
        for name, chosen in parts.items():
            count = int(chosen.sum())
            if count:
                old, new = (float((each[chosen] == one.y[chosen]).mean()) for each in (one.old, one.new))
                found.append(Slice(one.kind, name, count, round(old, 4), round(new, 4)))
    return tuple(sorted(found, key=lambda each: (each.name != "all", -abs(each.new - each.old), each.kind, each.name)))


def model_card(name: str, number: int, snapshot: Mapping[str, Any], trained: Mapping[str, Any], parts: Sequence[Slice]) -> str:
    """The card as Markdown: what it is for, what it learnt from, how right it is by slice, what its limits are."""
    rows = "\n".join(f"| {one.kind} | {one.name} | {one.samples:,} | {one.old:.1%} | {one.new:.1%} |" for one in parts)
    segments = ", ".join(f"{key} {count:,}" for key, count in sorted(snapshot["segments"].items()))
    refused = ", ".join(f"{count:,} because {reason}" for reason, count in snapshot["refused"].items()) or "none"
    return f"""# {name}, candidate of round {number}

## Use

A classifier for the devices of the fleet `{name}`. It answers with one of {len(snapshot["doubt"])} classes and its probability.

## Data

Snapshot `{snapshot["digest"]}`:
{snapshot["old"]:,} old samples and {snapshot["field"]:,} from the field, whose labels users gave;
{snapshot["drifted"]:,} of these are of segments that drift, since they do. Samples of other groups were kept for testing.
Field samples by segment: {segments}. Refused: {refused}.
Labels of a class that their neighbours contradict, above what is usual: at most {max(snapshot["doubt"]):.1%}.

## Training

{trained["parameters"]:,} parameters, {trained["epochs"]} epochs; validation loss {trained["validation_loss"]:.4f}.

## Right answers by slice, of the float models

| samples | slice | number | model in use | candidate |
|---|---|---|---|---|
{rows}

## Limits and fairness

Slices above are all that is known: what no segment has sent, no test covers. A slice with few samples has a wide margin. The
candidate was not tested on inputs of other kinds; it always answers with one of its classes.

## Privacy

Telemetry holds figures of inputs, no inputs. Samples with labels are inputs that users chose to send; they stay in the loop's
folder and in no bundle, but for what training keeps of them in weights.
"""
