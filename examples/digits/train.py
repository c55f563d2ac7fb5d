"""Trains a small CNN on scikit-learn's handwritten digits with plain NumPy; writes it as ONNX with calibration and test data.

    python examples/digits/train.py

It takes about fifteen seconds, needs numpy, onnx and scikit-learn, and always starts from the same seed. The files it writes
lie beside it already. Digits: E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, CC BY 4.0, doi.org/10.24432/C50P49.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

HERE = Path(__file__).parent
SEED = 7
TEST_SAMPLES = 400
CALIBRATION_SAMPLES = 100
EPOCHS = 80
BATCH = 32
LEARNING_RATE = 6e-3
WEIGHT_DECAY = 1e-4
SHIFT = 1


@dataclass
class Convolution:
    """A 3x3 convolution with padding 1, then ReLU. weights: (out, in, 3, 3)."""

    weights: Floats
    bias: Floats
    stride: int

    def forward(self, x: Floats) -> tuple[Floats, Floats]:
        """(N, C, H, W) to (N, out, H / stride, W / stride), and the unfolded patches that backward needs."""
        patches = unfold(x, self.stride)
        y = np.einsum("nchwij,ocij->nohw", patches, self.weights, optimize=True) + self.bias[:, None, None]
        return np.maximum(y, 0.0), patches

    def backward(self, gradient: Floats, y: Floats, patches: Floats, shape: tuple[int, ...]) -> tuple[Floats, list[Floats]]:
        """Gradient of the input, and those of weights and bias."""
        inner = gradient * (y > 0)
        d_weights = np.einsum("nohw,nchwij->ocij", inner, patches, optimize=True)
        d_patches = np.einsum("nohw,ocij->nchwij", inner, self.weights, optimize=True)
        return fold(d_patches, shape, self.stride), [d_weights, inner.sum(axis=(0, 2, 3))]


def unfold(x: Floats, stride: int) -> Floats:
    """The 3x3 patches around every stride-th pixel, (N, C, H, W, 3, 3)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return windows[:, :, ::stride, ::stride]


def fold(patches: Floats, shape: tuple[int, ...], stride: int) -> Floats:
    """The opposite of unfold: patches are added where they came from."""
    samples, channels, height, width = shape
    padded = np.zeros((samples, channels, height + 2, width + 2), np.float32)
    rows, columns = patches.shape[2] * stride, patches.shape[3] * stride
    for i in range(3):
        for j in range(3):
            padded[:, :, i : i + rows : stride, j : j + columns : stride] += patches[..., i, j]
    return padded[:, :, 1:-1, 1:-1]


def pool(x: Floats) -> Floats:
    """Means of 2x2 pixels of (N, 16, 4, 4) as rows (N, 64)."""
    return x.reshape(len(x), -1, 2, 2, 2, 2).mean(axis=(3, 5)).reshape(len(x), -1)


