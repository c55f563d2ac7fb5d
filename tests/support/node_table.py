"""Test support: how each of ONNX's node tests ends as a C program: right, wrong, or in a coded error."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.batch import Failure, Job, Result, run_batch
from tests.support.onnx_node_cases import NodeCase, differences, import_case, node_cases
from toolchain.errors import ModelError
from toolchain.passes.canonical import canonicalize

BATCH = 60
RIGHT = "right"
WIDER = "within 1e-6 of the largest element, where ONNX expects the noise of a float32 FFT instead of zeros"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a test ended: `right`, `wrong`, `crash`, or an error's code, and what was said."""

    name: str
    operator: str
    ending: str
    text: str = ""

    @property
    def is_coded(self) -> bool:
        """True when a user would see a coded error."""
        return self.ending.startswith("E")


def endings(cases: Sequence[NodeCase] | None = None) -> list[Ending]:
    """All tests, in ONNX's order, through importer, passes, C, the host's compiler and a run. About two minutes."""
    chosen = node_cases() if cases is None else cases
    found: dict[str, Ending] = {}
    jobs: list[tuple[NodeCase, Job]] = []
    for case in chosen:
        try:
            imported = import_case(case)
            jobs.append((case, Job(canonicalize(imported.graph), imported.inputs)))
        except ModelError as fault:
            found[case.name] = Ending(case.name, operator(case), fault.code, str(fault))
    for start in range(0, len(jobs), BATCH):
        part = jobs[start : start + BATCH]
        with tempfile.TemporaryDirectory() as folder:
            results = run_batch([job for _, job in part], Path(folder))
        for (case, _), result in zip(part, results, strict=True):
            found[case.name] = judge(case, result)
    return [found[case.name] for case in chosen]


def judge(case: NodeCase, result: Result) -> Ending:
    """The ending of a test by what its program gave."""
    if isinstance(result, Failure):
        return Ending(case.name, operator(case), result.code, result.text)
    wrong = "; ".join(differences(case, result))
    if wrong:
        return Ending(case.name, operator(case), "wrong", wrong)
    pairs = zip(result, case.expected, strict=True)
    is_within = all(np.allclose(got, want, rtol=case.rtol, atol=case.atol, equal_nan=True) for got, want in pairs)
    return Ending(case.name, operator(case), RIGHT, "" if is_within else WIDER)


def operator(case: NodeCase) -> str:
    """The ONNX operator that a test is about: that of its last node."""
    return str(case.model.graph.node[-1].op_type)
