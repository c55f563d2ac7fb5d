"""A compiled network in Python: the shared library that Strop made of it, and its tensors. Needs NumPy and nothing else."""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

Array = Any
MAX_ALIGN = 4096
CPUINFO = Path("/proc/cpuinfo")


class InputError(ValueError):
    """An input that does not fit. number: 201 for a shape or their number, 202 for an element type, 204 for NaN or infinite."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class LibraryError(RuntimeError):
    """A library that this machine cannot load, or that reports a fault."""


@dataclass(frozen=True)
class Tensor:
    """An input or output. dtype: NumPy's name of the stored type. scale: None for a tensor that is not quantized."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int = 0

    def stored(self, values: Array) -> Array:
        """An array of this shape and stored type, of real units (floats) or of stored values (the stored type itself).

        Dimensions of 1 may be added or left out, a flat row is folded. Halves round away from zero, as in TFLite; what lies
        beyond the stored type's range becomes its end. Raises InputError.
        """
        array = self._shaped(np.asarray(values))
        if array.dtype == self.dtype:
            return self._finite(array)
        if array.dtype.kind == "f" and self.scale is not None:
            return self._quantized(self._finite(array))
        if array.dtype.kind == "f" and np.dtype(self.dtype).kind == "f":
            with np.errstate(over="ignore"):
                return self._finite(array.astype(self.dtype))
        if array.dtype.kind in "iub" and self.scale is None:
            return self._cast(array)
        raise InputError(202, f"input {self.name!r} takes {self.dtype} or real units as floats, not {array.dtype}")

    def real(self, stored: Array) -> Array:
        """Stored values in real units: float32 where the tensor is quantized, a copy as it is elsewhere."""
        if self.scale is None:
            return stored.copy()
        if stored.itemsize == 1:
            return _real_values(self.dtype, self.scale, self.zero_point).take(stored.view(np.uint8))
        return _to_real(stored, self.scale, self.zero_point)

    def _shaped(self, array: Array) -> Array:
        if array.shape == self.shape:
            return array
        same = tuple(size for size in array.shape if size != 1) == tuple(size for size in self.shape if size != 1)
        if not same and not (array.ndim == 1 and array.size == np.prod(self.shape)):
            raise InputError(201, f"input {self.name!r} has shape {self.shape}, an array of shape {array.shape} was given")
        return array.reshape(self.shape)

    def _finite(self, array: Array) -> Array:
        if array.dtype.char in "fd" and array.flags.c_contiguous:
            flat = array.reshape(-1)
            square = float(flat.dot(flat))
            # One pass; a sum that overflows proves nothing yet.
            if square - square == 0:
                return array
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(204, f"input {self.name!r}: an element is NaN or infinite")
        return array

    def _quantized(self, array: Array) -> Array:
        step, half, zero, low, high = _quantization(self.dtype, self.scale, self.zero_point)
        values = np.divide(array, step, dtype=np.float32)
        if half.dtype != np.float32:
            values = values.astype(np.float64)
        values += np.copysign(half, values)
        np.trunc(values, out=values)
        values += zero
        np.maximum(values, low, out=values)
        np.minimum(values, high, out=values)
        return values.astype(self.dtype)

    def _cast(self, array: Array) -> Array:
        """Whole numbers of another type, where all of them fit the stored one."""
        cast = array.astype(self.dtype)
        if not (cast == array).all():
            raise InputError(202, f"input {self.name!r}: not every element fits {self.dtype}")
        return cast


@lru_cache
def _quantization(dtype: str, scale: float | None, zero_point: int) -> tuple[Any, Any, Any, Any, Any]:
    """Step, half, zero point and ends of a stored type. float32 holds what 16 bits do, wider types take float64.

    half: the largest number below one; added before a truncation, it rounds halves away from zero and nothing else up.
    """
    limits = np.iinfo(dtype)
    wide = np.float32 if limits.bits <= 16 else np.float64
    half = np.nextafter(wide(0.5), wide(0))
    return np.float32(scale or 1.0), half, wide(zero_point), wide(limits.min), wide(limits.max)


def _to_real(stored: Array, scale: float, zero_point: int) -> Array:
    return (stored.astype(np.int64) - zero_point).astype(np.float32) * np.float32(scale)


@lru_cache
def _real_values(dtype: str, scale: float, zero_point: int) -> Array:
    """What the 256 values of a type of 8 bits stand for, by their bits."""
    return _to_real(np.arange(256, dtype=np.uint8).view(dtype), scale, zero_point)


@dataclass(frozen=True)
class Description:
    """What a library needs to be told of itself. machine: as `uname -m` says. cpu_flags: what /proc/cpuinfo must list.

    io: `arena`, `caller` or `rows`.
    """

    name: str
    machine: str
    cpu_flags: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    arena_bytes: int
    arena_align: int
    io: str = "arena"


