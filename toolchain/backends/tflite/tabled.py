"""int8 functions of one tensor that a runtime has no kernel for: CAST to int32, ADD 128, GATHER from a table of 256 entries."""

from __future__ import annotations

import numpy as np

from toolchain.backends.tflite.exporter import Exporter
from toolchain.backends.tflite.versions import version_of
from toolchain.frontends.tflite.schema import codes
from toolchain.ir.functions import UNARY
from toolchain.ir.graph import Node
from toolchain.ir.quantization import lut_int8
from toolchain.ir.types import DType, TensorType


def is_tabled(node: Node) -> bool:
    """True for a function of one int8 tensor whose results are int8."""
    types = [value.type for value in (*node.inputs, *node.outputs)]
    return node.op in UNARY and len(types) == 2 and all(t.dtype is DType.I8 and t.quant is not None for t in types)


def through_table(exporter: Exporter, node: Node) -> None:
    """Write the node as a look-up, which gives the very bytes of the reference."""
    x, y = node.inputs[0], node.output
    wide, index = (exporter.temporary(node, name, x.type.shape, None, DType.I32) for name in ("wide", "index"))
    kinds = codes("TensorType")
    exporter.write("CAST", [x], [wide], 1, "CastOptions", inDataType=kinds["INT8"], outDataType=kinds["INT32"])
    first = exporter.constant(node, "first", np.array(-DType.I8.limits[0], np.int32), TensorType((), DType.I32))
    exporter.write("ADD", [wide, first], [index], 1, "AddOptions")
    table = lut_int8(node.op, node.attrs, x.type, y.type)
    entries = exporter.constant(node, "table", table, TensorType(table.shape, y.type.dtype, y.type.quant))
    exporter.write("GATHER", [entries, index], [y], version_of("GATHER", DType.I8), "GatherOptions", axis=0, batchDims=0)
