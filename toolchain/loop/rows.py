"""From lines of JSON to rows of the lake: many at once by Arrow where they are plainly events, else one by one with the reason.

`_row` says what an event is. The fast way takes only lines that it surely agrees with, so a line's fate never depends on its
neighbours, and every engine, also Spark's workers, reads lines through `parse`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from toolchain.ir.types import Array
from toolchain.loop.extras import need

Table = Any
"""A pyarrow.Table, whose package has no types."""

MAX_LINE_BYTES = 1 << 20
SCHEMAS = (1, 2)
RUN = ("inference", "error")
"""Kinds of events that tell of samples."""

FIGURES = ("minimum", "maximum", "mean", "deviation")
"""What a device tells of its first input; features of drift, in this order."""

_MOMENT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"
_LEAST = 64
"""Lines that are looked at one by one when Arrow cannot read them together."""

_NEEDED = ("id", "time", "host", "session", "sequence", "service", "target", "kind")


@dataclass(frozen=True, slots=True)
class Parsed:
    """rows: the events, in order. places: (n,) which line each came from. refused: places of other lines, with the reason."""

    rows: Table
    places: Array
    refused: tuple[tuple[int, str], ...]


def row_schema() -> Any:
    """The columns of the lake."""
    pyarrow = need("pyarrow", "loop")
    text, real = pyarrow.string(), pyarrow.float64()
    columns = {
        "id": text,
        "time": pyarrow.timestamp("us", "UTC"),
        "late": pyarrow.bool_(),
        "host": text,
        "session": text,
        "sequence": pyarrow.int64(),
        "service": text,
        "version": text,
        "target": text,
        "kind": text,
        "success": pyarrow.bool_(),
        "samples": pyarrow.int64(),
        "latency_us": real,
        **dict.fromkeys(FIGURES, real),
        "top": pyarrow.int64(),
        "confidence": real,
        "code": text,
    }
    return pyarrow.schema([pyarrow.field(name, kind) for name, kind in columns.items()])


def parse(lines: Sequence[bytes], arrived: Array, late_s: float) -> Parsed:
    """Lines as rows. arrived: (n,) seconds since 1970 that each came in at; an event that is late_s older is late."""
    pyarrow = need("pyarrow", "loop")
    places = np.arange(len(lines))
    plain = np.fromiter((_plain(line) for line in lines), bool, len(lines))
    tables: list[tuple[Table, Array]] = []
    slow = [int(place) for place in places[~plain]]
    _halves(lines, places[plain], arrived, late_s, tables, slow)
    made: list[dict[str, Any]] = []
    kept: list[int] = []
    refused: list[tuple[int, str]] = []
    for place in sorted(slow):
        row = _row(lines[place], float(arrived[place]), late_s)
        if isinstance(row, str):
            refused.append((place, row))
        else:
            made.append(row)
            kept.append(place)
    tables.append((pyarrow.Table.from_pylist(made, schema=row_schema()), np.array(kept, np.int64)))
    rows = pyarrow.concat_tables([table for table, _ in tables])
    came = np.concatenate([place for _, place in tables])
    order = np.argsort(came, kind="stable")
    if (order[1:] < order[:-1]).any():
        rows = rows.take(order)
    return Parsed(rows, came[order], tuple(refused))


def _plain(line: bytes) -> bool:
    """Whether a line can only be one or more whole objects: none begins or ends in another line."""
    return len(line) <= MAX_LINE_BYTES and line[:1] == b"{" and line[-2:] in (b"}\n", b"}}")


def _halves(
    lines: Sequence[bytes], places: Array, arrived: Array, late_s: float, tables: list[tuple[Table, Array]], slow: list[int]
) -> None:
    """Read together what can be; halves where Arrow refuses something, down to few lines."""
    if not len(places):
        return
    found = _together([lines[place] for place in places], arrived[places], late_s)
    if found is not None:
        rows, good = found
        tables.append((rows.filter(good), places[good]))
        slow.extend(int(place) for place in places[~good])
    elif len(places) <= _LEAST:
        slow.extend(int(place) for place in places)
    else:
        middle = len(places) // 2
        for part in (places[:middle], places[middle:]):
            _halves(lines, part, arrived, late_s, tables, slow)


def _shape() -> Any:
    """What Arrow reads of an event; all else is left out."""
    arrow = need("pyarrow", "loop")
    text, whole, real = arrow.string(), arrow.int64(), arrow.float64()

    def struct(**fields: Any) -> Any:
        return arrow.struct(list(fields.items()))

    mean = struct(mean=real)
    own = struct(
        schema=whole,
        target=text,
        bundle=struct(target=text),
        samples=whole,
        latency_us=mean,
        inputs=arrow.list_(struct(**dict.fromkeys(FIGURES, real))),
        top=arrow.list_(whole),
        confidence=mean,
    )
    fields = {
        "@timestamp": text,
        "host": struct(hostname=text),
        "agent": struct(ephemeral_id=text),
        "service": struct(name=text, version=text),
        "event": struct(id=text, sequence=whole, action=text, outcome=text),
        "error": struct(code=text),
        "strop": own,
    }
    return arrow.schema(list(fields.items()))


def _together(lines: Sequence[bytes], arrived: Array, late_s: float) -> tuple[Table, Array] | None:
    """Rows of all lines, and which of them are surely events; None where Arrow cannot read them."""
    arrow, reader = need("pyarrow", "loop"), need("pyarrow.json", "loop")
    content = b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines)
    try:
        if not content.isascii():
            content.decode("utf-8")
        options = reader.ParseOptions(explicit_schema=_shape(), unexpected_field_behavior="ignore")
        block = reader.ReadOptions(block_size=max(MAX_LINE_BYTES * 2, 1 << 22))
        read = reader.read_json(arrow.BufferReader(content), block, options).combine_chunks()
        if len(read) != len(lines):
            return None
        return _columns(read, arrived, late_s)
    except (arrow.ArrowException, ValueError):
        return None


def _columns(read: Table, arrived: Array, late_s: float) -> tuple[Table, Array]:
    """Arrow's nested columns as rows of the lake, and which rows are surely events."""
    arrow, compute = need("pyarrow", "loop"), need("pyarrow.compute", "loop")

    def at(*path: str) -> Any:
        column: Any = read.column(path[0])
        return compute.struct_field(column, list(path[1:])) if len(path) > 1 else column

    def truth(column: Any) -> Array:
        return np.asarray(compute.fill_null(column, False).to_numpy(zero_copy_only=False), bool)

    def there(column: Any) -> Array:
        return np.asarray(compute.is_valid(column).to_numpy(zero_copy_only=False), bool)

    def only(column: Any, where: Array) -> Any:
        return compute.if_else(arrow.array(where), column, arrow.scalar(None, column.type))

    failed = there(at("error"))
    kind = compute.if_else(arrow.array(failed), "error", at("event", "action"))
    inferred = truth(compute.equal(kind, "inference"))
    success = inferred & truth(compute.equal(at("event", "outcome"), "success"))
    runs = inferred | truth(compute.equal(kind, "error"))
    text = at("@timestamp")
    shaped = truth(compute.match_substring_regex(text, _MOMENT))
    moment = only(text, shaped).cast(arrow.timestamp("us", "UTC"))
    first = _first(at("strop", "inputs"))
    tops = at("strop", "top")
    columns = {
        "id": at("event", "id"),
        "time": moment,
        "late": arrow.array(arrived * 1e6 - moment.cast("int64").fill_null(0).to_numpy() > late_s * 1e6),
        "host": at("host", "hostname"),
        "session": at("agent", "ephemeral_id"),
        "sequence": at("event", "sequence"),
        "service": at("service", "name"),
        "version": compute.fill_null(at("service", "version"), ""),
        "target": compute.coalesce(at("strop", "target"), at("strop", "bundle", "target")),
        "kind": kind,
        "success": arrow.array(success),
        "samples": only(at("strop", "samples"), runs),
        "latency_us": only(at("strop", "latency_us", "mean"), success),
        **{name: only(compute.struct_field(first, name), success) for name in FIGURES},
        "top": _first(tops),
        "confidence": at("strop", "confidence", "mean"),
        "code": at("error", "code"),
    }
    good = shaped & there(columns["sequence"]) & truth(compute.is_in(at("strop", "schema"), arrow.array(SCHEMAS)))
    for name in _NEEDED:
        good &= there(columns[name])
    good &= ~runs | there(columns["samples"])
    good &= ~failed | there(columns["code"])
    for name in ("latency_us", *FIGURES):
        good &= ~success | there(columns[name])
    for outer, inner in ((tops, "top"), (at("strop", "confidence"), "confidence")):
        good &= ~there(outer) | there(columns[inner])
    schema = row_schema()
    return arrow.Table.from_arrays(
        [_whole(columns[name]).cast(schema.field(name).type) for name in schema.names], schema=schema
    ), good


