"""MLPerf Tiny: data, scores, submissions and their checker, and the suite over a board's line."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.mlperf_tiny.checker import check
from benchmarks.mlperf_tiny.dataset import read_dataset
from benchmarks.mlperf_tiny.rules import BENCHMARKS
from benchmarks.mlperf_tiny.scoring import area, roc_auc, top_one
from benchmarks.mlperf_tiny.session import RULE, Outcome, Session, Window, energy_lines
from benchmarks.mlperf_tiny.submission import write_submission
from benchmarks.mlperf_tiny.suite import Result
from firmware.serial.tiny import Inference
from runtimes.meters.energy import WindowEnergy
from runtimes.meters.meter import Trace
from targets.load import load_target
from tests.support.engines import needs_qemu
from tests.support.flashing import DIGITS, compiled, strop
from tests.support.mlperf import MLPERF, needs_mlperf
from toolchain.bundle.read import read_bundle
from toolchain.errors import DataError
from toolchain.reference.evaluator import run

# --- data


def dataset(folder: Path, model: str, rows: list[tuple[bytes, str]]) -> Path:
    (folder / model).mkdir(parents=True)
    for number, (data, _) in enumerate(rows):
        (folder / model / f"tst_{number:06d}.bin").write_bytes(data)
    lines = [f"tst_{number:06d}.bin,{rest}" for number, (_, rest) in enumerate(rows)]
    (folder / model / "y_labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_list_of_samples_is_read_as_the_runner_does(tmp_path: Path) -> None:
    folder = dataset(tmp_path, "ad01", [(bytes(range(20)), "2,1,8,4"), (b"abc", "2,0")])
    whole, plain = read_dataset(folder, "ad01")
    assert (whole.classes, whole.label) == (2, 1)
    assert whole.parts() == [bytes(range(start, start + 8)) for start in (0, 4, 8, 12)]
    assert plain.parts() == [b"abc"]


@pytest.mark.parametrize(
    "line", ["a.bin,12", "a.bin,x,1", "../a.bin,12,1", "a.bin,2,1,0,4", "a.bin,2,-1", ",12,1", "a.bin,2,1,8"]
)
def test_a_wrong_list_is_an_error(line: str, tmp_path: Path) -> None:
    (tmp_path / "kws01").mkdir()
    (tmp_path / "kws01" / "y_labels.csv").write_text(line)
    with pytest.raises(DataError, match=r"E205 .*no list of samples"):
        read_dataset(tmp_path, "kws01")
    with pytest.raises(DataError, match="E205"):
        read_dataset(tmp_path, "ic01")
    (tmp_path / "kws01" / "y_labels.csv").write_text("\n")
    with pytest.raises(DataError, match="E203"):
        read_dataset(tmp_path, "kws01")


# --- scores


def curve_area(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The area under the curve, drawn threshold by threshold."""
    points = [(0.0, 0.0)]
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        points.append((float(np.mean(chosen[~positive])), float(np.mean(chosen[positive]))))
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_area_under_the_curve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, 80).astype(np.float64)
    positive = rng.random(80) < 0.3
    assert roc_auc(scores, positive) == pytest.approx(curve_area(scores, positive))
    assert roc_auc(-scores, positive) == pytest.approx(1 - roc_auc(scores, positive))


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_auc_is_that_of_the_package_that_the_runner_takes(classes: int) -> None:
    metrics: Any = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, max(classes, 2), 200)
    scores = np.round(rng.random((200, classes)), 2)
    scores = scores / scores.sum(axis=1, keepdims=True) if classes > 1 else scores
    given = scores if classes > 2 else scores[:, -1]
    assert area(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, given, multi_class="ovr"))


def test_scores_of_one_two_and_more_outputs() -> None:
    labels = np.array([0, 0, 1, 1])
    assert area(np.array([[1.0], [3.0], [2.0], [4.0]]), labels) == 0.75
    assert area(np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]]), labels) == 0.75
    three = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    assert area(three, np.array([0, 1, 2, 2])) == pytest.approx((1 + 1 + 1) / 3)
    assert top_one(three, np.array([0, 1, 2, 2])) == 0.75
    assert top_one(np.array([[1.0], [2.0], [9.0], [8.0]]), labels) == pytest.approx(1.0)
    assert np.isnan(roc_auc(np.array([1.0, 2.0]), np.array([True, True])))


# --- a device that is played


class Played:
    """A device of the runner's: 2 ms an inference, and the scores of a sample are its bytes."""

    def __init__(self) -> None:
        self.loaded, self.clock_us, self.asked = b"", 0, []

    def load(self, data: bytes) -> None:
        self.loaded = data

    def infer(self, times: int = 1, warm_up: int = 0) -> Inference:
        self.asked.append((times, warm_up))
        start = self.clock_us / 1e6
        self.clock_us += 2000 * times
        return Inference(tuple(byte / 10 for byte in self.loaded), 2000 * times, start, self.clock_us / 1e6)


