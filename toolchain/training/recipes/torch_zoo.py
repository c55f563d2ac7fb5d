"""The zoo in torch: functions of a sample's shape, classes and settings. They take samples with channels last and give logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from toolchain.training.recipes.zoo import Setting

Build = Callable[[tuple[int, ...], int, Mapping[str, Any]], nn.Module]


def build(kind: str, shape: tuple[int, ...], classes: int, settings: Mapping[str, Setting]) -> nn.Module:
    """A network of the zoo with fresh weights."""
    return BUILDERS[kind](shape, classes, settings)


class ChannelsFirst(nn.Module):
    """(N, H, W, C) to torch's order (N, C, H, W)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same samples."""
        return x.permute(0, 3, 1, 2)


class OverTime(nn.Module):
    """(N, T, …) to (N, T, C), or to (N, C, T) where `first`."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same samples."""
        x = x.flatten(2)
        return x.transpose(1, 2) if self.first else x


class Residual(nn.Module):
    """A branch added to what goes in, by way of `beside`."""

    def __init__(self, branch: nn.Module, beside: nn.Module | None = None, relu: bool = False) -> None:
        super().__init__()
        self.branch, self.beside, self.relu = branch, beside or nn.Identity(), relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Branch plus what goes beside it."""
        x = self.beside(x) + self.branch(x)
        return torch.relu(x) if self.relu else x


class Causal(nn.Module):
    """A dilated convolution over time that sees the past alone, then ReLU. (N, C, T)."""

    def __init__(self, filters: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.before = (kernel - 1) * dilation
        self.conv = nn.Conv1d(filters, filters, kernel, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, T) to (N, C, T)."""
        return torch.relu(self.conv(nn.functional.pad(x, (self.before, 0))))


class LastState(nn.Module):
    """A GRU's last state."""

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.gru = nn.GRU(size, units, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, T, C) to (N, units)."""
        return self.gru(x)[0][:, -1]


class Mean(nn.Module):
    """The mean over all but the first two axes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, …) to (N, C)."""
        return x.flatten(2).mean(2)


class Shaped(nn.Module):
    """Rows back to the shape of a sample."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, size) to (N, *shape)."""
        return x.reshape(x.shape[0], *self.shape)


def _conv(inputs: int, filters: int, size: int, stride: int = 1, relu: bool = True, groups: int = 1) -> nn.Sequential:
    parts: list[nn.Module] = [
        nn.Conv2d(inputs, filters, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(filters),
    ]
    return nn.Sequential(*parts, nn.ReLU()) if relu else nn.Sequential(*parts)


def _image(shrink: int) -> list[nn.Module]:
    """What brings an image into torch's order, and to means of shrink x shrink pixels."""
    return [ChannelsFirst(), nn.AvgPool2d(shrink)] if shrink > 1 else [ChannelsFirst()]


def _classifier(parts: list[nn.Module], shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """Layers of an image, then means of regions and a dense layer."""
    with torch.no_grad():
        filters, *sides = nn.Sequential(*parts).eval()(torch.zeros(1, *shape)).shape[1:]
    grid = settings["grid"]
    head: list[nn.Module] = [Mean()]
    if grid > 1:
        size = (max(sides[0] // grid, 1), max(sides[1] // grid, 1))
        head = [nn.AvgPool2d(size), nn.Flatten()]
        filters *= (sides[0] // size[0]) * (sides[1] // size[1])
    return nn.Sequential(*parts, *head, nn.Dropout(settings.get("dropout", 0.0)), nn.Linear(filters, classes)).train()


def mlp(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """Dense layers."""
    size, parts = math.prod(shape), [nn.Flatten()]
    for _ in range(settings["depth"]):
        parts += [nn.Linear(size, settings["width"]), nn.ReLU()]  # type: ignore[list-item]
        size = settings["width"]
    return nn.Sequential(*parts, nn.Dropout(settings["dropout"]), nn.Linear(size, classes))


def cnn(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """Plain convolutions."""
    parts, last = _image(settings["shrink"]), shape[-1]
    for block in range(settings["blocks"]):
        filters = settings["filters"] * (settings["growth"] if block else 1)
        parts.append(_conv(last, filters, 3, settings["stride"] if block == 1 else 1))
        last = filters
    return _classifier(parts, shape, classes, settings)


def ds_cnn(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """Depthwise separable convolutions."""
    filters = settings["filters"]
    parts = [*_image(settings["shrink"]), _conv(shape[-1], filters, 3, settings["stride"])]
    for _ in range(settings["blocks"]):
        parts += [_conv(filters, filters, 3, groups=filters), _conv(filters, filters, 1)]
    return _classifier(parts, shape, classes, settings)


def resnet8(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """Residual blocks."""
    filters = settings["filters"]
    parts = [*_image(settings["shrink"]), _conv(shape[-1], filters, 3)]
    for block in range(settings["blocks"]):
        wide, stride = settings["filters"] << block, 1 if block == 0 else 2
        branch = nn.Sequential(_conv(filters, wide, 3, stride), _conv(wide, wide, 3, relu=False))
        parts.append(Residual(branch, nn.Conv2d(filters, wide, 1, stride) if block else None, relu=True))
        filters = wide
    return _classifier(parts, shape, classes, settings)


def mobilenet(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """Inverted residual blocks; every second one halves the image and widens."""
    filters = settings["filters"]
    parts = [*_image(settings["shrink"]), _conv(shape[-1], filters, 3)]
    for block in range(settings["blocks"]):
        halves = block % 2 == 1
        wider, inner = filters * 3 // 2 if halves else filters, filters * settings["expansion"]
        stride = 2 if halves else 1
        branch = nn.Sequential(
            _conv(filters, inner, 1), _conv(inner, inner, 3, stride, groups=inner), _conv(inner, wider, 1, relu=False)
        )
        parts.append(branch if halves else Residual(branch))
        filters = wider
    parts.append(_conv(filters, filters * 2, 1))
    return _classifier(parts, shape, classes, settings)


def tcn(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """Dilated causal convolutions."""
    filters, kernel = settings["filters"], settings["kernel"]
    parts: list[nn.Module] = [OverTime(first=True), nn.Conv1d(math.prod(shape[1:]), filters, 1)]
    for level in range(settings["levels"]):
        parts.append(Residual(nn.Sequential(*(Causal(filters, kernel, 1 << level) for _ in range(2)))))
    return nn.Sequential(*parts, Mean(), nn.Linear(filters, classes))


def gru(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """A gated recurrent layer."""
    units = settings["units"]
    return nn.Sequential(OverTime(first=False), LastState(math.prod(shape[1:]), units), nn.Linear(units, classes))


def autoencoder(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """Down to a bottleneck and up again. classes: not used."""
    size = math.prod(shape)
    widths = [settings["width"]] * settings["depth"]
    parts, last = [nn.Flatten()], size
    for width in (*widths, settings["bottleneck"], *widths):
        parts += [nn.Linear(last, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]  # type: ignore[list-item]
        last = width
    return nn.Sequential(*parts, nn.Linear(last, size), Shaped(shape))


BUILDERS: dict[str, Build] = {
    "mlp": mlp,
    "cnn": cnn,
    "ds_cnn": ds_cnn,
    "resnet8": resnet8,
    "mobilenet": mobilenet,
    "tcn": tcn,
    "gru": gru,
    "autoencoder": autoencoder,
}
