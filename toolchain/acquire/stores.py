"""Where bytes come from: a stream of an object from an offset on, of a web server or of any store that fsspec opens."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from toolchain.acquire.options import with_environment
from toolchain.acquire.sources import WEB, protocol_of
from toolchain.errors import DataError, EnvironmentFault
from toolchain.extras import need

BLOCK_BYTES = 4 << 20
CHUNK_BYTES = 1 << 20
# What stores tell of an object that changes when it does.
_VERSION_KEYS = (
    "ETag",
    "etag",
    "generation",
    "version_id",
    "VersionId",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
    "ino",
)
# Faults of connections, by the names that packages give them.
_PASSING = {"ClientConnectionError", "ClientPayloadError", "HTTPClientError"}


class Interrupted(Exception):
    """A transfer that may go on when it is tried again."""


@dataclass(frozen=True, slots=True)
class Stream:
    """An object that is being read. start: offset of the first byte. size: of the whole object, None where nobody knows.

    version: what changes when the object does, empty where nothing tells. chunks: raise Interrupted, DataError E212.
    """

    start: int
    size: int | None
    version: str
    chunks: Iterator[bytes]


class Store(Protocol):
    """Opens objects."""

    def stream(self, url: str, offset: int, version: str) -> AbstractContextManager[Stream]:
        """An object from an offset on when its version is this one still, else from its beginning.

        Raises Interrupted, DataError E212.
        """
        ...


def open_store(name: str, url: str, options: Mapping[str, object], timeout_s: float) -> Store:
    """The store of a URL. name: of the source, whose environment variables are read.

    Raises DataError E211, E212, EnvironmentFault E404.
    """
    if protocol_of(url) in WEB:
        from toolchain.acquire.web import WebStore

        return WebStore(name, with_environment(name, options), timeout_s)
    return FileStore(name, url, options, timeout_s)


def refused(name: str, url: str, why: str, hint: str = "") -> DataError:
    """The E212 of a URL."""
    return DataError(212, name, f"{url} {why}", hint)


class FileStore:
    """A store by fsspec: files, S3 and whatever there is a package for."""

    def __init__(self, name: str, url: str, options: Mapping[str, object], timeout_s: float) -> None:
        """Raises DataError E212 for options that the store does not take, EnvironmentFault E404."""
        fsspec, protocol = need("fsspec", "acquire", name), protocol_of(url) or "file"
        given = with_environment(name, options)
        if protocol in ("s3", "s3a"):
            given.setdefault("config_kwargs", {"connect_timeout": timeout_s, "read_timeout": timeout_s})
        self._name = name
        try:
            self.fs: Any = fsspec.filesystem(protocol, skip_instance_cache=True, **given)
        except ImportError as fault:
            package = {"gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}.get(protocol, fault.name or "")
            hint = "pip install 'strop[acquire]'" if protocol in ("s3", "s3a") else f"pip install {package}".rstrip()
            raise _missing(name, protocol, fault, hint) from fault
        except Exception as fault:
            raise refused(name, protocol, f"cannot be opened: {fault!s:.120}", "Mend the options") from fault

    @contextmanager
    def stream(self, url: str, offset: int, version: str) -> Generator[Stream]:
        """As of Store."""
        with self.faults(url):
            size, found = described(self.fs.info(url))
            start = offset if found == version and size is not None and offset <= size else 0
            opened = self.fs.open(url, "rb", block_size=BLOCK_BYTES, cache_type="readahead")
        try:
            with self.faults(url):
                if start:
                    opened.seek(start)
            yield Stream(start, size, found, self._chunks(url, opened))
        finally:
            opened.close()

    def _chunks(self, url: str, opened: Any) -> Iterator[bytes]:
        while True:
            with self.faults(url):
                chunk = opened.read(CHUNK_BYTES)
            if not chunk:
                return
            yield chunk

    @contextmanager
    def faults(self, url: str) -> Generator[None]:
        """What a store's package raises as Interrupted or DataError E212."""
        try:
            yield
        except (DataError, Interrupted):
            raise
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as fault:
            raise refused(self._name, url, "is not there", "Mend the url") from fault
        except PermissionError as fault:
            hint = "Give the store's credentials in the environment or as X_file, see docs/data.md"
            raise refused(self._name, url, f"may not be read: {fault!s:.120}", hint) from fault
        except (OSError, EOFError) as fault:
            raise Interrupted(f"{fault!s:.160}" or type(fault).__name__) from fault
        except Exception as fault:
            if _PASSING & {kind.__name__ for kind in type(fault).__mro__}:
                raise Interrupted(f"{fault!s:.160}" or type(fault).__name__) from fault
            hint = "Check the store's options and credentials, see docs/data.md"
            raise refused(self._name, url, f"cannot be read: {type(fault).__name__}: {fault!s:.120}", hint) from fault


def described(info: Mapping[str, Any]) -> tuple[int | None, str]:
    """Size and version of an object, by what a store says of it."""
    size = info.get("size")
    told = {key: str(info[key]) for key in _VERSION_KEYS if info.get(key) is not None}
    return (None if size is None else int(size)), json.dumps({**told, "size": size}, sort_keys=True) if told else ""


def _missing(name: str, protocol: str, fault: Exception, hint: str) -> EnvironmentFault:
    return EnvironmentFault(404, name, f"{protocol}:// needs a package that is not installed: {fault!s:.100}", hint)
