"""Test support: a GPU that is none. Doubles of pycuda, TensorRT and CUDA's driver record every call and hold it to the rules.

The engine that they load doubles its first input and sums it by sample: `y = 2 * x`, `total = sum(x)`.
"""

from __future__ import annotations

import ctypes
import json
import types
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolchain.ir.types import Array

ENGINE = b"an engine for the fake GPU"
FIRST_ADDRESS = 0x7F00_0000_0000


class Misuse(AssertionError):
    """A call that real hardware would answer with a fault, or with wrong numbers."""


@dataclass
class FakeGpu:
    """One GPU: its memory, what was called, and the engine's input of (batch, *shape), fixed or open from least to most."""

    shape: tuple[int, ...] = (3,)
    batches: tuple[int, int, int] | None = None
    refuses: bool = False
    fails: bool = False
    calls: list[str] = field(default_factory=list)
    memory: dict[int, Array] = field(default_factory=dict)
    queue: list[Any] = field(default_factory=list)
    current: int = 0
    held: int = 0
    locked: int = 0

    def need_context(self, what: str) -> None:
        if self.current == 0:
            raise Misuse(f"{what} without a current context")
        self.calls.append(what)

    def allocate(self, size: int) -> int:
        address = FIRST_ADDRESS + 4096 * len(self.calls)
        if size < 1:
            raise Misuse(f"allocation of {size} bytes")
        self.memory[address] = np.zeros(size, np.uint8)
        return address

    def free(self, address: int) -> None:
        if address not in self.memory:
            raise Misuse(f"free of {address:#x}, which is not allocated")
        del self.memory[address]

    def bytes_at(self, address: int, size: int) -> Array:
        if address not in self.memory or size > len(self.memory[address]):
            raise Misuse(f"{size} bytes at {address:#x}")
        return self.memory[address][:size]

    def drain(self) -> None:
        for work in self.queue:
            work()
        self.queue.clear()

    @property
    def is_clean(self) -> bool:
        """Nothing is left allocated, locked or held."""
        return not self.memory and not self.queue and self.current == 0 and self.held == 0 and self.locked == 0


def fake_tensorrt(gpu: FakeGpu, name: str = "tensorrt_rtx") -> Any:
    """A module with the part of TensorRT that loads and runs engines; its builder makes ENGINE of any model but `bad`."""
    trt: Any = types.ModuleType(name)
    trt.__version__ = "9.8.7"

    class ILogger:
        ERROR, WARNING = 1, 2

    class IProfiler:
        pass

    class Context:
        def __init__(self) -> None:
            self.addresses: dict[str, int] = {}
            self.batch = 1 if gpu.batches is None else 0
            self.profiler: Any = None

        def set_tensor_address(self, tensor: str, address: int) -> bool:
            self.addresses[tensor] = address
            return True

        def set_input_shape(self, tensor: str, shape: tuple[int, ...]) -> bool:
            least, _, most = gpu.batches or (1, 1, 1)
            if tensor != "x" or tuple(shape[1:]) != gpu.shape or not least <= shape[0] <= most:
                raise Misuse(f"shape {shape} of {tensor}")
            self.batch = shape[0]
            return True

        def get_tensor_shape(self, tensor: str) -> tuple[int, ...]:
            return (self.batch, *gpu.shape) if tensor != "total" else (self.batch,)

        def execute_async_v3(self, stream: int) -> bool:
            if set(self.addresses) != {"x", "y", "total"} or self.batch == 0:
                raise Misuse(f"run with addresses of {sorted(self.addresses)} and batch {self.batch}")
            gpu.calls.append(f"execute {self.batch}")
            size = 4 * self.batch * int(np.prod(gpu.shape))
            x = gpu.bytes_at(self.addresses["x"], size).view(np.float32).reshape(self.batch, -1)
            y = gpu.bytes_at(self.addresses["y"], size).view(np.float32).reshape(self.batch, -1)
            total = gpu.bytes_at(self.addresses["total"], 4 * self.batch).view(np.float32)

            def work() -> None:
                y[:] = 2 * x
                total[:] = x.sum(axis=1)
                if self.profiler is not None:
                    self.profiler.report_layer_time("double", 0.002)
                    self.profiler.report_layer_time("sum", 0.001)

            gpu.queue.append(work)
            return not gpu.fails

    class Engine:
        num_io_tensors = 3
        device_memory_size_v2 = 1000

        def get_tensor_name(self, index: int) -> str:
            return ("total", "x", "y")[index]

        def get_tensor_mode(self, tensor: str) -> str:
            return "in" if tensor == "x" else "out"

        def get_tensor_shape(self, tensor: str) -> tuple[int, ...]:
            return (-1 if gpu.batches else 1, *(gpu.shape if tensor != "total" else ()))

        def get_tensor_dtype(self, tensor: str) -> str:
            return "float32"

        def get_tensor_profile_shape(self, tensor: str, profile: int) -> list[tuple[int, ...]]:
            return [(count, *gpu.shape) for count in gpu.batches or ()]

        def create_execution_context(self) -> Context:
            gpu.calls.append("context")
            return Context()

        def create_engine_inspector(self) -> Any:
            layer = {"Name": "double", "LayerType": "conv", "Inputs": [{"Format/Datatype": "Row major Int8 format"}]}
            text = json.dumps({"Layers": [layer, "sum"]})
            return types.SimpleNamespace(get_engine_information=lambda form: text)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, engine: bytes) -> Engine | None:
            if gpu.refuses or engine != ENGINE:
                self.logger.log(ILogger.ERROR, "the engine is of another GPU")
                return None
            return Engine()

    trt.ILogger, trt.IProfiler, trt.Runtime = ILogger, IProfiler, Runtime
    trt.TensorIOMode = types.SimpleNamespace(INPUT="in", OUTPUT="out")
    trt.LayerInformationFormat = types.SimpleNamespace(JSON="json")
    trt.nptype = np.dtype
    _add_builder(trt, gpu)
    return trt


