"""What opens a store: options in the file, secrets in files of their own or in the environment, never in the file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from targets.table import Table

PREFIX = "STROP_SOURCE_"
MAX_SECRET_BYTES = 1 << 16
_SECRET = re.compile(
    r"(?i)(^|[_-])(key|sas|cookie)$|secret|token|passw|passphrase|credential|authorization|signature|connection_string"
)


def read_options(table: Table, base: Path) -> Mapping[str, object]:
    """The options that a table says; `X_file` of a secret X stands for what the file holds.

    base: where paths begin. Raises the table's fault for a secret in the file itself, or a file that cannot be read.
    """
    _refuse_secrets(table, table.values, "")
    found: dict[str, object] = {}
    for key, value in table.values.items():
        secret = key.removesuffix("_file")
        if secret != key and _is_secret(secret):
            found[secret] = _content(table, key, base)
        elif key == "ca_file":
            found[key] = str(base / table.text(key))
        else:
            found[key] = value
    return found


def with_environment(name: str, options: Mapping[str, object]) -> dict[str, object]:
    """Options with those of `STROP_SOURCE_NAME_OPTION`, which go before."""
    prefix = PREFIX + "".join(letter if letter.isalnum() else "_" for letter in name.upper()) + "_"
    given = {key[len(prefix) :].lower(): value for key, value in os.environ.items() if key.startswith(prefix)}
    words: dict[str, object] = {"true": True, "false": False}
    return {**options, **{key: words.get(value.lower(), value) for key, value in given.items() if key}}


def _is_secret(key: str) -> bool:
    return _SECRET.search(key) is not None


def _refuse_secrets(table: Table, values: Mapping[str, object], above: str) -> None:
    for key, value in values.items():
        if _is_secret(key) and not key.endswith("_file"):
            hint = f"Name a file that holds it: {key}_file, or set {PREFIX}NAME_{key.upper()}"
            raise table.fault(f"{above}{key}", "is a secret, which does not belong into this file", hint)
        if isinstance(value, dict):
            _refuse_secrets(table, cast("dict[str, object]", value), f"{above}{key}.")


def _content(table: Table, key: str, base: Path) -> str:
    place = base / Path(table.text(key)).expanduser()
    try:
        with place.open("rb") as stream:
            return stream.read(MAX_SECRET_BYTES).decode("utf-8").strip()
    except (OSError, ValueError) as fault:
        raise table.fault(key, f"names '{place.name}', which cannot be read: {fault!s:.80}", "Name a readable file") from fault