def _first(lists: Any) -> Any:
    """The first element of each list, null where there is none."""
    compute = need("pyarrow.compute", "loop")
    return compute.list_element(compute.list_slice(lists, 0, 1, return_fixed_size_list=True), 0)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column


def _text(value: Any, name: str) -> str:
    """A text that UTF-8 can say."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    value.encode()
    return value


def _integer(value: Any, name: str) -> int:
    if type(value) is not int:
        raise TypeError(f"{name} is no whole number")
    if not -(1 << 63) <= value < 1 << 63:
        raise OverflowError(f"{name} has more than 64 bits")
    return value


def _real(value: Any, name: str) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{name} is no number")
    return float(value)


def _row(line: bytes, arrived: float, late_s: float) -> dict[str, Any] | str:
    """An event as a row of the lake, or why it is none. What may be missing may be null, too."""
    if len(line) > MAX_LINE_BYTES:
        return f"the line has more than {MAX_LINE_BYTES:,} B"
    try:
        event = json.loads(line)
        own, told = event["strop"], event["event"]
        if own["schema"] not in SCHEMAS:
            return f"schema {own['schema']!r:.20} is unknown"
        moment = datetime.fromisoformat(event["@timestamp"])
        if moment.tzinfo is None:
            return "the time has no zone"
        fault = event.get("error")
        kind = "error" if fault is not None else _text(told["action"], "action")
        success = kind == "inference" and told.get("outcome") == "success"
        first = own["inputs"][0] if success else {}
        target = own["target"] if own.get("target") is not None else own["bundle"]["target"]
        top, confidence, version = own.get("top"), own.get("confidence"), event["service"].get("version")
        return {
            "id": _text(told["id"], "id"),
            "time": moment,
            "late": arrived - moment.timestamp() > late_s,
            "host": _text(event["host"]["hostname"], "hostname"),
            "session": _text(event["agent"]["ephemeral_id"], "ephemeral_id"),
            "sequence": _integer(told["sequence"], "sequence"),
            "service": _text(event["service"]["name"], "service"),
            "version": "" if version is None else _text(version, "version"),
            "target": _text(target, "target"),
            "kind": kind,
            "success": success,
            "samples": _integer(own["samples"], "samples") if kind in RUN else None,
            "latency_us": _real(own["latency_us"]["mean"], "latency_us") if success else None,
            **{name: _real(first[name], name) if success else None for name in FIGURES},
            "top": _integer(top[0], "top") if top else None,
            "confidence": None if confidence is None else _real(confidence["mean"], "confidence"),
            "code": None if fault is None else _text(fault["code"], "code"),
        }
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as fault:
        return f"{type(fault).__name__}: {fault!s:.100}".encode("utf-8", "replace").decode()
