"""Weight streams of the Armv7E-M kernels: biases, lanes of weights and requantization, channel block by channel block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from toolchain.ir.fixed_point import Multiplier, multiply
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, quant_of
from toolchain.ir.types import Array
from toolchain.lowering.kernels.conv import BLOCK, accepts_int8, biases_of, factors_of, weight_rows

GROUP = 4
LANE_ORDER = (0, 2, 1, 3)
SUM_LIMIT = 2**30
BYTE_SUM_LIMIT = 2**23
ADDEND_LIMIT = 2**31
PARAMETERS = 3

Lanes = Literal["wide", "byte"]
"""How weights are kept: int16, or two channels as the bytes of an int16."""


def filled(elements: int, granule: int = GROUP) -> int:
    """Elements of a run filled to a multiple of the granule."""
    return -(-elements // granule) * granule


def filled_runs(runs: Array, granule: int = GROUP) -> Array:
    """(out, runs, run) with runs filled by zeros to the granule, in the lane order of the gathered inputs: (out, n)."""
    out, count, length = runs.shape
    padded = np.zeros((out, count, filled(length, granule)), np.int64)
    padded[:, :, :length] = runs
    return padded.reshape(out, -1, GROUP)[:, :, LANE_ORDER].reshape(out, -1)


@dataclass(frozen=True, slots=True)
class Requantize:
    """Per channel: y = (acc * mantissa >> 31) + addend >> shift, with rounding and zero point in the addend."""

    mantissa: int
    addend: int
    shift: int


def _worst_sums(rows: Array, bias: Array) -> Array:
    """The largest magnitude that any input gives each channel's sum."""
    return 255 * np.abs(rows.astype(np.int64)).sum(axis=1) + np.abs(bias)


def _constant_outputs(node: Node, bias: Array, spread: Array, factors: Sequence[Multiplier]) -> list[int | None]:
    """The output of every channel whose sums reach from bias - spread to bias + spread, None where it is not always the same."""
    y = node.output.type
    low, high = activation_bounds(node.attrs.activation, y)
    mantissa, shift = (np.array([getattr(m, part) for m in factors], np.int64) for part in ("mantissa", "shift"))
    known = (np.abs(bias) + spread < ADDEND_LIMIT) & ((spread == 0) | (shift <= 0))
    ends = [multiply(np.where(known, sums, 0), mantissa, shift) for sums in (bias - spread, bias + spread)]
    first, last = (np.clip(end + quant_of(y).scalar_zero_point, low, high) for end in ends)
    return [value if same else None for value, same in zip(first.tolist(), (known & (first == last)).tolist(), strict=True)]


def requantize_rows(node: Node, rows: Array, bias: Array) -> list[Requantize] | None:
    """Parameters of every channel, or None when one needs more than the DSP kernels can do.

    rows: (channels, taps) weights. A channel that is a constant has mantissa 0 and an addend that holds it, whatever its sum.
    """
    zero_point, found = quant_of(node.output.type).scalar_zero_point, list[Requantize]()
    worst_sums, sums, factors = _worst_sums(rows, bias), np.asarray(bias, np.int64), factors_of(node)
    constants = _constant_outputs(node, sums, worst_sums - np.abs(sums), factors)
    for constant, m, worst in zip(constants, factors, worst_sums.tolist(), strict=True):
        if constant is not None:
            found.append(Requantize(0, 2 * constant + 1, 1))
        elif worst < SUM_LIMIT and -30 <= m.shift <= -1:
            found.append(Requantize(m.mantissa, (1 << (-m.shift - 1)) + (zero_point << -m.shift), -m.shift))
            if worst + abs(found[-1].addend) >= ADDEND_LIMIT:
                return None
        else:
            return None
    return found


def fits(graph: Graph, node: Node, lanes: Lanes = "wide") -> bool:
    """True when the DSP kernels can run the node, with weights kept as `lanes`.

    The sum of the first of two channels that share words has to be exact when it is multiplied by 256.
    """
    if not accepts_int8(graph, node):
        return False
    rows, bias = weight_rows(graph, node), biases_of(graph, node, node.output.type.shape[-1])
    scales = requantize_rows(node, rows, bias)
    if scales is None or lanes == "wide":
        return scales is not None
    large = (_worst_sums(rows, bias) >= BYTE_SUM_LIMIT) & (parameters_of(scales)[:, 0] != 0)
    return not large.any()


def scales_of(node: Node, rows: Array, bias: Array) -> list[Requantize]:
    """`requantize_rows` of a node that was accepted."""
    scales = requantize_rows(node, rows, bias)
    if scales is None:
        raise ValueError(f"{node.name} was not accepted by this kernel")
    return scales


def parameters_of(scales: list[Requantize]) -> Array:
    """(channels, 3) mantissa, addend and shift."""
    return np.array([(s.mantissa, s.addend, s.shift) for s in scales], np.int64).reshape(-1, PARAMETERS)


