"""Builds a TensorRT engine of an ONNX model, keeps it for the next time, and holds its outputs to samples.

    python build_engine.py [--folder FOLDER] [--cache FOLDER] [--rebuild]

This file needs Python 3.10, NumPy and `tensorrt` or `tensorrt_rtx`, and nothing else: bundles hold a copy of it. FOLDER (by
default the one that it lies in) has `engine.json`, which names the rest. The exit status is 0 when all outputs are near enough.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

PACKAGES = ("tensorrt", "tensorrt_rtx")
DESCRIPTION = "engine.json"
PRODUCTS = frozenset({"corrltn", "deconvolution", "fully_connected"})
"""Kernels of convolutions and matrix products, by the words of the engine or of the inspector."""


class EngineFault(Exception):
    """What went wrong. kind: `package`, `gpu`, `target`, `layer`, `operator` or `build`. place: a layer, or what failed."""

    def __init__(self, kind: str, place: str, message: str) -> None:
        super().__init__(kind, place, message)
        self.kind, self.place, self.message = kind, place, message

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True)
class Step:
    """A kernel of an engine: its name, what it computes, the types that it reads, and the ONNX nodes that it comes from."""

    name: str
    kind: str
    types: tuple[str, ...]
    layers: tuple[str, ...] = ()

    @property
    def computes(self) -> str:
        """The type that it multiplies in: that of its first operand, and of the second where there is one."""
        return self.types[0] if self.types else ""

    @property
    def is_product(self) -> bool:
        """True for what multiplies by weights or by another tensor."""
        return self.kind in PRODUCTS


@dataclass(frozen=True)
class Built:
    """An engine. steps: its kernels, empty where the package does not tell. seconds: what building took."""

    engine: bytes
    seconds: float
    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """How many samples at a time an engine takes, and what it is tuned for."""

    least: int
    best: int
    most: int


@dataclass
class LogLines:
    """What TensorRT said: errors, and warnings."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def last(self) -> str:
        """The newest error."""
        return self.errors[-1] if self.errors else "TensorRT gave no reason"

    @property
    def first(self) -> str:
        """The oldest error, which is the cause of the others."""
        return self.errors[0] if self.errors else "TensorRT gave no reason"


def make_logger(trt: Any, lines: LogLines) -> Any:
    """A logger of a package that keeps errors and warnings and prints nothing."""

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                lines.errors.append(message)
            elif severity == trt.ILogger.WARNING:
                lines.warnings.append(message)

    return Logger()


