"""Test support: an authority and a server's certificate for 127.0.0.1, by OpenSSL."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")


def authority(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    extensions = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    subprocess.run([*new, *extensions, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def signed(folder: Path, name: str, by: tuple[Path, Path]) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, signed by an authority."""
    certificate, key, request, extensions = (folder / f"{name}{end}" for end in (".pem", ".key", ".csr", ".ext"))
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request)]
    subprocess.run(new, check=True, capture_output=True)
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\n")
    sign = [
        "openssl",
        "x509",
        "-req",
        "-in",
        str(request),
        "-days",
        "2",
        "-CA",
        str(by[0]),
        "-CAkey",
        str(by[1]),
        "-CAcreateserial",
    ]
    subprocess.run([*sign, "-extfile", str(extensions), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key
