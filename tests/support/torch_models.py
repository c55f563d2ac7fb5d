"""Test support: five small torch models of different kinds as exported programs, made in a process of their own.

`python -m tests.support.torch_models FOLDER` leaves NAME.pt2, NAME_x.npy (samples on axis 0) and
NAME_y.npy (what torch computes).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("cnn", "residual", "transformer", "lstm", "conv_1d")
SAMPLES = 12


def make_models(folder: Path) -> None:
    """Run this module for a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.torch_models", str(folder)]
    subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, timeout=600)


def main(folder: Path) -> None:
    """Write all files."""
    import numpy as np
    import torch
    from torch import nn

    class Residual(nn.Module):
        """Two residual blocks, the second with a projection."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
            self.first = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
            self.second = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1))
            self.projection = nn.Conv2d(8, 12, 1, 2)
            self.last = nn.Linear(12, 5)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            x = torch.relu(x + self.first(x))
            x = torch.relu(self.projection(x) + self.second(x))
            return self.last(x.mean(dim=(2, 3)))

    class Transformer(nn.Module):
        """One encoder layer over a sequence of 10 vectors."""

        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
            self.norm_1, self.norm_2 = nn.LayerNorm(16), nn.LayerNorm(16)
            self.up, self.down, self.last = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 3)

        def forward(self, x: Any) -> Any:
            x = self.norm_1(x + self.attention(x, x, x, need_weights=False)[0])
            x = self.norm_2(x + self.down(nn.functional.gelu(self.up(x))))
            return self.last(x.mean(dim=1))

    class Recurrent(nn.Module):
        """An LSTM over 8 steps and a linear layer on its last state."""

        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.last = nn.LSTM(6, 10, batch_first=True), nn.Linear(10, 4)

        def forward(self, x: Any) -> Any:
            return self.last(self.lstm(x)[0][:, -1])

    torch.manual_seed(1)
    cnn = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 16, 1), nn.ReLU6(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 6), nn.Softmax(dim=1)),
    )
    conv_1d = nn.Sequential(
        *(nn.Conv1d(4, 8, 5, padding=4, dilation=2), nn.ReLU(), nn.Conv1d(8, 8, 3, stride=2), nn.LeakyReLU(0.1)),
        *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)),
    )
    shapes = {"cnn": (1, 8, 8), "residual": (3, 10, 10), "transformer": (10, 16), "lstm": (8, 6), "conv_1d": (4, 24)}
    nets = {"cnn": cnn, "residual": Residual(), "transformer": Transformer(), "lstm": Recurrent(), "conv_1d": conv_1d}
    for name, net in nets.items():
        x = torch.randn(SAMPLES, 1, *shapes[name])
        net.eval()
        torch.export.save(torch.export.export(net, (x[0],)), folder / f"{name}.pt2")
        np.save(folder / f"{name}_x.npy", x.numpy())
        np.save(folder / f"{name}_y.npy", torch.stack([net(sample) for sample in x]).detach().numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
