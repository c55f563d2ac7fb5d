"""Where sinks are and who may write to them: a TOML file and environment variables, never the command line.

    [lab]
    kind = "elasticsearch"
    url = "https://127.0.0.1:9200"
    username = "strop"
    password_file = "/etc/strop/lab.password"
    ca_file = "/etc/strop/ca.pem"

STROP_TELEMETRY_LAB_PASSWORD and the like stand above the file. The file is $STROP_TELEMETRY, else strop/telemetry.toml below
$XDG_CONFIG_HOME (~/.config).
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from toolchain.errors import EnvironmentFault, UsageError

MAX_FILE_BYTES = 1 << 20
PREFIX = "STROP_TELEMETRY_"
SECRETS = ("password", "token")
# What a URL's scheme means: a kind of sink, and the scheme that is left.
SCHEMES: Mapping[str, tuple[str, str]] = {
    "jsonl": ("jsonl", ""),
    "parquet": ("parquet", ""),
    "kafka": ("kafka", "kafka"),
    "http": ("elasticsearch", "http"),
    "https": ("elasticsearch", "https"),
    "elasticsearch": ("elasticsearch", "http"),
    "elasticsearch+http": ("elasticsearch", "http"),
    "elasticsearch+https": ("elasticsearch", "https"),
    "apm": ("apm", "http"),
    "apm+http": ("apm", "http"),
    "apm+https": ("apm", "https"),
}
DEFAULT_URLS: Mapping[str, str] = {
    "elasticsearch": "http://127.0.0.1:9200",
    "kafka": "kafka://127.0.0.1:9092",
    "apm": "http://127.0.0.1:8200",
}
KINDS = ("jsonl", "parquet", "elasticsearch", "kafka", "apm")


@dataclass(frozen=True)
class SinkSettings:
    """One sink. path: file or folder of a local one. spool: the folder of events that wait; "" takes strop/spool/NAME in
    $XDG_STATE_HOME (~/.local/state).

    token: an API key of Elasticsearch, a secret token of APM. topic: of Kafka. namespace: of data streams. client: of Kafka,
    `confluent`, `kafka-python` or `auto`. sasl: Kafka's mechanism. tls: of Kafka, where there is no file that tells it.
    file_bytes, files: when a file of JSON lines is full, and how many full ones stay. setup: install templates in Elasticsearch.
    keep_days: how long Elasticsearch keeps events, where it manages that. close_s: how long the end of a process waits for what
    is on its way. linger_s: how long events gather.
    """

    name: str
    kind: str
    url: str = ""
    path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    topic: str = "strop-events"
    namespace: str = "default"
    client: str = "auto"
    sasl: str = "PLAIN"
    tls: bool = False
    compression: str = "none"
    setup: bool = True
    keep_days: int = 90
    spool: str = ""
    spool_bytes: int = 256 << 20
    file_bytes: int = 64 << 20
    files: int = 4
    linger_s: float = 0.2
    close_s: float = 5.0

    @property
    def spool_folder(self) -> Path:
        """Where events wait."""
        if self.spool:
            return Path(self.spool)
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        return Path(state) / "strop" / "spool" / self.name


def settings_path() -> Path:
    """The settings file, which need not be there."""
    named = os.environ.get("STROP_TELEMETRY")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "strop" / "telemetry.toml"


def resolve(name: str) -> SinkSettings:
    """The settings of a sink by its name in the file, by a kind, by a URL, or by the path of a file of JSON lines.

    Raises UsageError E901, E903 for what means nothing, EnvironmentFault(404) where this Python reads no TOML.
    """
    tables = _read(settings_path())
    if name in tables:
        table = dict(tables[name])
        kind = table.pop("kind", name)
        if kind not in KINDS:
            raise UsageError(903, str(settings_path()), f"[{name}] has the kind {kind!r}", f"Give one of {', '.join(KINDS)}")
        return filled(SinkSettings(name, kind), table, str(settings_path()))
    if "://" in name:
        return _by_url(name, tables)
    if name in KINDS:
        return filled(SinkSettings(name, name), {}, name)
    return SinkSettings(name, "jsonl", path=name)


def _by_url(text: str, tables: Mapping[str, Mapping[str, Any]]) -> SinkSettings:
    """A URL. What its kind has in the file or the environment holds for it, too."""
    try:
        parts = urlsplit(text)
        ports = [urlsplit(f"//{server}").port for server in parts.netloc.split(",")]
    except ValueError as fault:
        raise UsageError(
            901, "telemetry", f"{text!r:.120} is no URL ({fault})", "Give one such as kafka://HOST:9092/TOPIC"
        ) from fault
    if parts.scheme not in SCHEMES:
        raise UsageError(901, "telemetry", f"no sink has the scheme {parts.scheme}://", f"Give one of {', '.join(SCHEMES)}")
    if "@" in parts.netloc:
        hint = f"Set {PREFIX}{SCHEMES[parts.scheme][0].upper()}_PASSWORD or write a settings file"
        raise UsageError(901, "telemetry", "a URL on the command line holds credentials, which everybody can see", hint)
    kind, scheme = SCHEMES[parts.scheme]
    if len(ports) > 1 and kind != "kafka":
        raise UsageError(901, "telemetry", f"{text!r:.120} names {len(ports)} servers", "Only Kafka takes several")
    if not scheme:
        return replace(filled(SinkSettings(kind, kind), {}, text), name=text, path=text.split("://", 1)[1])
    table = {key: value for key, value in tables.get(kind, {}).items() if key != "kind"}
    found = filled(SinkSettings(kind, kind), {**table, "url": f"{scheme}://{parts.netloc}"}, text)
    rest = parts.path.strip("/")
    if kind == "kafka" and rest:
        found = replace(found, topic=rest)
    elif rest:
        found = replace(found, url=f"{found.url}/{rest}")
    digest = hashlib.sha256(f"{found.url} {found.topic}".encode()).hexdigest()[:8]
    return replace(found, name=f"{kind}-{digest}")


def filled(base: SinkSettings, table: Mapping[str, Any], place: str) -> SinkSettings:
    """Settings with what a table and the environment say."""
    known = {each.name: type(each.default) for each in fields(SinkSettings) if each.name not in ("name", "kind")}
    given = dict(table)
    prefix = PREFIX + "".join(letter if letter.isalnum() else "_" for letter in base.name.upper()) + "_"
    for name, value in os.environ.items():
        key = name[len(prefix) :].lower()
        if name.startswith(prefix) and key in (*known, *(f"{secret}_file" for secret in SECRETS)):
            given[key] = value
    for secret in SECRETS:
        file = given.pop(f"{secret}_file", None)
        if file is not None:
            given[secret] = _secret(str(file), place, f"{secret}_file")
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise UsageError(903, place, f"[{base.name}] has no key {key!r}", f"Keys are {', '.join(known)}")
        values[key] = _typed(known[key], value, f"{place} [{base.name}]", key)
    found = replace(base, **values)
    return found if found.url else replace(found, url=DEFAULT_URLS.get(found.kind, ""))


def _typed(kind: Any, value: Any, place: str, key: str) -> Any:
    """A value of the type of its key; text of the environment is read."""
    try:
        if kind is bool and isinstance(value, str):
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        if kind in (int, float) and isinstance(value, (str, int)) and not isinstance(value, bool):
            value = kind(value)
    except (KeyError, ValueError):
        pass
    shown = "…" if key in SECRETS else repr(value)[:60]
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits or (kind in (int, float) and not 0 < float(value) < 1 << 50):
        raise UsageError(903, place, f"{key} = {shown} is no {kind.__name__}", "See docs/telemetry.md")
    return value


def _secret(file: str, place: str, key: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as fault:
        raise UsageError(903, place, f"{key} = {file!r} cannot be read: {fault!s:.80}", "Name a readable file") from fault


def _read(path: Path) -> dict[str, Mapping[str, Any]]:
    """The tables of the settings file, none where there is no file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as fault:
        raise UsageError(903, str(path), f"it cannot be read: {fault.strerror}", "Check the path") from fault
    try:
        toml = importlib.import_module("tomllib")
    except ImportError as fault:
        hint = f"Set {PREFIX}… instead, see docs/telemetry.md"
        raise EnvironmentFault(404, str(path), "Python before 3.11 reads no TOML", hint) from fault
    try:
        document = toml.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as fault:
        raise UsageError(903, str(path), f"it is no TOML: {fault!s:.120}", "Mend it") from fault
    for name, table in document.items():
        if not isinstance(table, dict):
            raise UsageError(903, str(path), f"{name!r} stands outside of a table", "Begin a table for every sink: [NAME]")
    return document
