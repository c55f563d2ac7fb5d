"""Files with an order of operators and a plan of the arena that TensorFlow Lite Micro follows.

TFLM places tensors largest first. A file may give their offsets, around which TFLM then plans what its kernels need beside them.
An order or a plan is only taken where, with no kernel library, TFLM needs more than with its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.backends.tflite.packer import FileModel
from toolchain.backends.tflite.planner import ALIGNMENT, Lifetime, at_offsets, greedy_bytes, lifetimes, scratch
from toolchain.backends.tflite.writer import export_graph
from toolchain.ir.graph import Graph
from toolchain.lowering.order import ordered
from toolchain.lowering.placement import Item, place

OFFLINE_PLAN = "OfflineMemoryAllocation"


@dataclass(frozen=True, slots=True)
class TensorBytes:
    """What tensors and scratch take in TFLM's arena: with the reference kernels, and with CMSIS-NN without and with vectors."""

    reference: int
    cmsis_nn: int
    cmsis_nn_mve: int

    @property
    def all(self) -> tuple[int, int, int]:
        """The three figures."""
        return self.reference, self.cmsis_nn, self.cmsis_nn_mve


@dataclass(frozen=True, slots=True)
class Planned:
    """A file as it is best for TFLM. offsets: by index of tensor, none where TFLM plans.

    bytes: what its tensors take. own: what they take in the graph's order by TFLM's own plan.
    """

    model: FileModel
    offsets: Mapping[int, int]
    bytes: TensorBytes
    own: TensorBytes


def unplanned(graph: Graph, *, compact: bool, signature: bool) -> Planned:
    """The records of a graph's file in its own order, without a plan. compact, signature: see `write_tflite`."""
    model = export_graph(graph, compact=compact, signature=signature)
    taken = tensor_bytes(model, {})
    return Planned(model, {}, taken, taken)


def planned(graph: Graph, *, compact: bool, signature: bool) -> Planned:
    """The records of a graph's file with the order and plan that take least. compact, signature: see `write_tflite`."""
    plain, better = unplanned(graph, compact=compact, signature=signature), ordered(graph)
    options = [plain, *_with_plans(plain)]
    if better is not graph:
        again = replace(unplanned(better, compact=compact, signature=signature), own=plain.own)
        options += [again, *_with_plans(again)]
    kept = [each for each in options if all(a <= b for a, b in zip(each.bytes.all, plain.own.all, strict=True))]
    return min(kept, key=lambda each: sum(each.bytes.all))


def tensor_section(file: Planned) -> dict[str, object]:
    """What the manifest says of a file's tensors in TFLM's arena with its reference kernels."""
    return {"tensor_bytes": file.bytes.reference, "tensor_bytes_own_plan": file.own.reference, "offline_plan": bool(file.offsets)}


def _with_plans(file: Planned) -> Iterator[Planned]:
    for offsets in _placements(file.model):
        yield Planned(with_offsets(file.model, offsets), offsets, tensor_bytes(file.model, offsets), file.own)


def tensor_bytes(model: FileModel, offsets: Mapping[int, int]) -> TensorBytes:
    """What TFLM's planner makes of a file whose tensors have these offsets."""
    buffers = at_offsets(lifetimes(model), offsets)
    return TensorBytes(*(greedy_bytes([*buffers, *extra]) for extra in _scratches(model)))


def with_offsets(model: FileModel, offsets: Mapping[int, int]) -> FileModel:
    """The file with a plan: version 1, subgraph 0, a count, then each tensor's offset, -1 where TFLM chooses (int32 each)."""
    each = [offsets.get(index, -1) for index in range(len(model.tensors))]
    data = np.array([1, 0, len(each), *each], "<i4").tobytes()
    return replace(model, buffers=(*model.buffers, data), metadata=(*model.metadata, (OFFLINE_PLAN, len(model.buffers))))


def _placements(model: FileModel) -> Iterator[Mapping[int, int]]:
    """Offsets of all tensors, with room for the scratch of each kernel library; none where TFLM's own plan cannot be beaten."""
    buffers = lifetimes(model)
    for extra in _scratches(model):
        tensors = [Item(str(index), b.bytes, b.first, b.last) for index, b in buffers.items()]
        beside = [Item(f"scratch {number}", b.bytes, b.first, b.last) for number, b in enumerate(extra)]
        placed = place((*tensors, *beside), ALIGNMENT)
        if placed.height < greedy_bytes([*buffers.values(), *extra]):
            yield {index: placed.offsets[str(index)] for index in buffers}


def _scratches(model: FileModel) -> tuple[Sequence[Lifetime], ...]:
    return (), scratch(model, mve=False), scratch(model, mve=True)
