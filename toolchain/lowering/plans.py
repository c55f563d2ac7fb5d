"""The plans of a graph: on whole tensors by kernels of every objective or a mix of them, and row by row within bounds of work.

Each is made when it is first asked for, once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from targets.model import Target
from toolchain.ir.graph import Graph
from toolchain.lowering.banks import Rooms
from toolchain.lowering.chains import choose_chain, table_chains
from toolchain.lowering.mixes import Mix, mixes
from toolchain.lowering.moves import FEED, feed_calls
from toolchain.lowering.parts import with_parts
from toolchain.lowering.plan import plan_memory, plan_streamed
from toolchain.lowering.program import CALL_CODE_BYTES, ENTRY_CODE_BYTES, Choice, KernelCall, Program
from toolchain.lowering.segments import Slicer, choices_of
from toolchain.lowering.shrink import shrink
from toolchain.lowering.streaming import Path, Streaming
from toolchain.lowering.tiles import Strips, tiled
from toolchain.lowering.tilings import Tiling, spread, tilings
from toolchain.lowering.variants import NOTHING, SLACK, Objective, choose, every_choice
from toolchain.lowering.views import roots, views_of

ROW_WORK: Final[dict[Objective, float]] = {"speed": 1.0, "balanced": 1.02, "ram": 1.03, "size": 1.02}
"""The most work of plans row by row, over the least, that an objective takes for less RAM."""
WORTH: Final = 0.8
"""The objective `ram` does more, up to its slack, where that leaves no more than so much of the arena."""
WORK_BOUNDS: Final = (1.01, 1.02, 1.03, 1.04, 1.05, 1.08, SLACK["ram"], 1.18, 1.25, 1.4, 1.6, 2.0, math.inf)
"""The most work of row-by-row plans, times the least."""
OBJECTIVES: Final[tuple[Objective, ...]] = ("speed", "balanced", "ram", "size")
SHOWN_MIXES = 6
TILINGS, TILED_EFFORT = 3, 750_000
"""The most searches for plans in strips, and the effort after which no other one is begun."""
TILED_WORK: Final = (1.02, 1.18)
"""The most work of plans in strips, times the least."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a program takes. flash_bytes: constants, and code where it is known. cycles: None where they are not."""

    arena_bytes: int
    flash_bytes: int
    instructions: int
    cycles: int | None

    def beats(self, other: Figures) -> bool:
        """True when it takes no more of anything and less of something. Cycles count where both are known."""
        pairs = [(self.arena_bytes, other.arena_bytes), (self.flash_bytes, other.flash_bytes)]
        pairs.append((self.instructions, other.instructions))
        if self.cycles is not None and other.cycles is not None:
            pairs.append((self.cycles, other.cycles))
        return all(own <= its for own, its in pairs) and any(own < its for own, its in pairs)


