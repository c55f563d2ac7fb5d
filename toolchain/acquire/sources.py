"""What a file of sources says, read from TOML and checked: every fault is an E211 that names the file and the key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, cast
from urllib.parse import quote, unquote, urlsplit

from targets.table import Table, parse_table, read_content
from toolchain.acquire.names import fault_of
from toolchain.acquire.options import read_options
from toolchain.errors import DataError
from toolchain.extras import need

Unpack = Literal["", "zip", "tar"]

MAX_SOURCES_BYTES = 1 << 20
MAX_DIGESTS_BYTES = 64 << 20
NORMAL_MAX_BYTES = 16 << 30
NORMAL_TIMEOUT_S = 60.0
FOLDER = "data"
WEB = ("http", "https")
_LARGE = 1 << 50
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
_WILD = re.compile(r"[*?\[]")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a source. name: below the source's folder, parts divided by `/`. sha256: 64 hexadecimal digits."""

    name: str
    url: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """One source. items: its files. licence: an SPDX expression. unpack: the archive that its only file is, else empty.

    max_bytes: of all its files, and of all that its archive unpacks to; None for 16 GiB and what archives usually grow to.
    """

    name: str
    url: str
    items: tuple[Item, ...]
    licence: str
    unpack: Unpack = ""
    single: bool = True
    max_bytes: int | None = None
    timeout_s: float = NORMAL_TIMEOUT_S
    options: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)

    @property
    def sha256(self) -> str:
        """The digest of the only file, else that of all names and digests."""
        if self.single:
            return self.items[0].sha256
        lines = sorted(f"{item.sha256}  {item.name}\n" for item in self.items)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def place(self) -> str:
        """What the source's name alone stands for, below the folder of all sources: its file, or its folder."""
        return f"{self.name}/{self.items[0].name}" if self.single and not self.unpack else self.name


@dataclass(frozen=True, slots=True)
class SourceList:
    """All sources of a file. folder: where they go."""

    folder: Path
    sources: tuple[Source, ...]

    def find(self, name: str) -> Source | None:
        """The source of a name."""
        return next((source for source in self.sources if source.name == name), None)

    def path(self, spec: str) -> str | None:
        """The path that `@NAME` or `@NAME/FILE` stands for, whatever follows it; None where there is no such source."""
        name, slash, rest = spec.removeprefix("@").partition("/")
        own, bracket, part = name.partition("[")
        source = self.find(own)
        if source is None:
            return None
        return str(self.folder / (f"{own}/{rest}" if slash else f"{source.place}{bracket}{part}"))

    @property
    def digest(self) -> str:
        """SHA-256 of what the sources hold, wherever they come from."""
        facts = sorted((source.name, source.unpack, source.sha256) for source in self.sources)
        return hashlib.sha256(repr(facts).encode()).hexdigest()


def source_fault(place: str, problem: str, hint: str = "") -> DataError:
    """The E211 of a file of sources."""
    return DataError(211, place, problem, hint)


def load_sources(path: str | Path) -> SourceList:
    """Read a file of sources; paths in it begin at its folder. Raises DataError E205, E211, EnvironmentFault E404."""
    file = Path(path)
    content = read_content(file, MAX_SOURCES_BYTES, "Give a .toml file of sources", source_fault)
    table, base = parse_table(content, file.name, source_fault), file.resolve().parent
    table.expect(("source",), ("folder",))
    found = tuple(_source(each, base) for each in table.tables("source"))
    if not found:
        raise table.fault("source", "is empty", "Add [[source]] with name, url, sha256 and licence")
    for index, source in enumerate(found):
        if any(source.name == other.name for other in found[:index]):
            raise table.fault(f"source[{index}].name", f"repeats '{source.name}'", "Name each once")
    folder = table.text("folder") if "folder" in table.values else FOLDER
    if "\0" in folder:
        raise table.fault("folder", "is no path")
    return SourceList((base / folder).resolve(), found)


def protocol_of(url: str) -> str:
    """The scheme of a URL, empty for a path."""
    found = _SCHEME.match(url)
    return found[1] if found else ""


def check_url(table: Table, key: str) -> str:
    """A URL or a path without credentials. Raises the table's fault."""
    url = table.text(key)
    if "::" in url or any(ord(letter) < 32 for letter in url):
        raise table.fault(key, "is a chain of stores, or holds control characters", "Give one URL")
    try:
        parts = urlsplit(url)
    except ValueError as fault:
        raise table.fault(key, f"is no URL: {fault!s:.80}") from fault
    if protocol_of(url) and (parts.password is not None or (parts.scheme in WEB and "@" in parts.netloc)):
        raise table.fault(key, "holds credentials, which do not belong into this file", "Use options, see docs/data.md")
    if parts.scheme in WEB and not parts.netloc:
        raise table.fault(key, "names no host")
    return url


