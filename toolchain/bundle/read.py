"""Opens a bundle and checks every file against the manifest before anything uses it."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from targets.load import known_target, parse_target
from targets.model import Target
from toolchain.bundle.graph_files import read_evened, read_graph
from toolchain.bundle.manifest import MANIFEST_NAME, Manifest, parse_manifest
from toolchain.bundle.write import is_inside
from toolchain.errors import RunError
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array

# JSON takes some twenty times its size in memory.
MAX_MANIFEST_BYTES = 16 * 2**20
MAX_TARGET_BYTES = 2**20
_STALE = "Compile the model again, or copy the whole bundle again"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder whose files were found to be those of its manifest."""

    path: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        """The place of a file that the manifest lists."""
        return self.path / name

    def target(self) -> Target:
        """What the bundle was compiled for: as its own file says where it was compiled for a board file.

        Raises TargetError 303 and 304, RunError(504)."""
        name, own = self.manifest.target, self.manifest.target_file
        if own is None:
            return known_target(name)
        target = parse_target(_read(self.path, own, MAX_TARGET_BYTES), str(self.file(own)))
        if target.name != name:
            raise RunError(504, str(self.file(own)), f"it describes {target.name}, the manifest says {name:.64}", _STALE)
        return target

    def graph(self) -> Graph:
        """The graph the bundle was made from, verified. Raises RunError(504), ModelError."""
        text = self.file(self.manifest.graph.text)
        graph = read_graph(text, self.file(self.manifest.graph.constants))
        stated = [(t.name, t.dtype, t.shape) for t in (*self.manifest.inputs, *self.manifest.outputs)]
        if stated != [(v.name, str(v.type.dtype), v.type.shape) for v in (*graph.inputs, *graph.outputs)]:
            raise RunError(504, str(text), "its inputs and outputs are not those of the manifest", _STALE)
        return graph

    def evened(self) -> dict[str, Array]:
        """What channels were divided by before quantization, by value, negative where they were lost. Raises RunError(504)."""
        name = self.manifest.graph.evened
        return {} if name is None else read_evened(self.file(name), self.graph())


def read_bundle(path: Path) -> Bundle:
    """The bundle in a folder. Raises RunError(504) when it is damaged, incomplete or of another version.

    Files that the manifest does not list are not looked at.
    """
    content = _read(path, MANIFEST_NAME, MAX_MANIFEST_BYTES)
    manifest = parse_manifest(content, str(path / MANIFEST_NAME))
    for name, entry in manifest.files.items():
        data = _read(path, name, entry.bytes)
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise RunError(504, str(path / name), f"its {len(data):,} bytes are not those the manifest lists", _STALE)
    for name in _named_files(manifest):
        if name not in manifest.files:
            raise RunError(504, str(path / MANIFEST_NAME), f"it names file {name!r:.200} but does not list it", _STALE)
    for name in manifest.c.include_dirs if manifest.c else ():
        if name != "." and not is_inside(name):
            raise RunError(504, str(path / MANIFEST_NAME), f"include folder {name!r:.200} leads out of the bundle", _STALE)
    return Bundle(path, manifest)


def _named_files(manifest: Manifest) -> Iterator[str]:
    """Every path of the manifest that something will open."""
    yield from filter(None, (manifest.graph.text, manifest.graph.constants, manifest.graph.evened, manifest.target_file))
    for entry in manifest.formats.values():
        yield entry.file
        yield from filter(None, (entry.header, entry.project, entry.module))
        yield from entry.sources or ()
    if manifest.c is not None:
        yield manifest.c.header
        yield from manifest.c.sources
    if manifest.features is not None:
        yield from (manifest.features.settings, manifest.features.header, manifest.features.source)


def _read(root: Path, name: str, limit: int) -> bytes:
    """The bytes of a regular file below root that is reached through no link and has at most `limit` bytes."""
    if name != MANIFEST_NAME and not is_inside(name):
        raise RunError(504, str(root), f"file name {name!r:.200} leads out of the bundle", _STALE)
    place = root
    try:
        for part in PurePosixPath(name).parts:
            place /= part
            if stat.S_ISLNK(place.lstat().st_mode):
                raise RunError(504, str(place), "it is a link", _STALE)
        status = place.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            raise RunError(504, str(place), f"it is no plain file of at most {limit:,} B", _STALE)
        return place.read_bytes()
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise RunError(504, str(place), f"it cannot be read: {reason}", "Give the folder that strop compile wrote") from fault
