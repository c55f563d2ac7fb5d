"""Measured costs of kernels per core: `targets/costs/<core>.toml`, written by `strop tune`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

from targets.table import Table, parse_table


@dataclass(frozen=True, slots=True)
class UnitCost:
    """What one unit of a kernel's work takes: instructions, and cycles at zero wait states where they are modelled."""

    instructions: float
    cycles: float | None


@dataclass(frozen=True, slots=True)
class CodeCost:
    """Bytes of code of a kernel: what all its shapes share, and what each shape adds."""

    shared_bytes: float
    shape_bytes: float


@dataclass(frozen=True, slots=True)
class CostTable:
    """Costs per variant and unit of work, and code per variant. date, tools: when and with what they were measured, or empty."""

    core: str
    date: str = ""
    tools: str = ""
    variants: Mapping[str, Mapping[str, UnitCost]] = field(default_factory=dict[str, Mapping[str, UnitCost]])
    code: Mapping[str, CodeCost] = field(default_factory=dict[str, CodeCost])


def cost_names() -> tuple[str, ...]:
    """Cores that have a table."""
    folder = files("targets") / "costs"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


@functools.cache
def load_costs(core: str) -> CostTable:
    """The table of a core, empty when it was never measured. Raises TargetError 304 when its file is wrong."""
    source = files("targets") / "costs" / f"{core}.toml"
    if not source.is_file():
        return CostTable(core)
    return read_costs(source.read_bytes(), f"targets/costs/{core}.toml")


def read_costs(content: bytes, file: str) -> CostTable:
    """The table in the text of a cost file. Raises TargetError 304."""
    table = parse_table(content, file)
    table.expect(("core", "date", "tools", "variants", "code"))
    variants, code = table.table("variants"), table.table("code")
    found = {name: _units(variants.table(name)) for name in variants.values}
    sizes = {name: CodeCost(*code.numbers(name, (2,))) for name in code.values}
    return CostTable(table.identifier("core"), table.text("date"), table.text("tools"), found, sizes)


def _units(table: Table) -> dict[str, UnitCost]:
    found: dict[str, UnitCost] = {}
    for unit in table.values:
        numbers = table.numbers(unit, (1, 2))
        found[unit] = UnitCost(numbers[0], numbers[1] if len(numbers) == 2 else None)
    return found
