"""strop keys and strop flash --key, --update, --save: QEMU's board takes signed updates over its serial port."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from firmware.compilers import find_compiler
from firmware.serial.virtual import slots_of
from firmware.update import monocypher
from firmware.update.build import KnownAnswer, build_images
from firmware.update.keys import load_key
from targets.load import load_target
from tests.support.digits import CALIBRATION, MODEL, TEST
from tests.support.engines import needs_qemu
from toolchain.api.places import c_program, output_scale
from toolchain.api.updating import known_answer, write_update
from toolchain.bundle.read import read_bundle
from toolchain.cli.main import main
from toolchain.errors import EnvironmentFault

TARGET = "mps2_an386"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Flash of virtual boards that no other test sees, and Monocypher from where it is."""
    monkeypatch.setenv(monocypher.VARIABLE, str(monocypher.monocypher_folder()))
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))
    yield


def strop(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = main([*map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def compiled(folder: Path, *more: str, target: str = TARGET) -> Path:
    arguments = ["compile", str(MODEL), "--target", target, "--format", "c", "--calibrate", str(CALIBRATION), *more]
    assert main([*arguments, "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("bundles") / "first")


@pytest.fixture
def key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    status, found = strop(capsys, "keys", tmp_path / "keys")
    assert (status, len(found["public_hex"])) == (0, 64)
    return Path(found["private"])


@needs_qemu
def test_a_board_takes_an_update_and_goes_back_from_a_bad_one(
    bundle: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Boot, update over the line, reset, self-test, new build id; a self-test that fails: the old build id again."""
    first, second = bundle, compiled(tmp_path / "second", "--optimize", "ram", "--name", "second")
    status, installed = strop(capsys, "flash", first, "--port", "qemu", "--key", key)
    assert (status, installed["version"], installed["slots"]["slot"]) == (0, 1, 0)
    status, updated = strop(capsys, "flash", second, "--port", "qemu", "--key", key, "--update")
    assert (status, updated["version"], updated["slots"]["slot"], updated["slots"]["floor"]) == (0, 2, 1, 2)
    assert updated["build_id"] != installed["build_id"]
    status, verified = strop(capsys, "verify", second, "--on", "board:qemu", "--data", f"{TEST}[0:3]")
    assert (status, verified["bit_exact"]) == (0, True)
    # An update that computes something else than its known answer, from a file.
    opened, target = read_bundle(first), load_target(TARGET)
    right = known_answer(opened)
    assert right is not None
    wrong = KnownAnswer(right.check ^ 1)
    arguments = (c_program(opened), output_scale(opened), target, find_compiler(target), load_key(key))
    write_update(build_images(*arguments, 3, wrong), tmp_path / "wrong.update")
    status, failed = strop(capsys, "flash", tmp_path / "wrong.update", "--port", "qemu", "--update")
    assert (status, failed["error"]["code"]) == (15, "E512")
    assert "went back to version 2: the image did not pass its self-test" in failed["error"]["message"]
    status, verified = strop(capsys, "verify", second, "--on", "board:qemu", "--data", f"{TEST}[0:1]")
    assert (status, verified["bit_exact"]) == (0, True)
    # The same bundle signed in advance, from a file.
    status, saved = strop(capsys, "flash", first, "--key", key, "--version", 4, "--save", tmp_path / "right.update")
    assert (status, saved["version"], len(saved["image_bytes"])) == (0, 4, 2)
    assert main(["flash", str(tmp_path / "right.update"), "--port", "qemu", "--update"]) == 0
    assert "version 4 in slot 0" in capsys.readouterr().out
    # Plain firmware has no slots.
    status, _ = strop(capsys, "flash", first, "--port", "qemu")
    assert (status, slots_of(target).exists()) == (0, False)
    status, found = strop(capsys, "flash", tmp_path / "right.update", "--port", "qemu", "--update")
    assert (status, found["error"]["code"]) == (15, "E507")


def test_keys_are_the_owners_and_stay(key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    status, found = strop(capsys, "keys", key.parent)
    assert (status, found["error"]["code"]) == (19, "E901")
    assert "is there already" in found["error"]["message"]


def test_wrong_keys_are_errors(bundle: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.chmod(key, 0o644)
    public, none, rsa = key.with_name("strop.pub"), tmp_path / "none", tmp_path / "text"
    rsa.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    for path in (public, rsa):
        path.chmod(0o600)
    rows = ((key, "others may read it"), (public, "no private key"), (none, "cannot be read"), (rsa, "no private key"))
    for path, text in rows:
        status, found = strop(capsys, "flash", bundle, "--key", path, "--save", tmp_path / "x")
        assert (status, found["error"]["code"]) == (19, "E901")
        assert text in found["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), "E901", "it is missing"),
        (("--port", "qemu", "--update"), "E901", "it is missing"),
        (("--save", "x"), "E901", "it is missing"),
        (("--key", "KEY", "--save", "x", "--version", "4294967295"), "E901", "is no version"),
        (("--key", "KEY", "--port", "/dev/ttyACM0"), "E901", "no tool writes to"),
        (("--key", "KEY", "--save", "/nowhere/x"), "E505", "cannot be written"),
        (("--key", "KEY", "--port", "qemu", "--update"), "E508", "nothing was flashed yet"),
    ],
)
def test_wrong_command_lines_are_errors(
    arguments: tuple[str, ...], code: str, text: str, bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = strop(capsys, "flash", bundle, *(key if each == "KEY" else each for each in arguments))
    assert found["error"]["code"] == code
    assert text in found["error"]["message"]


def test_boards_without_slots_and_files_that_are_no_updates_are_errors(
    key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = compiled(tmp_path / "bundle", target="mps2_an500")
    _, found = strop(capsys, "flash", other, "--port", "qemu", "--key", key)
    assert (found["error"]["code"], found["error"]["message"]) == ("E403", "there is no boot loader for it")
    for data in (b"", b"x" * 300, bytes(1000)):
        (tmp_path / "x").write_bytes(data)
        _, found = strop(capsys, "flash", tmp_path / "x", "--port", "qemu", "--update")
        assert found["error"]["code"] == "E511"
    _, found = strop(capsys, "flash", tmp_path / "nothing", "--port", "qemu", "--update")
    assert found["error"]["code"] == "E511"


def test_missing_and_changed_sources_of_monocypher_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(monocypher.VARIABLE, str(tmp_path))
    with pytest.raises(EnvironmentFault, match=r"E404 monocypher: .*cannot be read.*python -m firmware.update.monocypher"):
        monocypher.monocypher_folder()
    for name in monocypher.FILES:
        (tmp_path / name).write_text("int x;")
    with pytest.raises(EnvironmentFault, match=r"E404 .*is not the file of release"):
        monocypher.monocypher_folder()
    monkeypatch.delenv(monocypher.VARIABLE)
    monkeypatch.setattr(monocypher, "RELEASE", "0.0.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(EnvironmentFault, match=r"E404 .*pip could not fetch"):
        monocypher.monocypher_folder()
