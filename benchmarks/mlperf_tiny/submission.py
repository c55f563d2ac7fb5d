"""Writes results in the layout of MLPerf Tiny's public submissions: systems, code and results of one organisation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.mlperf_tiny.session import Outcome
from benchmarks.mlperf_tiny.suite import Result
from targets.model import Target
from toolchain.errors import RunError

RESULTS, LOG, DATA = "results.txt", "log.txt", "results.json"
# What of a bundle is the code that a submission shows.
CODE = ("README.md", "manifest.json", "c")


def write_submission(
    folder: Path, results: Sequence[Result], target: Target, organization: str, division: str, system: str, *, simulated: bool
) -> Path:
    """Write `<folder>/<division>/<organization>/{systems,code,results}`; files that are there are replaced, others stay.

    simulated: an emulator stood in for the board, which the system's description then says. Raises RunError E505.
    """
    root = folder / division / organization
    try:
        systems = root / "systems"
        systems.mkdir(parents=True, exist_ok=True)
        described = description(target, organization, division, results, simulated=simulated)
        (systems / f"{system}.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        for result in results:
            _write_code(root / "code" / result.benchmark.name / system, result)
            for mode, outcome in result.outcomes.items():
                _write_outcome(root / "results" / system / result.benchmark.name / mode, outcome)
    except OSError as fault:
        raise RunError(505, str(root), f"it cannot be written: {fault.strerror}", "Give another folder") from fault
    return root


def description(
    target: Target, organization: str, division: str, results: Sequence[Result], *, simulated: bool
) -> dict[str, str]:
    """The system's description under the keys of published ones; what Strop cannot know is empty."""
    memories = {role: sum(each.bytes for each in target.memories if each.role == role) for role in ("ram", "flash")}
    clock = f"{target.clock_hz / 1e6:g} MHz" if target.clock_hz else ""
    notes = "QEMU stood in for the board; its times are instructions, not cycles" if simulated else ""
    precisions = ", ".join(dict.fromkeys(result.bundle.manifest.precision for result in results))
    return {
        "Submitter": organization,
        "Division": division.capitalize(),
        "Status": "Research, Development, or Internal (RDI)" if simulated else "Available",
        "Board Name": target.name,
        "Board Memory capacity (not including SoC, processor, or accelerator)": "",
        "Board Memory type": "",
        "Board storage capacity": "",
        "Board storage type": "",
        "SoC Name": "",
        "SoC Memory capacity (not including processor or accelerator)": f"{memories['ram']:,} B",
        "SoC Memory type": "SRAM",
        "SoC storage capacity": f"{memories['flash']:,} B",
        "SoC storage type": "Flash",
        "Processor(s) Name": target.core.name,
        "Processor(s) Frequencies": clock,
        "Processor memory type and capacity": "",
        "Processor storage type and capacity": "",
        "Accelerator": "",
        "Accelerator(s) Frequencies": "",
        "Accelerator memory type and capacity": "",
        "Accelerator storage type and capacity": "",
        "Hardware Notes": notes,
        "Inference Framework": "Strop",
        "Software Libraries": "",
        "Operating System": "none",
        "Other Software Stack": "",
        "Software Notes": "interpreter-less C11",
        "Quantization Method": precisions,
        "Training framework (open division)": "",
        "ML Model Compiler(s)": "Strop",
        "General Compiler(s)": "",
        "Other Software": "",
        "Training and Quantization Notes": "",
    }


def _write_code(folder: Path, result: Result) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in CODE:
        path = result.bundle.path / name
        if path.is_dir():
            shutil.copytree(path, folder / name)
        elif path.is_file():
            shutil.copyfile(path, folder / name)


def _write_outcome(folder: Path, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULTS).write_text("\n".join(outcome.summary) + "\n", encoding="utf-8")
    (folder / LOG).write_text("\n".join(outcome.log) + "\n", encoding="utf-8")
    windows = [
        {
            "file": window.file,
            "infer": {
                "results": list(window.results),
                "elapsed_time": window.microseconds,
                "iterations": window.iterations,
                "throughput": window.throughput,
            },
        }
        for window in outcome.windows
    ]
    figures = {"windows": windows, "samples": outcome.samples, "top1": outcome.top1, "auc": outcome.auc}
    (folder / DATA).write_text(json.dumps(figures) + "\n", encoding="utf-8")