def session_of(played: Any) -> Session:
    return Session(played, "kws01", 10.0, now=lambda: datetime(2026, 8, 8, 23, 23, 10))


def test_modes_ask_as_the_rules_want(tmp_path: Path) -> None:
    folder = dataset(tmp_path, "kws01", [(bytes((n % 3, 5)), f"2,{n % 2}") for n in range(7)])
    samples, played = read_dataset(folder, "kws01"), Played()
    speed = session_of(played).performance(samples)
    assert played.asked == [(1, 0), *[(5050, 10)] * 5]
    assert speed.throughput == pytest.approx(500)
    assert [window.file for window in speed.windows] == [f"tst_{n:06d}.bin" for n in range(5)]
    played.asked.clear()
    right = session_of(played).accuracy(samples)
    assert played.asked == [(1, 0)] * 7
    assert (right.samples, right.top1) == (7, pytest.approx(3 / 7))
    with pytest.raises(DataError, match=r"E203 .*5 are measured"):
        session_of(played).performance(samples[:4])


def test_logs_are_those_of_published_results(tmp_path: Path) -> None:
    """Lines of a submission of version 1.3, with this device's figures in them."""
    folder = dataset(tmp_path, "kws01", [(bytes((1, 9)), "2,1")] * 5)
    speed = session_of(Played()).performance(read_dataset(folder, "kws01"))
    assert list(speed.log[1:10]) == [
        "0808.232310 ulp-mlperf: Loading file tst_000000.bin segment 0",
        "0808.232310 ulp-mlperf: Load complete.",
        "Running inference with 10/5050 (warmup/measured) iterations ...",
        "done",
        "0808.232310 ulp-mlperf: Performance results for window 1:",
        "0808.232310 ulp-mlperf:   # Inferences :          5050",
        "0808.232310 ulp-mlperf:   Runtime      :     10.100 sec.",
        "0808.232310 ulp-mlperf:   Throughput   :    500.000 inf./sec.",
        "0808.232310 ulp-mlperf:   m-results    : [0.1, 0.9]",
    ]
    assert speed.summary[1] == "0808.232310 ulp-mlperf: Median throughput is    500.000 inf./sec."
    right = session_of(Played()).accuracy(read_dataset(folder, "kws01"))
    assert right.summary[0] == "0808.232310 ulp-mlperf: Top 1% = 100.0"


class Steady:
    """A meter that saw the same power from a second before the device's first time stamp, and the input fall twice."""

    label = "meter"

    def __init__(self, played: Played, watts: float) -> None:
        self.played, self.watts, self.started = played, watts, 0

    def start(self) -> None:
        self.started += 1

    def stop(self) -> Trace:
        end = self.played.clock_us / 1e6
        seconds = np.arange(end - 12.0, end + 1.0, 0.001)
        return Trace(seconds, np.full(len(seconds), self.watts), 0.001, (end - 10.05, end - 0.05))

    def close(self) -> None:
        pass


def test_energy_is_that_of_a_window_between_edges(tmp_path: Path) -> None:
    samples = read_dataset(dataset(tmp_path, "kws01", [(bytes((1, 9)), "2,1")] * 5), "kws01")
    played = Played()
    meter = Steady(played, 0.5)
    found = session_of(played).energy(samples, meter)
    assert meter.started == 5
    assert found.energy_uj == pytest.approx(0.5e6 * 10 / 5050)
    assert found.summary[:7] == (
        "Power Edition Output",
        "Energy data for trial 0",
        "  Elapsed time  : 10",
        "  Inferences    : 5050",
        "  Power         : 500.0000 mW.",
        "  Total Energy  : 5000000.000 uJ",
        "  Energy/Inf    : 990.099 uJ/inf",
    )
    assert found.summary[-2] == "Median energy cost is 990.0990 uJ/inf."


# --- submissions


@pytest.fixture(scope="module")
def kws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(
        tmp_path_factory.mktemp("kws"), "mps2_an386", DIGITS / "digits.onnx", ("--name", "kws", "--precision", "int8")
    )


@pytest.fixture
def submission(kws: Path, tmp_path: Path) -> Path:
    """One that keeps all rules."""
    rows = [(bytes((1, 9)) if n % 2 else bytes((9, 1)), f"2,{n % 2}") for n in range(6)]
    samples = read_dataset(dataset(tmp_path / "data", "kws01", rows), "kws01")
    session = session_of(Played())
    windows = tuple(Window(f"f{n}", 100, 0, (), WindowEnergy(5e4 + n, 10.5, 100, "digital input")) for n in range(5))
    lines = ["Power Edition Output"]
    for number, window in enumerate(windows):
        lines += energy_lines(number, window)
    energy = Outcome(("x",), (*lines, RULE, "Median energy cost is 500.0200 uJ/inf.", RULE), windows)
    outcomes = {"performance": session.performance(samples), "accuracy": session.accuracy(samples), "energy": energy}
    result = Result(read_bundle(kws), BENCHMARKS[0], outcomes)  # type: ignore[arg-type]
    write_submission(tmp_path / "out", [result], load_target("mps2_an386"), "me", "closed", "board", simulated=True)
    return tmp_path / "out"