def _add_builder(trt: Any, gpu: FakeGpu) -> None:
    """What `build` uses of the builder."""

    class Parser:
        num_errors = 1

        def __init__(self, network: Any, logger: Any) -> None:
            pass

        def parse(self, model: bytes) -> bool:
            gpu.calls.append("parse")
            return model != b"bad"

        def get_error(self, index: int) -> Any:
            texts = {"node_name": "conv::Conv", "node_operator": "Conv", "func": "parseNode", "desc": "it has seven dimensions."}
            return types.SimpleNamespace(**{name: lambda text=text: text for name, text in texts.items()})

    class Builder:
        def __init__(self, logger: Any) -> None:
            pass

        def create_network(self, flags: int) -> Any:
            return types.SimpleNamespace(num_inputs=1, get_input=lambda index: types.SimpleNamespace(name="x", shape=(-1, 3)))

        def create_builder_config(self) -> Any:
            return types.SimpleNamespace(add_optimization_profile=lambda profile: gpu.calls.append(f"profile {profile.shapes}"))

        def create_optimization_profile(self) -> Any:
            profile = types.SimpleNamespace(shapes=[])
            profile.set_shape = lambda name, *shapes: profile.shapes.extend(shapes)
            return profile

        def build_serialized_network(self, network: Any, config: Any) -> bytes:
            gpu.calls.append("build")
            return ENGINE

    trt.OnnxParser, trt.Builder = Parser, Builder
    trt.NetworkDefinitionCreationFlag = types.SimpleNamespace(STRONGLY_TYPED=1)
    trt.ProfilingVerbosity = types.SimpleNamespace(DETAILED=2)


