"""Objects of a real S3 API and of other stores of fsspec, by the same file of sources."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.object_store import bucket
from toolchain.acquire import download as downloads
from toolchain.acquire import stores
from toolchain.acquire.acquire import acquire
from toolchain.acquire.sources import load_sources
from toolchain.acquire.stores import FileStore
from toolchain.errors import DataError, EnvironmentFault

pytest.importorskip("fsspec")
BODY, OTHER = (np.random.default_rng(seed).bytes(12_000_000) for seed in (0, 1))


def listed(folder: Path, url: str, more: str = "", body: bytes = BODY) -> Path:
    path, sha256 = folder / "s.toml", hashlib.sha256(body).hexdigest()
    path.write_text(f'[[source]]\nname = "set"\nurl = "{url}"\nlicence = "CC0-1.0"\nsha256 = "{sha256}"\n{more}\n')
    return path


class Cut:
    """Opened files that fail after so many bytes, until they are let go on; offsets: where they were opened to be read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.after, self.offsets = after, list[int]()
        real = FileStore._chunks
        cut = self

        def chunks(store: FileStore, url: str, opened: Any) -> Any:
            cut.offsets.append(opened.tell())
            for chunk in real(store, url, opened):
                if cut.after and opened.tell() > cut.after:
                    raise stores.Interrupted("cut")
                yield chunk

        monkeypatch.setattr(FileStore, "_chunks", chunks)
        monkeypatch.setattr(downloads, "TRIES", 0)


def test_an_object_of_s3_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bucket(monkeypatch) as store:
        store.put("sets/a.bin", BODY)
        path = listed(tmp_path, "s3://fleet/sets/a.bin", store.options)
        cut = Cut(monkeypatch, 5 << 20)
        with pytest.raises(DataError, match=r"E212 set: s3://fleet/sets/a.bin does not come: cut"):
            acquire(load_sources(path))
        cut.after = 0
        assert acquire(load_sources(path))[0].path.read_bytes() == BODY
        assert cut.offsets == [0, 5 << 20]
        assert not acquire(load_sources(path))[0].fresh and len(cut.offsets) == 2


def test_an_object_of_s3_that_changed_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bucket(monkeypatch) as store:
        store.put("a.bin", OTHER)
        path = listed(tmp_path, "s3://fleet/a.bin", store.options)
        cut = Cut(monkeypatch, 5 << 20)
        with pytest.raises(DataError, match=r"E212"):
            acquire(load_sources(path))
        store.put("a.bin", BODY)
        cut.after = 0
        assert acquire(load_sources(path))[0].path.read_bytes() == BODY
        assert cut.offsets == [0, 0]
        store.put("a.bin", OTHER)
        with pytest.raises(DataError, match=r"E213 set: .* has the SHA-256"):
            acquire(load_sources(listed(tmp_path, "s3://fleet/a.bin", store.options, BODY[1:])))


def test_what_s3_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bucket(monkeypatch) as store:
        with pytest.raises(DataError, match=r"E212 set: s3://fleet/none is not there"):
            acquire(load_sources(listed(tmp_path, "s3://fleet/none", store.options)))
        with pytest.raises(DataError, match=r"E212 set: s3://other/none is not there"):
            acquire(load_sources(listed(tmp_path, "s3://other/none", store.options)))
        store.put("a.bin", BODY)
        with pytest.raises(DataError, match=r"E213 set: .* has 12,000,000 B or more, 1,000 are left"):
            acquire(load_sources(listed(tmp_path, "s3://fleet/a.bin", f"max_bytes = 1000\n{store.options}")))
        # The endpoint by the environment, and the key from a file of its own.
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("STROP_SOURCE_SET_ENDPOINT_URL", store.endpoint)
        with pytest.raises(DataError, match=r"E212 set: .*redentials"):
            acquire(load_sources(listed(tmp_path, "s3://fleet/a.bin")))
        (tmp_path / "key").write_text("us3r\n")
        (tmp_path / "secret").write_text("pa55\n")
        more = 'options = {key_file = "key", secret_file = "secret"}'
        assert acquire(load_sources(listed(tmp_path, "s3://fleet/a.bin", more)))[0].fresh


def test_other_stores(tmp_path: Path) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe_file("/sets/a.bin", BODY)
    assert acquire(load_sources(listed(tmp_path, "memory://sets/a.bin")))[0].path.read_bytes() == BODY
    (tmp_path / "b.bin").write_bytes(OTHER)
    assert acquire(load_sources(listed(tmp_path, "b.bin", body=OTHER)), tmp_path / "b")[0].path.read_bytes() == OTHER
    with pytest.raises(EnvironmentFault, match=r"E404 set: gs:// needs a package that is not installed.*pip install gcsfs"):
        acquire(load_sources(listed(tmp_path, "gs://fleet/a.bin")), tmp_path / "c")
    with pytest.raises(DataError, match=r"E212 set: nope cannot be opened"):
        acquire(load_sources(listed(tmp_path, "nope://fleet/a.bin")), tmp_path / "c")
