"""Looks into .keras and .h5 files before TensorFlow opens them: no code, no links out of the file, no path tricks."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from toolchain.errors import EnvironmentFault, ModelError
from toolchain.frontends.archives import ARCHIVE_FAULTS, allowed_bytes, check_growth

# JSON takes some twenty times its size in memory.
MAX_CONFIG_BYTES = 1 << 24
CODE_CLASSES = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer"})
SAFE_MODULES = ("keras", "tensorflow.keras", "tf_keras", "builtins")
_AGAIN = "Save the model again"
_HDF5_FAULTS = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, RecursionError, MemoryError)
T = TypeVar("T")


def check_keras_zip(path: Path) -> None:
    """Raise ModelError for a .keras archive that is damaged (103), leaves its folder (109) or could run code (110).

    Its weights are looked at by `check_keras_weights`.
    """
    config = _in_archive(path, lambda archive: _zip_config(path, archive))
    if not isinstance(config, dict) or "class_name" not in config:
        raise ModelError(103, path.name, "config.json describes no model", _AGAIN)
    check_config(config, path.name)


def _zip_config(path: Path, archive: zipfile.ZipFile) -> object:
    """The configuration, after checks of names, sizes and checksums of all members."""
    for member in archive.infolist():
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            raise ModelError(109, path.name, f"the archive holds {member.filename!r}", "Use a model from a source you trust")
    check_growth(archive.infolist(), path.stat().st_size, path.name)
    info = archive.getinfo("config.json")
    if info.file_size > MAX_CONFIG_BYTES:
        raise ModelError(103, path.name, f"config.json has {info.file_size:,} B", _AGAIN)
    wrong = archive.testzip()
    if wrong is not None:
        raise ModelError(103, path.name, f"the checksum of {wrong!r} is wrong", _AGAIN)
    return json.loads(archive.read(info))


def _in_archive(path: Path, read: Callable[[zipfile.ZipFile], T]) -> T:
    try:
        with zipfile.ZipFile(path) as archive:
            return read(archive)
    except ARCHIVE_FAULTS as fault:
        raise ModelError(103, path.name, f"the archive is damaged ({fault})", _AGAIN) from fault


def check_keras_weights(path: Path) -> None:
    """Check every .h5 file in a .keras archive that `check_keras_zip` let pass, as `check_hdf5` does."""
    for name, content in _in_archive(
        path, lambda archive: [(n, archive.read(n)) for n in archive.namelist() if n.endswith(".h5")]
    ):
        check_hdf5(io.BytesIO(content), f"{path.name} {name}", len(content), model=False)


def check_hdf5(source: Path | io.BytesIO, place: str, size: int, model: bool = True) -> None:
    """Raise ModelError for an HDF5 file that is damaged (103), refers to other files (109) or runs code (110).

    size: bytes of the file. model: it must hold a configuration too. HDF5's library may hang on damaged files: call it in a
    process of its own.
    """
    try:
        import h5py  # type: ignore[import-untyped, unused-ignore]
    except ImportError as fault:
        raise EnvironmentFault(404, "h5py", "the package that reads .h5 is missing", "pip install 'strop[keras]'") from fault
    try:
        with h5py.File(source, "r") as file:
            text = file.attrs.get("model_config")
            config = None if text is None else json.loads(text)
            _check_items(h5py, file, place, size)
    except _HDF5_FAULTS as fault:
        raise ModelError(103, place, f"the file is damaged ({str(fault)[:300]})", _AGAIN) from fault
    if model and not isinstance(config, dict):
        raise ModelError(103, place, "it holds weights but no model", "Save the whole model, not its weights")
    check_config(config, place)


def _check_items(h5py: Any, file: Any, place: str, size: int) -> None:
    """Raise ModelError(103, 109) unless all in the file can be read, lies in it, and is as large as such a file can hold."""
    waiting: list[tuple[str, Any]] = [("", file)]
    seen: set[Any] = set()
    room = allowed_bytes(size)
    while waiting:
        prefix, item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        dict(item.attrs)
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ModelError(109, place, f"{prefix} lies in another file", "Save the model into one file")
            room -= item.size * item.dtype.itemsize
            if room < 0:
                raise ModelError(103, place, f"{prefix} has shape {item.shape}, the file has {size:,} B", _AGAIN)
            item[()]
        for name in item if isinstance(item, h5py.Group) else ():
            link = item.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ModelError(109, place, f"{prefix}/{name} lies in another file", "Save the model into one file")
            if isinstance(link, h5py.HardLink):
                waiting.append((f"{prefix}/{name}", item[name]))


def check_config(config: object, place: str) -> None:
    """Raise ModelError for a configuration with code (110) or with classes of other packages (104)."""
    for entry in _objects(config):
        name, module = entry.get("class_name"), entry.get("module")
        if isinstance(name, str) and name.rsplit(">", 1)[-1] in CODE_CLASSES:
            hint = "Replace the layer with one of Keras's own, and save again"
            raise ModelError(110, place, f"the layer {_label(entry)} of class {name} carries code", hint)
        if isinstance(name, str) and isinstance(module, str) and not _is_safe(module):
            hint = "Export the model as a SavedModel (model.export), which carries its own operations"
            raise ModelError(104, place, f"the class {module}.{name} is not one of Keras", hint)


def _is_safe(module: str) -> bool:
    return any(module == known or module.startswith(f"{known}.") for known in SAFE_MODULES)


def _label(entry: dict[str, Any]) -> str:
    config = entry.get("config")
    name: object = config.get("name") if isinstance(config, dict) else None  # pyright: ignore[reportUnknownVariableType]
    return repr(name) if isinstance(name, str) else "without name"


def _objects(config: object) -> Iterator[dict[str, Any]]:
    """Every JSON object of a configuration, outermost first, without recursion."""
    waiting: list[Any] = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(item, list):
            waiting.extend(item)  # pyright: ignore[reportUnknownArgumentType]
