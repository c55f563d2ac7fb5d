"""Published instruction timings of a core: `targets/timings/<name>.toml`. A core without such a table has no cycle model."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, cast

from targets.table import Table, parse_table

Kind = Literal["data", "load", "store", "multiple", "branch", "table_branch", "float", "float_accumulate"]

KINDS: tuple[str, ...] = ("data", "load", "store", "multiple", "branch", "table_branch", "float", "float_accumulate")
_MOST_CYCLES = 1000


@dataclass(frozen=True, slots=True)
class Group:
    """Instructions of one timing.

    kind: how neighbours and operands change the cost. cycles: of one instruction that does not leave the straight line.
    per_word: more for each register or word of a `multiple`. immediate: of a `store` whose offset is no register.
    """

    name: str
    kind: Kind
    cycles: int
    per_word: int
    immediate: int


@dataclass(frozen=True, slots=True)
class Unaligned:
    """Cycles that an unaligned load takes more: a halfword, a word at an odd halfword, a word at an odd byte."""

    halfword: int
    word_on_halfword: int
    word_on_byte: int


@dataclass(frozen=True, slots=True)
class Timing:
    """One core's table. Everything is in cycles at zero wait states.

    refill: of the pipeline, when the next instruction is not the following one; loaded_refill: when its address was loaded.
    load_overlap: saved by a single load or store right after a single load. address_stall: when an address needs what the
    instruction before computed. float_stall: when a floating-point result is consumed by the next instruction.
    mnemonics: the group of every instruction the core has a timing for.
    """

    name: str
    source: str
    refill: int
    loaded_refill: int
    load_overlap: int
    address_stall: int
    float_stall: int
    unaligned: Unaligned
    mnemonics: Mapping[str, Group]

    @property
    def file(self) -> str:
        """The table's place, for errors."""
        return f"targets/timings/{self.name}.toml"

    @property
    def label(self) -> str:
        """What cycles by this table are, in one line."""
        return f"model {self.name} ({self.source.partition(',')[0]}), zero wait states"


def timing_names() -> tuple[str, ...]:
    """The names `load_timing` knows, sorted."""
    return tuple(sorted(entry.name[:-5] for entry in (files("targets") / "timings").iterdir() if entry.name.endswith(".toml")))


@functools.cache
def load_timing(name: str) -> Timing:
    """The table called name, one of `timing_names`. Raises TargetError 304 when its file is wrong."""
    file = f"targets/timings/{name}.toml"
    return read_timing((files("targets") / "timings" / f"{name}.toml").read_bytes(), file)


def read_timing(content: bytes, file: str) -> Timing:
    """The table in the text of a timing file. Raises TargetError 304."""
    table = parse_table(content, file)
    cycles = ("refill", "loaded_refill", "load_overlap", "address_stall", "float_stall")
    table.expect(("name", "source", *cycles, "unaligned", "groups"))
    unaligned = table.table("unaligned")
    penalties = ("halfword", "word_on_halfword", "word_on_byte")
    unaligned.expect(penalties)
    numbers = {key: table.integer(key, 0, _MOST_CYCLES) for key in cycles}
    late = Unaligned(*(unaligned.integer(key, 0, _MOST_CYCLES) for key in penalties))
    name, source = table.identifier("name"), table.text("source")
    return Timing(name, source, **numbers, unaligned=late, mnemonics=_mnemonics(table.table("groups")))


def _mnemonics(groups: Table) -> dict[str, Group]:
    found: dict[str, Group] = {}
    for name in groups.values:
        table = groups.table(name)
        group = _group(name, table)
        for mnemonic in table.texts("mnemonics"):
            if mnemonic in found:
                raise table.fault("mnemonics", f"has '{mnemonic}', which is in '{found[mnemonic].name}'", "Name each once")
            found[mnemonic] = group
    return found


def _group(name: str, table: Table) -> Group:
    needed = {"store": ("immediate",), "multiple": ("per_word",)}
    kind = table.choice("kind", KINDS) if "kind" in table.values else "data"
    table.expect(("cycles", "mnemonics", *needed.get(kind, ())), ("kind",))
    numbers = {
        key: table.integer(key, 0, _MOST_CYCLES) if key in table.values else 0 for key in ("cycles", "per_word", "immediate")
    }
    return Group(name, cast("Kind", kind), **numbers)
