"""`.tflite` bytes to a verified Graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from toolchain.errors import ModelError
from toolchain.frontends.tflite.compound import COMPOUND
from toolchain.frontends.tflite.compute import COMPUTE, Import
from toolchain.frontends.tflite.importer import Importer
from toolchain.frontends.tflite.movement import MOVEMENT
from toolchain.frontends.tflite.reader import OperatorRecord, read_model
from toolchain.ir.graph import Graph
from toolchain.ir.verifier import verify

IMPORTS: Mapping[str, Import] = MappingProxyType({**COMPUTE, **MOVEMENT, **COMPOUND})
CONTROL_FLOW = frozenset({"IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_CASE", "STABLEHLO_COMPOSITE"})


def load_tflite(path: Path, input_shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})) -> Graph:
    """The graph of a .tflite file, its quantization parameters kept exactly.

    input_shapes: shapes of inputs by name, needed for unknown dimensions after the first; an unknown batch is 1.
    Raises ModelError(101 … 111).
    """
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise ModelError(101, str(path), f"the file cannot be read ({fault.strerror})", "Check the path") from fault
    return parse_tflite(data, path.name, input_shapes, path.stem)


def parse_tflite(
    data: bytes, place: str, input_shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({}), name: str = "model"
) -> Graph:
    """The graph of a .tflite file that is in memory. place: the file's name in messages."""
    record = read_model(data, place)
    importer = Importer(record, input_shapes)
    for op in record.operators:
        _find(importer, op)(importer, op)
    return verify(importer.graph(name))


def _find(importer: Importer, op: OperatorRecord) -> Import:
    if not op.outputs:
        raise importer.damaged(op, "has no outputs")
    if op.op in CONTROL_FLOW:
        raise importer.unsupported(op, "is control flow", "Export the model without branches and loops")
    if op.op == "CUSTOM":
        raise importer.unsupported(op, f"operator {op.custom!r} is not a builtin", "Export the model with builtin operators only")
    if op.op not in IMPORTS:
        raise importer.unsupported(op, "is not supported")
    return IMPORTS[op.op]