def fake_pycuda(gpu: FakeGpu, devices: int = 1) -> Any:
    """The part of `pycuda.driver` that the runtime uses."""
    cuda: Any = types.ModuleType("pycuda.driver")

    class Error(Exception):
        pass

    class Context:
        def push(self) -> None:
            gpu.current += 1

        def pop(self) -> None:
            gpu.current -= 1

        def detach(self) -> None:
            if gpu.current:
                raise Misuse("a current context is detached")
            gpu.held -= 1

    class Device:
        def __init__(self, index: int) -> None:
            if index >= devices:
                raise Error("invalid device ordinal")

        def name(self) -> str:
            return "Fake RTX 1"

        def compute_capability(self) -> tuple[int, int]:
            return 8, 6

        def retain_primary_context(self) -> Context:
            gpu.held += 1
            return Context()

    class Locked:
        """What pycuda makes the base of page-locked arrays."""

        def __init__(self) -> None:
            gpu.locked += 1

        def free(self) -> None:
            gpu.need_context("unlock")
            gpu.locked -= 1

    class LockedArray(np.ndarray):  # type: ignore[type-arg]
        base_of: Any = None

        @property
        def base(self) -> Any:
            return self.base_of if self.base_of is not None else super().base

    def pagelocked_empty(shape: tuple[int, ...], dtype: Any) -> Any:
        gpu.need_context("lock")
        array = np.full(shape, 99, dtype).view(LockedArray)
        array.base_of = Locked()
        return array

    class Allocation:
        def __init__(self, size: int) -> None:
            gpu.need_context(f"allocate {size}")
            self.address = gpu.allocate(size)

        def __int__(self) -> int:
            return self.address

        def free(self) -> None:
            gpu.need_context("free")
            gpu.free(self.address)

    class Stream:
        handle = 77

        def synchronize(self) -> None:
            gpu.need_context("synchronize")
            gpu.drain()

    class Event:
        ticks = 0

        def record(self, stream: Stream) -> None:
            gpu.need_context("record")
            Event.ticks += 1
            self.tick = Event.ticks

        def synchronize(self) -> None:
            gpu.need_context("wait")
            gpu.drain()

        def time_since(self, start: Event) -> float:
            return 0.25 * (self.tick - start.tick)

    def memcpy_htod_async(device: Allocation, host: Array, stream: Stream) -> None:
        gpu.need_context(f"upload {host.nbytes}")
        into = gpu.bytes_at(int(device), host.nbytes)
        gpu.queue.append(lambda: into.__setitem__(slice(None), np.ascontiguousarray(host).reshape(-1).view(np.uint8)))

    def memcpy_dtoh_async(host: Array, device: Allocation, stream: Stream) -> None:
        gpu.need_context(f"download {host.nbytes}")
        source = gpu.bytes_at(int(device), host.nbytes)
        gpu.queue.append(lambda: np.copyto(host, source.view(host.dtype).reshape(host.shape)))

    cuda.Error, cuda.Device, cuda.Stream, cuda.Event = Error, Device, Stream, Event
    cuda.init = lambda: gpu.calls.append("init")
    cuda.mem_alloc, cuda.pagelocked_empty = Allocation, pagelocked_empty
    cuda.memcpy_htod_async, cuda.memcpy_dtoh_async = memcpy_htod_async, memcpy_dtoh_async
    return cuda


class FakeDriver:
    """CUDA's C interface, as the script calls it through ctypes."""

    def __init__(self, gpu: FakeGpu, status: int = 0) -> None:
        self.gpu, self.status = gpu, status

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.gpu.calls.append(name)
            answer = getattr(type(self), f"_{name}", None)
            return self.status or (0 if answer is None else answer(self, *arguments))

        return call

    def _cuDeviceGetName(self, buffer: Any, size: int, device: Any) -> int:
        buffer.value = b"Fake RTX 1"
        return 0

    def _cuDeviceGetAttribute(self, value: Any, number: int, device: Any) -> int:
        value._obj.value = {75: 8, 76: 6}[number]
        return 0

    def _cuMemAlloc_v2(self, address: Any, size: Any) -> int:
        address._obj.value = self.gpu.allocate(size.value)
        return 0

    def _cuMemFree_v2(self, address: Any) -> int:
        self.gpu.free(address.value)
        return 0

    def _cuMemcpyHtoD_v2(self, address: Any, host: Any, size: Any) -> int:
        self.gpu.bytes_at(address.value, size.value)[:] = np.frombuffer(ctypes.string_at(host, size.value), np.uint8)
        return 0

    def _cuMemcpyDtoH_v2(self, host: Any, address: Any, size: Any) -> int:
        if self.gpu.queue:
            raise Misuse("outputs are read before the engine has run")
        ctypes.memmove(host, self.gpu.bytes_at(address.value, size.value).ctypes.data, size.value)
        return 0

    def _cuCtxSynchronize(self) -> int:
        self.gpu.drain()
        return 0
