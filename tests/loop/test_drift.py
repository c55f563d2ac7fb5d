"""Drift on real digits: how often windows without drift alarm, and how soon ones with drift do. Prints the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtimes.onnxruntime_engine import OnnxSession
from toolchain.errors import DataError
from toolchain.ir.types import Array
from toolchain.loop.drift import DriftDetector, Window

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SIZE, STATIONARY, WITHIN = 100, 200, 3
Change = Callable[[Array, np.random.Generator], Array]


@pytest.fixture(scope="module")
def network() -> OnnxSession:
    return OnnxSession((DIGITS / "digits.onnx").read_bytes())


@pytest.fixture(scope="module")
def images() -> tuple[Array, Array]:
    with np.load(DIGITS / "train.npz") as stored:
        return stored["image"], stored["y"]


def windows_of(network: OnnxSession, images: Array) -> Window:
    """What a device tells of its inferences: figures of the input, the class, its probability."""
    scores = np.concatenate([network.run([image[None]])["digit"] for image in images])
    flat = images.reshape(len(images), -1)
    features = np.stack([flat.mean(1), flat.std(1), flat.min(1), flat.max(1)], 1)
    return Window(features, scores.argmax(1), scores.max(1))


def drawn(rng: np.random.Generator, images: Array, count: int) -> Array:
    """Images with the noise of a camera, so that none comes twice."""
    return (images[rng.integers(0, len(images), count)] + rng.normal(0, 0.02, (count, *images.shape[1:]))).astype(np.float32)


DRIFTS: dict[str, Change] = {
    "gain 0.7": lambda x, rng: 0.7 * x,
    "noise 0.15": lambda x, rng: x + rng.normal(0, 0.15, x.shape).astype(np.float32),
    "offset 0.08": lambda x, rng: x + np.float32(0.08),
    "moved by 2 pixels": lambda x, rng: np.roll(x, 2, 3),
    "turned (unknown signs)": lambda x, rng: np.where(rng.uniform(size=(len(x), 1, 1, 1)) < 0.5, np.rot90(x, 1, (2, 3)), x),
    "blurred": lambda x, rng: (x + np.roll(x, 1, 3) + np.roll(x, -1, 3) + np.roll(x, 1, 2) + np.roll(x, -1, 2)) / 5,
}


def test_alarms_are_rare_without_drift_and_soon_with_it(network: OnnxSession, images: tuple[Array, Array]) -> None:
    rng = np.random.default_rng(1)
    detector = DriftDetector(windows_of(network, drawn(rng, images[0], 1000)), SIZE)
    alarms = [detector.judge(windows_of(network, drawn(rng, images[0], SIZE))) for _ in range(STATIONARY)]
    false = [verdict.cause for verdict in alarms if verdict.drifted]
    print(f"\nwithout drift: {len(false)} alarms in {STATIONARY} windows of {SIZE} {false}")
    assert len(false) <= 1
    few = images[0][images[1] < 4]

    def only_few(x: Array, rng: np.random.Generator) -> Array:
        return drawn(rng, few, len(x))

    for name, change in {**DRIFTS, "only digits 0 to 3": only_few}.items():
        found = None
        for number in range(1, WITHIN + 1):
            verdict = detector.judge(windows_of(network, change(drawn(rng, images[0], SIZE), rng).astype(np.float32)))
            if verdict.drifted:
                found = number
                score = f"{verdict.score:.1f} deviations, alarm from {verdict.threshold:.1f}"
                print(f"{name:24} window {number}: {verdict.cause}, {score}")
                break
        assert found is not None, f"{name} was not seen in {WITHIN} windows"
        for _ in range(WITHIN):
            detector.judge(windows_of(network, drawn(rng, images[0], SIZE)))


def test_a_small_drift_adds_up() -> None:
    rng = np.random.default_rng(2)

    def window(count: int, by: float) -> Window:
        return Window(rng.normal(by, 1, (count, 2)), rng.integers(0, 3, count), rng.uniform(0.5, 1, count))

    detector = DriftDetector(window(2000, 0), 100)
    causes = [verdict.cause for verdict in (detector.judge(window(100, 0.33)) for _ in range(30)) if verdict.drifted]
    assert any("over 3 windows" in cause for cause in causes)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (Window(np.zeros((100, 3)), np.zeros(100), np.zeros(100)), "E201 drift: a window of"),
        (Window(np.zeros((100, 2)), np.zeros(99), np.zeros(100)), "E201 drift: features of shape"),
        (Window(np.full((100, 2), np.nan), np.zeros(100), np.zeros(100)), "E204 drift: a feature or a confidence"),
        (Window(np.zeros((0, 2)), np.zeros(0), np.zeros(0)), "E201 drift: a window of"),
    ],
)
def test_wrong_windows_are_refused(window: Window, message: str) -> None:
    rng = np.random.default_rng(0)
    detector = DriftDetector(Window(rng.normal(0, 1, (200, 2)), rng.integers(0, 3, 200), rng.uniform(0, 1, 200)), 50)
    with pytest.raises(DataError, match=message):
        detector.judge(window)
    with pytest.raises(DataError, match="E203"):
        DriftDetector(Window(np.zeros((10, 2)), np.zeros(10), np.zeros(10)), 50)
