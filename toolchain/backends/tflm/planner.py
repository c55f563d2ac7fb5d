"""TFLM's greedy memory planner, to tell what its arena needs with kernels that the host does not run.

Source: tensorflow/lite/micro/memory_planner/greedy_memory_planner.cc; lifetimes as micro_allocation_info.cc finds them.
Scratch formulas: CMSIS-NN's *_get_buffer_size functions for s8 and s16, in their DSP and MVE forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import DType

ALIGNMENT = 16
MVE_CHANNEL_BLOCK = 124


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer of `bytes` (a multiple of 16) that is in use from step `first` to step `last`, both included."""

    bytes: int
    first: int
    last: int


def align(size: int) -> int:
    """Bytes rounded up to the arena's alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def lifetimes(graph: Graph) -> list[Lifetime]:
    """Buffers of computed values; node i is step i. Inputs live from the start, outputs to the end."""
    first = {value.name: 0 for value in graph.inputs}
    last = dict(first)
    size = {value.name: align(value.type.bytes) for value in graph.inputs}
    for step, node in enumerate(graph.nodes):
        for value in node.inputs:
            if value.name in first:
                last[value.name] = step
        for value in node.outputs:
            first[value.name] = last[value.name] = step
            size[value.name] = align(value.type.bytes)
    for value in graph.outputs:
        if value.name in last:
            last[value.name] = max(len(graph.nodes) - 1, 0)
    return [Lifetime(size[name], first[name], last[name]) for name in first]


def scratch(graph: Graph, mve: bool) -> list[Lifetime]:
    """Scratch buffers of CMSIS-NN's kernels, one for each node that asks for any. mve: of a core with vectors (Helium)."""
    sizes = [(step, _scratch_bytes(node, mve)) for step, node in enumerate(graph.nodes)]
    return [Lifetime(align(size), step, step) for step, size in sizes if size]


def _scratch_bytes(node: Node, mve: bool) -> int:
    if not node.inputs or node.inputs[0].type.dtype not in (DType.I8, DType.I16):
        return 0
    x = node.inputs[0].type
    if node.op == "conv_2d":
        _, height, width, depth = node.inputs[1].type.shape
        return 4 * -(-height * width * depth // 8) * 8
    if node.op == "depthwise_conv_2d":
        _, height, width, channels = node.inputs[1].type.shape
        block = 4 * MVE_CHANNEL_BLOCK * x.dtype.bits // 8
        return (max(2 * channels, block) if mve else 2 * channels) * height * width
    if node.op == "fully_connected":
        return 4 * node.inputs[1].type.shape[0] if mve else 0
    return 4 * x.shape[-1] if node.op == "average_pool_2d" else 0


def greedy_bytes(buffers: Sequence[Lifetime]) -> int:
    """Bytes of the plan: largest buffers first (of equals the last one), each in the lowest gap that is free in its time."""
    order = list(reversed(buffers))
    order.sort(key=lambda buffer: -buffer.bytes)
    placed: list[tuple[int, Lifetime]] = []
    for buffer in order:
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
