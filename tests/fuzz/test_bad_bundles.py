"""Bad bundles, each given to `strop verify` (or another command) in a process of its own."""

from __future__ import annotations

import io
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.bad_bundles import change_manifest, copy, replace_file, write_whole
from tests.support.model_seeds import DIGITS
from tests.support.strop_process import Refusal, refuse
from tests.support.zip_bombs import archive

MARK = "it-ran"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is whole."""
    place = tmp_path_factory.mktemp("whole") / "bundle"
    write_whole(place)
    return place


def flip(name: str, at: int = -5) -> Callable[[Path], None]:
    """Change one byte of a file."""

    def change(bundle: Path) -> None:
        data = bytearray((bundle / name).read_bytes())
        data[at] ^= 4
        (bundle / name).write_bytes(data)

    return change


def cut(name: str, share: float) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        data = (bundle / name).read_bytes()
        (bundle / name).write_bytes(data[: int(len(data) * share)])

    return change


def manifest_text(content: bytes) -> Callable[[Path], None]:
    return lambda bundle: (bundle / "manifest.json").write_bytes(content) and None


def manifest(**values: Any) -> Callable[[Path], None]:
    """Set keys of the manifest; `__` goes into an object, `_N` at the end into a list."""

    def change(document: dict[str, Any]) -> None:
        for key, value in values.items():
            item: Any = document
            *parents, last = key.split("__")
            for parent in parents:
                item = item[int(parent) if parent.isdigit() else parent]
            item[last] = value

    return lambda bundle: change_manifest(bundle, change)


def move_file(name: str, to: str) -> Callable[[Path], None]:
    """List a file under another path."""

    def change(document: dict[str, Any]) -> None:
        document["files"][to] = document["files"].pop(name)

    return lambda bundle: change_manifest(bundle, change)


def as_link(name: str, of: str = "") -> Callable[[Path], None]:
    """Move a file or folder beside the bundle, and leave a link."""

    def change(bundle: Path) -> None:
        (bundle / name).rename(bundle.parent / "moved")
        (bundle / name).symlink_to(of or bundle.parent / "moved")

    return change


def as_pipe(name: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        (bundle / name).unlink()
        os.mkfifo(bundle / name)

    return change


def as_folder(name: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        (bundle / name).unlink()
        (bundle / name).mkdir()

    return change


def text(pattern: str, by: str) -> Callable[[Path], None]:
    """Rewrite the graph's text, its digest kept right."""

    def change(bundle: Path) -> None:
        before = (bundle / "graph.strop").read_text()
        after = re.sub(pattern, by, before, count=1, flags=re.MULTILINE)
        assert after != before
        replace_file(bundle, "graph.strop", after.encode())

    return change


def constants(content: Callable[[dict[str, bytes]], bytes]) -> Callable[[Path], None]:
    """Rewrite the archive of constants, its digest kept right."""

    def change(bundle: Path) -> None:
        with zipfile.ZipFile(bundle / "graph.npz") as opened:
            members = {name: opened.read(name) for name in opened.namelist()}
        replace_file(bundle, "graph.npz", content(members))

    return change


