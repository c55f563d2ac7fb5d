"""Test support: a network with TensorFlow's fake quantization, as quantization-aware training leaves it.

`python -m tests.support.fake_keras FOLDER` leaves the SavedModel `net`, the inputs x.npy (samples, 1, 12, 10, 3), TensorFlow's
outputs y.npy, and for every fake-quantized activation, first to last, its stored steps of each sample in steps.npz.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 20
# None symmetric: TensorFlow's kernels and its converter round a zero point of 127.5 differently.
RANGES = {
    "in": (-3.1, 2.9),
    "first": (0.0, 4.0),
    "depth": (-2.1, 1.9),
    "sum": (-2.0, 3.0),
    "mean": (-1.05, 0.95),
    "last": (-1.6, 1.4),
}


def make_network(folder: Path) -> None:
    """Run this module for a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "tests.support.fake_keras", str(folder)]
    subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, timeout=600)


def main(folder: Path) -> None:
    """Write all files."""
    import tensorflow as tf  # type: ignore[import-untyped, unused-ignore]

    random = np.random.default_rng(0)

    def drawn(*shape: int) -> Any:
        return tf.Variable((random.standard_normal(shape) * 0.3).astype(np.float32))

    class Net(tf.Module):  # type: ignore[misc, no-any-unimported, unused-ignore]
        """A convolution, a depthwise one, a sum, means and a product, each behind fake quantization, and a softmax."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = drawn(3, 3, 3, 8), drawn(3, 3, 8), drawn(8, 5)
            self.shift, self.tilt = drawn(8), drawn(8)
            self.seen: dict[str, Any] = {}

        def act(self, x: Any, name: str) -> Any:
            """x fake-quantized to a range of its own."""
            low, high = RANGES[name]
            y = tf.quantization.fake_quant_with_min_max_vars(x, low, high, 8)
            self.seen[name] = y
            return y

        def weights(self, w: Any) -> Any:
            """Weights fake-quantized symmetrically per channel of the last axis."""
            most = tf.reduce_max(tf.abs(w), list(range(len(w.shape) - 1)))
            return tf.quantization.fake_quant_with_min_max_vars_per_channel(w, -most, most, 8, narrow_range=True)

        @tf.function(input_signature=[tf.TensorSpec((1, 12, 10, 3), tf.float32, name="x")])  # type: ignore[untyped-decorator, unused-ignore]
        def run(self, x: Any) -> Any:
            """The network, and its activations."""
            return {"y": self.all(x)["y"]}

        def all(self, x: Any) -> Any:
            """Every activation."""
            y = self.act(x, "in")
            y = self.act(tf.nn.relu(tf.nn.conv2d(y, self.weights(self.one), 1, "SAME") + self.shift), "first")
            kernel = tf.reshape(self.weights(self.two), (3, 3, 8, 1))
            z = self.act(tf.nn.depthwise_conv2d(y, kernel, [1, 1, 1, 1], "SAME") + self.tilt, "depth")
            y = self.act(tf.reduce_mean(self.act(y + z, "sum"), [1, 2]), "mean")
            most = tf.reduce_max(tf.abs(self.three))
            w = tf.quantization.fake_quant_with_min_max_vars(self.three, -most, most, 8, narrow_range=True)
            y = tf.nn.softmax(self.act(tf.matmul(y, w), "last"))
            return {**self.seen, "y": y}

    net = Net()
    tf.saved_model.save(net, str(folder / "net"), signatures=net.run.get_concrete_function())
    x = random.standard_normal((SAMPLES, 1, 12, 10, 3)).astype(np.float32)
    found = [{name: value.numpy() for name, value in net.all(tf.constant(sample)).items()} for sample in x]
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", np.stack([each["y"] for each in found]))
    np.savez(folder / "steps.npz", **{name: np.stack([steps(each[name], name) for each in found]) for name in RANGES})


def steps(values: Any, name: str) -> Any:
    """Fake-quantized values as the int8 steps that they are."""
    low, high = RANGES[name]
    scale = (high - low) / 255
    return np.rint(values / scale).astype(np.int64) + round(-low / scale) - 128


if __name__ == "__main__":
    main(Path(sys.argv[1]))
