"""Runs TensorRT engines on an NVIDIA GPU: page-locked and device buffers, a stream, times from events, a profile of layers."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from toolchain.backends.tensorrt.standalone import EngineFault, LogLines, driver_library, load_package, make_logger
from toolchain.errors import DataError, EnvironmentFault, RunError

Array = NDArray[Any]
WARM_UP_RUNS = 10
TIMED_RUNS = 100
PROFILED_RUNS = 20
ELSEWHERE = "Run it on the machine that has the GPU"


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds on the GPU of one run of so many samples: 50th, 95th and 99th percentile, copies left out."""

    batch: int
    us: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class LayerTime:
    """A layer of the engine, as TensorRT names it, and the median of its microseconds."""

    name: str
    us: float


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output. shape: of one sample; is_open: its first dimension is the number of samples."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_input: bool
    is_open: bool

    def many(self, count: int) -> tuple[int, ...]:
        """The shape for so many samples."""
        return (count, *self.shape[1:]) if self.is_open else self.shape


class Gpu:
    """The first GPU by pycuda, whose context is held until `close`."""

    def __init__(self) -> None:
        """Raises EnvironmentFault(404) without pycuda, (403) without a GPU."""
        self.cuda = _pycuda()
        try:
            self.cuda.init()
            device = self.cuda.Device(0)
        except self.cuda.Error as fault:
            raise EnvironmentFault(403, "gpu", f"CUDA finds no GPU ({fault})", ELSEWHERE) from fault
        self.name: str = device.name()
        self.capability: tuple[int, int] = device.compute_capability()
        self._context = device.retain_primary_context()

    @property
    def sm(self) -> int:
        """The GPU's SM version, 86 for SM 86."""
        return 10 * self.capability[0] + self.capability[1]

    @contextmanager
    def current(self) -> Generator[None]:
        """The GPU's context is this thread's within."""
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def close(self) -> None:
        """Give the context back."""
        self._context.detach()


def _pycuda() -> Any:
    try:
        return importlib.import_module("pycuda.driver")
    except ImportError as fault:
        try:
            driver_library()
        except EngineFault as missing:
            raise EnvironmentFault(403, "gpu", missing.message, ELSEWHERE) from fault
        raise EnvironmentFault(404, "pycuda", "the package is not installed", "pip install 'strop[cuda]'") from fault


def package(names: Sequence[str]) -> Any:
    """The first of TensorRT's packages that is installed. Raises EnvironmentFault(404)."""
    try:
        return load_package(names)
    except EngineFault as fault:
        hint = "pip install 'strop[tensorrt]'" if "tensorrt_rtx" in names else "Install TensorRT as its vendor tells"
        raise EnvironmentFault(404, fault.place, fault.message, hint) from fault


