"""Opens a model of any known format. The content decides; the name only where the content cannot."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from toolchain.errors import ModelError
from toolchain.frontends.archives import ARCHIVE_FAULTS
from toolchain.ir.graph import Graph
from toolchain.ir.verifier import verify

HEAD_BYTES = 16
ZIP_MARK = b"PK\x03\x04"
HDF5_MARK = b"\x89HDF\r\n\x1a\n"
TFLITE_MARK = b"TFL3"
KNOWN = ".tflite, .onnx, .keras, .h5, .pb, .pt2 or a SavedModel folder"
SUFFIXES = MappingProxyType(
    {".tflite": "tflite", ".onnx": "onnx", ".keras": "keras", ".h5": "h5", ".hdf5": "h5", ".pb": "frozen", ".pt2": "pt2"}
)
PICKLES = frozenset({".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"})


def load_model(path: Path, input_shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})) -> Graph:
    """The verified graph of a model file or SavedModel folder.

    input_shapes: shapes of inputs by name, needed for unknown dimensions after the first; an unknown batch is 1.
    Raises ModelError: E101 unreadable, E102 unknown format, E103 damaged, E110 a pickle, and those of the front ends.
    """
    path = Path(path)
    kind = model_format(path)
    if kind == "tflite":
        from toolchain.frontends.tflite.load import load_tflite

        return verify(load_tflite(path, input_shapes))
    if kind == "onnx":
        from toolchain.frontends.onnx.load import load_onnx

        return verify(load_onnx(path, input_shapes))
    if kind == "pt2":
        from toolchain.frontends.torch import load_pt2

        return verify(load_pt2(path, input_shapes))
    from toolchain.frontends.tensorflow import load_tensorflow

    return verify(load_tensorflow(path, kind, input_shapes))


def model_format(path: Path) -> str:
    """One of tflite, onnx, pt2, keras, h5, frozen, saved_model. Raises ModelError(101, 102, 103, 110)."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _folder_format(path)
        if not stat.S_ISREG(mode):
            raise ModelError(101, str(path), "it is a device or a pipe, no file", "Give a file that can be read again and again")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise ModelError(101, str(path), f"the file cannot be read ({reason})", "Check the path") from fault
    if not head:
        raise ModelError(103, path.name, "the file is empty", "Export or copy the model again")
    return _file_format(path, head)


def _folder_format(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return "saved_model"
    raise ModelError(102, str(path), "the folder holds no saved_model.pb", f"Give {KNOWN}")


def _file_format(path: Path, head: bytes) -> str:
    suffix = path.suffix.lower()
    if head[4:8] == TFLITE_MARK:
        return "tflite"
    if head.startswith(HDF5_MARK):
        return "h5"
    if suffix in PICKLES or (head[0] == 0x80 and len(head) > 1 and head[1] <= 5):
        hint = "Export the model: torch.export.save to .pt2, or torch.onnx.export to .onnx"
        raise ModelError(110, path.name, "a pickle can run code when it is opened", hint)
    if head.startswith(ZIP_MARK):
        return _zip_format(path)
    if path.name == "saved_model.pb":
        return "saved_model"
    kind = SUFFIXES.get(suffix)
    if kind is None:
        raise ModelError(102, path.name, f"the first bytes are {head[:8].hex(' ')}, no known format", f"Give {KNOWN}")
    if kind in ("tflite", "keras", "h5", "pt2"):
        what = f"the file is named {suffix} but starts with {head[:8].hex(' ')}"
        raise ModelError(103, path.name, what, "Export or copy the model again")
    return kind


def _zip_format(path: Path) -> str:
    """Keras and torch both write zip archives; what lies inside tells."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except ARCHIVE_FAULTS as fault:
        raise ModelError(103, path.name, f"the zip archive is damaged ({fault})", "Export or copy the model again") from fault
    names = {member.rsplit("/", 1)[-1] for member in members}
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return "keras"
    if "serialized_exported_program.json" in names or any("/models/" in f"/{member}" for member in members):
        return "pt2"
    if any(name.endswith(".pkl") for name in names):
        what = "the archive holds a pickle, which can run code when it is opened"
        raise ModelError(110, path.name, what, "Export the model with torch.export.save to .pt2")
    raise ModelError(102, path.name, f"the zip archive holds no model that is known ({len(members)} files)", f"Give {KNOWN}")
