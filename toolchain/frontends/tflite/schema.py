"""The generated TFLite schema, imported on first use, and its enumerations by name."""

from __future__ import annotations

import importlib
from functools import cache
from types import MappingProxyType
from typing import Any

from toolchain.ir.attrs import Activation
from toolchain.ir.types import DType

FILE_IDENTIFIER = b"TFL3"

# Element types of TFLite that the IR has, by the schema's name.
DTYPES = MappingProxyType(
    {
        "FLOAT32": DType.F32,
        "FLOAT16": DType.F16,
        "FLOAT64": DType.F64,
        "INT4": DType.I4,
        "INT8": DType.I8,
        "INT16": DType.I16,
        "INT32": DType.I32,
        "INT64": DType.I64,
        "UINT8": DType.U8,
        "UINT16": DType.U16,
        "UINT32": DType.U32,
        "UINT64": DType.U64,
        "BOOL": DType.BOOL,
    }
)
ACTIVATIONS = MappingProxyType(
    {
        "NONE": Activation.NONE,
        "RELU": Activation.RELU,
        "RELU6": Activation.RELU6,
        "RELU_N1_TO_1": Activation.RELU_N1_1,
    }
)


@cache
def schema() -> Any:
    """The module of generated classes; it carries no types."""
    return importlib.import_module("ai_edge_litert.schema_py_generated")


@cache
def codes(enumeration: str) -> MappingProxyType[str, int]:
    """Numbers of an enumeration of the schema by name, for example codes("Padding")["SAME"]."""
    members = vars(getattr(schema(), enumeration))
    return MappingProxyType({name: value for name, value in members.items() if not name.startswith("_")})


@cache
def names(enumeration: str) -> MappingProxyType[int, str]:
    """Names of an enumeration of the schema by number."""
    return MappingProxyType({value: name for name, value in codes(enumeration).items()})
