"""Training in torch, in one process or, started by torchrun, in several that share every batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from toolchain.errors import DataError
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.training.recipes import torch_zoo
from toolchain.training.recipes.engine import Batches, Processes, own_network
from toolchain.training.recipes.recipe import DistillPart, FitPart, NetworkPart, Recipe, Task
from toolchain.training.recipes.teach import LEAST
from toolchain.training.recipes.zoo import ZOO
from toolchain.training.torch import QuantizedModule, exported_graph, quantized

PREDICT_BATCH = 256
_NORMALS = (nn.BatchNorm1d, nn.BatchNorm2d)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
_PASSES = (*_NORMALS, nn.ReLU, nn.Dropout, nn.Identity)
_PASSING_CALLS = ("relu",)
_MIXING_CALLS = ("add", "iadd", "mul", "cat", "reshape")


class Probabilities(nn.Module):
    """A network with a softmax behind it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.softmax = network, nn.Softmax(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, …) to (N, classes)."""
        return self.softmax(self.network(x))


class TorchEngine:
    """A module of logits or reconstructions, or one in integers; AdamW and a loss. distill: how much of it is a teacher's."""

    def __init__(
        self, module: nn.Module, shape: tuple[int, ...], task: Task, fit: FitPart, distill: DistillPart | None = None
    ) -> None:
        self._module, self._shape, self._distill = module, shape, distill
        self._task: Task = task
        self._optimizer = torch.optim.AdamW(module.parameters(), fit.learning_rate, weight_decay=fit.weight_decay)
        self._held: list[tuple[Any, Any, torch.Tensor]] = []

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        return sum(parameter.numel() for parameter in self._module.parameters() if parameter.requires_grad)

    def fit(self, batches: Batches, rate: Callable[[], float]) -> float:
        """One step a batch; the mean loss."""
        self._module.train()
        total = count = 0.0
        for x, targets, taught in batches:
            for group in self._optimizer.param_groups:
                group["lr"] = rate()
            self._optimizer.zero_grad()
            found = self._module(torch.from_numpy(x))
            loss = self._loss(found, torch.from_numpy(targets))
            if taught is not None and self._distill is not None:
                loss = (1 - self._distill.weight) * loss + self._distill.weight * self._apart(found, torch.from_numpy(taught))
            loss.backward()  # type: ignore[no-untyped-call]
            self._average()
            self._optimizer.step()
            total, count = total + float(loss.detach()) * len(x), count + len(x)
            self._hold()
        return total / max(count, 1)

    def predict(self, x: Array) -> Array:
        """Probabilities, or reconstructions."""
        module = self._whole().eval()
        with torch.no_grad():
            rows = [
                module(torch.from_numpy(x[start : start + PREDICT_BATCH])).numpy() for start in range(0, len(x), PREDICT_BATCH)
            ]
        return np.concatenate(rows)

    def channels(self) -> Mapping[str, Array]:
        """By layer, the norm of each output channel's weights, batch normalization included."""
        found: dict[str, Array] = {}
        for name, layer, normal in self._layers():
            norms = layer.weight.detach().reshape(layer.weight.shape[0], -1).norm(dim=1)
            if normal is not None:
                norms = norms * normal.weight.detach().abs() / torch.sqrt(normal.running_var + normal.eps)
            found[name] = norms.numpy()
        return found

    def mask(self, kept: Mapping[str, Array]) -> None:
        """Hold channels at zero."""
        known = {name: (layer, normal) for name, layer, normal in self._layers()}
        self._held = [(*known[name], torch.from_numpy(part.astype(np.float32))) for name, part in kept.items()]
        self._hold()

    def save(self, path: Path) -> None:
        """Write weights and optimizer."""
        torch.save(
            {"module": self._module.state_dict(), "optimizer": self._optimizer.state_dict(), "random": torch.get_rng_state()},
            path,
        )

    def load(self, path: Path) -> None:
        """Read what `save` wrote. Raises DataError E205."""
        try:
            stored = torch.load(path, weights_only=True)
            self._module.load_state_dict(stored["module"])
            self._optimizer.load_state_dict(stored["optimizer"])
            torch.set_rng_state(stored["random"])
        except Exception as fault:
            # torch raises classes of its own for damaged archives.
            raise DataError(205, str(path), f"it is no state of this network: {fault!s:.100}", "Remove the folder") from fault

    def graph(self) -> Graph:
        """The network as Strop imports it."""
        if isinstance(self._module, QuantizedModule):
            return self._module.graph()
        return exported_graph(self._whole().eval(), (self._example(),))

    def export(self, folder: Path) -> Path:
        """Write model.pt2, or model.tflite of a network in integers."""
        if isinstance(self._module, QuantizedModule):
            return self._module.eval().export(folder / "model.tflite")
        path = folder / "model.pt2"
        torch.export.save(torch.export.export(self._whole().eval(), (self._example(),)), path)
        return path

    def fine_tuned(self, calibration: Array, fit: FitPart) -> TorchEngine:
        """The network in integers."""
        module = quantized(self._whole().eval(), self._example(), calibrate=calibration)
        return TorchEngine(module, self._shape, self._task, fit, self._distill)

    def _example(self) -> torch.Tensor:
        return torch.zeros(1, *self._shape)

    def _whole(self) -> nn.Module:
        """The network as a user has it: with probabilities at its end."""
        if self._task != "classify" or isinstance(self._module, QuantizedModule):
            return self._module
        return Probabilities(self._module)

    def _loss(self, found: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self._task != "classify":
            return nn.functional.mse_loss(found, targets)
        if isinstance(self._module, QuantizedModule):
            return -(targets * torch.log(found.clamp_min(1e-7))).sum(1).mean()
        return nn.functional.cross_entropy(found, targets)

    def _apart(self, found: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        """How far the answers are from a teacher's: Kullback-Leibler divergence, both softened, by the temperature squared."""
        assert self._distill is not None
        heat, logits = self._distill.temperature, found
        if isinstance(self._module, QuantizedModule):
            # Probabilities in steps of 1/256 cannot be softened.
            heat, logits = 1.0, torch.log(found.clamp_min(1e-7))
        soft = torch.log_softmax(torch.log(taught.clamp_min(LEAST)) / heat, 1)
        own = torch.log_softmax(logits / heat, 1)
        return heat**2 * nn.functional.kl_div(own, soft, reduction="batchmean", log_target=True)

    def _average(self) -> None:
        """Give all processes the mean of their gradients."""
        if not torch.distributed.is_initialized():
            return
        count = torch.distributed.get_world_size()
        for parameter in self._module.parameters():
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= count

    def _layers(self) -> list[tuple[str, Any, Any]]:
        """Layers whose channels can be taken away: name, layer, the batch normalization behind it."""
        try:
            graph = torch.fx.symbolic_trace(self._module).graph
        except Exception:
            # A module that cannot be traced says nothing of who reads what; torch raises many classes here.
            return []
        modules, found = dict(self._module.named_modules()), []
        for node in graph.nodes:
            layer = modules.get(str(node.target)) if node.op == "call_module" else None
            if not isinstance(layer, _LAYERS) or getattr(layer, "groups", 1) != 1:
                continue
            readers = list(node.users)
            behind = modules.get(str(readers[0].target)) if len(readers) == 1 and readers[0].op == "call_module" else None
            last = not readers or readers[0].op == "output"
            if not last and _ends_in_layers(node, modules):
                found.append((str(node.target), layer, behind if isinstance(behind, _NORMALS) else None))
        return found

    def _hold(self) -> None:
        with torch.no_grad():
            for layer, normal, mask in self._held:
                layer.weight.mul_(mask.reshape(-1, *([1] * (layer.weight.dim() - 1))))
                for vector in (layer.bias, *((normal.weight, normal.bias) if normal is not None else ())):
                    if vector is not None:
                        vector.mul_(mask)


def _ends_in_layers(node: Any, modules: Mapping[str, nn.Module]) -> bool:
    """True when nothing adds the node's channels to others."""
    for reader in node.users:
        module = modules.get(str(reader.target)) if reader.op == "call_module" else None
        called = getattr(reader.target, "__name__", str(reader.target)).strip("_")
        passes = isinstance(module, _PASSES) or (module is None and called in _PASSING_CALLS)
        if passes and not _ends_in_layers(reader, modules):
            return False
        if not passes and (reader.op == "output" or (module is None and called in _MIXING_CALLS)):
            return False
    return True


def started_together() -> Processes:
    """The group of processes that torchrun started."""
    group = torch.distributed
    if not group.is_initialized():
        group.init_process_group("gloo")

    def wait() -> None:
        group.barrier()

    def agree(value: float) -> float:
        told = torch.tensor([value], dtype=torch.float64)
        group.broadcast(told, 0)
        return float(told)

    return Processes(group.get_rank(), group.get_world_size(), wait, agree)


def make(recipe: Recipe, shape: tuple[int, ...], classes: int, network: NetworkPart, fit: FitPart) -> TorchEngine:
    """A fresh network of a recipe."""
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    if network.python:
        module: nn.Module = own_network(network.python, shape, classes, network.settings)
    else:
        module = torch_zoo.build(network.kind, shape, classes, ZOO[network.kind].complete(network.settings))
    return TorchEngine(module, shape, recipe.task, fit, recipe.distill)
