"""One peer, one model: makes the peer's int8 model, runs it, writes its outputs. Runs in a process, and a venv, of its own.

    python peers.py PEER FOLDER OUTPUT.npy

FOLDER holds `model.onnx`, `model.tflite` or `saved_model` and `calibration.npy`, `test.npy` (samples on axis 0, float32, NHWC).
This file imports nothing of Strop, so that a peer's interpreter need not have it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def _module(name: str) -> Any:
    """A module that this interpreter may lack, and whose types nobody knows."""
    return importlib.import_module(name)


def _onnx_inputs(path: Path) -> tuple[str, list[int]]:
    graph = _module("onnx").load(str(path)).graph
    value = graph.input[0]
    return value.name, [max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim]


def _run_onnx(path: Path, samples: Array) -> Array:
    onnxruntime = _module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in entry.shape]
    return np.stack([session.run(None, {entry.name: sample.reshape(shape)})[0].reshape(-1) for sample in samples])


def _onnxruntime(method: str, percentile: float) -> Callable[[Path, Array, Array], Array]:
    def run(folder: Path, calibration: Array, test: Array) -> Array:
        tools = _module("onnxruntime.quantization")
        name, shape = _onnx_inputs(folder / "model.onnx")

        left: Iterator[Array] = iter(calibration)

        def get_next(_: object) -> Any:
            sample = next(left, None)
            return None if sample is None else {name: sample.reshape(shape)}

        reader = type("Reader", (tools.CalibrationDataReader,), {"get_next": get_next})

        ready, made = folder / "ready.onnx", folder / f"ort_{method}_{percentile}.onnx"
        _module("onnxruntime.quantization.shape_inference").quant_pre_process(str(folder / "model.onnx"), str(ready))
        tools.quantize_static(
            str(ready),
            str(made),
            reader(),
            quant_format=tools.QuantFormat.QDQ,
            per_channel=True,
            activation_type=tools.QuantType.QInt8,
            weight_type=tools.QuantType.QInt8,
            calibrate_method=getattr(tools.CalibrationMethod, method),
            extra_options={"CalibPercentile": percentile} if method == "Percentile" else {},
        )
        return _run_onnx(made, test)

    return run


def _nncf(folder: Path, calibration: Array, test: Array) -> Array:
    nncf, onnx = _module("nncf"), _module("onnx")
    name, shape = _onnx_inputs(folder / "model.onnx")
    data = nncf.Dataset([{name: sample.reshape(shape)} for sample in calibration])
    made = nncf.quantize(onnx.load(str(folder / "model.onnx")), data, subset_size=len(calibration))
    onnx.save(made, str(folder / "nncf.onnx"))
    return _run_onnx(folder / "nncf.onnx", test)


def _run_tflite(content: bytes, samples: Array) -> Array:
    litert = _module("ai_edge_litert.interpreter")
    resolver = litert.OpResolverType.BUILTIN_REF
    interpreter = litert.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found: list[Array] = []
    for sample in samples:
        x = sample.reshape(entry["shape"])
        if entry["dtype"] != np.float32:
            (scale, zero), limits = entry["quantization"], np.iinfo(entry["dtype"])
            x = np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(entry["dtype"])
        interpreter.set_tensor(entry["index"], x)
        interpreter.invoke()
        y = interpreter.get_tensor(end["index"])
        if end["dtype"] != np.float32:
            scale, zero = end["quantization"]
            y = (y.astype(np.float32) - zero) * scale
        found.append(y.reshape(-1))
    return np.stack(found)


def _tflite(operators: str, ends: str) -> Callable[[Path, Array, Array], Array]:
    def run(folder: Path, calibration: Array, test: Array) -> Array:
        tf = _module("tensorflow")
        # The converter of TensorFlow 2 does not open the SavedModels of Keras 2 that hold an optimizer.
        converter = tf.compat.v1.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample[None]] for sample in calibration)
        converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, operators)]
        converter.inference_input_type = converter.inference_output_type = getattr(tf, ends)
        return _run_tflite(converter.convert(), test)

    return run


def _signed_samples(path: str, calibration: Array) -> dict[str, list[dict[str, Array]]]:
    """Samples by the name of the file's signature and of its input."""
    signatures = _module("ai_edge_litert.interpreter").Interpreter(model_path=path).get_signature_list()
    key = next(iter(signatures))
    name = signatures[key]["inputs"][0]
    return {key: [{name: sample[None]} for sample in calibration]}


def _ai_edge(name: str) -> Callable[[Path, Array, Array], Array]:
    def run(folder: Path, calibration: Array, test: Array) -> Array:
        quantizer, recipe = _module("ai_edge_quantizer.quantizer"), _module("ai_edge_quantizer.recipe")
        path = str(folder / "model.tflite")
        made = quantizer.Quantizer(path, getattr(recipe, name)())
        seen = made.calibrate(_signed_samples(path, calibration), num_threads=1)
        return _run_tflite(bytes(made.quantize(seen).quantized_model), test)

    return run


def _ai_edge_weights(algorithm: str) -> Callable[[Path, Array, Array], tuple[Array, int]]:
    def run(folder: Path, calibration: Array, test: Array) -> tuple[Array, int]:
        quantizer, recipe = _module("ai_edge_quantizer.quantizer"), _module("ai_edge_quantizer.recipe")
        key = getattr(recipe.AlgorithmName, algorithm)
        path = str(folder / "model.tflite")
        made = quantizer.Quantizer(path, recipe.weight_only_wi4_afp32(algorithm_key=key))
        seen = made.calibrate(_signed_samples(path, calibration), num_threads=1) if made.need_calibration else None
        content = bytes(made.quantize(seen).quantized_model)
        return _run_tflite(content, test), _tflite_weight_bytes(content)

    return run


