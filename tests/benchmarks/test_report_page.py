"""The report and the dashboard in a real browser: light and dark, wide and narrow, by keyboard, in print; their history."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.history.files import is_results, read_history
from benchmarks.history.series import builds_of, series_of
from benchmarks.history.server import make_server
from benchmarks.history.sources import Files, source_of
from benchmarks.history.view import Choice, view
from benchmarks.report.compare import beside_peers, pareto_section, peers_section, targets_section
from benchmarks.report.facts import collect
from benchmarks.report.page import render, write_report
from benchmarks.report.points import METRICS, Point
from benchmarks.suites.environment import Environment
from benchmarks.suites.events import event_of
from benchmarks.suites.record import RESULTS_NAME, Record
from benchmarks.suites.results import Build, Count, Kept, Latency, Result
from benchmarks.suites.statistics import Interval
from tests.support.browser_batch import needs_browser
from tests.support.report_page import assert_readable, look_at
from toolchain.api import compile
from toolchain.cli.main import main
from toolchain.errors import UsageError

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
MOST_BYTES = 3_000_000


def result_of(model: str, target: str, build: int, instructions: int, precision: str = "int8") -> Result:
    value = instructions / 100
    exact = Interval(value, value, value, 1.0)
    count = Count(
        model, target, "auto", 1000, instructions, 2048, "0" * 64, "unicorn", "gcc", instructions, code_bytes=10, weight_bytes=20
    )
    latency = Latency("modelled", exact, exact, exact, (value,))
    here = Environment("Linux", "x86_64", 2, "3.11")
    return Result(
        "s", f"{model}{target}{precision}{build}", Build("0.1", f"{build:012x}"), "a" * 64, precision, count, here, 1.0, latency
    )


def history() -> list[Kept]:
    """Two models on two targets over four builds, the second model worse at the end."""
    found: list[Kept] = []
    for build in range(4):
        for model in ("kws", "<b>"):
            for target in ("nucleo_l4r5zi", "mps3_an547"):
                count = 1_000_000 - 50_000 * build if model == "kws" else 500_000 + 20_000 * build
                name = f"{model}-{target}-{build}"
                found.append(Kept(name, f"2026-0{build + 1}-01T00:00:00.000000Z", result_of(model, target, build, count)))
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("unicorn", reason="the emulator by pip is not installed")
    path = tmp_path_factory.mktemp("bundles") / "digits-pico"
    compile(
        EXAMPLE / "digits.onnx", "rp2040_pico", path, formats=("c",), calibrate=str(EXAMPLE / "calibration.npz"), explain=True
    )
    return path


@needs_browser
def test_the_report_reads_well_everywhere(bundle: Path, tmp_path: Path) -> None:
    entry = collect(bundle, model=EXAMPLE / "digits.onnx", data=f"{EXAMPLE / 'test.npz'}[:60]")
    other = replace(entry, manifest=replace(entry.manifest, precision="int16x8"))
    write_report(tmp_path / "r.html", [entry, other], history())
    assert (tmp_path / "r.html").stat().st_size < MOST_BYTES
    script = """
      const frame = document.querySelector('.zoom'), svg = frame.querySelector('svg'), before = svg.getAttribute('viewBox');
      frame.dispatchEvent(new KeyboardEvent('keydown', {key: '+'}));
      const zoomed = svg.getAttribute('viewBox');
      frame.dispatchEvent(new KeyboardEvent('keydown', {key: '0'}));
      const tabs = [...document.querySelectorAll('#targets [role=tab]')];
      tabs[0].dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}));
      const shown = [...document.querySelectorAll('#targets .panel')].map((panel) => panel.getClientRects().length > 0);
      const table = document.querySelector('table.sortable');
      const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === 'MACs');
      table.tHead.rows[0].cells[column].firstChild.click();
      const macs = [...table.tBodies[0].rows].map((row) => Number(row.cells[column].textContent.replaceAll(',', '')));
      document.getElementById('theme').click(); document.getElementById('theme').click();
      return {before, zoomed, again: svg.getAttribute('viewBox'), chosen: tabs[1].getAttribute('aria-selected'), shown, macs,
              paper: getComputedStyle(document.body).backgroundColor};"""
    told = look_at((tmp_path / "r.html").as_uri(), tmp_path, shots=True, script=script)
    assert_readable(told)
    seen = told["script"]
    assert seen["before"] == seen["again"] != seen["zoomed"]
    assert seen["chosen"] == "true" and seen["shown"][:2] == [False, True] and sum(seen["shown"]) == 1
    assert seen["macs"] == sorted(seen["macs"], reverse=True) and seen["macs"][0] > seen["macs"][-1]
    assert seen["paper"] == "rgb(20, 24, 29)"
    reached = " ".join(each["what"] for each in told["1280-light"]["reached"])
    for wanted in ("Skip to", "Theme", "Network, zoomable", "Zoom in", "Memory over one inference", "Latency"):
        assert wanted in reached
    assert (tmp_path / "print.pdf").stat().st_size > 10_000


@needs_browser
def test_the_dashboard_follows_what_is_added(tmp_path: Path) -> None:
    folder = tmp_path / "h"
    write_history(folder, history())
    with Serving(folder) as port:
        script = """
          const rows = () => document.querySelectorAll('#view tbody tr').length;
          const before = rows(), select = document.querySelector('select[name=model]');
          select.value = 'kws'; select.dispatchEvent(new Event('change', {bubbles: true}));
          for (let i = 0; i < 100 && rows() === before; i++) await new Promise((done) => setTimeout(done, 50));
          return {before, after: rows(), address: location.search, live: document.getElementById('live').textContent,
                  bold: document.querySelectorAll('#view b').length};"""
        told = look_at(f"http://127.0.0.1:{port}/", tmp_path, ready="#view svg", script=script)
    assert_readable(told)
    assert (told["script"]["before"], told["script"]["after"]) == (4, 2)
    assert "model=kws" in told["script"]["address"] and told["script"]["live"] == "● live" and told["script"]["bold"] == 0


def write_history(folder: Path, kept: list[Kept]) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / "old.jsonl").open("w") as file:
        for number, each in enumerate(kept):
            event = event_of(each.result, each.id, number)
            file.write(json.dumps({**event, "@timestamp": each.time}) + "\n")


class Serving:
    """A dashboard of a folder, while the block runs; its port."""

    def __init__(self, folder: Path) -> None:
        self.server = make_server(Files([folder]), 0)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self) -> int:
        self.thread.start()
        return self.server.server_port

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    write_history(tmp_path / "h", history())
    with Serving(tmp_path / "h") as port:
        yield port, tmp_path / "h"


def ask(port: int, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    body = answer.read().decode()
    return answer.status, body, answer.headers


def test_the_dashboard_answers_this_machine_alone(dashboard: tuple[int, Path]) -> None:
    port, _ = dashboard
    status, page, headers = ask(port, "/?model=%3Cscript%3E&metric=nonsense")
    assert status == 200 and "default-src 'none'" in headers["Content-Security-Policy"] and page.count("<script") == 1
    assert ask(port, "/", host="evil.example:80")[0] == 403
    assert ask(port, "/../etc/passwd")[0] == 404
    assert ask(port, "/", method="POST")[0] == 501


def test_what_is_added_is_shown_and_what_is_known_is_not_sent_again(dashboard: tuple[int, Path]) -> None:
    port, folder = dashboard
    first = json.loads(ask(port, "/view?model=kws&metric=instructions")[1])
    assert "1 M" in first["view"] and "0.85 M" in first["view"]
    assert json.loads(ask(port, f"/view?state={first['state']}")[1]) == {"state": first["state"]}
    record = Record(folder / "new" / RESULTS_NAME)
    record.add(result_of("kws", "nucleo_l4r5zi", 9, 1234))
    record.close()
    second = json.loads(ask(port, f"/view?state={first['state']}&model=kws&metric=instructions")[1])
    assert second["state"] != first["state"] and "0.00123 M" in second["view"]
    (folder / "bad.jsonl").write_text("nonsense\n")
    assert "E205" in json.loads(ask(port, "/view")[1])["fault"]
    assert ask(port, "/")[0] == 200


def test_series_over_builds() -> None:
    kept = [*history(), Kept("late", "2026-04-02T00:00:00.000000Z", result_of("kws", "mps3_an547", 3, 700_000))]
    builds = builds_of(kept)
    assert [build.label for build in builds] == ["01-01 000000", "02-01 000000", "03-01 000000", "04-01 000000"]
    found = {(each.model, each.target): each for each in series_of(kept, builds, METRICS[1])}
    assert found["kws", "nucleo_l4r5zi"].values == (1.0, 0.95, 0.9, 0.85)
    assert found["kws", "mps3_an547"].values[-1] == 0.7
    assert found["<b>", "mps3_an547"].change == pytest.approx(0.12)
    assert "&lt;b&gt;" in view(kept, Choice.of({})) and "<b>" not in view(kept, Choice.of({}))
    assert "Nothing was measured" in view(kept, Choice.of({"model": "none"}))
    page = render([], kept)
    assert "▲ +12.00%" in page and "▼ -15.00%" in page


def test_history_is_read_from_files_of_both_kinds(tmp_path: Path) -> None:
    write_history(tmp_path / "a", history())
    assert is_results(tmp_path / "a") and is_results(tmp_path)
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    lines = (tmp_path / "a" / "old.jsonl").read_text().splitlines()
    (tmp_path / "b").mkdir()
    parquet.write_table(arrow.table({"id": [str(i) for i in range(len(lines))], "event": lines}), tmp_path / "b" / "x.parquet")
    both = read_history([tmp_path / "a", tmp_path / "b"])
    assert len(both) == len(history()) and both == read_history([tmp_path / "b"])
    with pytest.raises(UsageError, match="is not there"):
        source_of([str(tmp_path / "none"), str(tmp_path)])


def point(**given: Any) -> Point:
    base = {
        "model": "kws",
        "target": "nucleo_l4r5zi",
        "precision": "int8",
        "macs": 10,
        "arena_bytes": 9_424,
        "instructions": 2_722_297,
    }
    return Point(**(base | given))


def test_other_stacks_are_beside_the_same_model_on_the_same_core() -> None:
    (found, arena) = beside_peers(
        [point(), point(), point(precision="float32"), point(target="rp2040_pico"), point(model="other")]
    )
    assert (found.what, found.own) == ("instructions", 2.722297)
    first = found.peers[0]
    assert first.stack == "TensorFlow Lite Micro with CMSIS-NN" and first.value == 7.84684
    assert first.times == pytest.approx(7_846_840 / 2_722_297)
    assert arena.peers[0].value == pytest.approx(22_820 / 1024)
    digest = "aeea436800704fce17b17292e4412630ad856e9d777c044c64ef748a880bd0ae"
    assert beside_peers([point(model="mine", digest=digest)])[0].model == "KWS DS-CNN on nucleo_l4r5zi"
    assert beside_peers([point(digest="0" * 64)]) == [] and peers_section([point(model="other")]) == ""
    (cycles,) = (each for each in beside_peers([point(cycles=4_076_591)]) if each.what == "cycles")
    assert cycles.peers[0].value == pytest.approx(43.2 * 120e3 / 1e6)


def test_comparisons_need_something_to_compare() -> None:
    assert targets_section([point()]) == "" and pareto_section([point(), point(target="rp2040_pico")]) == ""
    two = [
        point(latency_us=1000.0, loss=1e-3, loss_unit="MSE"),
        point(precision="int16x8", latency_us=2000.0, loss=1e-5, loss_unit="MSE"),
    ]
    worse = point(precision="w8", latency_us=3000.0, loss=1e-2, loss_unit="MSE")
    picture = pareto_section([*two, worse])
    assert picture.count('class="best"') == 2 and picture.count('class="beaten"') == 1
    assert "loss 0.001" in picture and "2 ms" in picture
    assert "● " in targets_section([replace(two[0], measured=True), two[1]])


def test_the_commands_take_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_history(tmp_path / "h", history())
    assert main(["report", str(tmp_path / "h"), "-o", str(tmp_path / "r.html")]) == 0
    text = capsys.readouterr().out
    assert "4 builds, 01-01 000000 to 04-01 000000" in text and "-15.00%" in text and "TensorFlow Lite Micro" in text
    assert "History" in (tmp_path / "r.html").read_text()
    assert main(["dashboard", str(tmp_path / "h"), "--port", "0", "--seconds", "0.1"]) == 0
    assert main(["dashboard", str(tmp_path / "h"), "--port", "-1"]) == 19
