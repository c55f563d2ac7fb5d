"""Looks into .keras and .h5 files before TensorFlow opens them: no code, no links out of the file, no path tricks."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from toolchain.errors import EnvironmentFault, ModelError

MAX_CONFIG_BYTES = 1 << 26
CODE_CLASSES = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer"})
SAFE_MODULES = ("keras", "tensorflow.keras", "tf_keras", "builtins")
_AGAIN = "Save the model again"


def check_keras_zip(path: Path) -> None:
    """Raise ModelError for a .keras archive that is damaged (103), leaves its folder (109) or could run code (110)."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                parts = PurePosixPath(member.filename.replace("\\", "/"))
                if parts.is_absolute() or ".." in parts.parts:
                    raise ModelError(
                        109, path.name, f"the archive holds {member.filename!r}", "Use a model from a source you trust"
                    )
            info = archive.getinfo("config.json")
            if info.file_size > MAX_CONFIG_BYTES:
                raise ModelError(103, path.name, f"config.json has {info.file_size:,} B", _AGAIN)
            config = json.loads(archive.read(info))
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, RuntimeError, NotImplementedError, RecursionError) as fault:
        raise ModelError(103, path.name, f"the archive is damaged ({fault})", _AGAIN) from fault
    check_config(config, path.name)


def check_keras_h5(path: Path) -> None:
    """Raise ModelError for a .h5 model that is damaged or has no configuration (103), refers outside (109) or runs code (110)."""
    try:
        import h5py  # type: ignore[import-untyped, unused-ignore]
    except ImportError as fault:
        raise EnvironmentFault(404, "h5py", "the package that reads .h5 is missing", "pip install 'strop[keras]'") from fault
    try:
        with h5py.File(path, "r") as file:
            for name in _outside_links(h5py, file):
                raise ModelError(109, path.name, f"{name} lies in another file", "Save the model into one file")
            text = file.attrs.get("model_config")
            if text is None:
                raise ModelError(103, path.name, "it holds weights but no model", "Save the whole model, not its weights")
            config = json.loads(text)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, RecursionError) as fault:
        raise ModelError(103, path.name, f"the file is damaged ({fault})", _AGAIN) from fault
    check_config(config, path.name)


def _outside_links(h5py: Any, group: Any, prefix: str = "") -> Iterator[str]:
    """Names of links and data that lie in other files."""
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            yield f"{prefix}/{name}"
        elif isinstance(link, h5py.HardLink):
            item = group[name]
            if isinstance(item, h5py.Group):
                yield from _outside_links(h5py, item, f"{prefix}/{name}")
            elif getattr(item, "external", None) or getattr(item, "is_virtual", False):
                yield f"{prefix}/{name}"


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
