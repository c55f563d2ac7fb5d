"""Fine-tunes a small torch network in the integer arithmetic that the device will compute.

    python examples/finetune/finetune.py [FOLDER]

Leaves before.tflite (calibrated alone), after.tflite (fine-tuned) and test.npz (images and labels) in FOLDER, `build/finetune`
by default. The network tells the direction of stripes whose contrast varies twentyfold by their energy, which varies by the
square of that: one scale for all of it is coarse, and calibration alone loses many answers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as nnf

from toolchain.training.torch import QuantizedModule, quantized

CLASSES = 6
SIZE = 8
BATCH = 32
EPOCHS, STEPS = 8, 150


def stripes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy stripes (count, 1, 8, 8) in one of six directions, and the directions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    angle = (labels * np.pi / CLASSES)[:, None, None]
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    width, phase = rng.uniform(0.8, 1.3, (count, 1, 1)), rng.uniform(0, 2 * np.pi, (count, 1, 1))
    clean = np.cos((x * np.cos(angle) + y * np.sin(angle)) * width + phase)
    contrast = np.exp(rng.uniform(np.log(0.15), np.log(3.0), (count, 1, 1)))
    images = (clean + rng.standard_normal(clean.shape) * 0.4) * contrast
    return torch.tensor(images[:, None], dtype=torch.float32), torch.tensor(labels)


class Energy(nn.Module):
    """Filters, their squares averaged, and two layers on the energies."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(1, 12, 5, padding=2)
        self.mix = nn.Sequential(nn.Conv2d(12, 12, 1), nn.BatchNorm2d(12), nn.ReLU())
        self.last = nn.Linear(12, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, 1, 8, 8) to scores (N, 6)."""
        filtered = self.filters(x)
        return self.last(self.mix(nnf.avg_pool2d(filtered * filtered, 4)).mean((2, 3)))


def train_float(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Cross entropy and Adam."""
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = nnf.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()


def distance(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean KL of the probabilities to those of the float network."""
    return nnf.kl_div(nnf.log_softmax(scores, 1), nnf.log_softmax(wanted, 1), reduction="batchmean", log_target=True)


def fine_tune(model: QuantizedModule, teacher: nn.Module, images: torch.Tensor) -> None:
    """The float network teaches the integer one; no labels are needed."""
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    model.train()
    for _ in range(STEPS):
        batch = images[torch.randint(len(images), (BATCH,))]
        with torch.no_grad():
            wanted = teacher(batch)
        loss = distance(model(batch), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def figures(model: nn.Module, teacher: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Mean KL to the teacher's probabilities, and the share of right answers in percent."""
    with torch.no_grad():
        scores = model(images)
        return float(distance(scores, teacher(images))), 100 * float((scores.argmax(1) == labels).float().mean())


def main(folder: Path) -> None:
    """Train, quantize, fine-tune, export, and print what each step brought."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    torch.set_num_threads(1)
    images, labels = stripes(2000, 1)
    test, answers = stripes(1000, 2)
    teacher = Energy()
    train_float(teacher, images, labels)
    model = quantized(teacher, images[:1], calibrate=images[:100]).eval()
    model.export(folder / "before.tflite")
    print("float       KL {:.5f}  right {:.1f} %".format(*figures(teacher, teacher, test, answers)))
    print("calibrated  KL {:.5f}  right {:.1f} %".format(*figures(model, teacher, test, answers)))
    fine_tune(model, teacher, images)
    print("fine-tuned  KL {:.5f}  right {:.1f} %".format(*figures(model, teacher, test, answers)))
    model.export(folder / "after.tflite")
    np.savez_compressed(folder / "test.npz", x=test.numpy(), y=answers.numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/finetune"))
