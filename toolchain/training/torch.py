"""Quantization-aware fine-tuning of torch modules."""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from calibration.prepare import Rounding
from toolchain.api.quantizing import AUTO
from toolchain.errors import EnvironmentFault, ModelError
from toolchain.frontends.onnx.load import import_onnx
from toolchain.ir.graph import Graph, NameSource
from toolchain.ir.types import Array
from toolchain.training.finish import check_outputs, save_tflite, trained_graph
from toolchain.training.plan import Plan
from toolchain.training.program import Program
from toolchain.training.start import Options, as_array, check_batch, first_samples, start
from toolchain.training.steps import ENDS, STEPS
from toolchain.training.torch_primitives import TorchPrimitives


class QuantizedModule(nn.Module):
    """A network that computes what its integer graph does, byte for byte, and can be trained.

    It takes and gives what the float module did: a batch in real units. Its parameters are the folded weights and biases and,
    where they are trained, scales relative to their first size. In training mode probabilities that leave the network
    (softmax, log_softmax, sigmoid) are float functions of exact integer logits; `eval()` gives them as integers, too.
    """

    def __init__(self, plan: Plan, samples: Sequence[Array], example: Any = None) -> None:
        """samples: one array an input, what `check` runs by default. example: an output of the float module, for its form."""
        super().__init__()
        self._plan, self._samples, self._example = plan, samples, example
        self._primitives = TorchPrimitives()
        self._program = Program(plan, self._primitives, STEPS, ENDS)
        # torch takes no dots in names, and those of its own attributes are taken.
        names = NameSource(dir(self))
        self._attributes = {name: names.fresh(re.sub(r"\W", "_", name)) for name in plan.parameters}
        for name, attribute in self._attributes.items():
            self.register_parameter(attribute, nn.Parameter(torch.from_numpy(np.array(plan.parameters[name]))))

    def __deepcopy__(self, memo: dict[int, Any]) -> QuantizedModule:
        """A module on the same plan with parameters of its own, for averages of weights and the like."""
        made = QuantizedModule(self._plan, self._samples, self._example)
        made.load_state_dict(self.state_dict())
        return made.to(next(self.parameters(), torch.empty(0)).device).train(self.training)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """The float module's outputs in integer arithmetic, dequantized. inputs: (N, …), in real units."""
        graph, parameters = self._plan.graph, self._tensors()
        check_batch(graph, [tuple(tensor.shape) for tensor in inputs])
        self._primitives.device = inputs[0].device
        kinds = [torch.float32 if v.type.quant is not None or v.type.dtype.is_float else torch.int64 for v in graph.inputs]
        cast = [tensor.to(kind) for tensor, kind in zip(inputs, kinds, strict=True)]
        # Half precision would round accumulators.
        with torch.autocast(inputs[0].device.type, enabled=False):
            return _formed(self._program.run(cast, parameters, soft_ends=self.training), self._example)

    def graph(self) -> Graph:
        """The integer graph with the parameters as they are now. Raises ModelError E106 when one is not finite."""
        with torch.no_grad():
            self._primitives.device = next(self.parameters(), torch.empty(0)).device
            stored, scales = self._program.constants(self._tensors())
        return trained_graph(self._plan, _arrays(stored), _arrays(scales))

    def check(self, samples: Any = None) -> int:
        """Run the reference evaluator on samples and compare every byte; how many samples agreed.

        samples: (N, …), an array an input; None takes some of the calibration. Raises VerificationError E601.
        """
        given = self._samples if samples is None else samples if isinstance(samples, (tuple, list)) else [samples]
        mode = self.training
        self.eval()
        try:
            return check_outputs(self.graph(), [as_array(array) for array in given], self._forward_arrays)
        finally:
            self.train(mode)

    def export(self, path: str | Path) -> Path:
        """Write the integer graph as a .tflite file, after `check`. Raises VerificationError E601, RunError E505."""
        self.check()
        return save_tflite(self.graph(), path)

    def _forward_arrays(self, arrays: Sequence[Array]) -> list[Array]:
        place = next(self.parameters(), torch.empty(0)).device
        with torch.no_grad():
            found = self(*(torch.from_numpy(np.array(array)).to(place) for array in arrays))
        return [as_array(tensor) for tensor in _leaves(found)]

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {name: getattr(self, attribute) for name, attribute in self._attributes.items()}


def quantized(
    model: nn.Module,
    example_inputs: Sequence[torch.Tensor] | torch.Tensor,
    *,
    calibrate: Any,
    ranges: str = AUTO,
    rounding: Rounding = "optimal",
    scales: bool = True,
) -> QuantizedModule:
    """A module to fine-tune in place of `model`, which stays as it is.

    example_inputs: what the model takes, positional tensors with samples on axis 0. calibrate: arrays or tensors of samples,
    one an input, or DATA of the command line. ranges, rounding: see `toolchain.api.compile`. scales: train scales, too.
    Raises ModelError E104 for what cannot be exported, imported or trained, DataError E201 to E204, EnvironmentFault E404, E405.
    """
    inputs = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else tuple(example_inputs)
    ones = tuple(tensor[:1].cpu() for tensor in inputs)
    mode, place = model.training, next((p.device for p in model.parameters()), torch.device("cpu"))
    model.eval()
    try:
        model.cpu()
        with torch.no_grad():
            example = model(*ones)
        graph = exported_graph(model, ones)
    finally:
        model.train(mode).to(place)
    plan = start(graph, calibrate, Options(ranges, rounding, scales))
    return QuantizedModule(plan, first_samples(calibrate, graph.inputs), example).to(place)


def exported_graph(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Graph:
    """The float graph of a module for one sample. Raises ModelError E104, EnvironmentFault E404, E405."""
    name = type(model).__name__
    if importlib.util.find_spec("onnxscript") is None:
        raise EnvironmentFault(404, "onnxscript", "torch exports models with it, it is not installed", "Install strop[torch]")
    if "tensorflow" in sys.modules:
        what = "TensorFlow is loaded, and torch's compiler aborts in one process with it"
        raise EnvironmentFault(405, name, what, "Import only one of the two")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        exported: Any = torch.onnx.export(torch.export.export(model, inputs), dynamo=True, verbose=False)
    except Exception as fault:
        # torch raises classes of its own at every stage; all of them mean that this module cannot be exported.
        text = " ".join(str(fault).split())[:200]
        raise ModelError(104, name, f"torch cannot export the module ({type(fault).__name__}: {text})", "Simplify it") from fault
    return import_onnx(exported.model_proto, name, Path())


def _arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    return {name: as_array(tensor) for name, tensor in tensors.items()}


def _leaves(outputs: Any) -> list[Any]:
    """Tensors of a tensor, a sequence or a dictionary."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return list(outputs.values() if isinstance(outputs, dict) else outputs)


def _formed(outputs: list[torch.Tensor], example: Any) -> Any:
    """Tensors in the form that the float module gives them."""
    if isinstance(example, dict):
        return dict(zip(example, outputs, strict=True))
    if isinstance(example, (tuple, list)):
        return tuple(outputs) if isinstance(example, tuple) else outputs
    return outputs[0] if len(outputs) == 1 else tuple(outputs)