def load_package(names: Sequence[str] = PACKAGES) -> Any:
    """The first of the packages that is installed. Raises EngineFault `package`."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise EngineFault("package", " or ".join(names), "the package is not installed")


def build(trt: Any, model: bytes, *, sm: int | None = None, batch: Batch | None = None) -> Built:
    """The engine of an ONNX model, strongly typed: every value has the type that the model says.

    sm: the GPU to build for, 86 for SM 86, None for the one that is there. batch: where the model's first dimension is open.
    Raises EngineFault: `target` when the package builds for no such GPU, `layer` for a layer that it refuses, else `build`.
    """
    lines = LogLines()
    logger = make_logger(trt, lines)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        raise _refused_by_parser(parser, lines)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if sm is not None:
        _choose_gpu(trt, config, sm)
    if batch is not None:
        config.add_optimization_profile(_profile(builder, network, batch))
    start = time.perf_counter()
    made = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - start
    if made is None:
        raise _refused_by_builder(lines)
    engine = bytes(made)
    return Built(engine, seconds, plan_steps(engine), tuple(lines.warnings))


def _choose_gpu(trt: Any, config: Any, sm: int) -> None:
    known = getattr(trt, "ComputeCapability", None)
    if known is None or not hasattr(known, f"SM{sm}"):
        names = [name[2:] for name in dir(known) if name.startswith("SM")] if known is not None else []
        able = f"it builds for SM {', '.join(sorted(names, key=int))}" if names else "it builds for the GPU of its machine alone"
        raise EngineFault("target", f"SM {sm}", f"{trt.__name__} {trt.__version__} does not build for it; {able}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(known, f"SM{sm}"), 0)


def _profile(builder: Any, network: Any, batch: Batch) -> Any:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        entry = network.get_input(index)
        shape = tuple(entry.shape)[1:]
        profile.set_shape(entry.name, *((count, *shape) for count in (batch.least, batch.best, batch.most)))
    return profile


def _refused_by_parser(parser: Any, lines: LogLines) -> EngineFault:
    if parser.num_errors == 0:
        return EngineFault("build", "TensorRT", f"the model is refused: {_sentence(lines.first)}")
    error = parser.get_error(0)
    place, operator = error.node_name(), error.node_operator() or error.func().removeprefix("import")
    why = _sentence(error.desc())
    said = f"{operator} is refused: {'it has no such operator' if why == 'false' else why}"
    if place:
        return EngineFault("layer", place, said)
    known = error.func().startswith("import")
    return EngineFault("operator", operator, said) if known else EngineFault("build", "TensorRT", f"the model is refused: {why}")


_NAMED = re.compile(r"operation '([^']+)'[^:]*: (.+?)(?:\. In |\)|$)")


def _refused_by_builder(lines: LogLines) -> EngineFault:
    """The layer that the error names, else all that it says."""
    match = _NAMED.search(lines.first)
    if match is None:
        return EngineFault("build", "TensorRT", f"no engine was built: {_sentence(lines.first)}")
    return EngineFault("layer", match[1], _sentence(match[2]))


def _sentence(text: str) -> str:
    return " ".join(text.split())[:300].rstrip(". ")


# TensorRT-RTX writes its program into the engine as text, which tells of kernels where no GPU can load it.
_TENSOR = re.compile(r'(?:sub_)?tensor=\{[^\n]*? name="([^"]*)"[^\n]*? type=(\w+)')
_KERNEL = re.compile(
    r'^\s+(\w+)=\{ name="?(\w[^" ]*)"?[^\n]*?\binput(?:_args)?=\{([^}]*)\}(?:[^\n]*?layers="([^"]*)")?', re.MULTILINE
)
_QUOTED = re.compile(r'"([^"]*)"')
_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


def plan_steps(engine: bytes) -> tuple[Step, ...]:
    """Kernels by the text in an engine of TensorRT-RTX, in order; none where it has no such text."""
    start = engine.find(b"\nmain {")
    stop = engine.find(b"\n}", start)
    if start < 0 or stop < 0:
        return ()
    types = dict(_TENSOR.findall(engine[:start].decode("latin-1")))
    steps: list[Step] = []
    for kind, name, operands, layers in _KERNEL.findall(engine[start:stop].decode("latin-1")):
        read = tuple(types.get(operand, "") for operand in _QUOTED.findall(operands))
        steps.append(Step(name, kind, read, tuple(_LAYER.findall(layers))))
    return tuple(steps)


def inspected_steps(trt: Any, engine: Any) -> tuple[Step, ...]:
    """Kernels of a loaded engine by TensorRT's inspector, in order; none where it says less."""
    inspector = engine.create_engine_inspector()
    try:
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        layers = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError):
        return ()
    steps: list[Step] = []
    for layer in layers:
        if isinstance(layer, Mapping):
            types = tuple(_type_of(entry) for entry in layer.get("Inputs", ()))
            nodes = tuple(_LAYER.findall(str(layer.get("Metadata", ""))))
            steps.append(Step(str(layer.get("Name", "")), str(layer.get("LayerType", "")), types, nodes))
    return tuple(steps)


_TYPES = {"Int8": "int8", "Half": "half", "FP16": "half", "Float": "float", "FP32": "float"}


def _type_of(entry: Mapping[str, Any]) -> str:
    said = str(entry.get("Format/Datatype", entry.get("Datatype", "")))
    return next((ours for theirs, ours in _TYPES.items() if theirs in said), said)


class Driver:
    """CUDA's driver by its C interface: the first GPU, its memory, and its default stream."""

    MAJOR, MINOR = 75, 76

    def __init__(self, library: Any = None) -> None:
        """library: the driver, where it is not the system's. Raises EngineFault `gpu` without a driver or a GPU."""
        self._calls = driver_library() if library is None else library
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, len(name), device)
        self.name = name.value.decode(errors="replace")
        self.capability = (self._attribute(self.MAJOR, device), self._attribute(self.MINOR, device))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)

    @property
    def sm(self) -> int:
        """The GPU's SM version, 86 for SM 86."""
        return 10 * self.capability[0] + self.capability[1]

    def _attribute(self, number: int, device: Any) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), number, device)
        return value.value

    @contextmanager
    def memory(self, size: int) -> Generator[int]:
        """Bytes of the GPU, by address, freed at the end."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        try:
            yield address.value
        finally:
            self._call("cuMemFree_v2", ctypes.c_uint64(address.value))

    def upload(self, address: int, array: Any) -> None:
        """Copy a contiguous array to the GPU."""
        size = ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), array.ctypes.data_as(ctypes.c_void_p), size)

    def download(self, array: Any, address: int) -> None:
        """Copy from the GPU into a contiguous array."""
        size = ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyDtoH_v2", array.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(address), size)

    def synchronize(self) -> None:
        """Wait for all that was begun."""
        self._call("cuCtxSynchronize")

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._calls, name)(*arguments)
        if status != 0:
            raise EngineFault("gpu", "CUDA", f"{name} gave error {status}")


def driver_library() -> Any:
    """CUDA's driver. Raises EngineFault `gpu` where there is none."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise EngineFault("gpu", "CUDA", "there is no NVIDIA driver on this machine")


