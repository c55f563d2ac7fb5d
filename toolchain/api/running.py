"""Run: a bundle's program on a user's inputs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from calibration.data import load_samples
from calibration.rows import to_real
from firmware.compilers import CompilerChoice
from toolchain.api.places import run_anywhere, where
from toolchain.api.results import OutputData, RunOutputs
from toolchain.bundle.read import read_bundle
from toolchain.errors import RunError


def run(bundle: str | Path, data: str, *, place: str | None = None, compiler: CompilerChoice = "auto") -> RunOutputs:
    """Run a bundle's program on every sample of DATA.

    data: real units as floats, or stored integers. place: of `toolchain.api.places`; None takes the target's.
    Raises DataError (E2xx), RunError (E5xx), EnvironmentFault (E4xx), UsageError(901).
    """
    opened = read_bundle(Path(bundle))
    graph = opened.graph()
    inputs = load_samples(data, graph.inputs).take().stored
    ran = run_anywhere(opened, where(opened, place, compiler), inputs)
    real = to_real(tuple(ran.outputs), graph.outputs)
    outputs = tuple(OutputData(v.name, s, r) for v, s, r in zip(graph.outputs, ran.outputs, real, strict=True))
    return RunOutputs(opened.path, ran.place, outputs, ran.outputs_sha256)


def save_outputs(found: RunOutputs, path: str | Path) -> None:
    """Write the outputs by name, in real units, to an .npz. Raises RunError(505)."""
    # Written as an archive by hand: numpy.savez takes names as keywords, and a tensor may be named `file`.
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for output in found.outputs:
                entry = io.BytesIO()
                np.lib.format.write_array(entry, output.real, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{output.name}.npy"), entry.getvalue())
    except OSError as fault:
        raise RunError(505, str(path), f"it cannot be written: {fault.strerror}", "Name another file with -o") from fault
