"""Writes a bundle: built aside in the same folder, then renamed, so that a half-written one is never seen."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from toolchain.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest, manifest_bytes
from toolchain.errors import RunError

# What file systems take.
MAX_NAME = 255


def write_bundle(path: Path, files: Mapping[str, bytes], manifest: Manifest) -> Manifest:
    """Write files (by path relative to the bundle, `/` between parts) and the manifest; return it with `files` filled in.

    An existing bundle or empty folder at path is replaced; anything else there is left alone.
    Raises RunError(505), after which path is as it was before.
    """
    _check_names(path, files)
    _check_replaceable(path)
    entries = {name: FileEntry(hashlib.sha256(files[name]).hexdigest(), len(files[name])) for name in sorted(files)}
    full = replace(manifest, files=entries)
    _write_aside(path, {**files, MANIFEST_NAME: manifest_bytes(full)})
    return full


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files (by path relative to the folder, `/` between parts) into a new or empty folder.

    Raises RunError(505), after which path is as it was before.
    """
    _check_names(path, files)
    check_empty(path)
    _write_aside(path, files)


def check_empty(path: Path) -> None:
    """Raise RunError(505) when something is at path that is no empty folder."""
    hint = "Name a new folder with -o, or remove what is there"
    try:
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise RunError(505, str(path), "something that is no folder is there", hint)
        if path.is_dir() and any(path.iterdir()):
            raise RunError(505, str(path), "a folder that is not empty is there", hint)
    except OSError as fault:
        raise RunError(505, str(path), f"it cannot be looked into: {fault.strerror}", hint) from fault


def _check_names(path: Path, files: Mapping[str, bytes]) -> None:
    for name in files:
        if not is_inside(name):
            raise RunError(505, str(path), f"file name {name!r} leads out of the folder", "Use names below the folder")


def _write_aside(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files to a folder beside path, then put it there. Raises RunError(505)."""
    aside = path.parent / f".{path.name}.{secrets.token_hex(6)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
        for name, content in files.items():
            place = aside / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        _swap(aside, path)
    except OSError as fault:
        what = f"it cannot be written: {fault.strerror or fault}"
        raise RunError(505, str(path), what, "Check the place and the space left") from fault
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def is_inside(name: str) -> bool:
    """True for a plain relative path below a folder that is not the manifest: no root, drive, `..` or control character."""
    if len(name) > MAX_NAME or not name.isprintable() or any(mark in name for mark in '\\:*?"<>|') or name == MANIFEST_NAME:
        return False
    path = PurePosixPath(name)
    return bool(path.parts) and path.as_posix() == name and not path.is_absolute() and ".." not in path.parts


def _check_replaceable(path: Path) -> None:
    hint = "Name a new folder with -o, or remove what is there"
    try:
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise RunError(505, str(path), "something that is no folder is there", hint)
        if path.is_dir() and not (path / MANIFEST_NAME).is_file() and any(path.iterdir()):
            raise RunError(505, str(path), f"a folder without {MANIFEST_NAME} is there", hint)
    except OSError as fault:
        raise RunError(505, str(path), f"it cannot be looked into: {fault.strerror}", hint) from fault


def _swap(new: Path, path: Path) -> None:
    """Put the folder `new` at path; what was there is removed, or put back when that fails."""
    if not path.exists():
        new.rename(path)
        return
    old = new.with_name(new.name + ".old")
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)
