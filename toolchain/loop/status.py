"""Where a loop is, as its state tells."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.fleet.inventory import CONFIRMED, GIVEN_UP, read_actual, read_inventory
from toolchain.loop.lake import EVENTS, QUARANTINE
from toolchain.loop.store import Store

PENDING = "pending"


def status(store: Store, inventory: Path) -> dict[str, Any]:
    """`deployed`: round of the model in use, None before the first; `events`, `quarantined`: rows of the lake; `rounds`, the last
    first: `round`, `decision` (None while it is open), `reason`, `steps` that are done; `devices`: of those that something is on
    its way to, how many have `confirmed` it, have `given_up`, or are `pending`. Raises DataError E205 for a broken inventory.
    """
    counts = dict(store.rows("SELECT kind, sum(rows) FROM parts GROUP BY kind"))
    hidden = store.rows("SELECT count(*) FROM hidden")[0][0]
    known = store.fact("deployed")
    rounds: list[dict[str, Any]] = []
    for number, decision, reason in store.rows("SELECT number, decision, reason FROM rounds ORDER BY number DESC"):
        done = store.rows("SELECT step FROM steps WHERE round = ? ORDER BY finished", (number,))
        rounds.append({"round": number, "decision": decision, "reason": reason or "", "steps": [row[0] for row in done]})
    return {
        "deployed": None if known is None else known["round"],
        "events": int(counts.get(EVENTS, 0)) - int(hidden),
        "quarantined": int(counts.get(QUARANTINE, 0)),
        "rounds": rounds,
        "devices": _devices(inventory),
    }


def _devices(inventory: Path) -> dict[str, int]:
    found: Counter[str] = Counter()
    for device in read_inventory(inventory) if inventory.exists() else ():
        if device.delivery is not None:
            actual = read_actual(inventory, device.id)
            ended = actual.wish == device.delivery.name and actual.phase in (CONFIRMED, GIVEN_UP)
            found[actual.phase if ended else PENDING] += 1
    return dict(found)
