"""Test support: programs of torch.export and what torch computes, made in a process of their own.

torch's compiler and TensorFlow abort in one process, and a test run has loaded either.
`python -m tests.support.torch_programs FOLDER` leaves net.pt2, x.npy, y.npy, plain.pt2 (torch.save) and bomb.pt.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def make_programs(folder: Path) -> None:
    """Run this module for a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.torch_programs", str(folder)]
    subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, timeout=300)


class Bomb:
    """An object whose unpickling would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def main(folder: Path) -> None:
    """Write all files."""
    import numpy as np
    import torch

    class Net(torch.nn.Module):
        """Convolutions, a residual, a pooling and a linear layer."""

        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.norm = torch.nn.BatchNorm2d(8)
            self.depth = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.last = torch.nn.Linear(8, 4)

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.norm(self.first(x)))
            y = y + torch.nn.functional.hardswish(self.depth(y))
            return self.last(torch.nn.functional.adaptive_avg_pool2d(y, 1).flatten(1))

    torch.manual_seed(0)
    net = Net().eval()
    net.norm.running_mean.uniform_(-1, 1)
    net.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(1, 3, 12, 12)
    torch.export.save(torch.export.export(net, (x,)), folder / "net.pt2")
    with torch.no_grad():
        np.save(folder / "y.npy", net(x).numpy())
    np.save(folder / "x.npy", x.numpy())
    torch.save({"a": torch.zeros(2)}, folder / "plain.pt2")
    torch.save(Bomb(folder / "ran"), folder / "bomb.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
