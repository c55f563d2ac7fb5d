"""Test support: a bundle's web folder served by its own server, and its page opened in a real browser."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from firmware.processes import run_process
from runtimes.browser.tools import find_browser
from runtimes.browser_engine import Backend, flags

VISITOR = Path(__file__).with_name("page_visit.mjs")


@contextmanager
def served(
    folder: Path, command: tuple[str, ...] = ("node", "serve.mjs", "0"), env: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The address at which a folder's own server answers."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True)
    try:
        assert process.stdout is not None
        address = next(line.strip() for line in process.stdout if line.startswith("http://"))
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(10)
        process.stdout.close() if process.stdout else None


def with_modules(folder: Path) -> Path:
    """The folder with the installed npm packages in it, as `npm install` would leave it."""
    (folder / "node_modules").symlink_to(find_browser().modules)
    return folder


def visit(
    url: str, place: Path, backend: Backend = "wasm", *, measured: bool = False, sent: bool = False, script: str = ""
) -> Any:
    """What the page shows, and what a script told that ran in it."""
    tools = find_browser()
    job = {
        "url": url,
        "modules": f"{tools.modules}/",
        "chromium": str(tools.chromium),
        "flags": flags(backend),
        "measured": measured,
        "sent": sent,
        "script": script,
    }
    (place / "visit.json").write_text(json.dumps(job))
    done = run_process([str(tools.node), str(VISITOR), str(place / "visit.json")], timeout_s=120)
    assert done.status == 0, done.stderr
    return cast("Any", json.loads(done.stdout))
