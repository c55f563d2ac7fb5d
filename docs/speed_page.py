"""The page docs/speed.md: exact counts of the `speed` suite beside those of other stacks."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from benchmarks.suites.gate import counts_path, read_counts
from benchmarks.suites.results import Count
from benchmarks.suites.suite import load_suite
from targets.load import load_target

SUITE = "speed"
PEER_TARGETS = ("mps2_an386", "mps2_an500", "mps3_an547")
CYCLES_TARGET = "mps2_an386"
CORE_TARGETS = ("rp2040_pico", "mps2_an385", "mps2_an386", "mps2_an500", "mps2_an505", "mps3_an547", "rv32_virt")
CORES = {
    "cortex-m0plus": "Cortex-M0+",
    "cortex-m3": "Cortex-M3",
    "cortex-m4f": "Cortex-M4",
    "cortex-m7fd": "Cortex-M7",
    "cortex-m33": "Cortex-M33",
    "cortex-m55": "Cortex-M55",
    "rv32imc": "RV32IMC",
}
HEAD = """# Speed

Instructions of one inference, exact: counted in an emulator, the same on every machine. The outputs of all cores have the same
digest. `strop bench --suite speed --models DIR --update` counts them again and `python docs/pages.py` renews this page; the tests
refuse any cost that rises by more than 0.5 %. What a layer takes, and why its kernel was chosen: `strop bench BUNDLE --explain`.
"""
Table = Callable[[Sequence[str], Sequence[Sequence[object]]], str]


def speed(table: Table) -> str:
    """The text of the page. table: writes a Markdown table."""
    suite, counts = load_suite(SUITE), read_counts(counts_path(SUITE))
    peers = tomllib.loads((files("benchmarks") / "counts" / "peers.toml").read_text())
    by_place = {count.key[:2]: count for count in counts}
    titles = {model.name: model.title for model in suite.models}
    tools = sorted({f"{count.compiler}, {count.runtime}" for count in counts})
    parts = [HEAD, _instructions(table, by_place, titles, suite.targets), _peers(table, by_place, titles, peers["peers"])]
    zig = read_counts(counts_path(SUITE, "zig"))
    parts += [_compilers(table, by_place, {count.key[:2]: count for count in zig}, titles)]
    parts += [_cycles(table, by_place, titles, peers["published"]), *_elsewhere(by_place, titles, peers["elsewhere"])]
    parts += [_sizes(table, by_place, titles)]
    return "\n\n".join([*parts, f"Counted with {'; '.join(tools)}."]) + "\n"


def _core(target: str) -> str:
    name = load_target(target).core.name
    return CORES.get(name, name)


def _instructions(table: Table, counts: dict[tuple[str, str], Count], titles: dict[str, str], targets: Sequence[str]) -> str:
    rows = []
    for model, title in titles.items():
        cells = [counts.get((model, target)) for target in targets]
        macs = next(cell.macs for cell in cells if cell is not None)
        shown = [f"{c.instructions:,} ({c.instructions / c.macs:.2f})" if c else "-" for c in cells]
        rows.append((title, f"{macs:,}", *shown))
    return f"## Instructions (per MAC)\n\n{table(('model', 'MACs', *map(_core, targets)), rows)}"


def _peers(table: Table, counts: dict[tuple[str, str], Count], titles: dict[str, str], peers: list[dict[str, Any]]) -> str:
    heads = ["stack", "core", *(titles[model] for model in _peer_models(peers))]
    rows: list[tuple[object, ...]] = []
    for index, target in enumerate(PEER_TARGETS):
        mine = [counts[model, target].instructions for model in _peer_models(peers)]
        rows.append(("**Strop**", _core(target), *(f"**{count:,}**" for count in mine)))
        for peer in peers:
            theirs = [peer[model][index] for model in _peer_models(peers)]
            if any(theirs):
                shown = [f"{t:,} ({t / m:.1f}x)" if t else "-" for t, m in zip(theirs, mine, strict=True)]
                rows.append((peer["title"], _core(target), *shown))
    notes = "\n".join(f"- {peer['title']}: {peer['source']}" for peer in peers)
    text = "In brackets: how many times Strop's count that is. Strop keeps every channel here, as the peers do."
    return f"## Beside other stacks\n\n{text}\n\n{table(heads, rows)}\n\n{notes}"


def _peer_models(peers: list[dict[str, Any]]) -> list[str]:
    return [key for key in peers[0] if key not in ("title", "source")]


def _cycles(table: Table, counts: dict[tuple[str, str], Count], titles: dict[str, str], published: list[dict[str, Any]]) -> str:
    models = [model for model in titles if model in published[0]]
    found = [counts[model, CYCLES_TARGET].cycles for model in models]
    rows = [("**Strop**, modelled at zero wait states", *(f"**{cycles / 1e6:.2f} M**" if cycles else "-" for cycles in found))]
    for board in (each for each in published if each["core"] == load_target(CYCLES_TARGET).core.name):
        times = [f"{board[model] * board['clock_mhz'] / 1e3:.2f} M" for model in models]
        rows.append((f"{board['title']}, {board['clock_mhz']} MHz, published time x clock", *times))
    heads = ["Cortex-M4 cycles", *(titles[model] for model in models)]
    text = "Modelled from the executed instructions and Arm's published timings ([cycles.md](cycles.md)), not measured."
    return f"## Cycles\n\n{text}\n\n{table(heads, rows)}"


def _elsewhere(counts: dict[tuple[str, str], Count], titles: dict[str, str], published: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for other in published:
        cycles = counts[other["model"], CYCLES_TARGET].cycles
        shown = f"{cycles / 1e6:.2f} M modelled cycles on a Cortex-M4" if cycles else "no cycles modelled"
        place = f"{other['title']} at {other['clock_mhz']} MHz"
        theirs = f"published {other['milliseconds']} ms, {other['milliseconds'] * other['clock_mhz'] / 1e3:.2f} M cycles"
        lines.append(f"{titles[other['model']]}: {shown}; {place}, {theirs}.")
    return lines


def _compilers(table: Table, gcc: dict[tuple[str, str], Count], zig: dict[tuple[str, str], Count], titles: dict[str, str]) -> str:
    targets = [target for target in CORE_TARGETS if any(key[1] == target for key in zig)]
    rows = []
    for model, title in titles.items():
        pairs = [(gcc[model, target], zig.get((model, target))) for target in targets]
        rows.append((title, *(f"{z.instructions:,} ({z.instructions / g.instructions:.2f}x)" if z else "-" for g, z in pairs)))
    text = "The same programs by `zig cc`, which pip installs, in instructions, and how many times GCC's that is."
    return f"## The other compiler\n\n{text}\n\n{table(('model', *map(_core, targets)), rows)}"


def _sizes(table: Table, counts: dict[tuple[str, str], Count], titles: dict[str, str]) -> str:
    rows = []
    for model, title in titles.items():
        c = counts[model, CYCLES_TARGET]
        sizes = (c.code_bytes, c.weight_bytes, c.arena_bytes, c.stack_bytes)
        rows.append((title, *(f"{size:,}" for size in sizes), f"{100 * (c.predicted / c.instructions - 1):+.1f} %"))
    heads = ("model on Cortex-M4", "code B", "weights B", "arena B", "stack B", "predicted instructions")
    return f"## Sizes, and what the compiler predicted\n\n{table(heads, rows)}"