@dataclass(frozen=True, slots=True)
class Plan:
    """A program with its figures. by_rows: parts of it run row by row. strips: parts that run in strips of columns."""

    program: Program
    figures: Figures
    by_rows: bool = False
    strips: tuple[Strips, ...] = ()

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds of one inference; where cycles are not known, one each instruction. None where there is no clock."""
        return latency_ms(self.program.target, self.figures.cycles or self.figures.instructions)


def latency_ms(target: Target, cycles: int) -> float | None:
    """Milliseconds that so many cycles take, None where the target has no clock."""
    return None if target.clock_hz is None else 1e3 * cycles / target.clock_hz


def unbeaten(plans: Iterable[Plan]) -> tuple[Plan, ...]:
    """Plans that no other beats, each set of figures once, the least work first."""
    once = {plan.figures: plan for plan in reversed(list(plans))}
    kept = [plan for figures, plan in once.items() if not any(other.beats(figures) for other in once)]
    return tuple(sorted(kept, key=lambda plan: (plan.figures.cycles or 0, plan.figures.instructions)))


@dataclass(slots=True)
class Plans:
    """The plans of a graph for a target. outside: roots of values that the caller owns. fixed: variants by name of node.

    rooms: memories that programs may use. strips: what of the graph runs in strips of columns.
    known: kernels for nodes of this graph that are known from another one.
    """

    graph: Graph
    target: Target
    outside: frozenset[str]
    fixed: Mapping[str, str]
    rooms: Rooms
    strips: tuple[Strips, ...] = ()
    known: Slicer | None = None
    _made: dict[object, Plan] = field(default_factory=dict)
    _streaming: Streaming | None = None
    _mixes: list[Mix] | None = None
    _small: dict[int, tuple[Plan, ...]] = field(default_factory=dict)
    _tiled: tuple[Plan, ...] | None = None

    @property
    def is_pushed(self) -> bool:
        """True when the input comes row by row, so that every plan runs row by row."""
        return bool(self.graph.nodes) and self.graph.nodes[0].op == FEED

    def preferred(self, objective: Objective) -> Plan:
        """What an objective takes when there is no limit."""
        if objective == "ram":
            little, more = self.by_rows(ROW_WORK["ram"]), self.by_rows(SLACK["ram"])
            return more if more.figures.arena_bytes <= WORTH * little.figures.arena_bytes else little
        if objective == "balanced" or self.is_pushed:
            return self.by_rows(ROW_WORK[objective])
        return self.whole(objective)

    def every(self, flash_bytes: float = math.inf) -> tuple[Plan, ...]:
        """All plans. flash_bytes: with the fastest mix of kernels that takes no more."""
        if self.is_pushed:
            return self.all_by_rows()
        whole = [self.whole(objective) for objective in OBJECTIVES]
        return (*whole, *self._mixed(flash_bytes), *self.all_by_rows())

    def small_by_rows(self, flash_bytes: float) -> Iterator[tuple[Plan, ...]]:
        """Row by row with small kernels: those of the fastest mix that may take no more flash, then the smallest of all.

        Small kernels take little scratch, too. Each is a search of its own.
        """
        found, least = self._found_mixes(), self.by_rows(math.inf).figures.flash_bytes
        more = 0 if self.is_pushed else least - self.whole("speed").figures.flash_bytes
        fitting = [mix for mix in found if mix.bytes + self._calls_bytes() + more <= flash_bytes]
        chained = table_chains(self.graph)
        for mix in {id(mix): mix for mix in (*fitting[:1], *found[-1:])}.values():
            if id(mix) not in self._small:
                kernels = {choice.node.name: choice.variant for choice in mix.choices if choice.node.name not in chained}
                self._small[id(mix)] = Plans(self.graph, self.target, self.outside, kernels, self.rooms).all_by_rows()
            yield self._small[id(mix)]

    def tiled(self) -> tuple[Plan, ...]:
        """Plans with one stretch in strips of columns, where most is needed: few searches, and fewer where they take long."""
        if self._tiled is None:
            found, effort = list[Plan](), 0
            for tiling in spread(self._tilings())[:TILINGS]:
                if effort < TILED_EFFORT:
                    plans = self._in_strips(tiling)
                    found += plans.all_by_rows(TILED_WORK)
                    effort += plans._search().effort
            self._tiled = tuple(found)
        return self._tiled

    def _tilings(self) -> list[Tiling]:
        work = dict.fromkeys((node.name for node in self.graph.nodes), 0)
        for choice in self.by_rows(1.0).program.choices:
            work[choice.node.name] = work.get(choice.node.name, 0) + choice.instructions
        return tilings(self._search(), self._search().best(TILED_WORK[-1] * self._search().least_work()), work)

    def _in_strips(self, tiling: Tiling) -> Plans:
        made = tiled(self.graph, tiling.first, tiling.end, tiling.strips)
        fixed = {**self.fixed, **{copy: self.fixed[name] for copy, name in made.sources.items() if name in self.fixed}}
        graph, ends = with_parts(made.graph, fixed), (*self.graph.inputs, *self.graph.outputs)
        root = roots(graph)
        outside = frozenset(root[value.name] for value in ends) if self.outside else self.outside
        return Plans(graph, self.target, outside, fixed, self.rooms, (made.strips,), self._search().slicer)

    def whole(self, objective: Objective) -> Plan:
        """Every layer on whole tensors, by the kernels of an objective."""
        if objective not in self._made:
            choices = choices_for(self.graph, self.target, objective, self.fixed, self.outside)
            self._made[objective] = self._of_choices(choices)
        return self._made[objective]

    def all_by_rows(self, work_bounds: Sequence[float] = WORK_BOUNDS) -> tuple[Plan, ...]:
        """Plans row by row, from the least arena on to the least work; no bound is tried twice for the same plan."""
        found = list[Plan]()
        bounds = list(work_bounds)
        while bounds:
            found.append(self.by_rows(bounds[-1]))
            work = found[-1].figures.instructions / self._search().least_work()
            bounds = [bound for bound in bounds[:-1] if bound < work]
        return tuple(found)

    def by_rows(self, bound: float) -> Plan:
        """The least arena for at most `bound` times the least work; parts may run row by row."""
        if bound not in self._made:
            streaming = self._search()
            path = streaming.best(bound * streaming.least_work())
            key = tuple((edge.first, edge.end, edge.alive, edge.instructions) for edge in path.edges)
            if key not in self._made:
                self._made[key] = self._of_path(path)
            self._made[bound] = self._made[key]
        return self._made[bound]

    def _search(self) -> Streaming:
        """The search among segments, which serves all bounds."""
        if self._streaming is None:
            whole = whole_calls(self.graph, self.target, self.fixed, self.outside)
            slicer = Slicer(self.graph, self.target, self.fixed) if self.known is None else self.known.of(self.graph, self.fixed)
            self._streaming = Streaming(self.graph, slicer, whole, self.outside, has_strips=bool(self.strips))
        return self._streaming

    def _of_path(self, path: Path) -> Plan:
        calls, plan = plan_streamed(self.graph, self._search().calls(path), path.buffer_bytes, self.outside, self.rooms)
        pushed = self.graph.nodes[0].output if self.is_pushed else None
        program = Program(self.graph, self.target, calls, plan, roots(self.graph), tuple(choices_of(calls)), pushed)
        return Plan(program, _figures(program), any(edge.sliced is not None for edge in path.edges), self.strips)

    def _of_choices(self, choices: Sequence[Choice]) -> Plan:
        calls = tuple(call for choice in choices for call in choice.calls)
        calls, plan = plan_memory(self.graph, calls, self.outside, self.rooms)
        program = Program(self.graph, self.target, calls, plan, roots(self.graph), tuple(choices))
        return Plan(program, _figures(program))

    def _mixed(self, flash_bytes: float) -> list[Plan]:
        """Mixes of kernels between the fastest and the smallest: a few, and the fastest that takes no more than so much flash."""
        found, calls = self._found_mixes(), self._calls_bytes()
        picked = {index * (len(found) - 1) // (SHOWN_MIXES - 1) for index in range(SHOWN_MIXES)} if found else set[int]()
        picked |= set([i for i, mix in enumerate(found) if mix.bytes + calls <= flash_bytes][:1])
        for index in picked:
            if index not in self._made:
                self._made[index] = self._of_choices(found[index].choices)
        return [self._made[index] for index in sorted(picked)]

    def _found_mixes(self) -> list[Mix]:
        if self._mixes is None:
            options = options_for(self.graph, self.target, "size", self.fixed, self.outside)
            self._mixes = mixes(options, self.target.core.costs) if options else []
        return self._mixes

    def _calls_bytes(self) -> int:
        """What calls and entry points add to the bytes of any mix."""
        return ENTRY_CODE_BYTES + CALL_CODE_BYTES * sum(
            len(choice.calls) for mix in self._found_mixes()[:1] for choice in mix.choices
        )


def whole_calls(
    graph: Graph, target: Target, fixed: Mapping[str, str], outside: frozenset[str] = NOTHING
) -> dict[tuple[int, int], tuple[tuple[KernelCall, ...], ...]]:
    """The ways to run every node on whole tensors, the fastest and that of the least scratch, and chains of tables in a row.

    By the first and end of the nodes. outside: roots of values that the caller owns.
    """
    found: dict[tuple[int, int], tuple[tuple[KernelCall, ...], ...]] = {}
    free = views_of(graph).free
    for index, node in enumerate(graph.nodes):
        if node.op == FEED:
            found[index, index + 1] = (feed_calls(node, 0, node.output.type.shape[1], 0),)
        elif node.name in free:
            found[index, index + 1] = ((),)
        else:
            choices = every_choice(graph, node, target, fixed.get(node.name), outside)
            fast = choose(graph, node, target, "speed", fixed.get(node.name), outside)
            small = min(choices, key=lambda choice: (choice.scratch_bytes, choice.instructions))
            found[index, index + 1] = (fast.calls,) if small.scratch_bytes == fast.scratch_bytes else (fast.calls, small.calls)
    for chain in table_chains(graph).values():
        first = graph.nodes.index(chain[0])
        if graph.nodes[first : first + len(chain)] == chain:
            found[first, first + len(chain)] = (choose_chain(graph, chain, target).calls,)
    return found


def choices_for(
    graph: Graph, target: Target, objective: Objective, fixed: Mapping[str, str], outside: frozenset[str]
) -> tuple[Choice, ...]:
    """The choice for every node that needs code; a chain of tables is one choice, made at its last node."""
    options = options_for(graph, target, objective, fixed, outside)
    return tuple(shrink(options, target.core.costs)) if objective == "size" else tuple(found[0] for found in options)


def options_for(
    graph: Graph, target: Target, objective: Objective, fixed: Mapping[str, str], outside: frozenset[str] = NOTHING
) -> list[list[Choice]]:
    """For every node that needs code the choices that are open: all for `size`, else the best of the objective."""
    chains, free = table_chains(graph), views_of(graph).free
    options: list[list[Choice]] = []
    for node in graph.nodes:
        chain = chains.get(node.name, (node,))
        if node.op == FEED or node.name in free or node is not chain[-1]:
            continue
        if len(chain) > 1:
            options.append([choose_chain(graph, chain, target)])
        elif objective == "size" and node.name not in fixed:
            options.append(every_choice(graph, node, target, kept=outside))
        else:
            options.append([choose(graph, node, target, objective, fixed.get(node.name), outside)])
    return options


def _figures(program: Program) -> Figures:
    flash = program.weight_bytes + (program.code_bytes or 0)
    return Figures(program.plan.arena_bytes, flash, program.instructions, program.cycles)
