"""Settings of sinks: a file, the environment above it, URLs, and what is wrong with each."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.telemetry.settings import KINDS, resolve
from benchmarks.telemetry.sinks import SINKS, open_sink
from toolchain.errors import StropError

FILE = """
[lab]
kind = "elasticsearch"
url = "https://10.0.0.1:9200"
username = "strop"
password_file = "{secret}"
ca_file = "/etc/ca.pem"
spool_bytes = 1000000

[kafka]
client = "kafka-python"
username = "u"
password = "from the file"
"""


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "secret").write_text("s3cret\n")
    path = tmp_path / "telemetry.toml"
    path.write_text(FILE.format(secret=tmp_path / "secret"))
    monkeypatch.setenv("STROP_TELEMETRY", str(path))
    return path


def test_every_kind_has_a_row() -> None:
    assert tuple(SINKS) == KINDS


def test_a_name_of_the_file() -> None:
    found = resolve("lab")
    assert (found.kind, found.url, found.username, found.password) == (
        "elasticsearch",
        "https://10.0.0.1:9200",
        "strop",
        "s3cret",
    )
    assert found.spool_bytes == 1_000_000 and found.spool_folder.name == "lab"
    assert "s3cret" not in repr(found)


def test_the_environment_stands_above_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STROP_TELEMETRY_LAB_URL", "http://other:1")
    monkeypatch.setenv("STROP_TELEMETRY_LAB_SETUP", "false")
    monkeypatch.setenv("STROP_TELEMETRY_LAB_LINGER_S", "0.5")
    found = resolve("lab")
    assert (found.url, found.setup, found.linger_s, found.username) == ("http://other:1", False, 0.5, "strop")


def test_urls_take_their_kinds_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    found = resolve("kafka://h1:9092,h2:9092/boards")
    assert (found.kind, found.url, found.topic, found.password) == ("kafka", "kafka://h1:9092,h2:9092", "boards", "from the file")
    monkeypatch.setenv("STROP_TELEMETRY_APM_TOKEN", "t")
    apm = resolve("apm+https://h:8200/base")
    assert (apm.kind, apm.url, apm.token) == ("apm", "https://h:8200/base", "t")
    assert resolve("elasticsearch://h").url == "http://h"
    assert resolve("parquet://some/folder").path == "some/folder"
    assert found.name != resolve("kafka://h1:9092/others").name


def test_a_kind_without_settings_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STROP_TELEMETRY", str(tmp_path / "none.toml"))
    assert resolve("elasticsearch").url == "http://127.0.0.1:9200"
    assert (resolve("events.jsonl").kind, resolve("events.jsonl").path) == ("jsonl", "events.jsonl")


@pytest.mark.parametrize(
    ("name", "text", "code", "what"),
    [
        ("https://u:p@h", "", "E901", "holds credentials"),
        ("ftp://h", "", "E901", "no sink has the scheme ftp"),
        ("kafka://h:x", "", "E901", "is no URL"),
        ("a", "[a]\nkind = 'mqtt'", "E903", "has the kind 'mqtt'"),
        ("a", "[a]\nkind = 'kafka'\nurll = 'x'", "E903", "no key 'urll'"),
        ("a", "[a]\nkind = 'kafka'\nspool_bytes = 'many'", "E903", "spool_bytes = 'many' is no int"),
        ("a", "[a]\nkind = 'kafka'\nspool_bytes = -1", "E903", "spool_bytes = -1"),
        ("a", "[a]\nkind = 'kafka'\npassword = 7", "E903", "password = … is no str"),
        ("a", "[a]\nkind = 'kafka'\npassword_file = 'none'", "E903", "cannot be read"),
        ("a", "a = 1", "E903", "outside of a table"),
        ("a", "[a", "E903", "no TOML"),
        ("a", "[a]\nkind = 'apm'\nurl = 'https://h'\nca_file = 'none.pem'", "E523", "none.pem cannot be used"),
    ],
)
def test_faults(name: str, text: str, code: str, what: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(StropError, match=what) as caught:
        open_sink(name)
    assert caught.value.code == code
