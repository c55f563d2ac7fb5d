"""Test support: small whole models of every format, as bytes, to be damaged. No TensorFlow is needed to make them."""

from __future__ import annotations

import importlib.util
import io
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.data import load_samples
from calibration.prepare import prepare
from toolchain.backends.tflite.writer import write_tflite
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph
from toolchain.passes.canonical import canonicalize
from toolchain.passes.quantize import quantize
from toolchain.reference.evaluator import evaluate

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
LAYER_NAME = "dense"


@cache
def digits() -> Graph:
    """The digit classifier, float."""
    return canonicalize(load_model(DIGITS / "digits.onnx"))


@cache
def digits_int8() -> Graph:
    """The digit classifier in int8."""
    names = [output.name for node in digits().nodes for output in node.outputs]
    samples = load_samples(f"{DIGITS / 'calibration.npz'}[0:4]", digits().inputs)
    graph, table = prepare(digits(), samples, lambda graph: lambda sample: evaluate(graph, sample, names))
    return canonicalize(quantize(graph, table))


def onnx_bytes() -> bytes:
    """An .onnx file."""
    return (DIGITS / "digits.onnx").read_bytes()


@cache
def tflite_bytes() -> bytes:
    """An int8 .tflite file."""
    return write_tflite(digits_int8())


@cache
def tflite_float_bytes() -> bytes:
    """A float .tflite file."""
    return write_tflite(digits())


def keras_config(*extra: Mapping[str, Any]) -> dict[str, Any]:
    """Keras's configuration of a dense layer of 4 inputs and 3 outputs, and of further layers."""
    keras: dict[str, Any] = {"module": "keras.layers", "registered_name": None}
    first = keras | {"class_name": "InputLayer", "config": {"batch_shape": [None, 4], "dtype": "float32", "name": "x"}}
    dense = keras | {
        "class_name": "Dense",
        "config": {"name": LAYER_NAME, "units": 3},
        "build_config": {"input_shape": [None, 4]},
    }
    config = {"name": "net", "layers": [first, dense, *extra], "build_input_shape": [None, 4]}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None}


def keras_bytes(config: Mapping[str, Any] | None = None, weights: bytes | None = None) -> bytes:
    """A .keras archive of the dense layer; its parts may be given."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0", "date_saved": "2024-01-01@00:00:00"}))
        archive.writestr("config.json", json.dumps(keras_config() if config is None else config))
        archive.writestr("model.weights.h5", keras_weights() if weights is None else weights)
    return packed.getvalue()


def hdf5_bytes(fill: Callable[[Any], None]) -> bytes:
    """An HDF5 file that `fill` wrote."""
    h5py: Any = pytest.importorskip("h5py", reason="h5py comes with strop[keras]")
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def keras_weights() -> bytes:
    """The weights of the dense layer as a .keras archive holds them."""

    def fill(file: Any) -> None:
        group = file.create_group(f"layers/{LAYER_NAME}/vars")
        group.create_dataset("0", data=np.arange(12, dtype=np.float32).reshape(4, 3))
        group.create_dataset("1", data=np.zeros(3, np.float32))
        file.create_group("vars")

    return hdf5_bytes(fill)


def h5_bytes(config: Mapping[str, Any] | None = None) -> bytes:
    """An .h5 model of the dense layer."""

    def fill(file: Any) -> None:
        file.attrs["model_config"] = json.dumps(keras_config() if config is None else config)
        file.attrs["backend"], file.attrs["keras_version"] = "tensorflow", "3.5.0"
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [LAYER_NAME.encode()]
        layer = weights.create_group(LAYER_NAME)
        layer.attrs["weight_names"] = [b"dense/kernel", b"dense/bias"]
        layer.create_dataset("dense/kernel", data=np.arange(12, dtype=np.float32).reshape(4, 3))
        layer.create_dataset("dense/bias", data=np.zeros(3, np.float32))

    return hdf5_bytes(fill)


def varint(number: int) -> bytes:
    """A number as protocol buffers write it."""
    digits_: list[int] = []
    while number >= 0x80:
        digits_.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits_, number])


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protocol buffer: a number, a text, or bytes such as another message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def tf_node(name: str, op: str, inputs: tuple[str, ...] = (), **attributes: bytes) -> bytes:
    """A field `node` of a GraphDef; attributes are messages of type AttrValue."""
    body = field(1, name) + field(2, op) + b"".join(field(3, text) for text in inputs)
    return field(1, body + b"".join(field(5, field(1, key) + field(2, value)) for key, value in attributes.items()))


def tf_shape(*sizes: int) -> bytes:
    """A TensorShapeProto; −1 for an unknown size."""
    return b"".join(field(2, field(1, size % 2**64)) for size in sizes)


FLOAT = field(6, 1)


def frozen_bytes(shape: bytes | None = None, extra: bytes = b"") -> bytes:
    """A frozen graph: x (1, 4) times a constant (4, 2) makes y. shape: of x, a TensorShapeProto."""
    weights = struct.pack("<8f", *range(8))
    tensor = field(1, 1) + field(2, tf_shape(4, 2)) + field(4, weights)
    shape = tf_shape(1, 4) if shape is None else shape
    nodes = (
        tf_node("x", "Placeholder", shape=field(7, shape), dtype=FLOAT),
        tf_node("w", "Const", value=field(8, tensor), dtype=FLOAT),
        tf_node("m", "MatMul", ("x", "w"), T=FLOAT),
        tf_node("y", "Identity", ("m",), T=FLOAT),
    )
    return b"".join(nodes) + extra + field(4, field(1, 2000))


def saved_model_bytes(graph: bytes | None = None, tag: str = "serve") -> bytes:
    """A saved_model.pb without variables around a frozen graph."""
    ends = ((1, "x", tf_shape(1, 4)), (2, "y", tf_shape(1, 2)))
    sides = (field(n, field(1, k) + field(2, field(1, f"{k}:0") + field(2, 1) + field(3, s))) for n, k, s in ends)
    signature = b"".join(sides) + field(3, "tensorflow/serving/predict")
    meta = field(1, field(4, tag)) + field(2, frozen_bytes() if graph is None else graph)
    return field(1, 1) + field(2, meta + field(5, field(1, "serving_default") + field(2, signature)))


_PT2_SCRIPT = """
import sys, torch
layers = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
torch.export.save(torch.export.export(layers.eval(), (torch.zeros(1, 4),)), sys.argv[1])
"""


@cache
def pt2_bytes() -> bytes:
    """A .pt2 program, made in a process of its own: torch's compiler and TensorFlow abort in one."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch comes with strop[torch]")
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        path = Path(folder) / "net.pt2"
        subprocess.run([sys.executable, "-c", _PT2_SCRIPT, str(path)], check=True, capture_output=True, timeout=300)
        return path.read_bytes()
