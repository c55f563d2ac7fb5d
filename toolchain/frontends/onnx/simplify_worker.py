"""The process that runs onnxsim and compares: `python -m toolchain.frontends.onnx.simplify_worker FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx

TOLERANCE = 1e-5
SAMPLES = 2
ELEMENTS = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}


def main(folder: Path) -> int:
    """Simplify model.onnx to simple.onnx in the folder; status 0 only when both models compute the same."""
    # onnxsim imports torch where it finds it, which takes seconds and serves parts of it that are not used here.
    hidden: dict[str, Any] = {"torch": None}
    sys.modules.update(hidden)
    import onnxsim  # type: ignore[import-untyped]

    model = onnx.load_model_from_string((folder / "model.onnx").read_bytes())
    shapes: dict[str, list[int]] = json.loads((folder / "shapes.json").read_text())
    simpler, _ = onnxsim.simplify(model, overwrite_input_shapes=shapes or None)
    if len(simpler.graph.node) > len(model.graph.node):
        print("the result has more nodes", file=sys.stderr)
        return 3
    if not agree(model, simpler, shapes):
        print("the outputs differ", file=sys.stderr)
        return 4
    (folder / "simple.onnx").write_bytes(simpler.SerializeToString())
    return 0


def agree(one: onnx.ModelProto, two: onnx.ModelProto, shapes: dict[str, list[int]]) -> bool:
    """True when both models give the same outputs for random inputs, to 1e-5 of the largest element."""
    import onnxruntime as ort  # type: ignore[import-untyped]

    options = ort.SessionOptions()
    options.log_severity_level = 4
    sessions = [ort.InferenceSession(m.SerializeToString(), options, providers=["CPUExecutionProvider"]) for m in (one, two)]
    random = np.random.default_rng(0)
    stored = {tensor.name for tensor in one.graph.initializer}
    for _ in range(SAMPLES):
        feeds = {e.name: _sample(e, shapes.get(e.name), random) for e in one.graph.input if e.name not in stored}
        taken = {entry.name for entry in sessions[1].get_inputs()}
        want = sessions[0].run(None, feeds)
        got = sessions[1].run(None, {name: array for name, array in feeds.items() if name in taken})
        if len(want) != len(got) or not all(_close(a, b) for a, b in zip(want, got, strict=True)):
            return False
    return True


def _sample(entry: onnx.ValueInfoProto, shape: list[int] | None, random: np.random.Generator) -> Any:
    dims = entry.type.tensor_type.shape.dim
    sizes = shape if shape is not None else [int(dim.dim_value) or 1 for dim in dims]
    dtype = np.dtype(ELEMENTS[entry.type.tensor_type.elem_type])
    if dtype.kind == "f":
        return random.standard_normal(sizes).astype(dtype)
    return random.integers(0, 2, sizes).astype(dtype)


def _close(a: Any, b: Any) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool((a == b).all())
    largest = float(np.abs(np.where(np.isfinite(a), a, 0)).max(initial=0.0))
    return bool(np.allclose(a, b, rtol=0.0, atol=TOLERANCE * max(largest, 1e-6), equal_nan=True))


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
