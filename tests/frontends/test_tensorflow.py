"""Keras files, SavedModels and frozen graphs against TensorFlow's own outputs; what could run code is refused before it opens."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.mlperf import MLPERF, needs_mlperf
from toolchain.errors import EnvironmentFault, ModelError, StropError
from toolchain.frontends.keras_files import check_config
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.reference.evaluator import run

h5py: Any = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def tf() -> Any:
    """TensorFlow, imported once for the module, quietly."""
    from toolchain.frontends.tensorflow_worker import import_tensorflow

    pytest.importorskip("tensorflow")
    return import_tensorflow()


def agree(graph: Graph, inputs: list[Array], wanted: list[Array]) -> None:
    for found, expected in zip(run(graph, inputs), wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))


@needs_mlperf
def test_a_legacy_h5_file(tf: Any, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    graph = load_model(MLPERF / "ic_float.h5")
    assert capfd.readouterr() == ("", "")
    assert ([v.name for v in graph.inputs], [v.name for v in graph.outputs]) == (["input_1"], ["dense"])
    model = tf.keras.models.load_model(str(MLPERF / "ic_float.h5"), compile=False)
    x = np.random.default_rng(1).random((1, 32, 32, 3), np.float32) * 255
    agree(graph, [x], [model([x]).numpy()])


@needs_mlperf
def test_a_saved_model(tf: Any) -> None:
    graph = load_model(MLPERF / "kws_saved_model")
    assert ([v.name for v in graph.inputs], [v.name for v in graph.outputs]) == (["input_1"], ["dense"])
    x = np.random.default_rng(1).normal(size=(1, 49, 10, 1)).astype(np.float32) * 20
    with tf.Graph().as_default() as g, tf.compat.v1.Session(graph=g) as session:
        tf.compat.v1.saved_model.loader.load(session, ["serve"], str(MLPERF / "kws_saved_model"))
        wanted = session.run("StatefulPartitionedCall:0", {"serving_default_input_1:0": x})
    agree(graph, [x], [wanted])
    assert load_model(MLPERF / "kws_saved_model" / "saved_model.pb").nodes == graph.nodes


def small_model(tf: Any, time: int | None = 6) -> Any:
    """Two inputs, two outputs, a free number of time steps."""
    a, b = tf.keras.Input((time, 4), name="sound"), tf.keras.Input((3,), name="side")
    x = tf.keras.layers.Conv1D(5, 3, activation="relu", name="conv")(a)
    x = tf.keras.layers.GlobalAveragePooling1D()(x)
    joined = tf.keras.layers.Concatenate()([x, b])
    outputs = [
        tf.keras.layers.Dense(2, name="left")(joined),
        tf.keras.layers.Dense(3, activation="softmax", name="right")(joined),
    ]
    return tf.keras.Model([a, b], outputs)


def saved_keras(model: Any, folder: Path) -> Path:
    model.save(folder / "m.keras")
    return folder / "m.keras"


def saved_h5(model: Any, folder: Path) -> Path:
    model.save(folder / "m.h5")
    return folder / "m.h5"


def saved_folder(model: Any, folder: Path) -> Path:
    model.export(str(folder / "exported"), verbose=False)
    return folder / "exported"


@pytest.mark.parametrize("save", [saved_keras, saved_h5, saved_folder])
def test_models_of_two_inputs_and_two_outputs(tf: Any, tmp_path: Path, save: Callable[[Any, Path], Path]) -> None:
    model = small_model(tf)
    graph = load_model(save(model, tmp_path))
    inputs = {"sound": np.random.default_rng(2).normal(size=(1, 6, 4)), "side": np.random.default_rng(3).normal(size=(1, 3))}
    values = {name: array.astype(np.float32) for name, array in inputs.items()}
    wanted = {output.shape[1]: output.numpy() for output in model([values["sound"], values["side"]])}
    assert sorted(value.name for value in graph.inputs) == ["side", "sound"]
    agree(graph, [values[v.name] for v in graph.inputs], [wanted[v.type.shape[1]] for v in graph.outputs])


def test_a_dimension_that_is_unknown(tf: Any, tmp_path: Path) -> None:
    path = saved_keras(small_model(tf, None), tmp_path)
    with pytest.raises(ModelError) as fault:
        load_model(path)
    assert (fault.value.number, fault.value.place) == (105, "sound")
    graph = load_model(path, {"sound": (1, 9, 4)})
    assert {v.name: v.type.shape for v in graph.inputs} == {"sound": (1, 9, 4), "side": (1, 3)}
    for shapes in ({"sound": (1, 9, 5)}, {"sound": (9, 4)}, {"nobody": (1,)}):
        with pytest.raises(ModelError) as fault:
            load_model(path, shapes)
        assert fault.value.number == 105


def test_a_frozen_graph(tf: Any, tmp_path: Path) -> None:
    weights = np.random.default_rng(4).normal(size=(4, 3)).astype(np.float32)
    with tf.Graph().as_default() as g:
        x = tf.compat.v1.placeholder(tf.float32, (None, 4), name="data")
        tf.nn.softmax(tf.matmul(x, weights), name="probabilities")
        (tmp_path / "m.pb").write_bytes(g.as_graph_def().SerializeToString())
    graph = load_model(tmp_path / "m.pb")
    assert ([v.name for v in graph.inputs], [v.name for v in graph.outputs]) == (["data"], ["probabilities"])
    x = np.random.default_rng(5).normal(size=(1, 4)).astype(np.float32)
    powers = np.exp((x @ weights).astype(np.float64))
    agree(graph, [x], [powers / powers.sum()])


def test_graphs_that_reach_outside_are_refused(tf: Any, tmp_path: Path) -> None:
    with tf.Graph().as_default() as g:
        tf.io.read_file(tf.compat.v1.placeholder(tf.string, (), name="name"), name="content")
        (tmp_path / "m.pb").write_bytes(g.as_graph_def().SerializeToString())
    with pytest.raises(ModelError) as fault:
        load_model(tmp_path / "m.pb")
    assert fault.value.number == 110
    assert "ReadFile" in fault.value.message

    class Reader(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((1,), tf.float32)])  # type: ignore[misc]
        def __call__(self, x: Any) -> Any:
            return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)

    tf.saved_model.save(Reader(), str(tmp_path / "reader"))
    with pytest.raises(ModelError) as fault:
        load_model(tmp_path / "reader")
    assert fault.value.number == 110


def test_an_operation_that_tflite_lacks(tf: Any, tmp_path: Path) -> None:
    with tf.Graph().as_default() as g:
        tf.math.erfinv(tf.compat.v1.placeholder(tf.float32, (1, 4), name="x"), name="y")
        (tmp_path / "m.pb").write_bytes(g.as_graph_def().SerializeToString())
    with pytest.raises(ModelError) as fault:
        load_model(tmp_path / "m.pb")
    assert fault.value.number == 104
    assert "Erfinv" in fault.value.message


@pytest.mark.parametrize("save", [saved_keras, saved_h5])
def test_lambda_layers_are_refused_before_anything_runs(tf: Any, tmp_path: Path, save: Callable[[Any, Path], Path]) -> None:
    x = tf.keras.Input((3,))
    model = tf.keras.Model(x, tf.keras.layers.Lambda(lambda value: value * 2, name="doubled")(x))
    path = save(model, tmp_path)
    with pytest.raises(ModelError) as fault:
        load_model(path)
    assert (fault.value.number, fault.value.place) == (110, path.name)
    assert "doubled" in fault.value.message


@needs_mlperf
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9])
def test_truncated_files(tf: Any, tmp_path: Path, kept: float) -> None:
    data = (MLPERF / "ic_float.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[: int(len(data) * kept)])
    whole = saved_keras(small_model(tf), tmp_path).read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: int(len(whole) * kept)])
    folder = tmp_path / "cut"
    shutil.copytree(MLPERF / "kws_saved_model", folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    graph = (folder / "saved_model.pb").read_bytes()
    (folder / "saved_model.pb").write_bytes(graph[: int(len(graph) * kept)])
    variables = tmp_path / "variables"
    shutil.copytree(MLPERF / "kws_saved_model", variables)
    for path in (variables, *variables.rglob("*")):
        path.chmod(0o755)
    (variables / "variables" / "variables.data-00000-of-00001").write_bytes(b"\0" * int(300_000 * kept))
    for path in (tmp_path / "cut.h5", tmp_path / "cut.keras", folder, variables):
        with pytest.raises(ModelError) as fault:
            load_model(path)
        assert fault.value.number == 103, path.name


def keras_zip(path: Path, config: object, extra: str = "model.weights.h5") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr(extra, b"")
        archive.writestr("model.weights.h5", b"") if extra != "model.weights.h5" else None
    return path


@pytest.mark.parametrize(
    ("config", "extra", "number"),
    [
        ({"class_name": "Lambda", "config": {"name": "f"}}, "model.weights.h5", 110),
        ({"class_name": "Functional", "config": {"layers": [{"class_name": "keras>Lambda"}]}}, "model.weights.h5", 110),
        ({"class_name": "system", "module": "os", "config": {}}, "model.weights.h5", 104),
        ({"class_name": "Thing", "module": "kerasx.layers"}, "model.weights.h5", 104),
        ({"class_name": "Sequential", "module": "keras"}, "../../outside", 109),
        ({"class_name": "Sequential", "module": "keras"}, "/etc/outside", 109),
    ],
)
def test_hostile_keras_archives(tmp_path: Path, config: object, extra: str, number: int) -> None:
    with pytest.raises(StropError) as fault:
        load_model(keras_zip(tmp_path / "m.keras", config, extra))
    assert fault.value.number == number


def test_deep_configurations_do_not_exhaust_the_stack() -> None:
    config: object = {"class_name": "Lambda"}
    for _ in range(50_000):
        config = {"config": [config]}
    with pytest.raises(ModelError):
        check_config(config, "m")


def test_h5_files_that_point_outside_or_hold_no_model(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential"})
        file["weights"] = h5py.ExternalLink("/etc/passwd", "/")
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential"})
        file.create_group("g").create_dataset("w", (4,), "u1", external=[(str(tmp_path / "raw"), 0, 4)])
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["w"] = np.zeros(3)
    for name, number in (("linked.h5", 109), ("external.h5", 109), ("weights.h5", 103)):
        with pytest.raises(ModelError) as fault:
            load_model(tmp_path / name)
        assert fault.value.number == number, name


def test_a_missing_tensorflow_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = keras_zip(tmp_path / "m.keras", {"class_name": "Sequential", "module": "keras"})
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    with pytest.raises(EnvironmentFault) as fault:
        load_model(path)
    assert fault.value.number == 404
    assert "pip install 'strop[keras]'" in str(fault.value)