class TensorRtEngine:
    """A loaded engine with its buffers, to be used as a context manager, which frees all that it took."""

    def __init__(self, gpu: Gpu, trt: Any, engine: bytes) -> None:
        """trt: the package that built the engine. Raises RunError(504) for an engine that is refused."""
        self._gpu, self._cuda, self._trt = gpu, gpu.cuda, trt
        self._held = ExitStack()
        self._host: dict[str, Array] = {}
        self._device: dict[str, Any] = {}
        try:
            with gpu.current():
                self._open(engine)
        except BaseException:
            self.close()
            raise

    def _open(self, engine: bytes) -> None:
        lines = LogLines()
        self._logger = make_logger(self._trt, lines)
        self._runtime = self._trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            what = f"{self._gpu.name} (SM {self._gpu.sm}) refuses the engine: {lines.first[:200]}"
            raise RunError(504, "TensorRT", what, "Compile for a target of this GPU")
        self._runner = self._engine.create_execution_context()
        self._stream = self._cuda.Stream()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self.tensors: tuple[Tensor, ...] = tuple(map(self._tensor, names))
        self.least, self.most = self._batches()
        for tensor in self.tensors:
            self._take(tensor)

    def _tensor(self, name: str) -> Tensor:
        shape = tuple(self._engine.get_tensor_shape(name))
        is_input = self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
        dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        is_open = bool(shape) and shape[0] < 0
        return Tensor(name, (1, *shape[1:]) if is_open else shape, dtype, is_input, is_open)

    def _batches(self) -> tuple[int, int]:
        """Fewest and most samples of one run."""
        opened = [tensor.name for tensor in self.inputs if tensor.is_open]
        if not opened:
            return 1, 1
        least, _, most = self._engine.get_tensor_profile_shape(opened[0], 0)
        return least[0], most[0]

    def _take(self, tensor: Tensor) -> None:
        """Page-locked memory here and memory of the GPU for most samples."""
        host = self._cuda.pagelocked_empty(tensor.many(self.most), tensor.dtype)
        self._held.callback(host.base.free)
        host.fill(0)
        device = self._cuda.mem_alloc(max(host.nbytes, 1))
        self._held.callback(device.free)
        self._host[tensor.name], self._device[tensor.name] = host, device
        if not self._runner.set_tensor_address(tensor.name, int(device)):
            raise RunError(502, "TensorRT", f"tensor {tensor.name!r} has no address", "Report this with the bundle")

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Inputs in the engine's order."""
        return tuple(tensor for tensor in self.tensors if tensor.is_input)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Outputs in the engine's order."""
        return tuple(tensor for tensor in self.tensors if not tensor.is_input)

    @property
    def version(self) -> str:
        """The package with its version."""
        return f"{self._trt.__name__} {self._trt.__version__}"

    @property
    def device_bytes(self) -> int:
        """Memory of the GPU for activations, inputs and outputs."""
        sizes = (getattr(self._engine, name, None) for name in ("device_memory_size_v2", "device_memory_size"))
        return next((int(size) for size in sizes if size is not None), 0) + sum(array.nbytes for array in self._host.values())

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs (samples, *shape) for inputs (samples, *shape), as many at a time as the engine takes.

        Raises DataError(201, 202), RunError(502) when the engine does not run.
        """
        count = self._checked(inputs)
        outputs = [np.empty((count, *tensor.shape), tensor.dtype) for tensor in self.outputs]
        with self._gpu.current():
            for first in range(0, count, self.most):
                size = min(self.most, count - first)
                self._run_part(
                    [array[first : first + size] for array in inputs], [array[first : first + size] for array in outputs]
                )
        return outputs

    def _run_part(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """One run. Where the engine takes no fewer, the last sample stands in for those that are missing."""
        batch = max(len(inputs[0]), self.least)
        for tensor, array in zip(self.inputs, inputs, strict=True):
            rows = self._rows(tensor)
            rows[: len(array)] = array
            rows[len(array) : batch] = array[-1]
            self._cuda.memcpy_htod_async(self._device[tensor.name], self._part(tensor, batch), self._stream)
        self._shape(batch)
        self._enqueue()
        for tensor in self.outputs:
            self._cuda.memcpy_dtoh_async(self._part(tensor, batch), self._device[tensor.name], self._stream)
        self._stream.synchronize()
        for tensor, array in zip(self.outputs, outputs, strict=True):
            array[:] = self._rows(tensor)[: len(array)]

    def _rows(self, tensor: Tensor) -> Array:
        """A tensor's page-locked memory as samples."""
        return self._host[tensor.name].reshape(self.most, *tensor.shape)

    def _part(self, tensor: Tensor, batch: int) -> Array:
        """What so many samples take of a tensor's page-locked memory."""
        return self._host[tensor.name][:batch] if tensor.is_open else self._host[tensor.name]

    def latency(self, batch: int, runs: int = TIMED_RUNS, warm_up: int = WARM_UP_RUNS) -> Latency:
        """Times of runs of so many samples on what the buffers hold. Raises DataError(201) for a batch that it does not take."""
        self._check_batch(batch)
        with self._gpu.current():
            self._shape(batch)
            for _ in range(warm_up):
                self._enqueue()
            self._stream.synchronize()
            times = [self._timed() for _ in range(runs)]
        return Latency(batch, (float(np.percentile(times, 50)), float(np.percentile(times, 95)), float(np.percentile(times, 99))))

    def _timed(self) -> float:
        """Microseconds between two events around one run."""
        start, stop = self._cuda.Event(), self._cuda.Event()
        start.record(self._stream)
        self._enqueue()
        stop.record(self._stream)
        stop.synchronize()
        return 1000.0 * float(stop.time_since(start))

    def layers(self, batch: int, runs: int = PROFILED_RUNS) -> tuple[LayerTime, ...]:
        """What every layer takes, in the engine's order. Profiling slows the whole down: their sum exceeds the latency."""
        self._check_batch(batch)
        times: dict[str, list[float]] = {}
        with self._gpu.current():
            runner = self._engine.create_execution_context()
            for name, device in self._device.items():
                runner.set_tensor_address(name, int(device))
            runner.profiler = _profiler(self._trt, times)
            for _ in range(runs):
                self._shape(batch, runner)
                self._enqueue(runner)
                self._stream.synchronize()
        return tuple(LayerTime(name, statistics.median(found)) for name, found in times.items())

    def _shape(self, batch: int, runner: Any = None) -> None:
        for tensor in self.inputs:
            if tensor.is_open:
                (runner or self._runner).set_input_shape(tensor.name, tensor.many(batch))

    def _enqueue(self, runner: Any = None) -> None:
        if not (runner or self._runner).execute_async_v3(self._stream.handle):
            raise RunError(502, "TensorRT", f"{self._gpu.name} did not run the engine", "See the GPU's memory and its driver")

    def _checked(self, inputs: Sequence[Array]) -> int:
        if len(inputs) != len(self.inputs):
            raise DataError(201, "inputs", f"{len(inputs)} were given, the engine has {len(self.inputs)}", "Give one each")
        for array, tensor in zip(inputs, self.inputs, strict=True):
            if array.shape[1:] != tensor.shape or len(array) != len(inputs[0]):
                what = f"shape {array.shape} was given, ({len(inputs[0])}, {', '.join(map(str, tensor.shape))}) is needed"
                raise DataError(201, tensor.name, what, "Reshape the samples")
            if array.dtype != tensor.dtype:
                raise DataError(202, tensor.name, f"{array.dtype} was given, {tensor.dtype} is needed", "Convert the samples")
        return len(inputs[0])

    def _check_batch(self, batch: int) -> None:
        if not self.least <= batch <= self.most:
            what = f"{batch} samples at a time were asked for, the engine takes {self.least} to {self.most}"
            raise DataError(201, "batch", what, "Compile with --batch MIN:OPT:MAX")

    def close(self) -> None:
        """Free everything; more calls do nothing."""
        with self._gpu.current():
            self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _profiler(trt: Any, times: dict[str, list[float]]) -> Any:
    """A profiler of a package that collects microseconds by layer."""

    class Profiler(trt.IProfiler):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.setdefault(layer_name, []).append(1000.0 * ms)

    return Profiler()
