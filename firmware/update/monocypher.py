"""Monocypher's C sources (BSD-2-Clause or CC0-1.0), which check signatures in the boot loader: from PyPI once, then from a cache.

`python -m firmware.update.monocypher` fetches them ahead of time.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tarfile
import tempfile
from pathlib import Path

from firmware.cache import cache_root
from firmware.processes import first_lines, run_process
from toolchain.errors import EnvironmentFault

RELEASE = "4.0.2.5"
ARCHIVE = f"pymonocypher-{RELEASE}.tar.gz"
ARCHIVE_SHA256 = "472babbf218773bb6d3e396aac20749beaeb3bea505da0df992dbd97410bef98"
FILES = {
    "monocypher.c": "afe2b098c8569577a84488e0b98d276d1fba6506adea68bb9241a52111734c59",
    "monocypher.h": "f78bb31255cfb7beba66afd2137f5194c8a025cf40488b6cc1e295234d43f374",
}
FETCH_S = 300.0
VARIABLE = "STROP_MONOCYPHER"


def monocypher_folder() -> Path:
    """A folder with `monocypher.c` and `.h` of the pinned release: $STROP_MONOCYPHER, else Strop's cache, fetched at first.

    Raises EnvironmentFault E404 where they are not there and cannot be fetched, or are other ones.
    """
    chosen = os.environ.get(VARIABLE)
    folder = Path(chosen) if chosen else cache_root() / "sources" / f"monocypher-{RELEASE}"
    if not chosen and not all((folder / name).is_file() for name in FILES):
        _fetch(folder)
    for name, digest in FILES.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as fault:
            raise _missing(f"{folder / name} cannot be read: {fault.strerror}") from fault
        if found != digest:
            raise _missing(f"{folder / name} is not the file of release {RELEASE}")
    return folder


def _fetch(folder: Path) -> None:
    """Download the archive with pip, which checks its digest before anything in it runs, and keep the two files."""
    with tempfile.TemporaryDirectory() as name:
        aside = Path(name)
        (aside / "wanted.txt").write_text(f"pymonocypher=={RELEASE} --hash=sha256:{ARCHIVE_SHA256}\n", encoding="ascii")
        options = ("--no-deps", "--no-binary", "pymonocypher", "--require-hashes", "--disable-pip-version-check", "-q")
        command = (sys.executable, "-m", "pip", "download", *options, "-d", ".", "-r", "wanted.txt")
        done = run_process(command, timeout_s=FETCH_S, cwd=aside)
        if done.status != 0 or not (aside / ARCHIVE).is_file():
            raise _missing(f"pip could not fetch {ARCHIVE}: {first_lines(done.stderr)}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tarfile.open(aside / ARCHIVE) as archive:
                for wanted in FILES:
                    member = archive.extractfile(f"pymonocypher-{RELEASE}/{wanted}")
                    assert member is not None
                    part = folder / f"{wanted}.{os.getpid()}"
                    part.write_bytes(member.read())
                    part.replace(folder / wanted)
        except (OSError, KeyError, tarfile.TarError) as fault:
            raise _missing(f"{ARCHIVE} cannot be unpacked: {fault}") from fault


def _missing(what: str) -> EnvironmentFault:
    hint = f"Run `python -m firmware.update.monocypher` with a network, or set {VARIABLE} to a folder with {' and '.join(FILES)}"
    return EnvironmentFault(404, "monocypher", what, hint)


if __name__ == "__main__":
    print(monocypher_folder())