class Library:
    """A loaded library with an arena of its own. Instances run at the same time; threads that share one take turns."""

    def __init__(self, path: str | Path, description: Description) -> None:
        """Raises LibraryError when this machine cannot load it, ValueError for an arena that no program has."""
        self.description = description
        self.inputs, self.outputs = description.inputs, description.outputs
        if description.arena_bytes < 1 or not 1 <= description.arena_align <= MAX_ALIGN:
            raise ValueError(f"an arena of {description.arena_bytes} B aligned to {description.arena_align}")
        self._functions = _load(path, description)
        self._lock = threading.Lock()
        self._memory = np.zeros(description.arena_bytes + description.arena_align, np.uint8)
        start = int(self._memory.ctypes.data)
        self._arena = start + -start % description.arena_align
        self._check("init", self._function("init", ctypes.c_int)(ctypes.c_void_p(self._arena)))
        self._in = [self._buffer("input", index, tensor) for index, tensor in enumerate(self.inputs)]
        self._out = [self._buffer("output", index, tensor) for index, tensor in enumerate(self.outputs)]
        buffers = [*self._in, *self._out] if description.io == "caller" else []
        self._arguments = [ctypes.c_void_p(self._arena), *(ctypes.c_void_p(buffer.ctypes.data) for buffer in buffers)]
        self._run = self._function("push_row" if description.io == "rows" else "run", ctypes.c_int)

    def run(self, inputs: Any) -> list[Array]:
        """Outputs in real units. inputs: an array, a sequence of them in order, or a mapping by name; see `Tensor.stored`.

        Raises InputError, LibraryError.
        """
        stored = self.run_stored(stored_inputs(self.inputs, inputs))
        return [tensor.real(array) for tensor, array in zip(self.outputs, stored)]

    def run_stored(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs as stored. inputs: one array of the stored type and shape per input, as `stored_inputs` gives them."""
        with self._lock:
            steps = [inputs] if self.description.io != "rows" else inputs[0].reshape(-1, 1, *self._in[0].shape)
            status = 0
            for step in steps:
                for buffer, array in zip(self._in, step):
                    buffer[...] = array
                status = int(self._run(*self._arguments))
            self._check("run", status)
            return [buffer.copy() for buffer in self._out]

    def _function(self, suffix: str, result: Any) -> Any:
        name = f"{self.description.name}_{suffix}"
        try:
            function = getattr(self._functions, name)
        except AttributeError as fault:
            raise LibraryError(f"the library has no function {name}; compile the bundle again") from fault
        function.restype = result
        return function

    def _buffer(self, way: str, index: int, tensor: Tensor) -> Array:
        """The array that an input is written to or an output read from: the library's or, where the caller gives them, ours."""
        io = self.description.io
        shape = tensor.shape[2:] if io == "rows" and way == "input" else tensor.shape
        if io == "caller":
            return np.zeros(shape, tensor.dtype)
        address = self._function(f"{way}_{index}", ctypes.c_void_p)(ctypes.c_void_p(self._arena))
        size = int(np.prod(shape)) * np.dtype(tensor.dtype).itemsize
        offset = int(address) - int(self._memory.ctypes.data)
        if not 0 <= offset <= self._memory.size - size:
            raise LibraryError(f"{self.description.name}: {way} {index} lies outside the arena; compile the bundle again")
        return self._memory[offset : offset + size].view(tensor.dtype).reshape(shape)

    def _check(self, function: str, status: int) -> None:
        if status != 0:
            name = self.description.name
            raise LibraryError(f"{name}_{function} returned {status}; {name}.h says what it means")


def stored_inputs(tensors: Sequence[Tensor], inputs: Any) -> list[Array]:
    """One stored array per input, from an array, a sequence of them in order, or a mapping by name. Raises InputError."""
    if isinstance(inputs, list):
        given = inputs if len(tensors) != 1 or _is_single(inputs) else [inputs]
    elif isinstance(inputs, Mapping):
        given = _by_name(tensors, inputs)
    elif isinstance(inputs, np.ndarray) or (len(tensors) == 1 and not _is_single(inputs)):
        given = [inputs]
    else:
        given = list(inputs)
    if len(given) != len(tensors):
        raise InputError(201, f"the network has {len(tensors)} inputs, {len(given)} were given")
    return [tensor.stored(array) for tensor, array in zip(tensors, given)]


def _is_single(inputs: Any) -> bool:
    """True for a sequence that holds the one input as an array."""
    return isinstance(inputs, (list, tuple)) and len(inputs) == 1 and isinstance(inputs[0], np.ndarray)


def _by_name(tensors: Sequence[Tensor], inputs: Mapping[Any, Any]) -> list[Any]:
    names = [tensor.name for tensor in tensors]
    if set(names) != set(inputs):
        raise InputError(201, f"the network has inputs {', '.join(names)}, given were {', '.join(map(str, inputs)) or 'none'}")
    return [inputs[name] for name in names]


def missing_flags(wanted: Sequence[str], cpuinfo: Path = CPUINFO) -> list[str]:
    """Of the instructions that a program may use those that this processor lacks; none where Linux does not tell."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = [line.partition(":") for line in text.splitlines()]
    listed = [value.split() for key, _, value in lines if key.strip() in ("flags", "Features")]
    return [flag for flag in wanted if listed and not all(flag in flags for flags in listed)]


def _load(path: str | Path, description: Description) -> ctypes.CDLL:
    missing = missing_flags(description.cpu_flags) if platform.machine() == description.machine else []
    if missing:
        raise LibraryError(f"{path} may use instructions that this processor lacks: {', '.join(missing)}")
    here = f"{platform.machine()} {platform.system()}, {8 * ctypes.sizeof(ctypes.c_void_p)}-bit Python"
    try:
        return ctypes.CDLL(str(path))
    except OSError as fault:
        raise LibraryError(f"{path} is for {description.machine} Linux, this is {here}: {fault}") from fault


def main(network: Library, arguments: Sequence[str]) -> int:
    """`python NAME.py INPUT.npy`: print the outputs of every sample in real units; axis 0 counts samples."""
    if len(arguments) != 1 or not arguments[0].endswith(".npy"):
        print(f"usage: python {Path(sys.argv[0]).name} INPUT.npy", file=sys.stderr)
        return 2
    try:
        for sample in np.load(arguments[0], allow_pickle=False):
            for tensor, output in zip(network.outputs, network.run([sample])):
                print(tensor.name, *output.reshape(-1).tolist())
    except (OSError, ValueError, LibraryError) as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0
