"""Saved templates, queries and Kibana's objects speak of fields that events have, with the types that the schema gives them."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

FOLDER = Path(str(files("benchmarks.telemetry"))) / "elastic"
SCHEMA = json.loads((FOLDER.parent / "event.schema.json").read_text())
COMPONENT = json.loads((FOLDER / "component.json").read_text())
QUERIES = json.loads((FOLDER / "queries.json").read_text())
OBJECTS = [json.loads(line) for line in (FOLDER / "kibana.ndjson").read_text().splitlines()]
DOCS = Path(__file__).parents[2] / "docs"
# Kept, not searched: what runs on and how exact a quantile is.
UNSEARCHED = re.compile(r"strop\.measurement\.(environment|given|asked|took|predicted|latency_us\.(outliers|inter|confid))")


def mapped(node: dict[str, Any], path: str = "") -> dict[str, str]:
    """Fields of the template with their types."""
    found: dict[str, str] = {}
    for name, each in node["properties"].items():
        found |= mapped(each, f"{path}{name}.") if "properties" in each else {f"{path}{name}": each["type"]}
    return found


def described(node: dict[str, Any], path: str = "") -> dict[str, str]:
    """Fields of the schema with their types."""
    if "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].rsplit("/", 1)[1]]
    if node.get("type") == "array":
        return described(node["items"], path)
    if "properties" not in node:
        return {path: node.get("type", "integer" if isinstance(node.get("const"), int) else "string")}
    found: dict[str, str] = {}
    for name, each in node["properties"].items():
        found |= described(each, f"{path}.{name}" if path else name)
    return found


FIELDS = mapped(COMPONENT["template"]["mappings"])


def test_every_field_of_an_event_is_mapped_as_what_it_is() -> None:
    kinds = {
        "string": ("keyword", "text", "date"),
        "integer": ("long", "integer"),
        "number": ("double",),
        "boolean": ("boolean",),
    }
    wanted = {name: kind for name, kind in described(SCHEMA).items() if not UNSEARCHED.match(name)}
    assert len(wanted) > 80 and set(FIELDS) == set(wanted)
    assert {name: kind for name, kind in wanted.items() if FIELDS[name] not in kinds[kind]} == {}


def fields_in(node: Any) -> set[str]:
    """Everything that a query names as a field."""
    if isinstance(node, list):
        return set().union(*map(fields_in, node))
    if not isinstance(node, dict):
        return set()
    own = {node["field"]} if isinstance(node.get("field"), str) else set()
    own |= set(node.get("term", {})) | {name for each in node.get("sort", ()) if isinstance(each, dict) for name in each}
    return own.union(*map(fields_in, node.values()))


def test_queries_name_fields_that_there_are() -> None:
    for name, query in QUERIES.items():
        found = fields_in(query["body"])
        assert found and found <= set(FIELDS), name
        assert f"`{name}`" in (DOCS / "monitoring.md").read_text(), name


def test_objects_of_kibana_fit_together() -> None:
    ids = {(each["type"], each["id"]) for each in OBJECTS}
    assert len(ids) == len(OBJECTS) > 8
    for each in OBJECTS:
        assert {(link["type"], link["id"]) for link in each["references"]} <= ids
        if each["type"] == "visualization":
            state = json.loads(each["attributes"]["visState"])
            assert fields_in(state) - {"_key"} <= set(FIELDS), each["id"]
        if each["type"] == "dashboard":
            panels = json.loads(each["attributes"]["panelsJSON"])
            assert [f"{panel['panelIndex']}:{panel['panelRefName']}" for panel in panels] == [
                link["name"] for link in each["references"]
            ]