class Loaded:
    """An engine on the GPU that runs one batch at a time."""

    def __init__(self, trt: Any, driver: Driver, engine: bytes) -> None:
        """Raises EngineFault `build` when the GPU refuses the engine."""
        self._trt, self._driver, lines = trt, driver, LogLines()
        self._logger = make_logger(trt, lines)
        self._runtime = trt.Runtime(self._logger)
        self.engine = self._runtime.deserialize_cuda_engine(engine)
        if self.engine is None:
            raise EngineFault("build", "TensorRT", f"{driver.name} refuses the engine: {_sentence(lines.first)}")
        self._context = self.engine.create_execution_context()
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        self.inputs = [name for name in names if self._is_input(name)]
        self.outputs = [name for name in names if not self._is_input(name)]

    def _is_input(self, name: str) -> bool:
        return bool(self.engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT)

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Outputs of one batch, arrays with samples on the first dimension."""
        given = {name: np.ascontiguousarray(array, self._dtype(name)) for name, array in zip(self.inputs, inputs, strict=True)}
        for name, array in given.items():
            self._context.set_input_shape(name, array.shape)
        made = {name: np.empty(tuple(self._context.get_tensor_shape(name)), self._dtype(name)) for name in self.outputs}
        addresses: dict[str, int] = {}
        with _all([self._driver.memory(array.nbytes) for array in (*given.values(), *made.values())]) as found:
            addresses.update(zip((*given, *made), found, strict=True))
            for name, address in addresses.items():
                self._context.set_tensor_address(name, address)
            for name, array in given.items():
                self._driver.upload(addresses[name], array)
            if not self._context.execute_async_v3(0):
                raise EngineFault("gpu", "TensorRT", "the engine did not run")
            self._driver.synchronize()
            for name, array in made.items():
                self._driver.download(array, addresses[name])
        return [made[name] for name in self.outputs]

    def _dtype(self, name: str) -> Any:
        return np.dtype(self._trt.nptype(self.engine.get_tensor_dtype(name)))


@contextmanager
def _all(blocks: Sequence[Any]) -> Generator[list[Any]]:
    with ExitStack() as stack:
        yield [stack.enter_context(block) for block in blocks]


class NamedGpu(Protocol):
    """What an engine is kept for."""

    @property
    def name(self) -> str:
        """As CUDA tells it."""
        ...

    @property
    def sm(self) -> int:
        """Version of its streaming multiprocessors."""
        ...


def cache_name(name: str, gpu: NamedGpu, trt: Any, model: bytes) -> str:
    """File of an engine: it serves one model, GPU, compute capability, and version of TensorRT."""
    slug = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    digest = hashlib.sha256(model).hexdigest()[:12]
    return f"{name}-{slug}-sm{gpu.sm}-{trt.__name__}-{trt.__version__}-{digest}.engine"


def cached(path: Path, make: Callable[[], bytes], rebuild: bool = False) -> tuple[bytes, bool]:
    """What the file holds, or what `make` gives, which is kept there; and whether it was kept already."""
    if path.is_file() and not rebuild:
        return path.read_bytes(), True
    engine = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_bytes(engine)
    aside.replace(path)
    return engine, False


def differences(found: Sequence[Any], wanted: Sequence[Any], measure: str = "largest") -> list[float]:
    """For every output its difference as a share of the largest wanted number; infinite where it is no number.

    measure: the `largest` difference, or the `mean`.
    """
    shares: list[float] = []
    for got, want in zip(found, wanted, strict=True):
        wide = np.asarray(want, np.float64)
        largest = float(np.abs(wide).max(initial=0.0)) or 1.0
        apart = np.abs(np.asarray(got, np.float64) - wide)
        share = float(apart.mean() if measure == "mean" else apart.max(initial=0.0)) / largest
        shares.append(share if np.isfinite(share) else float("inf"))
    return shares


def engine_for(folder: Path, trt: Any, driver: Driver, cache: Path, rebuild: bool = False) -> bytes:
    """The engine of a bundle on this GPU: the one that it holds, else one that is built here, once. Raises EngineFault."""
    told = json.loads((folder / DESCRIPTION).read_text())
    if "engine" in told:
        return (folder / told["engine"]).read_bytes()
    model = (folder / told["model"]).read_bytes()
    batch = Batch(*told["batch"]) if told.get("batch") else None
    path = cache / cache_name(told["name"], driver, trt, model)
    engine, kept = cached(path, lambda: build(trt, model, batch=batch).engine, rebuild)
    print(f"engine {'kept' if kept else 'built'}: {path} ({len(engine):,} B)")
    return engine


def check(folder: Path, loaded: Loaded) -> bool:
    """Run the samples of a bundle, one at a time where the engine takes so few, and print how near they are.

    True when all are near enough: floats to the tolerance each, what integers made to it on average, as one step of them can
    become many on the way.
    """
    told = json.loads((folder / DESCRIPTION).read_text())
    with np.load(folder / told["samples"], allow_pickle=False) as data:
        inputs = [data[f"input_{index}"] for index in range(len(loaded.inputs))]
        wanted = [data[f"output_{index}"] for index in range(len(loaded.outputs))]
    least = told["batch"][0] if told["batch"] else 1
    rows: list[list[Any]] = []
    for index in range(len(inputs[0])):
        found = loaded.run([np.concatenate([array[index]] * least) if least > 1 else array[index] for array in inputs])
        rows.append([array[: len(array) // least] for array in found])
    made, allowed, measure = [np.stack(column) for column in zip(*rows, strict=True)], told["tolerance"], told["measure"]
    shares = differences(made, wanted, measure)
    for name, share in zip(loaded.outputs, shares, strict=True):
        print(f"output {name}: {measure} difference {share:.3%} of the largest number, {allowed:.1%} is allowed")
    return all(share <= allowed for share in shares)


def build_file(asked: argparse.Namespace) -> int:
    """Build the engine of a model file, or write why there is none. Returns 0 or 2."""
    batch = Batch(*asked.batch) if asked.batch else None
    try:
        built = build(load_package(asked.package or PACKAGES), asked.build.read_bytes(), sm=asked.sm, batch=batch)
    except EngineFault as fault:
        asked.output.with_suffix(".json").write_text(json.dumps([fault.kind, fault.place, fault.message]))
        print(f"error: {fault}", file=sys.stderr)
        return 2
    asked.output.write_bytes(built.engine)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Build or load the engine and check it. Returns 0, 1 for outputs that are off, 2 for what cannot be done."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=here, help="the folder with engine.json")
    parser.add_argument("--cache", type=Path, help="where engines are kept, by default `engines` in that folder")
    parser.add_argument("--rebuild", action="store_true", help="build the engine although one is kept")
    parser.add_argument("--build", type=Path, metavar="MODEL", help="instead: only build the engine of an ONNX file")
    parser.add_argument("-o", "--output", type=Path, default=Path("model.engine"), help="file of that engine")
    parser.add_argument("--sm", type=int, help="SM version that it is for, by default this machine's")
    parser.add_argument("--batch", type=int, nargs=3, help="samples at a time: fewest, usual, most")
    parser.add_argument("--package", action="append", choices=PACKAGES, help="what builds it, by default whichever there is")
    asked = parser.parse_args(arguments)
    if asked.build is not None:
        return build_file(asked)
    try:
        told = json.loads((asked.folder / DESCRIPTION).read_text())
        trt, driver = load_package(told["packages"]), Driver()
        print(f"{driver.name}, SM {driver.sm}, {trt.__name__} {trt.__version__}")
        engine = engine_for(asked.folder, trt, driver, asked.cache or asked.folder / "engines", asked.rebuild)
        loaded = Loaded(trt, driver, engine)
        steps = inspected_steps(trt, loaded.engine) or plan_steps(engine)
        print(f"kernels: {len(steps)}, of them int8: {sum(step.computes == 'int8' for step in steps)}")
        return 0 if check(asked.folder, loaded) else 1
    except (EngineFault, OSError, ValueError, KeyError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
