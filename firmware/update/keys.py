"""Ed25519 keys: a private one signs images, its public one lies in the boot loader. By PyPI's `cryptography`."""

from __future__ import annotations

import importlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.errors import EnvironmentFault, RunError, UsageError

PRIVATE_NAME, PUBLIC_NAME = "strop.key", "strop.pub"
_MAX_FILE_BYTES = 4096
_OWNER_ONLY = 0o600


def _library(module: str) -> Any:
    try:
        return importlib.import_module(f"cryptography.{module}")
    except ImportError as fault:
        raise EnvironmentFault(404, "cryptography", "it is not installed", "pip install 'strop[mcu]'") from fault


@dataclass(frozen=True)
class SigningKey:
    """A private key. public: its 32 bytes for boot loaders."""

    public: bytes
    _private: Any

    def sign(self, message: bytes) -> bytes:
        """The signature's 64 bytes."""
        signature: bytes = self._private.sign(message)
        return signature


def new_keys(folder: Path) -> SigningKey:
    """Make `strop.key`, which only its owner may read, and `strop.pub` in a folder.

    Raises RunError E505 where they cannot be written, UsageError E901 where there are keys already, EnvironmentFault E404.
    """
    serialization = _library("hazmat.primitives.serialization")
    private = _library("hazmat.primitives.asymmetric.ed25519").Ed25519PrivateKey.generate()
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = private.private_bytes(encoding, form, serialization.NoEncryption())
    open_ = private.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data, mode in ((PRIVATE_NAME, secret, _OWNER_ONLY), (PUBLIC_NAME, open_, 0o644)):
            with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
    except FileExistsError as fault:
        what = f"{fault.filename} is there already"
        raise UsageError(901, str(folder), what, "Boards that trust it need it; choose another folder") from fault
    except OSError as fault:
        raise RunError(505, str(folder), f"it cannot be written: {fault.strerror}", "Choose another folder") from fault
    return _signing_key(private)


def load_key(path: Path) -> SigningKey:
    """Read a private key in PEM. Raises UsageError E901 where it holds none or others may read it, EnvironmentFault E404."""
    serialization, kind = _library("hazmat.primitives.serialization"), _library("hazmat.primitives.asymmetric.ed25519")
    hint = "`strop keys DIR` makes a pair"
    try:
        with path.open("rb") as file:
            data, mode = file.read(_MAX_FILE_BYTES), os.fstat(file.fileno()).st_mode
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UsageError(901, str(path), f"others may read it: mode {stat.S_IMODE(mode):o}", f"chmod 600 {path}")
        private = serialization.load_pem_private_key(data, None)
    except OSError as fault:
        raise UsageError(901, str(path), f"the key cannot be read: {fault.strerror}", hint) from fault
    except (ValueError, TypeError) as fault:
        raise UsageError(901, str(path), "it is no private key in PEM without a password", hint) from fault
    if not isinstance(private, kind.Ed25519PrivateKey):
        raise UsageError(901, str(path), "it is no Ed25519 key", hint)
    return _signing_key(private)


def load_public(path: Path) -> bytes:
    """The 32 bytes of a public key in PEM. Raises UsageError E901 where it holds none, EnvironmentFault E404."""
    serialization, kind = _library("hazmat.primitives.serialization"), _library("hazmat.primitives.asymmetric.ed25519")
    try:
        with path.open("rb") as file:
            public = serialization.load_pem_public_key(file.read(_MAX_FILE_BYTES))
        if not isinstance(public, kind.Ed25519PublicKey):
            raise ValueError("another kind of key")
    except (OSError, ValueError, TypeError) as fault:
        raise UsageError(901, str(path), f"it is no public key: {fault!s:.100}", "`strop keys DIR` makes a pair") from fault
    raw: bytes = public.public_bytes_raw()
    return raw


def signature_holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """True where the key of these 32 public bytes signed the message."""
    key = _library("hazmat.primitives.asymmetric.ed25519").Ed25519PublicKey.from_public_bytes(public)
    try:
        key.verify(signature, message)
    except _library("exceptions").InvalidSignature:
        return False
    return True


def _signing_key(private: Any) -> SigningKey:
    return SigningKey(private.public_key().public_bytes_raw(), private)
