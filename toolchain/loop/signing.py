"""Signatures of records: Ed25519, the key in a file that only its owner reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from toolchain.errors import DataError
from toolchain.loop.extras import need

PRIVATE, PUBLIC = "loop.key", "loop.pub"


def sign(folder: Path, content: bytes) -> str:
    """The signature of bytes in hexadecimal digits, by the folder's key, which is made where there is none."""
    return _key(folder).sign(content).hex()


def holds(public: bytes, content: bytes, signature: str) -> bool:
    """Whether a signature is of these bytes by the owner of a public key (32 bytes)."""
    ed25519 = need("cryptography.hazmat.primitives.asymmetric.ed25519", "loop")
    invalid: type[Exception] = need("cryptography.exceptions", "loop").InvalidSignature
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(signature), content)
    except (invalid, ValueError):
        return False
    return True


def public_key(folder: Path) -> bytes:
    """The folder's public key, 32 bytes. Raises DataError E205."""
    try:
        return bytes.fromhex((folder / PUBLIC).read_text().strip())
    except (OSError, ValueError) as fault:
        raise DataError(205, str(folder / PUBLIC), f"it cannot be read: {fault!s:.100}", "Run the loop's gate once") from fault


def _key(folder: Path) -> Any:
    ed25519 = need("cryptography.hazmat.primitives.asymmetric.ed25519", "loop")
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / PRIVATE
    if not place.exists():
        made = ed25519.Ed25519PrivateKey.generate()
        aside = folder / f".{PRIVATE}.{os.getpid()}"
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(made.private_bytes_raw())
        os.replace(aside, place)
    try:
        key = ed25519.Ed25519PrivateKey.from_private_bytes(place.read_bytes())
    except ValueError as fault:
        raise DataError(205, str(place), f"it is no key: {fault}", "Restore it, or remove it for a new one") from fault
    (folder / PUBLIC).write_text(key.public_key().public_bytes_raw().hex() + "\n")
    return key
