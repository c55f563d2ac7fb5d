"""Every metric against another way to get it: scikit-learn, pairs counted one by one, or numbers worked by hand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from calibration.scores.make import MetricResult, make_score, measure
from calibration.scores.score import Scored
from toolchain.errors import DataError, UsageError
from toolchain.ir.types import Array


def scored(
    outputs: Sequence[Array], labels: Sequence[object] | None = None, inputs: Sequence[Array] | None = None
) -> list[Scored]:
    """Samples of one output each."""
    return [
        Scored(
            index,
            [np.asarray(output, np.float32)[None]],
            [np.zeros((1, 2)) if inputs is None else inputs[index][None]],
            None if labels is None else np.asarray(labels[index]),
        )
        for index, output in enumerate(outputs)
    ]


def figure(spec: str, samples: list[Scored], outputs: Sequence[str] = ("y",)) -> dict[str, float]:
    score = make_score(spec, outputs)
    for sample in samples:
        score.add(sample)
    return dict(score.results())


def drawn(classes: int, count: int = 200, seed: int = 0, levels: int | None = None) -> tuple[Array, Array]:
    """Outputs that lean to their class, rounded to `levels` so that some are equal, and class numbers."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    outputs = rng.standard_normal((count, classes)) + 0.8 * np.eye(classes)[labels]
    return (outputs if levels is None else np.rint(outputs * levels) / levels).astype(np.float32), labels


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_against_scikit_learn(k: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    outputs, labels = drawn(8)
    wanted = metrics.top_k_accuracy_score(labels, outputs, k=k, labels=range(8))
    assert figure(f"top:{k}", scored(outputs, labels)) == {f"top:{k}": pytest.approx(wanted)}


def test_top_k_by_hand_with_equal_outputs() -> None:
    """Of equal outputs the first counts as larger, as with argmax."""
    outputs = [[1, 1, 0], [1, 1, 0], [1, 1, 1], [0, 2, 1]]
    assert figure("top", scored([np.array(o) for o in outputs], [0, 1, 2, 2])) == {"top": 0.25}
    assert figure("top:2", scored([np.array(o) for o in outputs], [0, 1, 2, 2])) == {"top:2": 0.75}
    assert figure("accuracy", scored([np.array([0.4]), np.array([0.6])], [0, 1])) == {"accuracy": 1.0}


def test_one_hot_labels_are_class_numbers() -> None:
    outputs, labels = drawn(4)
    assert figure("top", scored(outputs, np.eye(4)[labels])) == figure("top", scored(outputs, labels))


@pytest.mark.parametrize("levels", [None, 2])
def test_binary_auc_is_the_share_of_pairs_in_order(levels: int | None) -> None:
    outputs, labels = drawn(2, 60, levels=levels)
    differences = outputs[:, 1] - outputs[:, 0]
    ones, zeros = differences[labels == 1], differences[labels == 0]
    pairs = [1.0 if one > zero else 0.5 if one == zero else 0.0 for one in ones for zero in zeros]
    assert (0.5 in pairs) == (levels is not None)
    assert figure("auc", scored(outputs, labels))["auc"] == pytest.approx(np.mean(pairs))
    assert figure("auc", scored(differences[:, None], labels))["auc"] == pytest.approx(np.mean(pairs))


def test_auc_of_several_classes_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    outputs, labels = drawn(5, levels=3)
    wanted = [metrics.roc_auc_score(labels == one, outputs[:, one]) for one in range(5)]
    assert figure("auc", scored(outputs, labels))["auc"] == pytest.approx(np.mean(wanted))


@pytest.mark.parametrize(
    ("spec", "average", "classes"), [("f1", "macro", 6), ("f1:macro", "macro", 2), ("f1:binary", "binary", 2)]
)
def test_f1_against_scikit_learn(spec: str, average: str, classes: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    outputs, labels = drawn(classes, 150)
    wanted = metrics.f1_score(labels, outputs.argmax(axis=1), average=average)
    assert figure(spec, scored(outputs, labels))[spec] == pytest.approx(wanted)


def test_f1_by_hand() -> None:
    """Class 1: 1 right, 1 found wrongly, 2 missed: 2/5. Class 0: 1 right, 2 found wrongly, 1 missed: 2/5."""
    outputs = [np.array([p]) for p in (0.9, 0.8, 0.1, 0.2, 0.3)]
    assert figure("f1:binary", scored(outputs, [1, 0, 1, 1, 0]))["f1:binary"] == pytest.approx(2 / 5)
    assert figure("f1", scored(outputs, [1, 0, 1, 1, 0]))["f1"] == pytest.approx((2 / 5 + 2 / 5) / 2)


def test_errors_to_targets_by_hand() -> None:
    samples = scored([np.array([1.0, 2.0]), np.array([0.0, -1.0])], [[1.0, 4.0], [3.0, -1.0]])
    assert figure("rmse", samples)["rmse"] == pytest.approx(np.sqrt((4 + 9) / 4))
    assert figure("mae", samples)["mae"] == pytest.approx(5 / 4)


def test_reconstruction_by_hand() -> None:
    """Errors 0, 1, 4 and 9; anomalies are the samples of 1 and 9: of 4 pairs 3 are in order."""
    given = [np.array([1.0, 1.0])] * 4
    found = [np.array([1.0, 1.0]) + step for step in (0, 1, 2, 3)]
    assert figure("reconstruction", scored(found, None, given)) == {"reconstruction": pytest.approx(14 / 4)}
    wanted = {"reconstruction": pytest.approx(14 / 4), "reconstruction_auc": pytest.approx(3 / 4)}
    assert figure("reconstruction", scored(found, [0, 1, 0, 1], given)) == wanted


# --- detection

NAMES = ("boxes", "classes", "scores")


def detected(boxes: Array, classes: Array, scores: Array, objects: Array, index: int = 0) -> Scored:
    outputs = [np.asarray(array, np.float32)[None] for array in (boxes, classes, scores)]
    return Scored(index, outputs, [np.zeros(1)], np.asarray(objects, np.float64))


def test_mean_average_precision_by_hand() -> None:
    """Three objects of one class. Boxes by score: right, wrong, right (overlap 0.6), a second one for the first object.

    Precision 1, 1/2, 2/3, 2/4 at recall 1/3, 1/3, 2/3, 2/3: 34 of 101 points at 1, 33 at 2/3, the rest 0. At overlaps above
    0.6 the third box is wrong, too: 34 points at 1.
    """
    objects = np.array([[0, 0, 0, 10, 10], [0, 20, 20, 30, 30], [0, 50, 50, 60, 60], [-1, 0, 0, 0, 0]])
    boxes = np.array([[0, 0, 10, 10], [70, 70, 80, 80], [20, 20, 30, 26], [0, 0, 10, 10]])
    found = figure("map", [detected(boxes, np.zeros(4), np.array([0.9, 0.8, 0.7, 0.6]), objects)], NAMES)
    half = (34 + 33 * 2 / 3) / 101
    assert found["map_50"] == pytest.approx(half)
    assert found["map"] == pytest.approx((3 * half + 7 * 34 / 101) / 10)


def test_classes_are_averaged_and_images_ranked_together() -> None:
    """Class 0: found in the first image at 0.5, wrongly in the second at 0.9: precision 1/2. Class 1: missed."""
    one = detected(np.array([[0, 0, 1, 1]]), np.array([0]), np.array([0.5]), np.array([[0, 0, 0, 1, 1], [1, 4, 4, 5, 5]]))
    two = detected(np.array([[2, 2, 3, 3]]), np.array([0]), np.array([0.9]), np.full((2, 5), -1.0), 1)
    assert figure("map", [one, two], NAMES)["map"] == pytest.approx((0.5 + 0.0) / 2)


def test_detectors_with_scores_by_class_or_names_in_another_order() -> None:
    boxes, objects = np.array([[0, 0, 1, 1], [2, 2, 3, 3]]), np.array([[1, 0, 0, 1, 1], [0, 2, 2, 3, 3]])
    by_class = Scored(0, [np.array([[[0.1, 0.8], [0.7, 0.2]]]), boxes[None]], [np.zeros(1)], objects.astype(float))
    assert figure("map", [by_class], ("scores", "boxes"))["map"] == pytest.approx(1.0)
    outputs = [np.array([[0.8, 0.7]]), np.array([[1.0, 0.0]]), boxes[None], np.array([2.0])]
    named = Scored(0, outputs, [np.zeros(1)], objects.astype(float))
    assert figure("map", [named], ("my_scores", "my_classes", "b", "count"))["map"] == pytest.approx(1.0)


def test_average_precision_against_every_threshold_one_by_one() -> None:
    """Brute force over random scenes: for every recall the best precision of any cut of the list that reaches it."""
    rng = np.random.default_rng(2)
    samples, rows, total = [], [], 0
    for index in range(12):
        corners = rng.uniform(0, 60, (4, 2)) + 100 * np.arange(4)[:, None]
        objects = np.concatenate([np.zeros((4, 1)), corners, corners + 20], axis=1)
        near = rng.random(4) < 0.6
        boxes = np.concatenate([corners, corners + 20], axis=1) + np.where(near, 0.1, 50)[:, None]
        scores = np.clip(rng.random(4) + 0.4 * near, 0, 1).astype(np.float32)
        samples.append(detected(boxes, np.zeros(4), scores, objects, index))
        rows += list(zip(scores.tolist(), near.tolist(), strict=True))
        total += 4
    cuts = []
    for threshold in sorted({score for score, _ in rows}, reverse=True):
        taken = [hit for score, hit in rows if score >= threshold]
        cuts.append((sum(taken) / total, sum(taken) / len(taken)))
    wanted = np.mean([max((p for r, p in cuts if r >= recall - 1e-12), default=0.0) for recall in np.linspace(0, 1, 101)])
    assert figure("map", samples, NAMES)["map_50"] == pytest.approx(wanted)


# --- the user's own

MODULE = """
import numpy as np
def spread(outputs, labels):
    assert outputs.shape == (3, 2) and labels.tolist() == [0, 1, 1]
    return outputs.max() - outputs.min()
def several(outputs, labels):
    return {"first": outputs[:, 0].mean(), "none": float(labels is None)}
def fails(outputs, labels):
    raise KeyError("no")
def text(outputs, labels):
    return "good"
def nan(outputs, labels):
    return float("nan")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "metrics_of_a_test"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_own_metrics(module: str) -> None:
    outputs = [np.array([1.0, 2.0]), np.array([5.0, 3.0]), np.array([0.5, 0.0])]
    assert figure(f"{module}:spread", scored(outputs, [0, 1, 1])) == {f"{module}:spread": 5.0}
    found = figure(f"{module}:several", scored(outputs))
    assert found == {f"{module}:several.first": pytest.approx(6.5 / 3), f"{module}:several.none": 1.0}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("fails", r"E205 metrics_of_a_test:fails: it raised KeyError"),
        ("text", r"E207 metrics_of_a_test:text: it returned str"),
        ("nan", r"E207 metrics_of_a_test:nan: it returned nan"),
        ("absent", r"E205 metrics_of_a_test:absent: 'metrics_of_a_test' has no function"),
    ],
)
def test_own_metrics_that_fail(module: str, name: str, error: str) -> None:
    with pytest.raises(DataError, match=error):
        figure(f"{module}:{name}", scored([np.zeros(2)]))


# --- side by side, and faults


def test_both_networks_side_by_side() -> None:
    real, ours = scored([np.array([0.9, 0.1])] * 4, [0, 0, 0, 1]), scored([np.array([0.1, 0.9])] * 4, [0, 0, 0, 1])
    found = measure(["top:1", "rmse"], ["y"], scored([np.zeros(1)] * 2, [0.0, 1.0]), None)
    assert [(each.name, each.real, each.loss) for each in found] == [("top:1", None, None), ("rmse", None, None)]
    assert measure(["top:1"], ["y"], ours, real)[0] == MetricResult("top:1", 0.75, 0.25, True)
    assert measure(["top:1"], ["y"], ours, real)[0].loss == 0.5
    assert MetricResult("rmse", 1.0, 1.5, False).as_json() == {
        "name": "rmse",
        "float": 1.0,
        "quantized": 1.5,
        "loss": 0.5,
        "higher_is_better": False,
    }


@pytest.mark.parametrize("spec", ["top:0", "f2", "auc:3", "f1:micro", "map:50", "", ":", "top:x", "a.b:", "rmse:1", "1a:b"])
def test_unknown_metrics_are_E901(spec: str) -> None:
    with pytest.raises(UsageError, match=r"E901 --metric: there is no metric"):
        make_score(spec, ["y"])


@pytest.mark.parametrize(
    ("spec", "output", "label", "error"),
    [
        ("top:1", [1.0, 2.0], None, r"E207 top:1: the samples have no labels"),
        ("top:2", [1.0, 2.0], 0, r"E207 top:2: the model has 2 outputs, all are among the 2 largest"),
        ("top:1", [1.0, 2.0], 2, r"E207 top:1: label 2 of sample 0 is none of 2 classes"),
        ("auc", [1.0, 2.0], 0.5, r"E207 auc: label 0 of shape \(\) is no class number"),
        ("auc", [1.0, 2.0], 1, r"E207 auc: 1 of 1 samples are positive"),
        ("auc", [1.0, 2.0, 3.0], 1, r"E207 auc: no sample is of class 0 nor of 1 others"),
        ("f1:binary", [1.0, 2.0, 3.0], 1, r"E207 f1:binary: the model has 3 classes"),
        ("rmse", [1.0, 2.0], 1.0, r"E207 rmse: label 0 has 1 numbers, the output has 2"),
        ("reconstruction", [1.0], None, r"E207 reconstruction: the output has 1 elements, the input has 2"),
        ("map", [1.0, 2.0], 1.0, r"E207 map: outputs of shapes \(1, 2\) are no boxes, classes and scores"),
    ],
)
def test_metrics_that_do_not_fit_are_E207(spec: str, output: list[float], label: float | None, error: str) -> None:
    with pytest.raises(DataError, match=error):
        figure(spec, scored([np.array(output)], None if label is None else [label]))


def test_detection_labels_that_do_not_fit_are_E207() -> None:
    with pytest.raises(DataError, match=r"E207 map: label 0 has shape \(4,\)"):
        figure("map", [detected(np.zeros((1, 4)), np.zeros(1), np.zeros(1), np.zeros(4))], NAMES)
    with pytest.raises(DataError, match=r"E207 map: no label has an object"):
        figure("map", [detected(np.zeros((1, 4)), np.zeros(1), np.zeros(1), np.full((1, 5), -1.0))], NAMES)
