"""`strop loop` as a person uses it: status, approve, report, serve and fetch, on a loop whose rounds are done."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.fleet.files import write_whole
from benchmarks.history.server import serve
from tests.support.browser_batch import needs_browser
from tests.support.report_page import assert_readable, look_at
from toolchain.cli.main import main
from toolchain.loop.disagree import compare
from toolchain.loop.explain import FACTS
from toolchain.loop.picture import sheet
from toolchain.loop.report import LivePage
from toolchain.loop.run import CARD, EXPLAINED
from toolchain.loop.settings import LoopSettings, load_loop
from toolchain.loop.store import Store

pytest.importorskip("pyarrow")
pytest.importorskip("cryptography")
LOOP = Path(__file__).parents[2] / "examples" / "loop" / "loop.toml"
CHECKS = [{"name": f"condition {n} <b>", "found": 0.01 * n, "limit": 0.1, "passed": n != 3} for n in range(12)]
SLICES = [{"kind": "drifted", "name": f"class {n}", "samples": 20, "old": 0.5, "new": 0.8, "differ": 0.4} for n in range(10)]
DRIFT = {
    "segments": [{"segment": "yard", "drifted": True, "scores": [0.2, 0.3, 3.0, 9.0], "causes": ["mean (PSI)"], "since": 3}],
    "drifted": ["yard"],
}
STAGE = {"percent": 5, "devices": 4, "inferences": 80, "failures": 0.0, "confidence": 0.9, "confidence_before": 0.8, "fault": ""}


@pytest.fixture
def loop(tmp_path: Path) -> LoopSettings:
    """Two rounds: one refused, one that waits for a person."""
    digits = str(LOOP.parents[1] / "digits")
    text = LOOP.read_text().replace("../../build/loop", str(tmp_path / "loop")).replace("[gate]", "[gate]\napproval = true")
    text = text.replace("../digits", digits)
    (tmp_path / "recipe.toml").write_text(LOOP.with_name("recipe.toml").read_text().replace("../digits", digits))
    (tmp_path / "loop.toml").write_text(text + '\n[registry]\nuri = "none"\n')
    settings = load_loop(tmp_path / "loop.toml")
    store = Store(settings.folder)
    store.keep("deployed", {"round": 0})
    for accepted in (False, True):
        number = store.open_round()
        gate = {
            "accepted": accepted,
            "reasons": [],
            "checks": CHECKS,
            "before": {"old": 0.9},
            "after": {"old": 0.8},
            "version": None,
        }
        results: dict[str, Any] = {"drift": DRIFT, "explain": {"slices": SLICES, "missing": ""}, "gate": gate}
        for step, result in results.items():
            store.finish(number, step, 1.0, result)
        if not accepted:
            store.finish(number, "rollout", 1.0, {"complete": True, "stages": [STAGE]})
            store.close_round(number, "refused", "condition 3: 0.03, the limit is <none>")
        explain(settings.folder / "rounds" / f"{number:04d}")
    for turn, right in enumerate((40, 20, 35), 1):
        rows = f"segment,version,right,inferences\nyard,a,{right},50\nhall,a,45,50"
        write_whole(settings.folder / "truth" / f"turn-{turn:05d}.csv", rows.encode())
    store.close()
    return settings


def explain(folder: Path) -> None:
    """What the explain step leaves."""
    rng = np.random.default_rng(0)
    picture = sheet([(rng.uniform(size=(8, 8)), rng.uniform(size=(8, 8)), rng.uniform(size=(8, 8))) for _ in range(10)])
    differ = np.arange(60) < 20
    telling = compare({"mean": differ + rng.normal(size=60) / 9}, differ, 0)
    one = {
        "kind": "drifted",
        "samples": 20,
        "classes": [{"class": n, "samples": 2, "old": 1.0, "new": 1.5, "same": 0.9} for n in range(10)],
        "picture": "attribution-drifted.png",
        "features": [{"name": "heat", "old": 0.2, "new": 0.4}],
    }
    features = [each.as_json() for each in telling]
    found = {
        "attribution": {"sets": [one], "background": 60},
        "disagreement": [{"kind": "drifted", "samples": 60, "differ": 20, "features": features}],
    }
    write_whole(folder / EXPLAINED / "attribution-drifted.png", picture)
    write_whole(folder / EXPLAINED / FACTS, json.dumps(found).encode())
    write_whole(folder / CARD, b"# a card <script>")


def asked(loop: LoopSettings, capsys: pytest.CaptureFixture[str], action: str, more: Sequence[str] = ()) -> tuple[int, Any]:
    status = main(["loop", action, str(loop.folder.parent / "loop.toml"), *more, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_status_tells_of_every_round(loop: LoopSettings, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = asked(loop, capsys, "status")
    assert status == 0 and found["deployed"] == 0
    assert [(one["round"], one["decision"], one["steps"]) for one in found["rounds"]] == [
        (2, None, ["drift", "explain", "gate"]),
        (1, "refused", ["drift", "explain", "gate", "rollout"]),
    ]
    assert main(["loop", "status", str(loop.folder.parent / "loop.toml")]) == 0
    assert "drift, explain, gate" in capsys.readouterr().out


def test_approve_wants_a_name_and_a_candidate(loop: LoopSettings, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = asked(loop, capsys, "approve")
    assert status and found["error"]["code"] == "E901" and "--by NAME" in found["error"]["hint"]
    assert asked(loop, capsys, "approve", ("--by", "somebody")) == (0, {"approval": 2, "by": "somebody"})
    store = Store(loop.folder)
    assert store.fact("approval:2")["by"] == "somebody"
    store.close_round(2, "rolled out", "")
    status, found = asked(loop, capsys, "approve", ("--by", "somebody"))
    assert status and "step 'gate' is not done" in found["error"]["message"]


def test_fetch_names_what_it_lacks(loop: LoopSettings, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = asked(loop, capsys, "fetch")
    assert status and found["error"]["place"] == "-o"
    status, found = asked(loop, capsys, "fetch", ("-o", "x"))
    assert status and "the loop has none" in found["error"]["message"]


@needs_browser
def test_the_page_is_readable(loop: LoopSettings, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, found = asked(loop, capsys, "report")
    assert status == 0
    text = Path(found["report"]).read_text()
    assert "<script>" not in text.split("</main>")[0] and "condition 3: 0.03, the limit is &lt;none&gt;" in text
    assert text.index("condition 3 &lt;b&gt;") < text.index("condition 0 &lt;b&gt;"), "what failed comes first"
    for part in (
        "Fleet",
        "Round 1",
        "Round 2",
        "What the models look at",
        "Where they disagree",
        "heat",
        "Rollout",
        "Model card",
    ):
        assert part in text, part
    assert_readable(look_at(Path(found["report"]).as_uri(), tmp_path))


def test_the_served_page_grows(loop: LoopSettings) -> None:
    server = serve(LivePage(loop), 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"

    def view(state: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{address}/view?state={state}") as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    try:
        with urllib.request.urlopen(f"{address}/") as page:
            assert "Loop digits" in page.read().decode()
        state = view("")["state"]
        assert "view" not in view(state)
        store = Store(loop.folder)
        store.close_round(2, "rolled out", "")
        store.close()
        fresh = view(state)
        assert fresh["state"] != state and '<span class="yes">rolled out</span>' in fresh["view"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
