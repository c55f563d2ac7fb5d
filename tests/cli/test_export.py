"""strop export: what it says, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.digits import CALIBRATION, MODEL
from tests.support.engines import needs_arm_gcc
from toolchain.api import compile
from toolchain.api.exporting import SYSTEMS
from toolchain.cli.export import SYSTEMS as OFFERED
from toolchain.cli.main import main


@pytest.fixture
def bundle(bundles: Any) -> Path:
    return bundles("host")


def strop(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = main([*map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_every_system_is_offered() -> None:
    assert set(OFFERED) == {*SYSTEMS, "firmware"}


def test_what_is_said(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "new" / "lib"
    author = ("--author", "A. Name <a@example.com>", "--url", "https://example.com/kws", "--release", "0.10.2")
    status, found = strop(capsys, "export", bundle, "--as", "arduino", "-o", place, *author)
    assert (status, found["as"], found["target"], found["sample"]) == (0, "arduino", "host", "random")
    assert found["files"] == len([path for path in place.rglob("*") if path.is_file()])
    text = (place / "library.properties").read_text()
    assert "author=A. Name <a@example.com>\n" in text and "url=https://example.com/kws\n" in text and "version=0.10.2\n" in text
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["export", str(bundle), "--as", "cmake", "-o", str(empty)]) == 0
    assert capsys.readouterr().out.endswith("files for cmake, target host; README.md says the steps\n")


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (("--as", "make"), "E901", "invalid choice"),
        (("--as", "cmake", "--release", "1.2"), "E901", "'1.2' is no version"),
        (("--as", "cmake", "--release", "1.2.3\nx"), "E901", "is no version"),
        (("--as", "cmake", "--author", "nobody"), "E901", "has no address"),
        (("--as", "cmake", "--author", "A <a>"), "E901", "'a' is no address"),
        (("--as", "cmake", "--author", 'A"$ <a@b.org>'), "E901", "is no name"),
        (("--as", "cmake", "--author", "Arduino <a@b.org>"), "E901", "is no name"),
        (("--as", "cmake", "--url", "javascript:1"), "E901", "is no address"),
        (("--as", "cmake", "--data", "nowhere.npz"), "E205", "nowhere.npz"),
        (("--as", "firmware"), "E403", "no firmware with a serial port"),
    ],
)
def test_what_is_refused(
    options: tuple[str, ...], code: str, text: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = strop(capsys, "export", bundle, *options, "-o", tmp_path / "lib")
    assert found["error"]["code"] == code and text in f"{found['error']['place']} {found['error']['message']}", found
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "mine.c").write_text("int x;\n")
    status, found = strop(capsys, "export", bundle, "--as", "cmake", "-o", tmp_path / "lib")
    assert (status, found["error"]["code"]) == (15, "E505")
    assert "not empty" in found["error"]["message"]
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file", "link"):
        _, found = strop(capsys, "export", bundle, "--as", "cmake", "-o", tmp_path / name)
        assert (found["error"]["code"], "no folder" in found["error"]["message"]) == ("E505", True)
    assert [path.name for path in (tmp_path / "lib").iterdir()] == ["mine.c"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "lib", "link"]


def test_a_disk_that_fills_up_leaves_nothing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[Path] = []

    def write(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) == 9:
            raise OSError(28, "No space left on device")
        with path.open("wb") as file:
            return file.write(content)

    monkeypatch.setattr(Path, "write_bytes", write)
    _, found = strop(capsys, "export", bundle, "--as", "zephyr", "-o", tmp_path / "lib")
    assert (found["error"]["code"], len(written)) == ("E505", 9)
    assert list(tmp_path.iterdir()) == []


@needs_arm_gcc
def test_bundles_without_c_and_cores_of_another_kind(bundles: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compile(MODEL, "host", tmp_path / "lite", formats=("tflite",), calibrate=str(CALIBRATION))
    _, found = strop(capsys, "export", bundles("mps2_an386"), "--as", "esp-idf", "-o", tmp_path / "lib")
    assert (found["error"]["code"], "cortex-m4f" in found["error"]["message"]) == ("E901", True)
    _, found = strop(capsys, "export", bundles("rp2040_pico"), "--as", "firmware", "-o", tmp_path / "lib")
    assert (found["error"]["code"], "wants a checksum" in found["error"]["message"]) == ("E901", True)
    _, found = strop(capsys, "export", tmp_path / "lite", "--as", "cmake", "-o", tmp_path / "lib")
    assert (found["error"]["code"], "no C program" in found["error"]["message"]) == ("E504", True)
    assert not (tmp_path / "lib").exists()


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("precision", 'int8")\nexecute_process(COMMAND touch hacked)\n#', None),
        ("c.sources", ["c/digits.c", "c/${x};.c"], "E504"),
        ("c.header", "README.md", "E504"),
    ],
)
def test_a_strangers_bundle_cannot_write_into_build_files(
    key: str, value: Any, code: str | None, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import hashlib
    import shutil

    place = tmp_path / "b"
    shutil.copytree(bundle, place)
    manifest = json.loads((place / "manifest.json").read_text())
    first, _, second = key.partition(".")
    if second:
        manifest[first][second] = value
    else:
        manifest[first] = value
    if second == "sources":
        (place / value[1]).write_text("int x;\n")
        manifest["files"][value[1]] = {"bytes": 7, "sha256": hashlib.sha256(b"int x;\n").hexdigest()}
    (place / "manifest.json").write_text(json.dumps(manifest))
    _, found = strop(capsys, "export", place, "--as", "cmake", "-o", tmp_path / "lib")
    assert found.get("error", {}).get("code") == code, found
    if code is None:
        text = "".join(path.read_text() for path in (tmp_path / "lib").rglob("*.txt"))
        assert "execute_process" in text and "execute_process(" not in text and '"The network digits, int8' in text
