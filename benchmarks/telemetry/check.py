"""Holds documents to the event schema: the parts of JSON Schema that it uses, compiled to functions once.

It answers for whatever it is given, in time that grows with the document's size and no further than the first fault.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

from benchmarks.telemetry.event import MAX_EVENT_BYTES, Event

# A document's fault with its place, or "".
Check = Callable[[Any], str]
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value),
}
_NOTES = ("$schema", "$id", "title", "description", "$defs")


def event_of(data: bytes) -> Event:
    """The event that a line of JSON is. Raises ValueError with the reason where it is none; nothing else, whatever data is."""
    if len(data) > MAX_EVENT_BYTES:
        raise ValueError(f"it has {len(data):,} B, an event has {MAX_EVENT_BYTES:,} at most")
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_no_constant, parse_int=_integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError as wrong:
        raise ValueError(f"it is no UTF-8: {wrong.reason} at byte {wrong.start:,}") from None
    fault = fault_in(document)
    if fault:
        raise ValueError(f"event{fault}")
    line = json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode()
    name, kind = document["event"]["id"], document["event"]["action"]
    return Event(name, line + b"\n", kind)


def fault_in(document: Any) -> str:
    """Where and why a document breaks the schema, "" where it holds to it."""
    return _compiled()(document)


@lru_cache(maxsize=1)
def _compiled() -> Check:
    schema = json.loads((files("benchmarks.telemetry") / "event.schema.json").read_text(encoding="utf-8"))
    return compile_schema(schema, schema.get("$defs", {}))


def compile_schema(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Check:
    """A function for a schema. Raises ValueError for a keyword that this module does not know."""
    if "$ref" in schema:
        return compile_schema(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    checks: list[Check] = []
    rest = {key: value for key, value in schema.items() if key not in (*_NOTES, "additionalProperties", "then")}
    # Types first: what follows relies on them.
    for key in sorted(rest, key=lambda key: key != "type"):
        if key not in _KEYWORDS:
            raise ValueError(f"the schema uses {key!r}, which nothing here checks")
        checks.append(_KEYWORDS[key](schema, definitions))
    return checks[0] if len(checks) == 1 else _all(checks)


def _all(checks: list[Check]) -> Check:
    def check(value: Any) -> str:
        for each in checks:
            fault = each(value)
            if fault:
                return fault
        return ""

    return check


def _type(schema: Mapping[str, Any], _: Mapping[str, Any]) -> Check:
    name = schema["type"]
    holds = _TYPES[name]
    return lambda value: "" if holds(value) else f" is no {name}"


def _const(schema: Mapping[str, Any], _: Mapping[str, Any]) -> Check:
    wanted = schema["const"]
    return lambda value: "" if type(value) is type(wanted) and value == wanted else f" is not {wanted!r}"


def _enum(schema: Mapping[str, Any], _: Mapping[str, Any]) -> Check:
    wanted = schema["enum"]
    return lambda value: "" if isinstance(value, str) and value in wanted else f" is none of {', '.join(wanted)}"


def _required(schema: Mapping[str, Any], _: Mapping[str, Any]) -> Check:
    names = schema["required"]

    def check(value: Any) -> str:
        for name in names:
            if name not in value:
                return f" has no {name!r}"
        return ""

    return check


def _properties(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Check:
    known = {name: compile_schema(each, definitions) for name, each in schema["properties"].items()}
    closed = schema.get("additionalProperties") is False

    def check(value: Any) -> str:
        for name, item in value.items():
            of = known.get(name)
            if of is None:
                if closed:
                    return f" has {name!r:.60}, which is unknown"
                continue
            fault = of(item)
            if fault:
                return f".{name}{fault}"
        return ""

    return check


def _items(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Check:
    of = compile_schema(schema["items"], definitions)

    def check(value: Any) -> str:
        for number, item in enumerate(value):
            fault = of(item)
            if fault:
                return f"[{number}]{fault}"
        return ""

    return check


def _pattern(schema: Mapping[str, Any], _: Mapping[str, Any]) -> Check:
    search = re.compile(schema["pattern"]).search
    return lambda value: "" if search(value) and not value.endswith("\n") else f" is not as it is written: {value!r:.60}"


def _bound(key: str, holds: Callable[[Any, Any], bool], what: str, measure: Callable[[Any], Any] = lambda value: value) -> Any:
    def made(schema: Mapping[str, Any], _: Mapping[str, Any]) -> Check:
        bound = schema[key]
        return lambda value: "" if holds(measure(value), bound) else f" is {what} {bound:,}"

    return made


def _all_of(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Check:
    return _all([compile_schema(each, definitions) for each in schema["allOf"]])


def _if(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Check:
    condition, then = compile_schema(schema["if"], definitions), compile_schema(schema["then"], definitions)
    return lambda value: "" if condition(value) else then(value)


_KEYWORDS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Check]] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "required": _required,
    "properties": _properties,
    "items": _items,
    "pattern": _pattern,
    "allOf": _all_of,
    "if": _if,
    "minimum": _bound("minimum", lambda value, bound: value >= bound, "less than"),
    "maximum": _bound("maximum", lambda value, bound: value <= bound, "more than"),
    "minLength": _bound("minLength", lambda value, bound: value >= bound, "shorter than", len),
    "maxLength": _bound("maxLength", lambda value, bound: value <= bound, "longer than", len),
    "maxItems": _bound("maxItems", lambda value, bound: value <= bound, "longer than", len),
}


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _no_constant(text: str) -> Any:
    raise ValueError(f"it has the number {text}, which JSON does not know")


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"it has a whole number of {len(text):,} digits")
    return int(text)
