"""The process in which torch opens a checked program: `python -m toolchain.frontends.torch_worker FOLDER`.

Reads program.pt2, which `toolchain.frontends.torch` wrote, and leaves program.onnx or fault.json.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

SAMPLE_INPUTS = "model/data/sample_inputs/model.pt"


def main(folder: Path) -> int:
    """Export the program; a fault of the file is written down as its code and text."""
    try:
        _check_sample_inputs(folder / "program.pt2")
        (folder / "program.onnx").write_bytes(_export(folder / "program.pt2"))
    except Unsafe as fault:
        _report(folder, 110, str(fault))
    except Exception as fault:
        # torch raises classes of its own at every stage; all of them mean that this program cannot be opened.
        text = " ".join(str(fault).split())[:200]
        _report(folder, 103, f"torch cannot open or export the program ({type(fault).__name__}: {text})")
    return 0


class Unsafe(Exception):
    """The file could run code."""


def _report(folder: Path, number: int, message: str) -> None:
    (folder / "fault.json").write_text(json.dumps({"number": number, "message": message}))


def _check_sample_inputs(path: Path) -> None:
    """The example inputs must load without running code; torch would else fall back to full unpickling."""
    import torch

    with zipfile.ZipFile(path) as archive:
        if SAMPLE_INPUTS not in archive.namelist():
            return
        content = archive.read(SAMPLE_INPUTS)
    try:
        torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, EOFError, AttributeError, TypeError) as fault:
        raise Unsafe("the example inputs are more than tensors and could run code") from fault


def _export(path: Path) -> bytes:
    """The program as serialized ONNX."""
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.suppress(ImportError):
        # Registers the operations of quantized programs.
        importlib.import_module("torch.ao.quantization.fx._decomposed")
    program: Any = torch.export.load(path)
    exported: Any = torch.onnx.export(program, dynamo=True, verbose=False)
    return exported.model_proto.SerializeToString()


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