def test_the_layout_is_that_of_published_submissions(submission: Path) -> None:
    root = submission / "closed" / "me"
    for mode in ("performance", "accuracy", "energy"):
        assert {"results.txt", "log.txt"} <= {path.name for path in (root / "results" / "board" / "kws" / mode).iterdir()}
    assert (root / "code" / "kws" / "board" / "c" / "kws.c").is_file()
    described = json.loads((root / "systems" / "board.json").read_text())
    assert described["Submitter"] == "me"
    assert described["Processor(s) Name"] == "cortex-m4f"
    assert check(submission) == []


def edited(submission: Path, name: str, old: str, new: str) -> list[str]:
    path = submission / "closed" / "me" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return check(submission)


SPEED, RIGHT, ENERGY = (f"results/board/kws/{mode}" for mode in ("performance", "accuracy", "energy"))


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        (f"{SPEED}/log.txt", "    10.100 sec.", "     9.100 sec.", "window 1 took 9.100 s"),
        (f"{SPEED}/log.txt", "   500.000 inf./sec.", "   700.000 inf./sec.", "which is not 5050 in 10.100 s"),
        (f"{SPEED}/log.txt", "for window 5:", "for window 6:", "windows, 5 are wanted"),
        (f"{SPEED}/log.txt", "tst_000004.bin", "tst_000000.bin", "not of 5 files"),
        (f"{SPEED}/results.txt", "   500.000", "   501.000", "the median is not 501"),
        (f"{SPEED}/results.txt", "Median throughput", "Mean throughput", "no median throughput"),
        (f"{SPEED}/results.txt", "0808.232310 ulp-mlperf: ---", "hello ---", "no line of the runner's"),
        (f"{RIGHT}/results.txt", "Top 1% = 100.0", "Top 1% = 89.9", "the closed division wants 0.9"),
        (f"{RIGHT}/results.txt", "AUC = ", "Area = ", "it has no auc"),
        (f"{ENERGY}/results.txt", "Elapsed time  : 10.5", "Elapsed time  : 9.5", "took 9.5 s"),
        (f"{ENERGY}/results.txt", "500.0200 uJ/inf.", "400.0000 uJ/inf.", "the median is not 400"),
        (f"{ENERGY}/results.txt", "trial 4", "trial 5", "trials, 5 are wanted"),
        (f"{ENERGY}/results.txt", "500.010 uJ/inf", "600.000 uJ/inf", "which is not"),
        ("systems/board.json", '"Submitter": "me"', '"Submitter": ""', "Submitter is missing"),
        ("systems/board.json", "Closed", "Open", "Division is 'Open'"),
        ("systems/board.json", "Research, Development, or Internal (RDI)", "Soon", "Status is 'Soon'"),
        ("systems/board.json", "{", "[", "no JSON"),
    ],
)
def test_what_breaks_a_rule_is_found(name: str, old: str, new: str, fault: str, submission: Path) -> None:
    faults = edited(submission, name, old, new)
    assert any(fault in each for each in faults), faults


def test_missing_files_and_folders_are_found(submission: Path, tmp_path: Path) -> None:
    root = submission / "closed" / "me"
    (root / "results" / "board" / "kws" / "accuracy" / "log.txt").unlink()
    (root / "results" / "board" / "sww").mkdir()
    (root / "systems" / "board.json").rename(root / "systems" / "other.json")
    faults = "\n".join(check(submission))
    for each in ("accuracy/log.txt: it is missing", "sww: it is none of kws", "systems/board.json: it is no JSON"):
        assert each in faults
    with pytest.raises(DataError, match=r"E205 .*no folder closed or open"):
        check(tmp_path / "nothing")


# --- over a board's line


