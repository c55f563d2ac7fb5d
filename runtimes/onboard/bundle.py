"""Reads of a bundle what running it on a board takes, and opens it with an engine that is there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from runtimes.onboard.litert import PACKAGES, LiteRt
from runtimes.onboard.network import Description, Library, LibraryError, Tensor
from toolchain.errors import EnvironmentFault, RunError, UsageError

ENGINES = ("library", *PACKAGES)
SCHEMA_VERSION = 1
MAX_MANIFEST_BYTES = 16 * 2**20
# The manifest's names of element types, and NumPy's.
NUMPY_TYPES = {
    "f32": "float32",
    "f16": "float16",
    "f64": "float64",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
    "bool": "bool",
}
_STALE = "Compile the model again, or copy the whole bundle again"


@dataclass(frozen=True)
class BoardBundle:
    """A bundle in a folder. sha256: of its manifest, which lists every file with its own."""

    path: Path
    name: str
    target: str
    precision: str
    sha256: str
    strop_version: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    document: dict[str, Any]

    def file(self, name: str) -> Path:
        """A file that the manifest lists, its bytes checked. Raises RunError E504."""
        parts = PurePosixPath(name).parts
        entry = self.document["files"].get(name)
        if entry is None or ".." in parts or name.startswith("/"):
            raise RunError(504, str(self.path), f"file {name!r:.200} is not one of the bundle", _STALE)
        place = self.path.joinpath(*parts)
        try:
            content = place.read_bytes()
        except OSError as fault:
            raise RunError(504, str(place), f"it cannot be read: {fault.strerror}", _STALE) from fault
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise RunError(504, str(place), f"its {len(content):,} bytes are not those the manifest lists", _STALE)
        return place


@dataclass(frozen=True)
class Opened:
    """A bundle that an engine runs. engine: one of ENGINES. network: has `run_stored(inputs) -> outputs`."""

    bundle: BoardBundle
    engine: str
    network: Library | LiteRt


def read_board_bundle(path: Path) -> BoardBundle:
    """The bundle in a folder. Raises RunError E504 when its manifest is damaged or of another version."""
    place = path / "manifest.json"
    try:
        with place.open("rb") as file:
            content = file.read(MAX_MANIFEST_BYTES)
        document = json.loads(content)
        if document["schema"] != SCHEMA_VERSION:
            raise RunError(504, str(place), f"its schema is {document['schema']!s:.20}, {SCHEMA_VERSION} is read here", _STALE)
        return BoardBundle(
            path=path,
            name=str(document["name"]),
            target=str(document["target"]),
            precision=str(document["precision"]),
            sha256=hashlib.sha256(content).hexdigest(),
            strop_version=str(document["versions"].get("strop", "")),
            inputs=tuple(map(_tensor, document["inputs"])),
            outputs=tuple(map(_tensor, document["outputs"])),
            document=document,
        )
    except OSError as fault:
        raise RunError(
            504, str(place), f"it cannot be read: {fault.strerror}", "Give the folder that strop compile wrote"
        ) from fault
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        what = f"it is no manifest of a bundle ({type(fault).__name__}: {fault!s:.120})"
        raise RunError(504, str(place), what, _STALE) from fault


def open_bundle(bundle: BoardBundle, engine: str = "auto") -> Opened:
    """The bundle, opened with an engine of ENGINES; `auto` takes the first of them that both the bundle and the board have.

    Raises EnvironmentFault E403 when there is none, E404, E405, RunError E504, UsageError E901.
    """
    if engine != "auto":
        if engine not in ENGINES:
            raise UsageError(901, "--engine", f"there is no engine {engine!r}", f"Use auto or one of: {', '.join(ENGINES)}")
        return Opened(bundle, engine, _open(bundle, engine))
    reasons: list[str] = []
    for name in ENGINES:
        try:
            return Opened(bundle, name, _open(bundle, name))
        except (EnvironmentFault, RunError) as fault:
            if fault.number == 504 and _section(bundle, name) is not None:
                raise  # A damaged file is not to be passed over in silence.
            reasons.append(f"{name}: {fault.message}")
    hint = "pip install ai-edge-litert, or compile with --format library for this board"
    raise EnvironmentFault(403, str(bundle.path), "; ".join(reasons), hint)


def _section(bundle: BoardBundle, engine: str) -> dict[str, Any] | None:
    found = bundle.document.get("library" if engine == "library" else "tflite")
    return found if isinstance(found, dict) else None


def _open(bundle: BoardBundle, engine: str) -> Library | LiteRt:
    form = "library" if engine == "library" else "tflite"
    section = _section(bundle, engine)
    if section is None:
        raise RunError(504, str(bundle.path), f"the bundle holds no {form}", f"Compile with --format {form}")
    path = bundle.file(str(section["file"]))
    if engine != "library":
        return LiteRt(engine, path, bundle.inputs, bundle.outputs)
    try:
        return Library(path, _description(bundle, section))
    except LibraryError as fault:
        hint = "Compile the bundle for this board, or take another --engine"
        raise EnvironmentFault(405, str(path), str(fault), hint) from fault
    except (AttributeError, KeyError, TypeError, ValueError, MemoryError) as fault:
        what = f"its library cannot be opened as the manifest says ({type(fault).__name__}: {fault!s:.120})"
        raise RunError(504, str(bundle.path), what, _STALE) from fault


def _description(bundle: BoardBundle, section: dict[str, Any]) -> Description:
    ram, form = bundle.document["ram"], bundle.document["c"]
    return Description(
        name=bundle.name,
        machine=str(section["machine"]),
        cpu_flags=tuple(map(str, section["cpu_flags"])),
        inputs=bundle.inputs,
        outputs=bundle.outputs,
        arena_bytes=int(ram["arena_bytes"]),
        arena_align=int(ram["arena_align"]),
        io=str(form.get("io", "arena")),
    )


def _tensor(entry: dict[str, Any]) -> Tensor:
    scale = entry.get("scale")
    return Tensor(
        name=str(entry["name"]),
        dtype=NUMPY_TYPES[entry["dtype"]],
        shape=tuple(int(size) for size in entry["shape"]),
        scale=None if scale is None else float(scale),
        zero_point=int(entry.get("zero_point", 0)),
    )
