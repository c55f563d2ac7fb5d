"""A board of the user's own: its bundle is moved away from its file, renamed, and works; a stranger's file names nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from targets.load import load_target, parse_target
from tests.support.engines import needs_qemu
from tests.support.flashing import DIGITS, TEST, strop
from toolchain.bundle.read import read_bundle
from toolchain.cli.main import main
from toolchain.errors import RunError, StropError, TargetError

NAME = "my_board"
KNOWN = Path(__file__).parents[2] / "targets" / "boards"


def board_text(name: str = "mps2_an386") -> str:
    """A known board, copied and renamed."""
    return (KNOWN / f"{name}.toml").read_text().replace(f'name = "{name}"', f'name = "{NAME}"')


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the board, whose file is gone and which lies elsewhere than where it was compiled."""
    folder = tmp_path_factory.mktemp("own")
    board = folder / "board.toml"
    board.write_text(board_text())
    options = ["--format", "c", "--calibrate", str(DIGITS / "calibration.npz"), "-o", str(folder / "here")]
    assert main(["compile", str(DIGITS / "digits.onnx"), "--target", str(board), *options]) == 0
    board.unlink()
    (folder / "there").mkdir()
    return (folder / "here").rename(folder / "there" / "bundle")


@needs_qemu
def test_an_own_board_from_compile_to_bench(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = strop(capsys, "verify", moved, "--on", "qemu", "--data", f"{TEST}[0:4]")
    assert (status, found["bit_exact"]) == (0, True)
    status, found = strop(capsys, "flash", moved, "--port", "qemu")
    assert (status, found["target"]) == (0, NAME)
    status, found = strop(capsys, "bench", moved, "--on", "board:qemu")
    assert (status, found["device"], found["bit_exact"]) == (0, NAME, True)
    status, found = strop(capsys, "run", moved, "--on", "unicorn", "--input", TEST)
    assert status == 0


def test_an_own_board_in_reports_and_exports(moved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = strop(capsys, "export", moved, "--as", "firmware", "-o", tmp_path / "project")
    assert status == 0, found
    status, found = strop(capsys, "report", moved, "--on", "unicorn", "-o", tmp_path / "page.html")
    assert status == 0, found


def test_the_bundle_has_the_file_and_its_digest(moved: Path) -> None:
    bundle = read_bundle(moved)
    assert (bundle.manifest.target, bundle.manifest.target_file) == (NAME, "target.toml")
    assert (moved / "target.toml").read_text() == board_text()
    assert bundle.target() == parse_target(board_text().encode(), "x")
    assert bundle.target().memories == load_target("mps2_an386").memories


def spoilt(moved: Path, folder: Path, text: str, change: Callable[[dict[str, object]], None] = lambda manifest: None) -> Path:
    """The bundle with another target file, well listed."""
    copy = folder / "bundle"
    for file in moved.rglob("*"):
        if file.is_file():
            (copy / file.relative_to(moved)).parent.mkdir(parents=True, exist_ok=True)
            (copy / file.relative_to(moved)).write_bytes(file.read_bytes())
    (copy / "target.toml").write_text(text)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["target.toml"] = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "bytes": len(text.encode())}
    change(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def test_another_boards_file_is_an_error(moved: Path, tmp_path: Path) -> None:
    copy = spoilt(moved, tmp_path, board_text().replace(NAME, "other_board"))
    with pytest.raises(RunError, match=r"E504 .*it describes other_board, the manifest says my_board"):
        read_bundle(copy).target()


@pytest.mark.parametrize("where", ["../board.toml", "/etc/passwd", "missing.toml"])
def test_the_file_lies_in_the_bundle(where: str, moved: Path, tmp_path: Path) -> None:
    copy = spoilt(moved, tmp_path, board_text(), lambda manifest: manifest.update(target_file=where))
    with pytest.raises(RunError, match="E504"):
        read_bundle(copy)


def test_a_bundles_target_is_no_path(moved: Path, tmp_path: Path) -> None:
    """A name that is a file's, of a bundle without one of its own."""
    board = tmp_path / "board.toml"
    board.write_text(board_text())

    def change(manifest: dict[str, object]) -> None:
        manifest.update(target=str(board))
        del manifest["target_file"]

    copy = spoilt(moved, tmp_path, "", change)
    with pytest.raises(TargetError, match="E303"):
        read_bundle(copy).target()


@pytest.mark.parametrize(
    ("board", "old", "new", "key"),
    [
        ("mps2_an386", 'driver = "cmsdk"', 'driver = "../../x"', "serial.driver"),
        ("mps2_an386", 'core = "cortex-m4f"', 'core = "../cores/cortex-m4f"', "core"),
        ("mps2_an386", 'driver = "memory"', 'driver = "/tmp/x"', "update.driver"),
        ("mps2_an386", 'machine = "mps2-an386"', 'machine = "virt,dumpdtb=/tmp/x"', "qemu.machine"),
        ("mps2_an386", 'cpu = "cortex-m4"', 'cpu = "-readconfig x"', "qemu.cpu"),
        ("nucleo_l4r5zi", "target/stm32l4x.cfg", "target/../x.cfg", "flash_tool.others.openocd"),
        ("nucleo_l4r5zi", "target/stm32l4x.cfg", "/tmp/x.cfg", "flash_tool.others.openocd"),
        ("nucleo_l4r5zi", "target/stm32l4x.cfg", "transport=swd;exit", "flash_tool.others.openocd"),
        ("nucleo_l4r5zi", 'stm32loader = "0x470"', 'stm32loader = "x"', "flash_tool.others.stm32loader"),
        ("nucleo_l4r5zi", 'dfu = "0483:df11"', 'dfu = "--version"', "flash_tool.others.dfu"),
        ("nucleo_l4r5zi", 'chip = "stm32l4r5zitx"', 'chip = "--script=x"', "flash_tool.chip"),
        ("nucleo_l4r5zi", 'setup = "nucleo_l4r5zi"', 'setup = "../x"', "serial.setup"),
        ("nucleo_l4r5zi", 'driver = "stm32_iwdg"', 'driver = "../x"', "watchdog.driver"),
    ],
)
def test_a_target_file_names_no_other_files(board: str, old: str, new: str, key: str) -> None:
    text = board_text(board)
    assert old in text
    with pytest.raises(StropError, match=rf"E304 x: key '{key}'"):
        parse_target(text.replace(old, new).encode(), "x")