@needs_qemu
def test_the_suite_on_a_board(
    kws: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracy is that of the reference evaluator on the same bytes; what is too short for the rules is said."""
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))
    graph = read_bundle(kws).graph()
    rng = np.random.default_rng(3)
    inputs = rng.integers(-128, 128, (8, *graph.inputs[0].type.shape[1:])).astype(np.int8)
    found = [int(np.argmax(run(graph, [sample[None]])[0])) for sample in inputs]
    labels = [each if n % 4 else (each + 1) % 10 for n, each in enumerate(found)]
    rows = [(sample.tobytes(), f"10,{label}") for sample, label in zip(inputs, labels, strict=True)]
    folder = dataset(tmp_path / "data", "kws01", rows)
    strop(capsys, "flash", kws, "--port", "qemu")
    options = (
        "--on",
        "board:qemu",
        "--dataset",
        folder,
        "--window",
        0.01,
        "--submission",
        tmp_path / "out",
        "--organization",
        "me",
    )
    status, told = strop(capsys, "bench", kws, "--suite", "mlperf-tiny", *options)
    assert "error" not in told, told
    (result,) = told["results"]
    assert (status, result["benchmark"], result["samples"], result["top1"]) == (0, "kws", 8, 0.75)
    assert result["latency_us"] == pytest.approx(1e6 / result["throughput"])
    assert result["quality_reached"] is False
    assert any("10 s are the least" in fault for fault in told["faults"])
    assert any("top1 is 0.750, the closed division wants 0.9" in fault for fault in told["faults"])
    assert not any("no line of the runner's" in fault for fault in told["faults"])


@needs_qemu
@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (("--on", "qemu", "--dataset", "."), "E901", "runs on a board"),
        (("--on", "board:qemu"), "E901", "it is missing"),
        (("--on", "board:qemu", "--dataset", ".", "--modes", "speed"), "E901", "it is 'speed'"),
        (("--on", "board:qemu", "--dataset", ".", "--window", 40), "E901", "it is 40"),
        (("--on", "board:qemu", "--dataset", ".", "--submission", "x"), "E901", "it is ''"),
        (("--on", "board:qemu", "--dataset", "."), "E205", "no list of samples"),
    ],
)
def test_wrong_options_are_errors(
    options: tuple[Any, ...], code: str, text: str, kws: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, told = strop(capsys, "bench", kws, "--suite", "mlperf-tiny", *options)
    assert told["error"]["code"] == code
    assert text in told["error"]["message"]


@needs_qemu
@needs_mlperf
def test_anomalies_are_scored_on_the_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device takes float32 and tells the mean square of what its output is off by, for every window of a file."""
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))
    bundle = compiled(tmp_path, "mps2_an386", MLPERF / "ad_int8.tflite", ("--name", "ad"))
    graph, rng = read_bundle(bundle).graph(), np.random.default_rng(5)
    quants = [value.type.quant for value in (graph.inputs[0], graph.outputs[0])]
    files, means = [], []
    for number in range(4):
        data = rng.normal(-30 - 3 * number, 6, 640 + 2 * 128).astype(np.float32)
        files.append((data.tobytes(), f"2,{number // 2},2560,512"))
        means.append(np.mean([_error(graph, quants, data[start : start + 640]) for start in (0, 128, 256)]))
    strop(capsys, "flash", bundle, "--port", "qemu")
    out, folder = tmp_path / "out", dataset(tmp_path / "data", "ad01", files)
    options = ("--modes", "accuracy", "--dataset", folder, "--submission", out, "--organization", "me")
    _, told = strop(capsys, "bench", bundle, "--suite", "mlperf-tiny", "--on", "board:qemu", *options)
    assert "error" not in told, told
    wanted = roc_auc(np.array(means), np.array([False, False, True, True]))
    assert told["results"][0]["auc"] == pytest.approx(wanted)
    log = (out / "closed/me/results/mps2_an386/ad/accuracy/log.txt").read_text()
    assert log.count("Loading file tst_000003.bin segment") == 3


def _error(graph: Any, quants: list[Any], data: NDArray[np.float32]) -> float:
    steps = data / np.float32(quants[0].scale[0])
    stored = np.clip(np.trunc(steps + np.copysign(np.float32(0.5), steps)) + quants[0].zero_point[0], -128, 127).astype(np.int8)
    out = run(graph, [stored.reshape(graph.inputs[0].type.shape)])[0].astype(np.float64).ravel()
    return float(np.mean(((out - quants[1].zero_point[0]) * quants[1].scale[0] - data) ** 2))


@pytest.mark.long
@needs_qemu
@needs_mlperf
def test_accuracy_of_keyword_spotting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 samples: as many right as the model has."""
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))
    bundle = compiled(tmp_path, "mps2_an386", MLPERF / "kws_int8.tflite", ("--name", "kws"))
    with np.load(MLPERF / "kws_samples.npz") as file:
        samples, labels = file["features_int8"][100:500], file["labels"][100:500]
    rows = [(sample.tobytes(), f"12,{label}") for sample, label in zip(samples, labels, strict=True)]
    folder = dataset(tmp_path / "data", "kws01", rows)
    strop(capsys, "flash", bundle, "--port", "qemu")
    options = ("--modes", "accuracy", "--dataset", folder)
    _, told = strop(capsys, "bench", bundle, "--suite", "mlperf-tiny", "--on", "board:qemu", *options)
    print(told["results"])
    assert told["results"][0]["top1"] == 355 / 400
