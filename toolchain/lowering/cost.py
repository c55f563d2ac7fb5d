"""What a kernel call costs: counts of the units of work it does, times what each unit takes on a core.

A variant names its units (a step of the inner loop, a block, a gathered run …) and counts them from the node's shape. What a unit
takes is measured per core by `strop tune` and kept in `targets/costs/`; a core without such a table uses the variant's prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from targets.costs import CostTable
from toolchain.ir.attrs import PoolAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.optable import macs

Work = Mapping[str, float]
"""How many of each unit a node takes, by the unit's name."""


@dataclass(frozen=True, slots=True)
class Cost:
    """units: counts of a node's units of work. prior: instructions per unit where nothing was measured.

    soft: how many times the prior it is on a core without an FPU, but for the units in `whole`, which are of integers.
    """

    units: Callable[[Graph, Node], Work]
    prior: Mapping[str, float]
    soft: float = 1.0
    whole: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Prediction:
    """Instructions of one run of a node, and cycles at zero wait states where the core's table has them."""

    instructions: float
    cycles: float | None


def plain_units(_graph: Graph, node: Node) -> Work:
    """Units of kernels with one simple loop: `mac`, `output`, `input` (elements of the first operand), `tap`, `call`.

    A tap is an element of a pooling window.
    """
    outputs = sum(output.type.elements for output in node.outputs)
    taps = outputs * math.prod(node.attrs.window) if isinstance(node.attrs, PoolAttrs) else 0
    inputs = node.inputs[0].type.elements if node.inputs else 0
    return {"mac": macs(node), "output": outputs, "input": inputs, "tap": taps, "call": 1}


def linear(
    per_mac: float = 0.0, per_output: float = 0.0, *, per_input: float = 0.0, per_tap: float = 0.0, soft: float = 1.0
) -> Cost:
    """The cost of a kernel with one simple loop, in instructions per unit."""
    prior = {"mac": per_mac, "output": per_output, "input": per_input, "tap": per_tap, "call": 60.0}
    return Cost(plain_units, prior, soft)


def predict(cost: Cost, variant: str, work: Work, table: CostTable, *, has_fpu: bool) -> Prediction:
    """What a variant takes on a core. work: from `cost.units`."""
    measured = table.variants.get(variant)
    if measured is None:
        factors = {unit: 1.0 if has_fpu or unit in cost.whole else cost.soft for unit in work}
        return Prediction(sum(cost.prior[unit] * count * factors[unit] for unit, count in work.items()), None)
    taken = [(measured[unit], count) for unit, count in work.items() if unit in measured]
    cycles = [unit.cycles * count for unit, count in taken if unit.cycles is not None]
    instructions = sum(unit.instructions * count for unit, count in taken)
    return Prediction(instructions, sum(cycles) if len(cycles) == len(taken) else None)
