"""Placement benchmark: how near the lower bound the planner comes, beside first-fit by size, on networks and generated problems.

    python -m benchmarks.placement [--kind cut] [--size 1000] [MODEL ...] [--target mps2_an386]

Every placement is checked by code that the planner does not use. The exit status is 1 when a check fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.models import mobilenet_v2
from benchmarks.placement_cases import KINDS, SIZES, Case, cases
from targets.load import load_target
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph
from toolchain.lowering.lower import lower
from toolchain.lowering.placement import Item, place
from toolchain.lowering.placement_check import faults
from toolchain.passes.canonical import canonicalize

HEAD = f"{'problem':24} {'buffers':>8} {'lower bound':>12} {'by size':>12} {'placed':>12} {'by size +':>10} {'gap':>8} {'s':>6}"


@dataclass(frozen=True, slots=True)
class Row:
    """The result on one problem, in bytes. seconds: processor time."""

    name: str
    buffers: int
    lower_bound: int
    greedy: int
    height: int
    seconds: float
    faults: tuple[str, ...]

    @property
    def gap(self) -> float:
        """How far above the lower bound, as a share of it."""
        return self.height / self.lower_bound - 1

    def __str__(self) -> str:
        over = self.greedy / self.lower_bound - 1
        sizes = f"{self.lower_bound:12,} {self.greedy:12,} {self.height:12,}"
        return f"{self.name:24} {self.buffers:8,} {sizes} {over:10.1%} {self.gap:8.2%} {self.seconds:6.2f}"


def measure(case: Case) -> Row:
    """Place one problem and check the result."""
    start = time.process_time()
    placed = place(case.items)
    seconds = time.process_time() - start
    wrong = faults(case.items, placed.offsets, placed.height)
    greedy = placed.height if placed.greedy is None else placed.greedy
    return Row(case.name, len(case.items), placed.lower_bound, greedy, placed.height, seconds, tuple(wrong))


def of_graph(name: str, graph: Graph, target: str) -> Case:
    """The whole buffers of a network as it is compiled for a target at speed."""
    plan = lower(canonicalize(graph), load_target(target), objective="speed").plan
    return Case(name, tuple(Item(p.name, p.bytes, p.first, p.last) for p in plan.placements))


def networks(models: Sequence[str], target: str) -> list[Case]:
    """Model files, and MobileNetV2 as it fits the target."""
    found = [of_graph(Path(model).stem, load_model(Path(model)), target) for model in models]
    return [*found, of_graph("mobilenet_v2_35_96", mobilenet_v2(0.35, 96, 10), target)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line per problem and a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="model files")
    parser.add_argument("--target", default="mps2_an386", help="what the models are compiled for")
    parser.add_argument("--kind", choices=(*KINDS, "cut"), help="generated problems of one kind only")
    parser.add_argument("--size", type=int, help="generated problems of one size only")
    options = parser.parse_args(arguments)
    sizes = SIZES if options.size is None else (options.size,)
    generated = [case for case in cases(sizes) if options.kind is None or case.name.startswith(options.kind)]
    print(HEAD)
    rows: list[Row] = []
    for case in (*networks(options.models, options.target), *generated):
        rows.append(measure(case))
        print(rows[-1], *rows[-1].faults, sep="\n  ", flush=True)
    reached = sum(row.gap == 0 for row in rows)
    slowest = max(row.seconds for row in rows)
    by_size = sum(row.greedy == row.lower_bound for row in rows)
    print(f"lower bound reached: {reached} of {len(rows)}, by size {by_size}; slowest {slowest:.2f} s")
    return 1 if any(row.faults for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
