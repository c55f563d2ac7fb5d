"""Opens programs that torch.export.save wrote (.pt2), without letting the file run code.

torch.export.load unpickles some members, evaluates symbolic sizes and looks functions up by name. So the archive is read
here first and written anew with the members and the names that are known to be harmless; torch sees only that copy, and
the worker loads the example inputs as tensors only, before torch would.
"""

from __future__ import annotations

import importlib.util
import io
import json
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from toolchain.errors import EnvironmentFault, ModelError
from toolchain.frontends.apart import run_apart
from toolchain.frontends.archives import ARCHIVE_FAULTS, check_growth
from toolchain.frontends.onnx.load import import_onnx, parse_model
from toolchain.ir.graph import Graph

MAX_ARCHIVE_BYTES = 2**31 - 1
MAX_MEMBERS = 100_000
# JSON takes some twenty times its size in memory.
MAX_JSON_BYTES = 1 << 24
LIMIT_SECONDS = 600.0
HINT = "Save it anew with torch.export.save of torch 2.9 or later, or export it to .onnx"
PLAIN = re.compile(
    r"models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)|data/sample_inputs/model\.pt"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|archive_format|archive_version|byteorder|version"
    r"|\.data/(version|serialization_id|data)|\.format_version|\.storage_alignment"
)
LEGACY = re.compile(r"serialized_\w+\.(pt|json)|data/(weights|constants)/model\.pt|data\.pkl|.*/data\.pkl|constants\.pkl")
TARGETS = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed|torchvision)\.([a-z]\w*|_[a-z]\w*|__(and|or|xor|lshift|rshift|ilshift)__)"
    r"(\.[A-Za-z]\w*)?"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|torch\.sym_\w+|math\.(floor|ceil|trunc|sqrt)"
)
SYMBOLS = re.compile(
    r"[su]\d+|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|ModularIndexing|floor|ceiling|oo|int_oo|true|false"
)
EXPRESSION = re.compile(r"[\w\s+\-*/(),<>=&|~]*")
CONTAINERS = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", None})


def load_pt2(path: Path, input_shapes: Mapping[str, Sequence[int]] | None = None, limit_seconds: float = LIMIT_SECONDS) -> Graph:
    """The graph of an exported program, through torch's own ONNX exporter in a process of its own.

    input_shapes: shape by input name, for dimensions that were exported as dynamic. limit_seconds: for the export.
    Raises ModelError: 101 to 103 for the file, 104 for operators, 110 where the file could run code; EnvironmentFault: 404
    without torch or onnxscript, 405 where torch fails to start or to end.
    """
    data = read_archive(path)
    missing = next((name for name in ("torch", "onnxscript") if importlib.util.find_spec(name) is None), None)
    if missing is not None:
        raise EnvironmentFault(404, path.name, f"opening .pt2 needs {missing}", "Install strop[torch]")
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        model = _exported(data, Path(folder), path.name, limit_seconds)
    return import_onnx(model, path.stem, path.parent, input_shapes)


def _exported(data: bytes, folder: Path, place: str, limit_seconds: float) -> onnx.ModelProto:
    """The program as an ONNX model. torch clashes with TensorFlow in one process, so it gets one of its own."""
    (folder / "program.pt2").write_bytes(data)
    try:
        done = run_apart("toolchain.frontends.torch_worker", folder, limit_seconds)
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise EnvironmentFault(405, place, f"torch did not export the program: {fault}", "Export it to .onnx instead") from fault
    result = folder / "fault.json"
    if result.is_file():
        found: dict[str, Any] = json.loads(result.read_text())
        raise ModelError(int(found["number"]), place, str(found["message"]), HINT)
    if done.returncode != 0:
        what = f"torch ended with status {done.returncode}: {' '.join(done.stderr.split())[-200:]}"
        raise EnvironmentFault(405, place, what, "Export the model to .onnx instead")
    return parse_model((folder / "program.onnx").read_bytes(), place)


def read_archive(path: Path) -> bytes:
    """The archive with harmless members only. Raises ModelError(101, 102, 103, 110)."""
    place = path.name
    try:
        if path.stat().st_size > MAX_ARCHIVE_BYTES:
            raise ModelError(103, place, f"the file has {path.stat().st_size:,} B", f"Keep it below {MAX_ARCHIVE_BYTES:,} B")
        raw = path.read_bytes()
    except OSError as fault:
        raise ModelError(101, place, f"the file cannot be read: {fault.strerror or fault}", "Check the path") from fault
    if raw.startswith(b"\x80"):
        raise ModelError(110, place, "the file is a pickle, which runs code when it is opened", HINT)
    if not raw.startswith(b"PK"):
        raise ModelError(102, place, f"the first bytes {raw[:8]!r} are not those of a .pt2 archive", "Give a .pt2 file")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            check_growth(archive.infolist(), len(raw), place)
            return _rewritten(_members(archive, place), place)
    except ARCHIVE_FAULTS as fault:
        raise ModelError(103, place, f"the archive is damaged ({fault})", "Copy or export the file again") from fault


