"""`--precision auto`: int16 activations where they gain most, by measured loss and within what the program may cost.

Values are ranked by the loss that storing them alone in int8 costs. The nodes that make the first of them, then more and more,
compute in int16; each such network is lowered for what it costs, and run on samples that set no range for what it loses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from calibration.choose import Found, Ranges, groups_of
from calibration.losses import output_losses
from calibration.probe import Trial, float_values, make_probe
from calibration.rows import to_real, to_stored
from calibration.walk import MakeExecutor, chosen_indices
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph, Node
from toolchain.ir.optable import macs
from toolchain.ir.types import Array, DType
from toolchain.passes.quantize import INT8, quantize
from toolchain.passes.quantize_plan import integer_nodes, make_plan, stored_types
from toolchain.passes.quantize_rules import Precisions
from toolchain.reference.evaluator import run as run_reference

ALLOWANCE = 1.1
"""What more precise networks may take of everything that no limit is given for, over int8."""

MOST_MACS = 3 * 10**9
"""Multiply-accumulates that networks may be run for on integers; of larger networks, fewer are tried."""

MOST_STEPS = 6
LEAST_HELD = 4

NEAR = 1.0
"""Standard errors within which a loss counts as the least: of all that lose so little the cheapest is taken."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a program takes: bytes of weights, of code (None where that is not known) and of the arena, and the predicted
    milliseconds of one inference (None without a clock)."""

    weight_bytes: int
    code_bytes: int | None
    arena_bytes: int
    latency_ms: float | None

    def flash_over(self, other: Price) -> float:
        """Its flash as a multiple of another's; that of weights where code is not known."""
        if self.code_bytes is None or other.code_bytes is None:
            return self.weight_bytes / max(other.weight_bytes, 1)
        return (self.weight_bytes + self.code_bytes) / (other.weight_bytes + other.code_bytes)

    def latency_over(self, other: Price) -> float:
        """Its time as a multiple of another's; 1 where it is not known."""
        return (self.latency_ms or 1.0) / (other.latency_ms or 1.0) if self.latency_ms and other.latency_ms else 1.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a program may take. price: of an integer graph on the target, None where it does not keep the limits.

    flash, arena, latency: whether there is a limit of it, which the price has seen to; else ALLOWANCE holds.
    """

    price: Callable[[Graph], Price | None]
    flash: bool = False
    arena: bool = False
    latency: bool = False

    def allows(self, price: Price, int8: Price) -> bool:
        """True for what takes at most ALLOWANCE times int8's of everything that has no limit."""
        shares = (
            (self.flash, price.flash_over(int8)),
            (self.arena, price.arena_bytes / max(int8.arena_bytes, 1)),
            (self.latency, price.latency_over(int8)),
        )
        return all(limited or share <= ALLOWANCE for limited, share in shares)


@dataclass(frozen=True, slots=True)
class Option:
    """A network that was tried. wide: nodes that compute in int16. loss: mean over the samples.

    price: None where it does not keep the limits. allowed: within the budget. chosen: the one that was taken.
    """

    precisions: Precisions
    wide: int
    loss: float
    price: Price | None
    allowed: bool
    chosen: bool = False
    losses: Array = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)


