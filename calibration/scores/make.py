"""`--metric NAME[:ARG]`: which metric a text names, and its figures side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calibration.scores.classes import F1, Auc, TopK
from calibration.scores.detection import MeanAveragePrecision
from calibration.scores.distances import Deviation, Reconstruction
from calibration.scores.own import OwnMetric, own_metric
from calibration.scores.score import Score, Scored
from toolchain.errors import UsageError

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
NAMES = "top[:K], f1[:macro|binary], auc, rmse, mae, map, reconstruction or module:function"
_LOWER_IS_BETTER = frozenset({"rmse", "mae", "reconstruction"})


@dataclass(frozen=True, slots=True)
class MetricResult:
    """A figure of both networks. real: of the float one, None without it. higher_is_better: None where only the user knows."""

    name: str
    real: float | None
    quantized: float
    higher_is_better: bool | None

    @property
    def loss(self) -> float | None:
        """How much worse the quantized network is; of a user's own metric how much less. None without a float network."""
        if self.real is None:
            return None
        return self.quantized - self.real if self.higher_is_better is False else self.real - self.quantized

    def as_json(self) -> dict[str, object]:
        """`name`, `float`, `quantized`, `loss`, `higher_is_better`."""
        keys = {"name": self.name, "float": self.real, "quantized": self.quantized, "loss": self.loss}
        return {**keys, "higher_is_better": self.higher_is_better}


def make_score(spec: str, outputs: Sequence[str]) -> Score:
    """A fresh metric. outputs: names of the network's. Raises UsageError(901) for no metric's name, E205 as `own_metric`."""
    name, _, argument = spec.partition(":")
    if name in ("top", "accuracy") and re.fullmatch(r"[1-9][0-9]{0,5}|", argument) and (name == "top" or not argument):
        return TopK(int(argument or 1), spec)
    if name == "f1" and argument in ("", "macro", "binary"):
        return F1(argument == "binary", spec)
    if spec == "auc":
        return Auc(spec)
    if spec == "rmse":
        return Deviation("rmse", spec)
    if spec == "mae":
        return Deviation("mae", spec)
    if spec == "map":
        return MeanAveragePrecision(spec, outputs)
    if spec == "reconstruction":
        return Reconstruction(spec)
    if _FUNCTION.fullmatch(spec) and name not in ("top", "f1", "auc", "rmse", "mae", "map", "reconstruction", "accuracy"):
        return own_metric(spec)
    raise UsageError(901, "--metric", f"there is no metric {spec[:60]!r}", f"Use {NAMES}")


def measure(
    specs: Sequence[str], outputs: Sequence[str], quantized: Iterable[Scored], real: Iterable[Scored] | None
) -> tuple[MetricResult, ...]:
    """The figures of every metric, of the quantized network and of the float one where given. Errors as of the metrics."""
    scores = [(make_score(spec, outputs), make_score(spec, outputs)) for spec in specs]
    for sample in quantized:
        for score, _ in scores:
            score.add(sample)
    for sample in real or ():
        for _, score in scores:
            score.add(sample)
    found: list[MetricResult] = []
    for ours, theirs in scores:
        floats = {} if real is None else theirs.results()
        direction = None if isinstance(ours, OwnMetric) else True
        for name, figure in ours.results().items():
            better = False if name in _LOWER_IS_BETTER else direction
            found.append(MetricResult(name, floats.get(name), figure, better))
    return tuple(found)
