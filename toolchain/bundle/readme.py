"""The README.md of a bundle: how to run what it holds where there is no Strop."""

from __future__ import annotations

from collections.abc import Callable

from toolchain.bundle.example import EXAMPLE_NAME
from toolchain.bundle.manifest import Manifest, TensorInfo
from toolchain.ir.types import DType

README_NAME = "README.md"


def readme(manifest: Manifest, *, has_system: bool) -> str:
    """The page. has_system: the target has a C library and files, so that there is an example to build."""
    parts = [
        f"# {manifest.name}\n\nA network compiled by Strop for {manifest.target}, {manifest.precision}. "
        "`manifest.json` says what it needs and lists every file. Nothing below needs Strop.\n",
        tensor_table(manifest),
    ]
    if manifest.c is not None:
        parts.append(_c(manifest, has_system))
    parts += [_SECTIONS[name](manifest) for name in manifest.format_names if name in _SECTIONS]
    return "\n".join(parts)


def tensor_table(manifest: Manifest) -> str:
    """Inputs and outputs, their types and shapes, and what their numbers mean, in Markdown."""
    rows = ["| tensor | stored as | shape | real value |", "| --- | --- | --- | --- |"]
    for way, tensors in (("input", manifest.inputs), ("output", manifest.outputs)):
        rows += [
            f"| {way} {index} | {DType(t.dtype).numpy.name} | {t.shape} | {_meaning(t)} |" for index, t in enumerate(tensors)
        ]
    return "\n".join(rows) + "\n"


def _meaning(tensor: TensorInfo) -> str:
    return "the stored one" if tensor.scale is None else f"{tensor.scale!r} * (stored - {tensor.zero_point or 0})"


def _c(manifest: Manifest, has_system: bool) -> str:
    files = manifest.c
    if files is None:
        return ""
    flags = " ".join(("-std=c11", *files.cflags, *(f"-I{folder}" for folder in files.include_dirs)))
    sources = " ".join(files.sources)
    text = f"## C\n\n`{files.header}` is the interface. Compile `{sources}` with `{flags}`.\n"
    if manifest.features is not None:
        made = manifest.features
        text += f"`{made.header}` makes its input, {made.kind} of {made.rate:,} samples a second, as `{made.settings}` says.\n"
    if not has_system:
        return text
    size = sum(tensor.bytes for tensor in manifest.inputs)
    build = f"cc {flags} {sources} {EXAMPLE_NAME} -o {manifest.name}"
    run = f"head -c {size} /dev/zero | ./{manifest.name} | od -An -t x1"
    return f"{text}`{EXAMPLE_NAME}` runs samples of stored bytes:\n\n```sh\n{build}\n{run}\n```\n"


def _library(manifest: Manifest) -> str:
    section, name = manifest.formats["library"], manifest.name
    zeros = ", ".join(f"np.zeros({tensor.shape}, '{_real_type(tensor)}')" for tensor in manifest.inputs)
    line = f"import numpy as np, {name}; print({name}.Network().run([{zeros}]))"
    return f"""## Shared library

For {section.machine} Linux; where it needs the C library, glibc 2.17 or later. `{section.module}` needs Python 3.9 and
NumPy, and takes real units (floats) or stored values. For C, `{manifest.c.header if manifest.c else ""}` is the interface; link
`{section.file}`.

```sh
PYTHONPATH=library python3 -c "{line}"
```
"""


def _tflite(manifest: Manifest) -> str:
    file = manifest.formats["tflite"].file
    return f"""## LiteRT

After `python3 -m pip install ai-edge-litert`, or `tflite-runtime "numpy<2"` where that is all there is:

```python
import numpy as np
try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter

network = Interpreter("{file}")
network.allocate_tensors()
for tensor in network.get_input_details():
    network.set_tensor(tensor["index"], np.zeros(tensor["shape"], tensor["dtype"]))
network.invoke()
print([network.get_tensor(tensor["index"]) for tensor in network.get_output_details()])
```
"""


def _onnx(manifest: Manifest) -> str:
    zeros = ", ".join(f"np.zeros({tensor.shape}, '{DType(tensor.dtype).numpy.name}')" for tensor in manifest.inputs)
    return f"""## ONNX Runtime

After `python3 -m pip install onnxruntime`:

```python
import numpy as np
from onnxruntime import InferenceSession

network = InferenceSession("{manifest.formats["onnx"].file}")
inputs = [{zeros}]
print(network.run(None, {{tensor.name: array for tensor, array in zip(network.get_inputs(), inputs)}}))
```
"""


def _web(engine: str) -> Callable[[Manifest], str]:
    def section(manifest: Manifest) -> str:
        folder = manifest.formats[engine].file.partition("/")[0]
        return f"""## Web page

`{folder}/` is a folder for a web server, with a page and a module of its own; its README says more. With Node.js:

```sh
cd {folder}
npm install
npm start
```
"""

    return section


def _tensorrt(manifest: Manifest) -> str:
    folder = manifest.formats["tensorrt"].file.rpartition("/")[0]
    return f"""## TensorRT

`{folder}/` holds the engine, or the model that one is built of, and a script that builds it where the GPU is and checks it:

```sh
python3 {folder}/build_engine.py
```
"""


def _savedmodel(manifest: Manifest) -> str:
    folder = manifest.formats["savedmodel"].file.rpartition("/")[0]
    return f"""## TensorFlow

`{folder.partition("/")[0]}/` is what TensorFlow Serving takes as a model's base path. Inputs and outputs are floats.
After `python3 -m pip install tensorflow-cpu`:

```python
import tensorflow as tf

network = tf.saved_model.load("{folder}").signatures["serving_default"]
inputs = {{name: tf.zeros(spec.shape, spec.dtype) for name, spec in network.structured_input_signature[1].items()}}
print(network(**inputs))
```
"""


def _real_type(tensor: TensorInfo) -> str:
    return "float32" if tensor.scale is not None else DType(tensor.dtype).numpy.name


_SECTIONS: dict[str, Callable[[Manifest], str]] = {
    "library": _library,
    "tflite": _tflite,
    "onnx": _onnx,
    "tensorrt": _tensorrt,
    "savedmodel": _savedmodel,
    "tfjs": _web("tfjs"),
    "litertjs": _web("litertjs"),
}