def choose_precisions(
    real: Graph, found: Found, executor: MakeExecutor, budget: Budget, told: Callable[[str, int, int], None]
) -> list[Option]:
    """The networks that were tried, int8 first, one of them chosen. Empty where nothing could be measured.

    real: the float graph that `found` was found for. Of those allowed whose loss is not measurably more than the least, the
    one that takes least time is chosen.
    """
    work = max(sum(macs(node) for node in real.nodes), 1)
    count = 0 if found.held is None else min(len(found.held.samples), MOST_MACS // (work * (MOST_STEPS + 2)))
    if found.held is None or count < LEAST_HELD:
        return []
    samples = [found.held.samples[index] for index in chosen_indices(len(found.held.samples), count)]
    tried = candidates(real, ranked_groups(real, found.held.ranges.table, samples, executor))
    run = executor(real)
    wanted = [_outputs(real, run(sample), sample) for sample in samples]
    options: list[Option] = []
    for index, precisions in enumerate(tried):
        told("trying precisions", index, len(tried))
        # Where int8 does not keep the limits, int16 in all may, as it needs fewer kinds of kernels; what is between has more.
        if options and options[0].price is None and precisions is not tried[-1]:
            continue
        graph = quantize(real, table_for(real, found.held.ranges, precisions), precisions=precisions)
        price = budget.price(graph)
        int8 = options[0].price if options else price
        allowed = price is not None and (int8 is None or budget.allows(price, int8))
        losses = _losses(graph, real, samples, wanted)
        wide = sum(dtype is DType.I16 for dtype in integer_nodes(real, precisions).values())
        options.append(Option(precisions, wide, float(losses.mean()), price, allowed, losses=losses))
    best = _best(options)
    return [] if best is None else [replace(option, chosen=option is best) for option in options]


def table_for(graph: Graph, ranges: Ranges, precisions: Precisions) -> CalibrationTable:
    """The ranges that suit what every value is stored in."""
    types = stored_types(graph, integer_nodes(graph, precisions), precisions)
    wide, rows = ranges.wide.ranges, ranges.table.ranges
    chosen = {name: wide[name] if types.get(name) is DType.I16 else row for name, row in rows.items()}
    return replace(ranges.table, ranges=chosen)


def ranked_groups(
    graph: Graph, table: CalibrationTable, samples: Sequence[Sequence[Array]], executor: MakeExecutor
) -> list[tuple[str, ...]]:
    """The values that share parameters, first those whose storing in int8, with all else in float, costs most."""
    plan = make_plan(graph, table, INT8, every_end=True)
    values = float_values(graph, samples, executor)
    losses: dict[tuple[str, ...], float] = {}
    for members in groups_of(plan):
        probe = make_probe(graph, members)
        if probe is not None:
            losses[members] = float(Trial(probe, values, len(samples), executor, stored=True).losses(plan.quants).mean())
    return sorted(losses, key=lambda members: -losses[members])


def candidates(graph: Graph, ranked: Sequence[Sequence[str]]) -> list[Precisions]:
    """int8, int16 in the nodes that make the values of most loss, for ever more of these, and int16 in all.

    Only the last of them changes the types of graph inputs and outputs, which programs around the network rely on.
    """
    makers, ends = graph.producers(), {value.name for value in graph.outputs}
    inner = [members for members in ranked if not ends.intersection(members)]
    groups = [made for members in inner if (made := [name for name in members if name in makers])]
    steps = sorted({round(len(groups) ** (step / MOST_STEPS)) for step in range(MOST_STEPS)}) if groups else []
    found = [INT8]
    for count in steps:
        wide = {makers[name].name for members in groups[:count] for name in members}
        precisions = Precisions(nodes=dict.fromkeys(sorted(_filled(graph, wide)), DType.I16))
        if precisions not in found:
            found.append(precisions)
    return [*found, Precisions(nodes=dict.fromkeys((node.name for node in graph.nodes), DType.I16))]


def _filled(graph: Graph, wide: set[str]) -> set[str]:
    """The nodes, and those between them: int8 in the midst of int16 saves little and takes two conversions."""
    makers, users, ends = graph.producers(), graph.users(), {value.name for value in graph.outputs}

    def between(node: Node) -> bool:
        before = [makers[value.name].name for value in node.inputs if value.name in makers]
        after = [user.name for output in node.outputs for user in users.get(output.name, ())]
        return (
            bool(before)
            and bool(after)
            and not ends.intersection(o.name for o in node.outputs)
            and all(name in wide for name in (*before, *after))
        )

    return wide | {node.name for node in graph.nodes if between(node)}


def _best(options: Sequence[Option]) -> Option | None:
    """The quickest of those that are allowed and lose not measurably more than the best of them, None where none is allowed."""
    allowed = [option for option in options if option.allowed]
    if not allowed:
        return None
    least = min(allowed, key=lambda option: option.loss)
    near = [option for option in allowed if not _surely_more(option.losses - least.losses)]
    return min(near, key=lambda option: (option.price.latency_ms or 0.0, option.loss) if option.price else (math.inf, 0.0))


def _surely_more(away: Array) -> bool:
    """True when the mean is above zero by more than NEAR standard errors."""
    return float(away.mean()) > NEAR * float(away.std(ddof=1)) / math.sqrt(len(away))


def _outputs(real: Graph, values: Mapping[str, Array], sample: Sequence[Array]) -> dict[str, Array]:
    """The float32 outputs of one sample by name."""
    given = dict(values) | dict(zip((value.name for value in real.inputs), sample, strict=True))
    return {value.name: given[value.name] for value in real.outputs if value.type.dtype is DType.F32}


def _losses(graph: Graph, real: Graph, samples: Sequence[Sequence[Array]], wanted: Sequence[Mapping[str, Array]]) -> Array:
    """The loss of every sample by the reference evaluator. real: the float graph, whose output names count."""
    found: list[float] = []
    for sample, right in zip(samples, wanted, strict=True):
        outputs = to_real(run_reference(graph, to_stored(sample, graph.inputs)), graph.outputs)
        got = {value.name: output for value, output in zip(real.outputs, outputs, strict=True)}
        found.append(float(output_losses(got, right, list(right), 1, stored=True)[0]))
    return np.array(found)
