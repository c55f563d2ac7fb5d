"""Attributions by SHAP: how much each number of a sample adds to a model's score of a class.

A model is asked in a process of its own, because torch and TensorFlow cannot be in one. Networks of frameworks are explained by
expected gradients; models without gradients, such as those in integers, by orders in which their inputs are uncovered.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from firmware.processes import run_process
from toolchain.errors import RunError
from toolchain.ir.types import Array
from toolchain.loop.build import float_model
from toolchain.loop.extras import need

TIMEOUT_S = 1800.0
GRADIENTS = 50
"""Points between a sample and others where gradients are taken."""
_ORDERS = 2


def attributions(model: Path, background: Array, x: Array, y: Array, seed: int) -> Array:
    """(n, …) float32: what each number of samples x (n, …) adds to the score of the class y (n,) asked for.

    background: (m, …) samples that a score is compared with; over a sample the attributions add up to its score less the
    mean score of the background, but for the error of sampling. All with channels last.
    Raises EnvironmentFault E404 without shap, RunError E505 when the process fails.
    """
    need("shap", "explain")
    with tempfile.TemporaryDirectory() as name:
        job, made = Path(name) / "job.npz", Path(name) / "made.npy"
        np.savez(job, background=background, x=x, y=y, seed=np.asarray(seed), allow_pickle=False)
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        more = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-m", "toolchain.loop.attribution", str(model), str(job), str(made)]
        ended = run_process(command, timeout_s=TIMEOUT_S, extra_env=more)
        if ended.status or not made.exists():
            last = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
            hint = "Set samples = 0 in [explain] to go without"
            raise RunError(505, str(model), f"SHAP ended with {ended.status}: {last:.160}", hint)
        return np.asarray(np.load(made, allow_pickle=False), np.float32)


def main(model: Path, job: Path, made: Path) -> None:
    """The process: a model file, samples, and where attributions go."""
    with np.load(job, allow_pickle=False) as stored:
        background, x, y, seed = stored["background"], stored["x"], stored["y"], int(stored["seed"])
    np.random.seed(seed)
    of_class = {".keras": _by_keras, ".h5": _by_keras, ".pt2": _by_torch}.get(model.suffix, _by_orders)(model, background, seed)
    explained = np.zeros(x.shape, np.float32)
    for each in sorted(set(y.tolist())):
        explained[y == each] = of_class(x[y == each], each).reshape(-1, *x.shape[1:])
    np.save(made, explained, allow_pickle=False)


OfClass = Callable[[Array, int], Array]
"""Attributions of samples to a class."""


def _by_keras(model: Path, background: Array, seed: int) -> OfClass:
    keras, shap = need("keras", "keras"), need("shap", "explain")
    explainer = shap.GradientExplainer(keras.models.load_model(model, compile=False), background)

    def of_class(x: Array, y: int) -> Array:
        asked = {"ranked_outputs": np.full((len(x), 1), y), "output_rank_order": "custom"}
        return np.asarray(explainer.shap_values(x, nsamples=GRADIENTS, rseed=seed, **asked)[0])

    return of_class


def _by_torch(model: Path, background: Array, seed: int) -> OfClass:
    torch, shap = need("torch", "torch"), need("shap", "explain")
    program = torch.export.load(str(model)).module()

    class OneByOne(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        """An exported program takes one sample; gradients are asked of many."""

        def __init__(self, y: int) -> None:
            super().__init__()
            self.y = y

        def forward(self, batch: Any) -> Any:
            return torch.cat([program(one[None]) for one in batch])[..., self.y : self.y + 1]

    def of_class(x: Array, y: int) -> Array:
        explainer = shap.GradientExplainer(OneByOne(y), torch.from_numpy(background))
        return np.asarray(explainer.shap_values(torch.from_numpy(x), nsamples=GRADIENTS, rseed=seed))

    return of_class


def _by_orders(model: Path, background: Array, seed: int) -> OfClass:
    shap, scores = need("shap", "explain"), float_model(model)
    mean = background.reshape(len(background), -1).mean(0, keepdims=True)

    def scores_of(shape: tuple[int, ...], y: int) -> Callable[[Array], Array]:
        return lambda rows: scores(rows.reshape(len(rows), *shape))[:, y]

    def of_class(x: Array, y: int) -> Array:
        rows = x.reshape(len(x), -1)
        explainer = shap.PermutationExplainer(scores_of(x.shape[1:], y), shap.maskers.Independent(mean), seed=seed)
        return np.asarray(explainer(rows, max_evals=_ORDERS * (2 * rows.shape[1] + 1), silent=True).values)

    return of_class


if __name__ == "__main__":
    main(*(Path(each) for each in sys.argv[1:4]))
