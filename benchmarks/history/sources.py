"""Where a history is read from: files, or an Elasticsearch that a sink of the settings names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.history.files import read_history, state_of
from benchmarks.suites.events import DATASET
from benchmarks.suites.record import read_lines
from benchmarks.suites.results import Kept
from benchmarks.telemetry.https import Http, reason_of
from benchmarks.telemetry.settings import SinkSettings, resolve
from toolchain.errors import RunError, UsageError

PAGE = 1000
QUERY = {"term": {"event.dataset": DATASET}}


class Source(Protocol):
    """Something that has measurements. name: shown."""

    name: str

    def state(self) -> str:
        """A text that changes when measurements come or go."""
        ...

    def read(self) -> list[Kept]:
        """All measurements, the oldest first, each id once."""
        ...


class Files:
    """Files of events and folders with such files."""

    def __init__(self, places: Sequence[Path]) -> None:
        """Raises UsageError(901) for a place that is not there."""
        for place in places:
            if not place.exists():
                raise UsageError(901, "strop dashboard", f"{place} is not there", "Name a folder or file of measurements")
        self._places = places
        self.name = ", ".join(map(str, places))

    def state(self) -> str:
        """Sizes and times of all files."""
        return state_of(self._places)

    def read(self) -> list[Kept]:
        """Raises DataError(205), EnvironmentFault(404)."""
        return read_history(self._places)


class Elastic:
    """The data stream of measurements in Elasticsearch. Raises RunError(521 to 524) as its connection does."""

    def __init__(self, settings: SinkSettings) -> None:
        self.name = f"{settings.name}, {settings.url}"
        self._place = settings.name
        self._http = Http(settings, "ApiKey")
        self._index = f"/metrics-{DATASET}-{settings.namespace}"

    def state(self) -> str:
        """How many there are, and the time of the newest."""
        newest = {"newest": {"max": {"field": "@timestamp"}}}
        answer = self._search({"size": 0, "track_total_hits": True, "query": QUERY, "aggs": newest})
        hits = answer.get("hits", {}).get("total", {}).get("value", 0)
        return f"{hits} {answer.get('aggregations', {}).get('newest', {}).get('value')}"

    def read(self) -> list[Kept]:
        """Page by page in the order of time."""
        kept = {each.id: each for each in read_lines(self._lines(), self._place)}
        return sorted(kept.values(), key=lambda each: (each.time, each.id))

    def _lines(self) -> Iterator[bytes]:
        after: Sequence[Any] | None = None
        order = [{"@timestamp": "asc"}, {"event.id": "asc"}]
        while True:
            body: dict[str, Any] = {"size": PAGE, "query": QUERY, "sort": order}
            hits = self._search(body if after is None else body | {"search_after": after}).get("hits", {}).get("hits", [])
            yield from (json.dumps(hit["_source"]).encode() for hit in hits)
            if len(hits) < PAGE:
                return
            after = hits[-1]["sort"]

    def _search(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        path = f"{self._index}/_search?ignore_unavailable=true&allow_no_indices=true"
        status, answer = self._http.call("POST", path, json.dumps(body).encode(), Content_Type="application/json")
        if status != 200 or not isinstance(answer, dict):
            raise RunError(521, self._place, f"the search gave HTTP {status}: {reason_of(answer)}", "See the server's log")
        return answer


def source_of(places: Sequence[str]) -> Source:
    """The source that a user named: a sink of kind elasticsearch by its name or URL, else files. Raises UsageError(901)."""
    if len(places) == 1 and not Path(places[0]).exists():
        settings = resolve(places[0])
        if settings.kind == "elasticsearch":
            return Elastic(settings)
    return Files([Path(place) for place in places])
