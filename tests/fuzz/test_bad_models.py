"""Bad model files, each given to `strop compile` in a process of its own: a coded error, little time and memory, nothing left."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support import model_seeds as seeds
from tests.support.strop_process import MAX_SECONDS, Refusal, refuse
from tests.support.zip_bombs import archive
from toolchain.ir.types import Array

MARK = "it-ran"
# What only TensorFlow finds takes its import, about 4 s of work alone.
WITH_TENSORFLOW = 15.0


class Payload:
    """Unpickled, it makes the folder MARK."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (MARK,)


def onnx_model(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Array | TensorProto] | None = None,
    shape: Sequence[int | str | None] = (1, 4),
    outputs: Sequence[str] = ("y",),
) -> bytes:
    """A model of input x, opset 17."""
    stored = [
        array if isinstance(array, TensorProto) else numpy_helper.from_array(array, name)
        for name, array in (weights or {}).items()
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(list(nodes), "g", inputs, ends, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


RELU = helper.make_node("Relu", ["x"], ["y"])
ADD = helper.make_node("Add", ["x", "w"], ["y"])


def external(location: str) -> bytes:
    """A model whose weight lies in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        tensor.external_data.add(key=key, value=value)
    return onnx_model([ADD], {"w": tensor})


def claimed(*dims: int) -> TensorProto:
    """A weight of a shape without its data."""
    return TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=b"\0" * 16)


def subgraph(depth: int) -> bytes:
    """If nodes nested to a depth, by hand, as the library refuses to write deep ones."""
    graph = b""
    for _ in range(depth):
        node = seeds.field(1, "c") + seeds.field(2, "y") + seeds.field(4, "If")
        graph = seeds.field(1, node + seeds.field(5, seeds.field(1, "then_branch") + seeds.field(6, graph) + seeds.field(20, 5)))
    return seeds.field(1, 8) + seeds.field(7, graph) + seeds.field(8, seeds.field(2, 17))


def tflite(change: Callable[[Any], None]) -> bytes:
    """The int8 digit classifier after a change to its object form."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(seeds.tflite_bytes(), 0)
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def set_code(model: Any, code: int, custom: str | None = None) -> None:
    first = model.operatorCodes[model.subgraphs[0].operators[0].opcodeIndex]
    first.builtinCode, first.deprecatedBuiltinCode, first.customCode = code, min(code, 127), custom


def set_input_shape(model: Any, shape: Sequence[int], signature: Sequence[int] | None = None) -> None:
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    tensor.shape = np.array(shape, np.int32)
    tensor.shapeSignature = None if signature is None else np.array(signature, np.int32)


def make_cycle(model: Any) -> None:
    operators = model.subgraphs[0].operators
    operators[0].inputs = np.array([operators[-1].outputs[0], *operators[0].inputs[1:]], np.int32)


def zip_of(members: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as written:
        for name, content in members.items():
            written.writestr(name, content)
    return packed.getvalue()


def pt2(**changed: bytes) -> bytes:
    """The .pt2 program with members added or replaced: `__` stands for `/`, `_dot_` for a dot."""
    with zipfile.ZipFile(io.BytesIO(seeds.pt2_bytes())) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    root = next(iter(members)).split("/")[0]
    return zip_of(members | {f"{root}/{name.replace('__', '/').replace('_dot_', '.')}": data for name, data in changed.items()})


def legacy_checkpoint() -> bytes:
    """What torch.save writes, with code in its pickle."""
    return zip_of({"archive/data.pkl": pickle.dumps(Payload()), "archive/version": b"3\n"})


def keras_with(layer: Mapping[str, Any]) -> bytes:
    return seeds.keras_bytes(seeds.keras_config(layer))


LAMBDA: dict[str, Any] = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {"name": "code", "function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None}}},
}
OTHERS_LAYER: dict[str, Any] = {"module": "os", "class_name": "system", "config": {"name": "code"}, "registered_name": None}


def outside_weights(inner: bool) -> bytes:
    """Weights that lie in another file: in a .keras archive or in an .h5 file."""

    def fill(file: Any) -> None:
        if not inner:
            file.attrs["model_config"] = json.dumps(seeds.keras_config())
        group = file.create_group(f"layers/{seeds.LAYER_NAME}/vars")
        group.create_dataset("0", (4, 3), "f4", external=[("/etc/hostname", 0, 48)])
        group.create_dataset("1", data=np.zeros(3, np.float32))

    content = seeds.hdf5_bytes(fill)
    return seeds.keras_bytes(weights=content) if inner else content


@dataclass(frozen=True, slots=True)
class Case:
    """A file that cannot be compiled. make: its bytes. codes: those it may be refused with. words: what the text must hold."""

    name: str
    file: str
    make: Callable[[], bytes]
    codes: str
    words: str = ""
    seconds: float = MAX_SECONDS


def constant(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def weight(value: float) -> Array:
    array = np.ones((4, 4), np.float32)
    array[1, 2] = value
    return array


MATMUL = helper.make_node("MatMul", ["x", "w"], ["y"])
A_TO_B = helper.make_node("Add", ["x", "b"], ["a"])
B_TO_A = helper.make_node("Relu", ["a"], ["b"])


def twice_an_input() -> bytes:
    model = onnx.ModelProto.FromString(onnx_model([RELU]))
    model.graph.input.append(model.graph.input[0])
    return bytes(model.SerializeToString())


def two_weights() -> bytes:
    model = onnx.ModelProto.FromString(onnx_model([ADD], {"w": np.ones(4, np.float32)}))
    model.graph.initializer.append(model.graph.initializer[0])
    return bytes(model.SerializeToString())


ONNX_CASES = (
    Case(
        "onnx: unknown operator",
        "m.onnx",
        lambda: onnx_model([helper.make_node("Sharpen", ["x"], ["y"], "sharp")]),
        "E104",
        "sharp",
    ),
    Case(
        "onnx: operator of another domain",
        "m.onnx",
        lambda: onnx_model([helper.make_node("Gelu", ["x"], ["y"], "g", domain="com.acme")]),
        "E104",
        "com.acme::Gelu",
    ),
    Case("onnx: dynamic shape", "m.onnx", lambda: onnx_model([RELU], shape=(1, "time", 4)), "E105", "x=…"),
    Case("onnx: shape of unknown rank", "m.onnx", lambda: onnx_model([RELU], shape=None), "E105"),  # type: ignore[arg-type]
    Case("onnx: NaN weight", "m.onnx", lambda: onnx_model([MATMUL], {"w": weight(np.nan)}), "E106", "w"),
    Case("onnx: infinite weight", "m.onnx", lambda: onnx_model([MATMUL], {"w": weight(np.inf)}), "E106", "w"),
    Case("onnx: input of 2**31 elements", "m.onnx", lambda: onnx_model([RELU], shape=(1, 2**31)), "E107", "8,589,934,592"),
    Case("onnx: input of 2**62 elements", "m.onnx", lambda: onnx_model([RELU], shape=(2**31, 2**31)), "E107"),
    Case("onnx: weight that claims 2**31 elements", "m.onnx", lambda: onnx_model([ADD], {"w": claimed(2**31)}), "E107", "w"),
    Case("onnx: weight shorter than its shape", "m.onnx", lambda: onnx_model([ADD], {"w": claimed(1, 400)}), "E103", "w"),
    Case("onnx: weight of a negative size", "m.onnx", lambda: onnx_model([ADD], {"w": claimed(-4)}), "E103", "w"),
    Case(
        "onnx: constant blown up to 8 GiB",
        "m.onnx",
        lambda: onnx_model(
            [helper.make_node("Expand", ["w", "s"], ["big"]), helper.make_node("ReduceSum", ["big"], ["y"])],
            {"w": np.ones(1, np.float32), "s": np.array([2**31], np.int64)},
        ),
        "E107",
    ),
    Case(
        "onnx: tile of 2**40 copies",
        "m.onnx",
        lambda: onnx_model([helper.make_node("Tile", ["x", "n"], ["y"])], {"n": np.array([2**20, 2**20], np.int64)}),
        "E107",
    ),
    Case("onnx: cycle", "m.onnx", lambda: onnx_model([A_TO_B, B_TO_A], outputs=("a",)), "E108", "cycle"),
    Case(
        "onnx: node that reads itself",
        "m.onnx",
        lambda: onnx_model([helper.make_node("Add", ["x", "y"], ["y"])]),
        "E108",
        "cycle",
    ),
    Case("onnx: two tensors of one name", "m.onnx", lambda: onnx_model([RELU, RELU]), "E108", "y"),
    Case("onnx: two inputs of one name", "m.onnx", twice_an_input, "E108", "x"),
    Case("onnx: two weights of one name", "m.onnx", two_weights, "E108", "w"),
    Case("onnx: output that nothing makes", "m.onnx", lambda: onnx_model([RELU], outputs=("z",)), "E108", "z"),
    Case("onnx: operands that do not fit", "m.onnx", lambda: onnx_model([ADD], {"w": np.ones(3, np.float32)}), "E108", "y"),
    Case("onnx: no nodes and no outputs", "m.onnx", lambda: onnx_model([], outputs=()), "E108"),
    Case("onnx: external data above the folder", "m.onnx", lambda: external("../secret.bin"), "E109", "../secret.bin"),
    Case("onnx: external data at an absolute path", "m.onnx", lambda: external("/etc/passwd"), "E109", "/etc/passwd"),
    Case("onnx: external data by a link", "m.onnx", lambda: external("link.bin"), "E109", "link.bin"),
    Case("onnx: external data that is missing", "m.onnx", lambda: external("gone.bin"), "E101 E103", "gone.bin"),
    Case("onnx: graphs nested 5000 deep", "m.onnx", lambda: subgraph(5000), "E103"),
    Case("onnx: graphs nested 40 deep", "m.onnx", lambda: subgraph(40), "E103 E108"),
    Case("onnx: opset of the far future", "m.onnx", lambda: seeds.onnx_bytes() + seeds.field(8, seeds.field(2, 10**9)), "E104"),
    Case("onnx: 2 MB of zeros", "m.onnx", constant(bytes(2**21)), "E102"),
)


def set_weights(model: Any, value: float) -> None:
    """Every float constant of a float model."""
    for buffer in model.buffers:
        if buffer.data is not None and len(buffer.data) > 64:
            buffer.data = np.full(len(buffer.data) // 4, value, np.float32).view(np.uint8)


def tflite_float(value: float) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(seeds.tflite_float_bytes(), 0)
    set_weights(model, value)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def huge_vector(field_number: int) -> bytes:
    """The .tflite file with the length of one vector of its root table set to 2**31 − 1."""
    data = bytearray(seeds.tflite_bytes())
    table = int.from_bytes(data[0:4], "little")
    vtable = table - int.from_bytes(data[table : table + 4], "little", signed=True)
    place = table + int.from_bytes(data[vtable + 4 + 2 * field_number : vtable + 6 + 2 * field_number], "little")
    vector = place + int.from_bytes(data[place : place + 4], "little")
    data[vector : vector + 4] = (2**31 - 1).to_bytes(4, "little")
    return bytes(data)


def set_scale(model: Any, scale: float, zero_point: int = 0) -> None:
    quantization = model.subgraphs[0].tensors[model.subgraphs[0].operators[0].outputs[0]].quantization
    quantization.scale, quantization.zeroPoint = np.array([scale], np.float32), np.array([zero_point], np.int64)


def many_subgraph_inputs(model: Any) -> None:
    model.subgraphs[0].inputs = np.repeat(model.subgraphs[0].inputs, 100_000)


def make_twice(model: Any) -> None:
    operators = model.subgraphs[0].operators
    operators[1].outputs = operators[0].outputs


TFLITE_CASES = (
    Case("tflite: unknown builtin operator", "m.tflite", lambda: tflite(lambda m: set_code(m, 9999)), "E104", "9999"),
    Case("tflite: custom operator", "m.tflite", lambda: tflite(lambda m: set_code(m, 32, "Sharpen")), "E104", "Sharpen"),
    Case("tflite: control flow", "m.tflite", lambda: tflite(lambda m: set_code(m, 119)), "E104", "WHILE"),
    Case("tflite: options of another operator", "m.tflite", lambda: tflite(lambda m: set_code(m, 25)), "E103 E104 E108 E111"),
    Case("tflite: dynamic shape", "m.tflite", lambda: tflite(lambda m: set_input_shape(m, (1, 1, 8, 8), (1, 1, -1, 8))), "E105"),
    Case("tflite: NaN weights", "m.tflite", lambda: tflite_float(np.nan), "E106"),
    Case("tflite: infinite weights", "m.tflite", lambda: tflite_float(np.inf), "E106"),
    Case(
        "tflite: input of 2**31 − 1 rows",
        "m.tflite",
        lambda: tflite(lambda m: set_input_shape(m, (2**31 - 1, 1, 8, 8))),
        "E103 E107 E108",
    ),
    Case(
        "tflite: input of 2**62 elements",
        "m.tflite",
        lambda: tflite(lambda m: set_input_shape(m, (1, 1, 2**31 - 1, 2**31 - 1))),
        "E103 E107 E108",
    ),
    Case("tflite: negative size", "m.tflite", lambda: tflite(lambda m: set_input_shape(m, (1, 1, -8, 8))), "E103"),
    Case("tflite: 20 dimensions", "m.tflite", lambda: tflite(lambda m: set_input_shape(m, (1,) * 20)), "E103"),
    Case("tflite: cycle", "m.tflite", lambda: tflite(make_cycle), "E103 E108"),
    Case("tflite: tensor made twice", "m.tflite", lambda: tflite(make_twice), "E103"),
    Case("tflite: scale of 0", "m.tflite", lambda: tflite(lambda m: set_scale(m, 0.0)), "E111"),
    Case("tflite: NaN scale", "m.tflite", lambda: tflite(lambda m: set_scale(m, np.nan)), "E111"),
    Case("tflite: zero point of 2**40", "m.tflite", lambda: tflite(lambda m: set_scale(m, 0.1, 2**40)), "E111"),
    Case("tflite: the input listed 100,000 times", "m.tflite", lambda: tflite(many_subgraph_inputs), "E103"),
    Case("tflite: 2**31 operator codes", "m.tflite", lambda: huge_vector(1), "E103"),
    Case("tflite: 2**31 subgraphs", "m.tflite", lambda: huge_vector(2), "E103"),
    Case("tflite: 2**31 buffers", "m.tflite", lambda: huge_vector(4), "E103"),
    Case("tflite: root offset outside", "m.tflite", lambda: b"\xff\xff\xff\x7f" + seeds.tflite_bytes()[4:], "E103"),
    Case("tflite: 1 MB of ones", "m.tflite", lambda: b"\x10\0\0\0TFL3" + b"\x01" * 2**20, "E103"),
)

OTHER_CASES = (
    *(Case(f"empty file named {name}", name, constant(b""), "E103") for name in ("m.onnx", "m.tflite", "m.keras", "m.pt2")),
    *(
        Case(f"text named {name}", name, constant(b"# not a model\n" * 40), "E102 E103")
        for name in ("m.txt", "m.onnx", "m.tflite", "m.keras", "m.h5", "m.pb", "m.pt2")
    ),
    Case("pickle named .pt2", "m.pt2", lambda: pickle.dumps(Payload()), "E110"),
    Case("pickle of protocol 0 named .pt2", "m.pt2", lambda: pickle.dumps(Payload(), 0), "E103 E110"),
    Case("pickle named .onnx", "m.onnx", lambda: pickle.dumps(Payload()), "E110"),
    Case("zip with a pickle named .pt2", "m.pt2", legacy_checkpoint, "E110"),
    Case("zip with a pickle named .keras", "m.keras", legacy_checkpoint, "E110"),
    Case("pt2: weights in a pickle", "m.pt2", lambda: pt2(data__weights__model_dot_pt=pickle.dumps(Payload())), "E110"),
    Case(
        "pt2: pickle among the example inputs",
        "m.pt2",
        lambda: pt2(data__sample_inputs__model_dot_pt=legacy_checkpoint()),
        "E110",
    ),
    Case("pt2: JSON that is none", "m.pt2", lambda: pt2(models__model_dot_json=b"{" * 10**5), "E103"),
    Case("pt2: JSON nested 100,000 deep", "m.pt2", lambda: pt2(models__model_dot_json=b"[" * 10**5 + b"]" * 10**5), "E103"),
    Case(
        "pt2: member of 3 GB",
        "m.pt2",
        lambda: archive({"m/models/model.json": (b"{", 3 * 10**9), "m/archive_format": b"pt2"}),
        "E103",
    ),
    Case("keras: Lambda layer", "m.keras", lambda: keras_with(LAMBDA), "E110", "code"),
    Case("keras: class that is no layer", "m.keras", lambda: keras_with(OTHERS_LAYER), "E104 E110", "os.system"),
    Case("keras: weights in another file", "m.keras", lambda: outside_weights(True), "E109"),
    Case(
        "keras: configuration of 3 GB",
        "m.keras",
        lambda: archive({"config.json": (b"{}", 3 * 10**9), "model.weights.h5": b""}),
        "E103",
    ),
    Case(
        "keras: weights of 3 GB", "m.keras", lambda: archive({"model.weights.h5": (b"", 3 * 10**9), "config.json": b"{}"}), "E103"
    ),
    Case(
        "keras: member above the folder",
        "m.keras",
        lambda: zip_of({"../x": b"", "config.json": b"{}", "m.weights.h5": b""}),
        "E109",
    ),
    Case("keras: configuration that is a list", "m.keras", lambda: seeds.keras_bytes([1]), "E103"),  # type: ignore[arg-type]
    Case("h5: Lambda layer", "m.h5", lambda: seeds.h5_bytes(seeds.keras_config(LAMBDA)), "E110"),
    Case("h5: weights in another file", "m.h5", lambda: outside_weights(False), "E109"),
    Case("h5: weights without a model", "m.h5", seeds.keras_weights, "E103"),
    Case(
        "pb: operation that reads files", "m.pb", lambda: seeds.frozen_bytes(extra=seeds.tf_node("r", "ReadFile", ("x",))), "E110"
    ),
    Case("pb: dynamic shape", "m.pb", lambda: seeds.frozen_bytes(seeds.tf_shape(1, -1)), "E105"),
    Case(
        "pb: unknown operation",
        "m.pb",
        lambda: seeds.frozen_bytes(extra=seeds.tf_node("s", "Sharpen", ("x",))),
        "E104",
        "Sharpen",
        WITH_TENSORFLOW,
    ),
    Case("pb: no nodes", "m.pb", constant(seeds.field(4, seeds.field(1, 2000))), "E103"),
    Case("saved model: no graph to serve", "saved_model.pb", lambda: seeds.saved_model_bytes(tag="train"), "E103"),
    Case(
        "saved model: operation that calls Python",
        "saved_model.pb",
        lambda: seeds.saved_model_bytes(seeds.frozen_bytes(extra=seeds.tf_node("p", "PyFunc", ("x",)))),
        "E110",
    ),
)


def lay_out(case: Case, folder: Path) -> None:
    """The file, and what an attack could reach for."""
    (folder / case.file).write_bytes(case.make())
    (folder.parent / "secret.bin").write_bytes(b"\0" * 16)
    if "by a link" in case.name:
        (folder / "link.bin").symlink_to(folder.parent / "secret.bin")


@pytest.mark.parametrize("case", [*ONNX_CASES, *TFLITE_CASES, *OTHER_CASES], ids=lambda case: case.name.replace(" ", "-"))
def test_a_bad_model_is_refused(case: Case, folder: Path, refusals: list[Refusal]) -> None:
    lay_out(case, folder)
    arguments = ["compile", case.file, "--target", "mps2_an386", "-o", "bundle"]
    found = refuse(case.name, arguments, case.codes, folder, case.seconds)
    assert case.words in found.text
    assert not (folder / MARK).exists()
    refusals.append(found)