def _source(table: Table, base: Path) -> Source:
    optional = ("sha256", "sha256_file", "file", "unpack", "max_bytes", "timeout_s", "options")
    table.expect(("name", "url", "licence"), optional)
    given, url = table.values, check_url(table, "url")
    name = table.identifier("name")
    if ("sha256" in given) == ("sha256_file" in given):
        raise table.fault("sha256", "or sha256_file must be there, one of them", "`sha256sum FILE` prints a digest")
    if not protocol_of(url):
        url = str(base / url)
    many = "sha256_file" in given
    items = _many(table, url, base) if many else (_one(table, url),)
    unpack = cast("Unpack", table.choice("unpack", ("zip", "tar")) if "unpack" in given else "")
    if unpack and many:
        raise table.fault("unpack", "takes one archive, and there is sha256_file", "Make a source of every archive")
    return Source(
        name=name,
        url=url,
        items=items,
        licence=_licence(table),
        unpack=unpack,
        single=not many,
        max_bytes=table.integer("max_bytes", 1, _LARGE) if "max_bytes" in given else None,
        timeout_s=table.number("timeout_s", 0.1, 86_400) if "timeout_s" in given else NORMAL_TIMEOUT_S,
        options=read_options(table.table("options"), base) if "options" in given else {},
    )


def _one(table: Table, url: str) -> Item:
    sha256 = table.text("sha256").lower()
    if not _SHA256.fullmatch(sha256):
        raise table.fault("sha256", f"is '{sha256:.70}'", "Give 64 hexadecimal digits")
    if url.endswith("/") or (protocol_of(url) not in WEB and _WILD.search(url)):
        raise table.fault("url", "names many files", "Give sha256_file, a file of digests that says which")
    own = table.text("file") if "file" in table.values else _last(url)
    problem = fault_of(own)
    if problem or "/" in own:
        raise table.fault("file" if "file" in table.values else "url", f"ends in '{own:.60}', which is no name", "Say file")
    return Item(own, url, sha256)


def _last(url: str) -> str:
    """The last part of a URL's path."""
    if protocol_of(url) in WEB:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    return url.replace("\\", "/").rpartition("/")[2]


def _many(table: Table, url: str, base: Path) -> tuple[Item, ...]:
    """The files that a file of digests names, below a prefix, or those of them that a pattern takes."""
    if "file" in table.values:
        raise table.fault("file", "names one file, and there is sha256_file")
    wild = _WILD.search(url) if protocol_of(url) not in WEB else re.search(r"[*\[]", url)
    stem = url[: url.rfind("/", 0, wild.start()) + 1] if wild else url if url.endswith("/") else f"{url}/"
    pattern = url[len(stem) :] if wild else "**"
    file = base / table.text("sha256_file")
    content = read_content(file, MAX_DIGESTS_BYTES, "Write it with sha256sum", source_fault)
    found: dict[str, Item] = {}
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as fault:
        raise table.fault("sha256_file", f"names '{file.name}', which is no text") from fault
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match, place = _LINE.fullmatch(line), f"names '{file.name}', whose line {number}"
        if match is None:
            raise table.fault("sha256_file", f"{place} is no digest and name: '{line:.40}'", "Write it with sha256sum")
        name = match[2].removeprefix("./")
        if problem := fault_of(name):
            raise table.fault("sha256_file", f"{place} has a name that {problem}: '{name:.40}'")
        if name.lower() in found:
            raise table.fault("sha256_file", f"{place} repeats '{name:.60}'")
        if fnmatchcase(name, pattern) and ("**" in pattern or name.count("/") == pattern.count("/")):
            place = quote(name) if protocol_of(url) in WEB else name
            found[name.lower()] = Item(name, stem + place, match[1].lower())
    if not found:
        raise table.fault("sha256_file", f"names '{file.name}', which has no file of '{pattern}'")
    return tuple(sorted(found.values(), key=lambda item: item.name))


def _licence(table: Table) -> str:
    """An SPDX expression as its list spells it."""
    licences, text = need("packaging.licenses", "acquire", "strop acquire"), table.text("licence")
    try:
        return str(licences.canonicalize_license_expression(text))
    except ValueError as fault:
        hint = "Give an identifier such as CC-BY-4.0, see the SPDX licence list, or LicenseRef-… for another"
        raise table.fault("licence", f"is '{text:.60}', which is no SPDX expression", hint) from fault
