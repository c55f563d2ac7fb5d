"""TFLM's greedy memory planner, to tell what its arena needs: with offsets given in the file, with kernels the host does not run.

Source: tensorflow/lite/micro/memory_planner/greedy_memory_planner.cc; lifetimes as micro_allocation_info.cc finds them.
Scratch formulas: CMSIS-NN's *_get_buffer_size functions for s8 and s16, in their DSP and MVE forms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from toolchain.backends.tflite.packer import FileModel, FileOperator
from toolchain.frontends.tflite.schema import DTYPES
from toolchain.ir.types import TensorType

ALIGNMENT = 16
MVE_CHANNEL_BLOCK = 124


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer of `bytes` (a multiple of 16) that is in use from step `first` to step `last`, both included.

    offset: where the file puts it, None where the planner chooses.
    """

    bytes: int
    first: int
    last: int
    offset: int | None = None


def align(size: int) -> int:
    """Bytes rounded up to the arena's alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def lifetimes(model: FileModel) -> dict[int, Lifetime]:
    """Buffers of computed tensors by their index; operator i is step i + 1. Inputs live from step 0, outputs to the end."""
    first = dict.fromkeys(model.inputs, 0)
    last = dict.fromkeys((*model.inputs, *model.outputs), 0)
    for step, operator in enumerate(model.operators, 1):
        first |= dict.fromkeys(operator.outputs, step)
        last |= dict.fromkeys((*operator.inputs, *operator.outputs), step)
    last |= dict.fromkeys(model.outputs, len(model.operators))
    found: dict[int, Lifetime] = {}
    for index, tensor in enumerate(model.tensors):
        size = align(TensorType(tensor.shape, DTYPES[tensor.type]).bytes)
        if tensor.buffer == 0 and not tensor.variable and size and index in last:
            found[index] = Lifetime(size, first.get(index, 0), last[index])
    return found


def scratch(model: FileModel, mve: bool) -> list[Lifetime]:
    """Scratch buffers of CMSIS-NN's kernels, one for each operator that asks for any. mve: of a core with vectors (Helium)."""
    sizes = [(step, _scratch_bytes(model, operator, mve)) for step, operator in enumerate(model.operators, 1)]
    return [Lifetime(align(size), step, step) for step, size in sizes if size]


def _scratch_bytes(model: FileModel, operator: FileOperator, mve: bool) -> int:
    shapes = [model.tensors[index].shape for index in operator.inputs if index >= 0]
    kind = model.tensors[operator.inputs[0]].type if operator.inputs else ""
    if kind not in ("INT8", "INT16"):
        return 0
    match operator.builtin:
        case "CONV_2D":
            _, height, width, depth = shapes[1]
            return 4 * -(-height * width * depth // 8) * 8
        case "DEPTHWISE_CONV_2D":
            _, height, width, channels = shapes[1]
            block = 4 * MVE_CHANNEL_BLOCK * DTYPES[kind].bits // 8
            return (max(2 * channels, block) if mve else 2 * channels) * height * width
        case "FULLY_CONNECTED":
            return 4 * shapes[1][0] if mve else 0
        case "AVERAGE_POOL_2D":
            return 4 * shapes[0][-1]
        case _:
            return 0


def at_offsets(buffers: Mapping[int, Lifetime], offsets: Mapping[int, int]) -> list[Lifetime]:
    """Buffers of tensors with the offsets that the file gives them."""
    return [Lifetime(b.bytes, b.first, b.last, offsets.get(index)) for index, b in buffers.items()]


def greedy_bytes(buffers: Iterable[Lifetime]) -> int:
    """Bytes of the plan: given offsets first, then the largest (of equals the last one), each in the lowest gap of its time."""
    given = list(buffers)
    placed = sorted(((b.offset, b) for b in given if b.offset is not None), key=lambda entry: entry[0])
    for buffer in sorted((b for b in reversed(given) if b.offset is None), key=lambda b: -b.bytes):
        offset = 0
        for start, other in placed:
            if other.first > buffer.last or buffer.first > other.last:
                continue
            if start - offset >= buffer.bytes:
                break
            offset = max(offset, start + other.bytes)
        placed.append((offset, buffer))
        placed.sort(key=lambda entry: entry[0])
    return max((offset + buffer.bytes for offset, buffer in placed), default=0)
