"""Test support: torch modules fine-tuned in a process of their own, as torch's compiler and TensorFlow abort in one.

`python -m tests.support.trained_torch FOLDER` runs the example into FOLDER and leaves float.onnx, calibration.npy,
module.npy (what the fine-tuned module gives for test.npz) and results.json.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def fine_tune_all(folder: Path) -> dict[str, Any]:
    """Run this module for a folder; what results.json holds."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.trained_torch", str(folder)]
    done = subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def main(folder: Path) -> None:
    """Write all files."""
    import numpy as np
    import torch

    spec = importlib.util.spec_from_file_location("finetune", ROOT / "examples" / "finetune" / "finetune.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    results: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    quantized, figures = example.quantized, example.figures

    def watch_quantized(model: Any, inputs: Any, **options: Any) -> Any:
        torch.onnx.export(torch.export.export(model, (inputs,)), dynamo=True, verbose=False).save(folder / "float.onnx")
        np.save(folder / "calibration.npy", options["calibrate"].numpy())
        kept["module"] = quantized(model, inputs, **options)
        return kept["module"]

    def watch_figures(*given: Any) -> Any:
        found = figures(*given)
        results.setdefault("figures", []).append(found)
        return found

    example.quantized, example.figures = watch_quantized, watch_figures
    example.main(folder)
    with torch.no_grad():
        np.save(folder / "module.npy", kept["module"](torch.from_numpy(np.load(folder / "test.npz")["x"])).numpy())
    results["copied"] = copies(torch, kept["module"])
    results["page"] = the_page(torch, folder)
    results["ends"] = softmax_end(torch, quantized)
    results["forms"] = forms(torch, quantized)
    results["codes"] = codes(torch, quantized, kept["module"])
    (folder / "results.json").write_text(json.dumps(results))


def copies(torch: Any, module: Any) -> bool:
    """A copy computes the same, and stays as it is when the module goes on."""
    x = torch.randn(3, 1, 8, 8)
    copied = copy.deepcopy(module.eval())
    wanted = module(x).detach()
    first = next(module.parameters())
    with torch.no_grad():
        first.mul_(2.0)
        changed = not torch.equal(module(x), wanted)
        first.mul_(0.5)
    return changed and torch.equal(copied(x), wanted) and torch.equal(module(x), wanted)


def the_page(torch: Any, folder: Path) -> bool:
    """The lines for torch in docs/quantization.md do run."""
    text = (ROOT / "docs" / "quantization.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "training.torch" in block)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 3))
    images = torch.randn(100, 1, 6, 6)
    batches = [(images[:8], torch.randint(0, 3, (8,)))]
    os.chdir(folder)
    exec(code, {"torch": torch, "model": model, "images": images, "batches": batches})
    return (folder / "net.tflite").stat().st_size > 1000


def softmax_end(torch: Any, quantized: Any) -> dict[str, Any]:
    """A module that ends in probabilities, and a loss that takes their logarithm."""
    nn = torch.nn
    torch.manual_seed(2)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Softmax(1))
    with torch.no_grad():
        net[1].weight.mul_(12.0)
    x = torch.randn(40, 3, 4)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    model = quantized(net.train(), x[:4], calibrate=x)
    labels = net(x).argmin(1)
    loss = -torch.log(model(x)[torch.arange(40), labels]).mean()
    loss.backward()
    grads = [float(parameter.grad.abs().max()) for name, parameter in model.named_parameters() if not name.endswith("_scale")]
    with torch.no_grad():
        steps = model.eval()(x) * 256
    return {
        "loss": float(loss.detach()),
        "least_gradient": min(grads),
        "whole_steps": bool((steps == steps.round()).all()),
        "float_kept": net.training and all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items()),
    }


def forms(torch: Any, quantized: Any) -> dict[str, Any]:
    """Several inputs, and outputs in a dictionary and in a tuple."""
    nn = torch.nn

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(2, 3, 3), nn.Linear(5, 3)

        def forward(self, image: Any, row: Any) -> Any:
            mixed = self.one(image).mean((2, 3)) + self.two(row)
            return {"mixed": mixed, "gate": torch.sigmoid(mixed)}

    class Pair(Two):
        def forward(self, image: Any, row: Any) -> Any:
            return tuple(super().forward(image, row).values())

    inputs = (torch.randn(6, 2, 5, 5), torch.randn(6, 5))
    model = quantized(Two(), inputs, calibrate=inputs).eval()
    found, pair = model(*inputs), quantized(Pair(), inputs, calibrate=inputs).eval()(*inputs)
    shapes = {name: list(tensor.shape) for name, tensor in found.items()}
    return {
        "shapes": shapes,
        "pair": isinstance(pair, tuple),
        "checked": model.check(inputs),
        "order": bool((found["gate"] > 0).all()),
    }


def codes(torch: Any, quantized: Any, module: Any) -> dict[str, list[Any]]:
    """Errors by what was tried: number and text."""
    from toolchain.errors import StropError

    nn, x = torch.nn, torch.randn(4, 6)
    recurrent = nn.LSTM(6, 4, batch_first=True)
    tried: dict[str, Any] = {
        "shape": lambda: module(torch.randn(2, 1, 9, 8)),
        "inputs": lambda: module(torch.randn(2, 1, 8, 8), x),
        "samples": lambda: quantized(nn.Linear(6, 2), x, calibrate=x[:0]),
        "sample": lambda: quantized(nn.Linear(6, 2), x, calibrate=torch.full((4, 6), float("nan"))),
        "recurrent": lambda: quantized(recurrent, torch.randn(1, 5, 6), calibrate=torch.randn(4, 5, 6)),
        "folder": lambda: module.export("no/such/folder/net.tflite"),
        "tensorflow": lambda: (
            sys.modules.update(tensorflow=types.ModuleType("tensorflow")),
            quantized(nn.Linear(6, 2), x, calibrate=x),
        ),
        "diverged": lambda: (next(module.parameters()).data.fill_(float("nan")), module.graph()),
    }
    found: dict[str, list[Any]] = {}
    for name, function in tried.items():
        try:
            function()
        except StropError as fault:
            found[name] = [fault.number, str(fault)]
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
