"""Bad ONNX files: each gives its code, names the place, and never a traceback."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_graphs import model_of, small_cnn
from toolchain.errors import ModelError
from toolchain.frontends.onnx.load import import_onnx, load_onnx


def fault_of(model: onnx.ModelProto, base: Path = Path(), **shapes: tuple[int, ...]) -> ModelError:
    with pytest.raises(ModelError) as caught:
        import_onnx(model, "bad", base, shapes)
    assert caught.value.place
    assert caught.value.hint
    return caught.value


def relu(shape: tuple[int | str, ...] = (1, 4)) -> onnx.ModelProto:
    return model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": shape}, ["y"], {})


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (b"", 102),
        (b"hello, world", 102),
        (pickle.dumps({"weights": [1, 2, 3]}), 102),
        (b"PK\x03\x04" + bytes(40), 102),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), 102),
        (small_cnn().SerializeToString()[:-200], 103),
        (onnx.ModelProto(ir_version=9).SerializeToString(), 102),
    ],
)
def test_files_that_are_no_model(tmp_path: Path, content: bytes, number: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_onnx(path, simplify=False)
    assert caught.value.number == number
    assert caught.value.place == "model.onnx"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_onnx(tmp_path / "none.onnx")
    assert caught.value.number == 101


def test_unknown_operator_is_named() -> None:
    node = helper.make_node("Frobnicate", ["x"], ["y"], name="layer_7")
    fault = fault_of(model_of([node], {"x": (1,)}, ["y"], {}))
    assert (fault.number, fault.place) == (104, "layer_7")
    assert "Frobnicate" in fault.message


def test_unknown_domain() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], domain="com.example")
    fault = fault_of(model_of([node], {"x": (1,)}, ["y"], {}))
    assert fault.number == 104
    assert "com.example::Relu" in fault.message


def test_conv_3d() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    fault = fault_of(model_of([node], {"x": (1, 1, 4, 4, 4)}, ["y"], {"w": np.ones((1, 1, 3, 3, 3), np.float32)}))
    assert fault.number == 104
    assert "3 spatial dimensions" in fault.message


def test_opset_too_old() -> None:
    model = relu()
    model.opset_import[0].version = 3
    assert fault_of(model).number == 104


def test_unknown_dimension_needs_a_shape() -> None:
    fault = fault_of(relu((1, "time", 3)))
    assert (fault.number, fault.place) == (105, "x")
    assert "--input-shape x=" in fault.hint
    graph = import_onnx(relu((1, "time", 3)), "good", Path(), {"x": (1, 7, 3)})
    assert graph.outputs[0].type.shape == (1, 7, 3)


def test_unknown_batch_is_one_everywhere() -> None:
    nodes = [helper.make_node("Add", ["x", "z"], ["y"])]
    graph = import_onnx(model_of(nodes, {"x": ("n", 3), "z": ("n", 3)}, ["y"], {}), "g", Path())
    assert [value.type.shape for value in graph.inputs] == [(1, 3), (1, 3)]


@pytest.mark.parametrize("shape", [(1,), (1, 5), (0, 4), (1, 4, 1)])
def test_given_shape_contradicts(shape: tuple[int, ...]) -> None:
    assert fault_of(relu((1, 4)), x=shape).number == 105


def test_shape_of_no_input() -> None:
    assert fault_of(relu(), z=(1, 4)).number == 105


def test_shape_known_only_at_run_time() -> None:
    nodes = [helper.make_node("Cast", ["x"], ["s"], to=TensorProto.INT64), helper.make_node("ConstantOfShape", ["s"], ["y"])]
    fault = fault_of(model_of(nodes, {"x": (2,)}, ["y"], {}))
    assert fault.number == 105
    assert "'s'" in fault.message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(bad: float) -> None:
    weight = np.ones((3, 2), np.float32)
    weight[1, 1] = bad
    fault = fault_of(model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (1, 3)}, ["y"], {"w": weight}))
    assert (fault.number, fault.place) == (106, "w")
    assert "index 3" in fault.message


def test_infinite_mask_is_allowed() -> None:
    mask = np.array([0, -np.inf, 0], np.float32)
    graph = import_onnx(model_of([helper.make_node("Add", ["x", "m"], ["y"])], {"x": (1, 3)}, ["y"], {"m": mask}), "m", Path())
    assert graph.nodes[0].op == "add"


def test_huge_input() -> None:
    assert fault_of(relu((2**20, 2**20))).number == 107


def test_huge_generated_constant() -> None:
    node = helper.make_node("ConstantOfShape", ["s"], ["c"])
    nodes = [node, helper.make_node("Add", ["x", "c"], ["y"])]
    assert fault_of(model_of(nodes, {"x": (1,)}, ["y"], {"s": np.array([2**31, 4], np.int64)})).number == 107


def test_huge_intermediate() -> None:
    nodes = [helper.make_node("Expand", ["x", "s"], ["y"])]
    assert fault_of(model_of(nodes, {"x": (1,)}, ["y"], {"s": np.array([2**20, 2**12], np.int64)})).number == 107


def test_cycle() -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    fault = fault_of(model_of(nodes, {"x": (1,)}, ["b"], {}))
    assert fault.number == 108
    assert "cycle" in fault.message


def test_nodes_out_of_order_are_sorted() -> None:
    nodes = [helper.make_node("Relu", ["a"], ["y"]), helper.make_node("Neg", ["x"], ["a"])]
    graph = import_onnx(model_of(nodes, {"x": (1,)}, ["y"], {}), "sorted", Path())
    assert [node.op for node in graph.nodes] == ["neg", "relu"]


def test_tensor_made_twice() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"])]
    assert fault_of(model_of(nodes, {"x": (1,)}, ["y"], {})).number == 108


def test_weight_stored_twice() -> None:
    model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], {"x": (1,)}, ["y"], {"w": np.ones(1, np.float32)})
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "w"))
    assert fault_of(model).number == 108


def test_reads_what_nothing_makes() -> None:
    assert fault_of(model_of([helper.make_node("Relu", ["ghost"], ["y"])], {"x": (1,)}, ["y"], {})).number == 108


def test_output_that_nothing_makes() -> None:
    assert fault_of(model_of([helper.make_node("Relu", ["x"], ["a"])], {"x": (1,)}, ["y"], {})).number == 108


def test_shapes_that_do_not_fit() -> None:
    nodes = [helper.make_node("Add", ["x", "w"], ["y"], name="sum")]
    fault = fault_of(model_of(nodes, {"x": (1, 3)}, ["y"], {"w": np.ones((2, 2), np.float32)}))
    assert (fault.number, fault.place) == (108, "sum")


def test_attribute_of_another_type() -> None:
    assert fault_of(model_of([helper.make_node("LeakyRelu", ["x"], ["y"], alpha="steep")], {"x": (1,)}, ["y"], {})).number == 103


def test_raw_data_cut_off() -> None:
    model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], {"x": (4,)}, ["y"], {"w": np.ones(4, np.float32)})
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-3]
    fault = fault_of(model)
    assert (fault.number, fault.place) == (103, "w")


def external(location: str, tmp_path: Path, length: int = 16) -> onnx.ModelProto:
    model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], {"x": (4,)}, ["y"], {})
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)
    return model


def test_external_data(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    graph = import_onnx(external("w.bin", tmp_path), "external", tmp_path)
    assert graph.constants["w"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w.bin", "", "."])
def test_external_data_outside(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(16))
    assert fault_of(external(location, folder), folder).number == 109


def test_external_data_behind_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(16))
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    assert fault_of(external("link.bin", folder), folder).number == 109


@pytest.mark.parametrize(("size", "length"), [(8, 16), (16, 8)])
def test_external_data_of_the_wrong_size(tmp_path: Path, size: int, length: int) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(size))
    assert fault_of(external("w.bin", tmp_path, length), tmp_path).number == 103


def test_endless_loop_is_refused() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Relu", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]),
        ],
    )
    node = helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)
    assert fault_of(model_of([node], {"x": (1,)}, ["y"], {"n": np.array(2**40, np.int64)})).number == 104


def function(name: str, calls: list[str]) -> onnx.FunctionProto:
    """A function of one tensor that applies others in turn."""
    names = ["a", *(f"t{i}" for i in range(len(calls) - 1)), "z"]
    nodes = [
        helper.make_node(call, [names[i]], [names[i + 1]], domain="" if call == "Relu" else "local")
        for i, call in enumerate(calls)
    ]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["a"], ["z"], nodes, imports)


def calling(functions: list[onnx.FunctionProto]) -> onnx.ModelProto:
    """A model that calls the first function."""
    model = model_of([helper.make_node(functions[0].name, ["x"], ["y"], domain="local")], {"x": (3,)}, ["y"], {})
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.extend(functions)
    return model


def test_functions_of_the_model() -> None:
    graph = import_onnx(calling([function("outer", ["inner", "Relu"]), function("inner", ["Relu"])]), "calls", Path())
    assert [node.op for node in graph.nodes] == ["relu", "relu"]


def test_functions_that_expand_without_end() -> None:
    tower = [function(f"f{i}", [f"f{i + 1}", f"f{i + 1}"]) for i in range(40)]
    assert fault_of(calling([*tower, function("f40", ["Relu"])])).number == 104


def test_function_that_calls_itself() -> None:
    assert fault_of(calling([function("f", ["f"])])).number == 108


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    good = bytearray(small_cnn().SerializeToString())
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "model.onnx"
    path.write_bytes(bytes(good[: data.draw(st.integers(1, len(good)))] if data.draw(st.booleans()) else good))
    try:
        load_onnx(path, simplify=False)
    except ModelError as fault:
        assert 100 < fault.number < 112
