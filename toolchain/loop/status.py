"""Where a loop is, as its state tells."""

from __future__ import annotations

from typing import Any

from toolchain.loop.lake import EVENTS, QUARANTINE
from toolchain.loop.store import Store


def status(store: Store) -> dict[str, Any]:
    """`deployed`: round of the model in use, None before the first; `events`, `quarantined`: rows of the lake; `rounds`.

    Of a round, the last first: `round`, `decision` (None while it is open), `reason`, `steps` that are done.
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
    }