def stored(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return packed.getvalue()


def claiming(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|i1", "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(64)


class Payload:
    """Unpickled, it makes the folder MARK."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (MARK,)


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Payload()], object), allow_pickle=True)
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class Case:
    """A change after which a bundle must be refused. words: what the text must hold."""

    name: str
    change: Callable[[Path], object]
    codes: str = "E504"
    words: str = ""


DEEP = b'{"schema": 1, "inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
CASES = (
    Case("changed byte in the C source", flip("c/digits.c"), words="c/digits.c"),
    Case("changed byte in the constants", flip("graph.npz", 200), words="graph.npz"),
    Case("changed byte in the graph", flip("graph.strop"), words="graph.strop"),
    Case("changed digest", manifest(**{"files__graph.npz__sha256": "0" * 64}), words="graph.npz"),
    Case("truncated constants", cut("graph.npz", 0.6), words="graph.npz"),
    Case("truncated graph", cut("graph.strop", 0.6), words="graph.strop"),
    Case("truncated manifest", cut("manifest.json", 0.6), words="JSON"),
    Case("empty manifest", manifest_text(b""), words="JSON"),
    Case("manifest that is a list", manifest_text(b"[1]"), words="list"),
    Case("manifest of bytes that are no text", manifest_text(bytes(range(256))), words="JSON"),
    Case("manifest nested 100,000 deep", manifest_text(DEEP), words="JSON"),
    Case("manifest of 60 MB", manifest_text(b"[" + b"[]," * 20_000_000 + b"1]"), words="16,777,216"),
    Case("manifest of 15 MB of brackets", manifest_text(b'{"schema":1,"inputs":[' + b"[]," * 5_000_000 + b"1]}")),
    Case("manifest with a number of 100,000 digits", manifest_text(b'{"schema": ' + b"9" * 100_000 + b"}")),
    Case("manifest with NaN", manifest_text(b'{"schema": NaN}'), words="NaN"),
    Case("manifest of a later version", manifest(schema=99), words="99"),
    Case("unknown key", manifest(colour="red"), words="colour"),
    Case("missing key", lambda b: change_manifest(b, lambda m: m.pop("target")), words="target"),
    Case("key of another type", manifest(macs="many"), words="macs"),
    Case("file above the bundle", move_file("graph.npz", "../graph.npz"), words="../graph.npz"),
    Case("file at an absolute path", move_file("graph.npz", "/etc/passwd"), words="/etc/passwd"),
    Case("file by a path of Windows", move_file("graph.npz", "C:\\graph.npz"), words="graph.npz"),
    Case("file by a name of 5,000 letters", move_file("graph.npz", "a" * 5000)),
    Case("file by a name with a zero byte", move_file("graph.npz", "a\0b")),
    Case("file that is a link", as_link("graph.npz"), words="link"),
    Case("folder that is a link", as_link("c"), words="link"),
    Case("file that links to itself", as_link("graph.npz", "graph.npz"), words="link"),
    Case("file that is a pipe", as_pipe("graph.npz"), words="graph.npz"),
    Case("file that is a folder", as_folder("graph.npz"), words="graph.npz"),
    Case("file that is gone", lambda b: (b / "c" / "digits.c").unlink(), words="digits.c"),
    Case("manifest that is a link", as_link("manifest.json"), words="link"),
    Case("manifest that is a pipe", as_pipe("manifest.json"), words="manifest.json"),
    Case("header above the bundle", manifest(c__header="../digits.h"), words="../digits.h"),
    Case("source that is not listed", manifest(c__sources=["c/other.c"]), words="c/other.c"),
    Case("include folder above the bundle", manifest(c__include_dirs=["../.."]), words="../.."),
    Case("compiler flag that loads code", manifest(c__cflags=["-fplugin=evil.so"]), words="-fplugin"),
    Case("compiler flag that writes a file", manifest(c__cflags=["-o/tmp/x"]), words="-o/tmp/x"),
    Case("name that is no identifier", manifest(name="a;b"), words="name"),
    Case("unknown target", manifest(target="toaster"), "E303 E504", "toaster"),
    Case("target by a path", manifest(target="../../evil.toml"), "E303 E304 E504"),
    Case("arena of 2**60 B", manifest(ram__arena_bytes=2**60), "E301 E402 E502 E504"),
    Case("arena of −1 B", manifest(ram__arena_bytes=-1), "E301 E402 E502 E504"),
    Case("arena of 16 B", manifest(ram__arena_bytes=16), "E402 E502 E503 E504"),
    Case("input of 2**50 B", manifest(inputs__0__bytes=2**50), "E402 E502 E504"),
    Case("input of another shape", manifest(inputs__0__shape=[1, 2, 3]), "E402 E502 E504"),
    Case("output of another type", manifest(outputs__0__dtype="q7"), "E402 E502 E504"),
    Case("graph of an unknown operation", text(r"= conv_2d\(", "= sharpen("), "E104", "sharpen"),
    Case("graph that reads what is not made", text(r"conv_2d\(%\w+", "conv_2d(%nobody"), "E103", "nobody"),
    Case("graph of an absurd input", text(r"^(input %\w+: i8)\[[0-9,]*\]", r"\1[1,2147483648,8,8]"), "E107 E108"),
    Case("graph of a negative size", text(r"^(input %\w+: i8)\[[0-9,]*\]", r"\1[1,-1,8,8]"), "E103 E108"),
    Case("graph with a stride of 0", text(r"(conv_2d\(.*)$", r"\1 stride=(0, 0)"), "E103 E108", ""),
    Case("graph with a scale of 0", text(r"scale=[0-9.e-]+", "scale=0.0"), "E108 E111"),
    Case("graph with an infinite scale", text(r"scale=[0-9.e-]+", "scale=inf"), "E108 E111"),
    Case("graph with a zero point of 2**40", text(r"zero_point=-?[0-9]+", "zero_point=1099511627776"), "E108 E111"),
    Case("graph that is no text", lambda b: replace_file(b, "graph.strop", bytes(range(256))), "E103 E504"),
    Case("graph of 2 MB of brackets", lambda b: replace_file(b, "graph.strop", b"strop graph 1\n" + b"(" * 2**21), "E103 E504"),
    Case(
        "constants: a member that claims 2**40 B",
        constants(lambda m: stored({**m, "0.npy": claiming((2**40,))})),
        words="graph.npz",
    ),
    Case("constants: a pickle", constants(lambda m: stored({**m, "0.npy": pickled()})), words="graph.npz"),
    Case("constants: a bomb of 3 GB", constants(lambda m: archive({**m, "0.npy": (m["0.npy"], 3 * 10**9)})), words="compressed"),
    Case("constants: one too few", constants(lambda m: stored(dict(list(m.items())[1:]))), words="graph.npz"),
    Case("constants: of other shapes", constants(lambda m: stored({**m, "0.npy": claiming((64,))})), "E103"),
    Case("constants: no archive", lambda b: replace_file(b, "graph.npz", b"PK" * 50), words="graph.npz"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_bad_bundle_is_refused(case: Case, whole: Path, folder: Path, refusals: list[Refusal]) -> None:
    case.change(copy(whole, folder))
    found = refuse(f"bundle: {case.name}", ["verify", "bundle", "--on", "host"], case.codes, folder)
    assert case.words in found.text
    assert not (folder / MARK).exists()
    refusals.append(found)


CALIBRATION = str(DIGITS / "calibration.npz")
COMMANDS = {
    "run": ["run", "bundle", "--input", CALIBRATION],
    "bench": ["bench", "bundle"],
    "inspect": ["inspect", "bundle"],
    "report": ["report", "bundle", "-o", "r.html"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_a_changed_bundle(command: str, whole: Path, folder: Path, refusals: list[Refusal]) -> None:
    flip("graph.npz", 200)(copy(whole, folder))
    refusals.append(refuse(f"{command}: changed byte", COMMANDS[command], "E504", folder))


def test_folders_that_are_no_bundles(folder: Path, refusals: list[Refusal]) -> None:
    (folder / "file").write_text("")
    (folder / "empty").mkdir()
    for name in ("file", "empty", "gone", "a" * 300):
        refusals.append(refuse(f"verify: {name:.8}", ["verify", name], "E504", folder))


def test_bad_arguments_with_a_good_bundle(whole: Path, folder: Path, refusals: list[Refusal]) -> None:
    bundle = shutil.copytree(whole, folder / "bundle")
    for arguments, codes in (
        (["verify", str(bundle), "--on", "moon"], "E901"),
        (["verify", str(bundle), "--samples", "0"], "E901"),
        (["verify", str(bundle), "--samples", "-3"], "E901"),
        (["verify", str(bundle), "--seed", "-1"], "E901"),
        (["verify", str(bundle), "--data", "gone.npz"], "E205"),
        (["verify", str(bundle), "--model", "gone.onnx"], "E101"),
        (["run", str(bundle), "--input", CALIBRATION, "-o", "no/such/folder.npz"], "E505"),
        (["bench", str(bundle), "--against", "gone.json"], "E205"),
        (["bench", str(bundle), "--tolerance", "nan"], "E901"),
        (["report", str(bundle), "-o", "/proc/r.html"], "E505"),
    ):
        refusals.append(refuse(" ".join([arguments[0], *arguments[2:]]), arguments, codes, folder, 20))