class Network:
    """conv 8, conv 12 stride 2, conv 16, mean of 2x2 pixels, dense 10."""

    def __init__(self, rng: np.random.Generator) -> None:
        def weights(outputs: int, inputs: int) -> Floats:
            return rng.normal(0, np.sqrt(2 / (inputs * 9)), (outputs, inputs, 3, 3)).astype(np.float32)

        channels = ((8, 1, 1), (12, 8, 2), (16, 12, 1))
        self.convolutions = [Convolution(weights(o, i), np.zeros(o, np.float32), s) for o, i, s in channels]
        self.dense = rng.normal(0, 0.15, (10, 64)).astype(np.float32)
        self.bias = np.zeros(10, np.float32)

    def parameters(self) -> list[Floats]:
        """All parameters, in the order of the gradients."""
        return [*(array for conv in self.convolutions for array in (conv.weights, conv.bias)), self.dense, self.bias]

    def scores(self, x: Floats) -> Floats:
        """Logits (N, 10)."""
        for conv in self.convolutions:
            x, _ = conv.forward(x)
        return pool(x) @ self.dense.T + self.bias

    def gradients(self, x: Floats, labels: Ints) -> list[Floats]:
        """Gradients of the mean cross entropy."""
        kept = [(x, x)]
        for conv in self.convolutions:
            kept.append(conv.forward(kept[-1][0]))
        last = kept[-1][0]
        pooled = pool(last)
        scores = pooled @ self.dense.T + self.bias
        error = np.exp(scores - scores.max(axis=1, keepdims=True))
        error /= error.sum(axis=1, keepdims=True)
        error[np.arange(len(x)), labels] -= 1
        error /= len(x)
        found = [error.T @ pooled, error.sum(axis=0)]
        quarter = (error @ self.dense / 4).reshape(len(x), -1, 2, 2)
        gradient = quarter.repeat(2, axis=2).repeat(2, axis=3)
        for index in range(len(self.convolutions) - 1, -1, -1):
            y, patches = kept[index + 1]
            gradient, own = self.convolutions[index].backward(gradient, y, patches, kept[index][0].shape)
            found = own + found
        return found


def train(x: Floats, labels: Ints, rng: np.random.Generator) -> Network:
    """Adam with a falling rate, on images shifted by up to a pixel."""
    network = Network(rng)
    first = [np.zeros_like(p) for p in network.parameters()]
    second = [np.zeros_like(p) for p in network.parameters()]
    step = 0
    for epoch in range(EPOCHS):
        rate = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        for batch in np.array_split(rng.permutation(len(x)), len(x) // BATCH):
            step += 1
            down, right = rng.integers(-SHIFT, SHIFT + 1, 2)
            moved = np.roll(x[batch], (down, right), (2, 3))
            for p, g, m, v in zip(network.parameters(), network.gradients(moved, labels[batch]), first, second, strict=True):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                p -= rate * (m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8) + WEIGHT_DECAY * p)
    return network


def export(network: Network, path: Path) -> None:
    """Write the network as an ONNX file of one image at a time."""
    weights, nodes, tensor = [], [], "image"
    for index, conv in enumerate(network.convolutions, 1):
        weights += [numpy_helper.from_array(conv.weights, f"w{index}"), numpy_helper.from_array(conv.bias, f"b{index}")]
        settings = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [conv.stride] * 2}
        nodes.append(helper.make_node("Conv", [tensor, f"w{index}", f"b{index}"], [f"conv{index}"], **settings))
        nodes.append(helper.make_node("Relu", [f"conv{index}"], [f"relu{index}"]))
        tensor = f"relu{index}"
    weights += [numpy_helper.from_array(network.dense, "w"), numpy_helper.from_array(network.bias, "b")]
    nodes.append(helper.make_node("AveragePool", [tensor], ["mean"], kernel_shape=[2, 2], strides=[2, 2]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["features"]))
    nodes.append(helper.make_node("Gemm", ["features", "w", "b"], ["scores"], transB=1))
    nodes.append(helper.make_node("Softmax", ["scores"], ["digit"], axis=1))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])
    digit = helper.make_tensor_value_info("digit", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(nodes, "digits", [image], [digit], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="strop example")
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def main() -> None:
    """Train, export, and write calibration and test data."""
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(images))
    test, rest = order[:TEST_SAMPLES], order[TEST_SAMPLES:]
    network = train(images[rest], labels[rest], rng)
    export(network, HERE / "digits.onnx")
    np.savez_compressed(HERE / "calibration.npz", image=images[rest[:CALIBRATION_SAMPLES]])
    np.savez_compressed(HERE / "test.npz", image=images[test], y=labels[test].astype(np.uint8))
    correct = int((network.scores(images[test]).argmax(axis=1) == labels[test]).sum())
    print(f"{correct} of {TEST_SAMPLES} test images right")


if __name__ == "__main__":
    main()