def _tflite_weight_bytes(content: bytes) -> int:
    """Bytes of a file's constants and of their scales."""
    schema = _module("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    total = 0
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data):
            scales = None if tensor.quantization is None else tensor.quantization.scale
            total += len(data) + (0 if scales is None else 4 * len(scales))
    return total


def _nncf_weights(folder: Path, calibration: Array, test: Array) -> tuple[Array, int]:
    nncf, onnx = _module("nncf"), _module("onnx")
    mode = nncf.CompressWeightsMode.INT4_SYM
    # Only from opset 21 on DequantizeLinear knows int4.
    model = _module("onnx.version_converter").convert_version(onnx.load(str(folder / "model.onnx")), 21)
    made = nncf.compress_weights(model, mode=mode, group_size=-1, all_layers=True)
    onnx.save(made, str(folder / "nncf_w4.onnx"))
    return _run_onnx(folder / "nncf_w4.onnx", test), _onnx_weight_bytes(folder / "nncf_w4.onnx")


def _onnx_weight_bytes(path: Path) -> int:
    """Bytes of a file's initializers; two of four bits share one."""
    tensors = _module("onnx").load(str(path)).graph.initializer
    helper, types = _module("onnx.helper"), _module("onnx").TensorProto
    total = 0
    for tensor in tensors:
        four = tensor.data_type in (types.INT4, types.UINT4)
        bits = 4 if four else helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
        total += (int(np.prod(tensor.dims)) * bits + 7) // 8
    return total


def _tflite_dynamic(folder: Path, calibration: Array, test: Array) -> tuple[Array, int]:
    tf = _module("tensorflow")
    converter = tf.compat.v1.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content = converter.convert()
    return _run_tflite(content, test), _tflite_weight_bytes(content)


def _ai_edge_dynamic(folder: Path, calibration: Array, test: Array) -> tuple[Array, int]:
    quantizer, recipe = _module("ai_edge_quantizer.quantizer"), _module("ai_edge_quantizer.recipe")
    made = quantizer.Quantizer(str(folder / "model.tflite"), recipe.dynamic_wi8_afp32())
    content = bytes(made.quantize().quantized_model)
    return _run_tflite(content, test), _tflite_weight_bytes(content)


def _onnxruntime_dynamic(folder: Path, calibration: Array, test: Array) -> tuple[Array, int]:
    tools = _module("onnxruntime.quantization")
    made = folder / "ort_dynamic.onnx"
    # Of signed weights its convolution has no kernel.
    tools.quantize_dynamic(str(folder / "model.onnx"), str(made), per_channel=True, weight_type=tools.QuantType.QUInt8)
    return _run_onnx(made, test), _onnx_weight_bytes(made)


WEIGHT_PEERS: dict[str, Callable[[Path, Array, Array], tuple[Array, int]]] = {
    "ai-edge-quantizer w4": _ai_edge_weights("MIN_MAX_UNIFORM_QUANT"),
    "ai-edge-quantizer w4 octav": _ai_edge_weights("OCTAV"),
    "ai-edge-quantizer w4 mse": _ai_edge_weights("MSE"),
    "ai-edge-quantizer w4 gptq": _ai_edge_weights("GPTQ"),
    "nncf w4": _nncf_weights,
    "tflite dynamic": _tflite_dynamic,
    "ai-edge-quantizer dynamic": _ai_edge_dynamic,
    "onnxruntime dynamic": _onnxruntime_dynamic,
}
"""Peers that store weights alone in four bits, or have dynamic range; they also give the bytes of weights and scales."""

PEERS: dict[str, Callable[[Path, Array, Array], Array]] = {
    "tflite": _tflite("TFLITE_BUILTINS_INT8", "int8"),
    "onnxruntime minmax": _onnxruntime("MinMax", 0.0),
    "onnxruntime entropy": _onnxruntime("Entropy", 0.0),
    "onnxruntime percentile 99.9": _onnxruntime("Percentile", 99.9),
    "onnxruntime percentile 99.99": _onnxruntime("Percentile", 99.99),
    "onnxruntime percentile 99.999": _onnxruntime("Percentile", 99.999),
    "nncf": _nncf,
    "ai-edge-quantizer": _ai_edge("static_wi8_ai8"),
}

WIDE_PEERS: dict[str, Callable[[Path, Array, Array], Array]] = {
    "tflite int16x8": _tflite("EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8", "int16"),
    "ai-edge-quantizer int16x8": _ai_edge("static_wi8_ai16"),
}
"""Peers with int16 activations."""


def main() -> None:
    """Run one peer."""
    peer, folder, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    calibration, test = np.load(folder / "calibration.npy"), np.load(folder / "test.npy")
    if peer in WEIGHT_PEERS:
        found, weight_bytes = WEIGHT_PEERS[peer](folder, calibration, test)
        output.with_suffix(".bytes").write_text(str(weight_bytes))
    else:
        found = {**PEERS, **WIDE_PEERS}[peer](folder, calibration, test)
    np.save(output, found)


if __name__ == "__main__":
    main()
