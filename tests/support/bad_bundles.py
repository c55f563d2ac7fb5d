"""Test support: a whole bundle, copies of it, and changes that keep its digests right, as an attacker would make them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from targets.load import load_target
from tests.support.model_seeds import digits_int8
from toolchain.api.describing import describe_bundle
from toolchain.bundle.graph_files import graph_files
from toolchain.bundle.manifest import MANIFEST_NAME, SourceModel
from toolchain.bundle.write import write_bundle
from toolchain.pipeline import CompileOptions, compile_model


def write_whole(folder: Path) -> None:
    """The digit classifier, int8, for the host."""
    compiled = compile_model(digits_int8(), load_target("host"), CompileOptions("digits", ("c",)))
    files = {**graph_files(compiled.graph), **compiled.files}
    write_bundle(folder, files, describe_bundle(compiled, SourceModel("digits.onnx", "onnx", "0" * 64)))


def copy(whole: Path, folder: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(whole, folder / "bundle"))


def replace_file(bundle: Path, name: str, content: bytes) -> None:
    """A file's content with its digest in the manifest."""
    (bundle / name).write_bytes(content)

    def change(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    change_manifest(bundle, change)


def change_manifest(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The manifest after a change to its object."""
    document = json.loads((bundle / MANIFEST_NAME).read_text())
    change(document)
    (bundle / MANIFEST_NAME).write_text(json.dumps(document))
