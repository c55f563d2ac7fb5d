"""Test support: what torch's own quantizers make, in a process of their own: `python -m tests.support.quantized_torch FOLDER`.

qat: trained and converted; ptq: calibrated after training; fake: fake quantization called by hand, as own training loops do.
Leaves NAME.onnx, NAME.pt2, and for each the inputs `NAME_x.npy` (samples, 1, 3, 12, 10) and torch's outputs `NAME_y.npy`.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

needs_torch = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "onnxscript")), reason="torch is not installed"
)
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 20


def make_quantized(folder: Path) -> None:
    """Run this module for a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.quantized_torch", str(folder)]
    subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, timeout=600)


def networks() -> tuple[Any, Any]:
    """Two float networks of (1, 3, 12, 10) images."""
    import torch
    from torch import nn

    class Gated(nn.Module):
        """Batch normalization, depthwise convolution, hard swish, a residual, slices, a gate and a softmax."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.depth, self.swish, self.point = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Hardswish(), nn.Conv2d(8, 8, 1)
            self.pool, self.last = nn.AvgPool2d(2), nn.Linear(8, 5)

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.norm(self.first(x)))
            z = self.swish(self.depth(y))
            y = y + self.point(z)
            y = torch.cat([y[:, :4], torch.sigmoid(z[:, 4:])], 1)
            y = nn.functional.interpolate(self.pool(y), scale_factor=2, mode="nearest")
            return torch.softmax(self.last(y.mean((2, 3))), -1)

    class Plain(nn.Module):
        """Relu6 blocks with stride, a maximum pooling, a bilinear resize, a sum, and two linear layers."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU())
            self.depth = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.BatchNorm2d(12), nn.ReLU6())
            self.point, self.pool = nn.Conv2d(12, 12, 1), nn.MaxPool2d(2)
            self.wide, self.last = nn.Linear(12 * 3 * 2, 20), nn.Linear(20, 6)

        def forward(self, x: Any) -> Any:
            y = self.stem(x)
            y = nn.functional.relu(self.point(self.depth(y)) + y)
            y = self.pool(y).flatten(1)
            return self.last(torch.relu(self.wide(y)))

    return Gated(), Plain()


def faked() -> Any:
    """A network that calls torch's fake quantization itself: symmetric weights per channel, a scale after a convolution."""
    import torch
    from torch import nn

    class Faked(nn.Module):
        """Two convolutions, the second with a factor per channel behind it, a transposed one, and means."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, stride=2, bias=False)
            self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
            self.factor = nn.Parameter(torch.rand(1, 6, 1, 1) + 0.5)

        def weights(self, layer: Any, axis: int) -> Any:
            """A layer's weights, fake quantized along an axis."""
            w = layer.weight
            scales = w.detach().abs().amax([i for i in range(4) if i != axis]) / 127
            zeros = torch.zeros(w.shape[axis], dtype=torch.int32)
            return torch.fake_quantize_per_channel_affine(w, scales, zeros, axis, -128, 127)

        def forward(self, x: Any) -> Any:
            x = torch.fake_quantize_per_tensor_affine(x, 0.03, 3, -128, 127)
            y = torch.relu(nn.functional.conv2d(x, self.weights(self.one, 0), self.one.bias, padding=1))
            y = torch.fake_quantize_per_tensor_affine(y, 0.015, -128, -128, 127)
            y = nn.functional.conv2d(y, self.weights(self.two, 0), stride=2) * self.factor
            y = torch.fake_quantize_per_tensor_affine(torch.clamp(y, -1.5, 1.0), 0.012, 5, -128, 127)
            y = nn.functional.conv_transpose2d(y, self.weights(self.up, 1), self.up.bias, stride=2)
            y = torch.fake_quantize_per_tensor_affine(y, 0.01, 60, 0, 127)
            return torch.fake_quantize_per_tensor_affine(y.mean((2, 3)), 0.004, 0, -128, 127)

    return Faked()


def main(folder: Path) -> None:
    """Write all files."""
    import torch
    from torch.ao.quantization import (  # type: ignore[attr-defined, unused-ignore]
        get_default_qat_qconfig_mapping,
        get_default_qconfig_mapping,
        quantize_fx,
    )

    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    gated, plain = networks()
    example = (torch.randn(1, 3, 12, 10),)
    trained = quantize_fx.prepare_qat_fx(gated.train(), get_default_qat_qconfig_mapping("fbgemm"), example)
    steps = torch.optim.SGD(trained.parameters(), 0.05)
    for _ in range(30):
        x = torch.randn(8, 3, 12, 10)
        steps.zero_grad()
        torch.nn.functional.nll_loss(torch.log(trained(x)), (x.mean((1, 2, 3)) * 20 + 2).long().clamp(0, 4)).backward()
        steps.step()
    observed = quantize_fx.prepare_fx(plain.eval(), get_default_qconfig_mapping("x86"), example)
    for _ in range(20):
        observed(torch.randn(4, 3, 12, 10))
    _save(folder, "fake", faked().eval(), example)
    for name, prepared in (("qat", trained.eval()), ("ptq", observed)):
        _save(folder, name, quantize_fx._convert_to_reference_decomposed_fx(prepared), example)


def _save(folder: Path, name: str, net: Any, example: tuple[Any, ...]) -> None:
    """The quantized network as ONNX and .pt2, with samples."""
    import numpy as np
    import torch

    with torch.no_grad():
        program = torch.export.export(net, example)
        torch.export.save(program, folder / f"{name}.pt2")
        torch.onnx.export(program, dynamo=True, verbose=False).save(str(folder / f"{name}.onnx"))
        x = torch.randn(SAMPLES, 1, 3, 12, 10)
        np.save(folder / f"{name}_x.npy", x.numpy())
        np.save(folder / f"{name}_y.npy", torch.cat([net(sample) for sample in x]).numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