def _members(archive: zipfile.ZipFile, place: str) -> dict[str, bytes]:
    """Contents by name below the archive's one root folder."""
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_MEMBERS or total > MAX_ARCHIVE_BYTES:
        what = f"{len(entries):,} members with {total:,} B unpacked"
        raise ModelError(103, place, what, f"Keep them below {MAX_MEMBERS:,} and {MAX_ARCHIVE_BYTES:,} B")
    found: dict[str, bytes] = {}
    for entry in entries:
        root, _, name = entry.filename.partition("/")
        if LEGACY.fullmatch(name or root):
            raise ModelError(110, place, f"member {entry.filename!r} is a pickle, which runs code when it is opened", HINT)
        if PLAIN.fullmatch(name) is None:
            raise ModelError(110, place, f"member {entry.filename[:80]!r} is none that a plain program has", HINT)
        if name in found:
            raise ModelError(103, place, f"member {name!r} is there twice", "Export the model again")
        found[name] = archive.read(entry)
    if found.get("archive_format") != b"pt2" or "models/model.json" not in found:
        raise ModelError(102, place, "the archive holds no exported program", "Save it with torch.export.save")
    return found


def _rewritten(members: dict[str, bytes], place: str) -> bytes:
    """A fresh archive of checked members."""
    members["models/model.json"] = _checked_program(members["models/model.json"], place)
    for name in ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json"):
        if name in members:
            _check_payload(_parse(members[name], name, place), name, place)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(f"model/{name}", content)
    return packed.getvalue()


def _parse(content: bytes, name: str, place: str) -> Any:
    if len(content) > MAX_JSON_BYTES:
        raise ModelError(103, place, f"member {name!r} has {len(content):,} B", f"Keep it below {MAX_JSON_BYTES:,} B")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise ModelError(103, place, f"member {name!r} is no JSON ({fault})", "Export the model again") from fault


def _check_payload(config: Any, name: str, place: str) -> None:
    """Weights and constants must be stored as bytes, not as pickles."""
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        raise ModelError(103, place, f"member {name!r} lists no tensors", "Export the model again")
    for key, entry in entries.items():
        file = str(entry.get("path_name", "")) if isinstance(entry, dict) else ""
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False or not re.fullmatch(r"(weight|tensor)_\d+", file):
            raise ModelError(110, place, f"tensor {key!r} is stored as a pickle, which runs code when it is opened", HINT)


def _checked_program(content: bytes, place: str) -> bytes:
    """The program without the metadata of its nodes, after all names in it were checked."""
    program = _parse(content, "models/model.json", place)
    for key, owner, value in _walk(program):
        if key == "target":
            if not isinstance(value, str) or TARGETS.fullmatch(value) is None:
                raise ModelError(110, place, f"the program calls {str(value)[:80]!r}, which is no tensor operation", HINT)
        elif key == "expr_str":
            words = re.findall(r"[A-Za-z_]\w*", value) if isinstance(value, str) else [""]
            if EXPRESSION.fullmatch(str(value)) is None or not all(SYMBOLS.fullmatch(word) for word in words):
                raise ModelError(110, place, f"the size {str(value)[:80]!r} is more than arithmetic", HINT)
        elif key in ("in_spec", "out_spec") and isinstance(value, str):
            _check_containers(value, place)
        elif key == "metadata" and isinstance(value, dict):
            owner[key] = {}
    return json.dumps(program).encode()


def _check_containers(spec: str, place: str) -> None:
    """Inputs and outputs may be nested in tuples, lists and dictionaries."""
    for key, _, value in _walk(_parse(spec.encode(), "tree specification", place)):
        if key == "type" and value not in CONTAINERS:
            raise ModelError(110, place, f"inputs or outputs are nested in {str(value)[:80]!r}", "Use tuples, lists and dicts")


def _walk(tree: Any) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every key of every dictionary in a JSON tree, with its dictionary and value."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            for key, value in list(node.items()):
                yield str(key), node, value
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
