"""Test support: a page opened in a real browser as visitors do, in light and dark, wide and narrow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from firmware.processes import run_process
from runtimes.browser.tools import find_browser
from runtimes.browser_engine import flags

VISITOR = Path(__file__).with_name("report_visit.mjs")
WIDTHS = (1280, 390)


def look_at(url: str, folder: Path, *, shots: bool = False, ready: str = "", script: str = "") -> dict[str, Any]:
    """What a visitor sees and reaches, by `width-scheme`. shots: leave screenshots and a print in the folder.

    ready: a selector to wait for. script: run at the end in the first page, its value is under `script`.
    """
    tools = find_browser()
    job = {
        "url": url,
        "modules": f"{tools.modules}/",
        "chromium": str(tools.chromium),
        "flags": flags("wasm"),
        "widths": WIDTHS,
        "shots": str(folder) if shots else "",
        "pdf": shots,
        "ready": ready,
        "script": script,
    }
    (folder / "job.json").write_text(json.dumps(job))
    node = run_process([str(tools.node), str(VISITOR), str(folder / "job.json")], timeout_s=120)
    assert node.status == 0, node.stderr
    found: dict[str, Any] = json.loads(node.stdout)
    return found


def assert_readable(told: dict[str, Any]) -> None:
    """Nothing sticks out, nothing is faint, nothing was complained of, and everything reached by Tab shows it."""
    for name, page in told.items():
        if name != "script":
            assert page["faults"] == [], name
            assert page["overflow"] <= 0 and page["out"] == [], name
            assert page["faint"] == [], name
            assert all(each["mark"] for each in page["reached"]), name
