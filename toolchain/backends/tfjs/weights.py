"""Weights as a TF.js graph model stores them: one entry of the manifest and its bytes each, joined into shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.ir.types import Array, DType, Quant

SHARD_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Weight:
    """One entry of the weights manifest and its bytes, little-endian."""

    entry: Mapping[str, object]
    data: bytes


def plain_weight(name: str, array: Array) -> Weight:
    """A weight in one of TF.js's own types: float32, int32 or bool."""
    dtype = str(array.dtype)
    return Weight({"name": name, "shape": list(array.shape), "dtype": dtype}, _bytes(array))


def half_weight(name: str, array: Array) -> Weight:
    """A float16 array, which TF.js makes float32 when it loads the model."""
    quantization = {"dtype": "float16", "original_dtype": "float32"}
    entry = {"name": name, "shape": list(array.shape), "dtype": "float32", "quantization": quantization}
    return Weight(entry, _bytes(array.astype(np.float16)))


def byte_weight(name: str, array: Array, dtype: DType, quant: Quant) -> Weight:
    """Stored integers of 4, 8 or 16 bits as uint8 or uint16 with one scale; TF.js makes min + scale * stored of them.

    min and scale are float64, in which the product is exact: each weight is rounded once, as `dequantize_array` does.
    """
    lowest = dtype.limits[0]
    storage = "uint16" if dtype.bits == 16 else "uint8"
    scale = quant.scalar_scale
    least = scale * (lowest - quant.scalar_zero_point)
    quantization = {"dtype": storage, "min": least, "scale": scale, "original_dtype": "float32"}
    entry = {"name": name, "shape": list(array.shape), "dtype": "float32", "quantization": quantization}
    return Weight(entry, _bytes((array.astype(np.int64) - lowest).astype(storage)))


def shards(weights: Sequence[Weight]) -> tuple[list[dict[str, object]], dict[str, bytes]]:
    """The weights manifest, and the shard files by name: all weights in a row, cut every 4 MiB."""
    data = b"".join(weight.data for weight in weights)
    count = max(1, -(-len(data) // SHARD_BYTES))
    names = [f"group1-shard{index + 1}of{count}.bin" for index in range(count)]
    files = {name: data[index * SHARD_BYTES : (index + 1) * SHARD_BYTES] for index, name in enumerate(names)}
    return [{"paths": names, "weights": [dict(weight.entry) for weight in weights]}], files


def _bytes(array: Array) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