def _words(values: Array) -> Array:
    """int64 values modulo 2^32 as int32."""
    return (values & 0xFFFFFFFF).astype(np.uint32).view(np.int32).reshape(-1)


def _pairs(lanes: Array) -> Array:
    """(rows, n) int16 values as (n / 2, rows) words."""
    return np.ascontiguousarray(np.ascontiguousarray(lanes.astype(np.int16)).view(np.int32).T)


def _merged(block: Array) -> Array:
    """Rows 256 * first + second of every two channels: (4, n) to (2, n)."""
    return 256 * block[0::2] + block[1::2]


def _wide_block(block: Array, sums: Array) -> tuple[Array, Array]:
    return _words(2 * sums), _pairs(2 * block).reshape(-1)


def _byte_block(block: Array, sums: Array) -> tuple[Array, Array]:
    both = np.stack([_merged(sums), sums[1::2]], axis=1)
    return _words(both), _pairs(_merged(block)).reshape(-1)


def _free_sums(bias: Array, scales: list[Requantize]) -> Array:
    """Biases, 0 where the channel is a constant."""
    return np.array([b if scale.mantissa else 0 for b, scale in zip(bias, scales, strict=True)], np.int64)


def _blocks(rows: Array, parameters: Array, sums: Array, groups: int) -> Iterator[tuple[Array, Array, Array]]:
    """Weights (4, n), sums and parameters of every block of four channels, filled by zeros. rows: (out, n)."""
    per_group = len(rows) // groups
    for group in range(groups):
        for start in range(0, per_group, BLOCK):
            chosen = slice(group * per_group + start, group * per_group + min(start + BLOCK, per_group))
            missing = BLOCK - len(rows[chosen])
            yield (
                np.pad(rows[chosen], ((0, missing), (0, 0))),
                np.pad(sums[chosen], (0, missing)),
                np.pad(parameters[chosen], ((0, missing), (0, 0))),
            )


def pack_stream(rows: Array, bias: Array, scales: list[Requantize], groups: int, lanes: Lanes) -> Array:
    """The int32 stream of dot_dsp.h from lane-ordered rows (out, n)."""
    words: list[Array] = []
    for block, sums, parameters in _blocks(rows, parameters_of(scales), _free_sums(bias, scales), groups):
        words += [*(_wide_block if lanes == "wide" else _byte_block)(block, sums), _words(parameters)]
    return np.concatenate(words)


def pack_products(products: Array, bias: Array, scales: list[Requantize]) -> Array:
    """The int32 stream of conv_2d_winograd_dsp.h from lane-ordered doubled weights (4, out, n)."""
    count, out, length = products.shape
    words: list[Array] = []
    rows, biases = products.transpose(1, 0, 2).reshape(out, -1), _free_sums(bias, scales)
    for block, sums, parameters in _blocks(rows, parameters_of(scales), biases, 1):
        steps = [_pairs(each).reshape(-1) for each in block.reshape(BLOCK, count, length).transpose(1, 0, 2)]
        words += [_words(2 * sums), *steps[:-1], _words(parameters), steps[-1], _words(parameters)]
    return np.concatenate(words)


def unstaged_lanes(rows: Array) -> Array:
    """(out, n) weights, n a multiple of four, as lanes of fully_connected_unstaged_dsp.h: (out, n), which may exceed int16.

    Of every four w0, w2, w1 - 256 * w0, w3 - 256 * w2.
    """
    quads = rows.astype(np.int64).reshape(len(rows), -1, GROUP)
    even = quads[:, :, 0::2]
    return np.stack([even, quads[:, :, 1::2] - 256 * even], axis=2).reshape(len(rows), -1)


def pack_unstaged(lanes: Array, bias: Array, scales: list[Requantize], sizes: Sequence[int]) -> Array:
    """The int32 stream of fully_connected_unstaged_dsp.h from `unstaged_lanes` and biases that hold all offsets of the inputs.

    sizes: channels of every block; those beyond the last one are zeros.
    """
    words: list[Array] = []
    missing = sum(sizes) - len(lanes)
    lanes, sums = np.pad(lanes, ((0, missing), (0, 0))), np.pad(_free_sums(bias, scales), (0, missing))
    parameters, start = np.pad(parameters_of(scales), ((0, missing), (0, 0))), 0
    for size in sizes:
        chosen = slice(start, start + size)
        words += [_words(sums[chosen]), _pairs(lanes[chosen]).reshape(-1), _words(parameters[chosen])]
        start += size
    return np.concatenate(words)


def pack_halves(rows: Array, bias: Array, mantissas: Array, groups: int) -> Array:
    """The int32 stream of dot_dsp.h for int16 outputs from rows (out, n) in the order of the inputs."""
    words: list[Array] = []
    for block, sums, high in _blocks(rows, mantissas.reshape(-1, 1), bias, groups):
        words += [_words(sums), _pairs(block).reshape(-1), _words(high)]
    return np.concatenate(words)
