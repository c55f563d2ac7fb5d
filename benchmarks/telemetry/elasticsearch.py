"""Elasticsearch by its bulk API: a data stream for each kind of event, an event's id as its document's, so that doubles stay out.

On first contact the templates of `elastic/` are put where the user may and the server can; without them the server guesses types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from benchmarks.telemetry.https import Http, forbidden, reason_of
from benchmarks.telemetry.sender import Refusal, RejectedError
from benchmarks.telemetry.settings import SinkSettings
from benchmarks.telemetry.spool import Record
from toolchain.errors import RunError

NDJSON = "application/x-ndjson"
JSON = "application/json"
POLICY, COMPONENT, TEMPLATE = "strop", "strop-mappings", "strop"
# Where a document is already, and faults that pass by themselves.
THERE, PASSING = 409, (429, 500, 502, 503, 504)
BULK = "/_bulk?filter_path=errors,items.*.status,items.*.error"


class Elasticsearch:
    """A cluster."""

    most_bytes = 4 << 20
    most_records = 2000
    patience_s = 0.0

    def __init__(self, settings: SinkSettings) -> None:
        """Raises RunError(523) for files of TLS that cannot be used."""
        self._settings = settings
        self._http = Http(settings, "ApiKey")
        self._ready = False

    def deliver(self, records: Sequence[Record], number: str) -> Sequence[Refusal]:
        """Index a batch. What is there already is left as it is."""
        if not self._ready:
            self._ready = not self._settings.setup or put_templates(self._http, self._settings.keep_days)
        space = self._settings.namespace.encode()
        lines = [
            b'{"create":{"_index":"metrics-strop.%b-%b","_id":"%b"}}\n%b\n' % (record.kind, space, record.id, record.line)
            for record in records
        ]
        status, answer = self._http.call("POST", BULK, b"".join(lines), Content_Type=NDJSON)
        if status in (400, 413):
            raise RejectedError(f"HTTP {status}: {reason_of(answer)}")
        if status != 200 or not isinstance(answer, dict):
            raise self._fault(f"HTTP {status}: {reason_of(answer)}")
        if not answer.get("errors"):
            return ()
        return self._refused(records, answer.get("items", ()))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _refused(self, records: Sequence[Record], items: Sequence[Mapping[str, Any]]) -> list[Refusal]:
        refused: list[Refusal] = []
        for record, item in zip(records, items):
            (result,) = item.values()
            status = result.get("status", 0)
            if status == 403:
                raise forbidden(self._settings.name, reason_of(result))
            if status in PASSING:
                raise self._fault(f"HTTP {status}: {reason_of(result)}")
            if status >= 400 and status != THERE:
                refused.append(Refusal(record, f"HTTP {status}: {reason_of(result)}"))
        return refused

    def _fault(self, what: str) -> RunError:
        return RunError(521, self._settings.name, f"{self._settings.url} does not index: {what:.200}", "See the server's log")


def read_template(name: str) -> dict[str, Any]:
    """A saved template: `policy`, `component`, `template`."""
    return json.loads((files("benchmarks.telemetry") / "elastic" / f"{name}.json").read_text(encoding="utf-8"))


def put_templates(http: Http, keep_days: int) -> bool:
    """Install what the server has a place for and the user may; True once nothing more is to be tried.

    Servers without life cycles keep events for ever; users without the right need someone else to have done it.
    """
    policy = read_template("policy")
    policy["policy"]["phases"]["delete"]["min_age"] = f"{keep_days}d"
    component, template = read_template("component"), read_template("template")
    if _put(http, f"/_ilm/policy/{POLICY}", policy):
        component["template"]["settings"]["index.lifecycle.name"] = POLICY
    if _put(http, f"/_component_template/{COMPONENT}", component):
        _put(http, f"/_index_template/{TEMPLATE}", template)
    return True


def _put(http: Http, path: str, body: Mapping[str, Any]) -> bool:
    """Whether the server took it."""
    try:
        status, _ = http.call("PUT", path, json.dumps(body).encode(), Content_Type=JSON)
    except RunError as fault:
        if fault.number != 524:
            raise
        return False
    return status == 200
