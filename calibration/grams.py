"""Second moments of what a layer reads: all that rounding needs to know of the samples, in memory that does not grow with them.

A layer's output is linear in its weights, so its mean squared error over any number of samples is a quadratic form: with x the
inputs as the quantized network gives them and y those of the float network, H = Σ x·xᵀ and C = Σ y·xᵀ, less their means.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np

from toolchain.ir.graph import Node
from toolchain.ir.ops.conv import windows
from toolchain.ir.types import Array

MOST_POSITIONS = 512
"""Output positions of one sample that are looked at, evenly spread; more tell little that is new."""

CHUNK_ELEMENTS = 1 << 22


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of G groups of k inputs. count: of observations. mean, real_mean (G, k): of quantized and of float inputs.

    own (G, k, k): H, centred. cross (G, k, k): C, centred, rows are float inputs.
    """

    count: float
    mean: Array
    real_mean: Array
    own: Array
    cross: Array

    def join(self, other: Moments) -> Moments:
        """The moments over both sets of observations (Chan's formula)."""
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        share = self.count * other.count / count
        step, real_step = other.mean - self.mean, other.real_mean - self.real_mean
        mean = self.mean + step * (other.count / count)
        real_mean = self.real_mean + real_step * (other.count / count)
        own = self.own + other.own + share * step[:, :, None] * step[:, None, :]
        cross = self.cross + other.cross + share * real_step[:, :, None] * step[:, None, :]
        return Moments(count, mean, real_mean, own, cross)


def moments(node: Node, quantized: Array, real: Array) -> Moments:
    """Moments over some samples of a layer's inputs, as the quantized and the float network give them, both real numbers."""
    groups, _, inputs = weight_rows(node, np.empty(node.inputs[1].type.shape, np.uint8)).shape
    empty = np.zeros((groups, inputs)), np.zeros((groups, inputs, inputs))
    found = Moments(0.0, empty[0], empty[0], empty[1], empty[1])
    positions = min(MOST_POSITIONS, node.output.type.elements // max(node.output.type.shape[-1] * len(real), 1))
    step = max(CHUNK_ELEMENTS // max(groups * inputs * max(positions, 1), 1), 1)
    for start in range(0, len(real), step):
        x, y = (columns(node, array[start : start + step]).astype(np.float64) for array in (quantized, real))
        mean, real_mean = x.mean(axis=1), y.mean(axis=1)
        x, y = (x - mean[:, None]).astype(np.float32), (y - real_mean[:, None]).astype(np.float32)
        turned = y.transpose(0, 2, 1)
        own, cross = x.transpose(0, 2, 1) @ x, turned @ x
        found = found.join(Moments(float(x.shape[1]), mean, real_mean, own.astype(np.float64), cross.astype(np.float64)))
    return found


def columns(node: Node, x: Array) -> Array:
    """What each output element of a layer is a weighted sum of: (groups, observations, inputs), padding with zeros.

    The order of the inputs is that of `weight_rows`. Of many positions of an image MOST_POSITIONS are taken.
    """
    shape = node.inputs[1].type.shape
    if node.op == "fully_connected":
        return x.reshape(1, -1, x.shape[-1])
    view = windows(x, (shape[1], shape[2]), node.attrs)
    height, width = view.shape[1:3]
    step = max(-(-height * width // MOST_POSITIONS), 1)
    while step > 1 and gcd(step, width) > 1:
        step += 1
    taken = np.arange(0, height * width, step)
    chosen = view[:, taken // width, taken % width].reshape(-1, x.shape[3], shape[1] * shape[2])
    if node.op == "depthwise_conv_2d":
        return chosen.transpose(1, 0, 2)
    groups = x.shape[3] // shape[3]
    parts = chosen.reshape(len(chosen), groups, shape[3], -1)
    return parts.transpose(1, 0, 3, 2).reshape(groups, len(chosen), -1)


def weight_rows(node: Node, weights: Array) -> Array:
    """The weights as (groups, outputs of a group, inputs of a group), each row what makes one output channel."""
    shape = node.inputs[1].type.shape
    if node.op == "fully_connected":
        return weights.reshape(1, *weights.shape)
    if node.op == "depthwise_conv_2d":
        channels = node.inputs[0].type.shape[3]
        return weights.reshape(-1, shape[3]).T.reshape(channels, shape[3] // channels, -1)
    return weights.reshape(node.inputs[0].type.shape[3] // shape[3], -1, shape[1] * shape[2] * shape[3])


def from_rows(node: Node, rows: Array) -> Array:
    """The inverse of `weight_rows`."""
    shape = node.inputs[1].type.shape
    if node.op == "depthwise_conv_2d":
        return np.ascontiguousarray(rows.reshape(shape[3], -1).T).reshape(shape)
    return rows.reshape(shape)
