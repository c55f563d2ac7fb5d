"""The command line as a user meets it: help, errors, JSON, exit statuses. Each command runs in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from targets.load import FORMATS
from toolchain.cli import main as entry
from toolchain.cli.answer import Answer, pairs, table
from toolchain.cli.main import COMMANDS, main
from toolchain.errors import VerificationError

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits" / "digits.onnx"


def strop(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`strop` in a fresh process, as an installed command would run."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "toolchain.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False, timeout=120)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib\nfrom toolchain.cli.main import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "print([m for m in ('numpy', 'onnx', 'rich', 'unicorn') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.rstrip().endswith("[]")
    for command in COMMANDS:
        assert command in done.stdout
    times = []
    for _ in range(3):
        start = time.perf_counter()
        assert strop("--help").returncode == 0
        times.append(time.perf_counter() - start)
    assert min(times) < 0.6


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"strop {command}" in text.split("examples:")[1]
    assert "--json" in text


@pytest.mark.parametrize(
    ("arguments", "code", "place"),
    [
        ([], "E901", "strop"),
        (["sharpen"], "E901", "strop"),
        (["targets", "--colour"], "E901", "strop targets"),
        (["compile", "x.onnx"], "E901", "strop compile"),
        (["compile", "x.onnx", "--target", "host", "-o", "b", "--max-ram", "lots"], "E901", "strop compile"),
        (["compile", "x.onnx", "--target", "host", "-o", "b", "--max-latency", "nan"], "E901", "strop compile"),
        (["compile", "x.onnx", "--target", "host", "-o", "b", "--max-latency", "-3"], "E901", "strop compile"),
        (["compile", str(DIGITS), "--target", "host", "-o", "b", "--max-latency", "5"], "E308", "host"),
        (["compile", str(DIGITS), "--target", "host", "-o", "b", "--format", "onnx", "--max-ram", "5"], "E901", "--max-ram"),
        (["targets", "rp2040"], "E303", "rp2040"),
        (["inspect", "missing.onnx"], "E101", "missing.onnx"),
        (["inspect", str(DIGITS), "--input-shape", "1,2"], "E901", "--input-shape"),
        (["compile", str(DIGITS), "--target", "rp2040_pico", "-o", "b", "--name", "9 lives"], "E901", "--name"),
        (["compile", str(DIGITS), "--target", "rp2040_pico", "-o", "b", "--format", "onnx"], "E306", "rp2040_pico"),
        (["verify", "nowhere"], "E504", "nowhere/manifest.json"),
    ],
)
def test_faults_are_one_line_or_one_object(
    arguments: list[str],
    code: str,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = strop(*arguments, cwd=tmp_path)
    status = 10 + int(code[1])
    assert (said.returncode, said.stdout) == (status, "")
    assert said.stderr.startswith(f"{code} {place}: ")
    assert "Traceback" not in said.stderr and said.stderr.count("\n") == 1
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--json"]) == status
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["place"]) == (code, place)
    assert error["message"] and error["hint"]
    assert list(tmp_path.iterdir()) == []


def test_json_may_stand_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "targets", "host"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "host"


def test_targets_lists_each_board(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets"]) == 0
    text = capsys.readouterr().out
    for name in ("mps2_an386", "rp2040_pico", "esp32c3", "rv32_virt"):
        assert name in text
    for name in FORMATS:
        assert f"\n{name} " in text, "every format says what it is held to"
    assert main(["targets", "rp2040_pico"]) == 0
    assert "270,336" in capsys.readouterr().out
    assert main(["targets", "jetson_thor_gpu"]) == 0
    assert "SM 110, 137,438,953,472 B, its engine is built on the machine that has it" in capsys.readouterr().out


def test_doctor_never_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {"compiler", "emulator", "package", "service"} <= {finding["kind"] for finding in findings}


def give(monkeypatch: pytest.MonkeyPatch, outcome: Answer | BaseException) -> None:
    """Make the command `targets` end in some way."""
    import toolchain.cli.targets as command

    def run(arguments: object) -> Answer:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(command, "run", run)


def test_a_defect_is_a_coded_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    give(monkeypatch, ZeroDivisionError("by zero"))
    assert main(["targets"]) == 19
    said = capsys.readouterr()
    assert said.err.startswith("E902 strop: ZeroDivisionError: by zero.") and "Traceback" not in said.err
    assert main(["targets", "--json", "--log-level", "debug"]) == 19
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == "E902"
    assert "Traceback" in said.err


def test_interrupting_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    give(monkeypatch, KeyboardInterrupt())
    assert main(["targets"]) == 130
    assert capsys.readouterr().err == ""


def test_a_result_with_a_fault_prints_both(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    give(monkeypatch, Answer({"bit_exact": False}, "bit exact  no", VerificationError(601, "b", "3 of 8 differ", "Look")))
    assert main(["targets"]) == 16
    said = capsys.readouterr()
    assert said.out == "bit exact  no\n"
    assert said.err == "E601 b: 3 of 8 differ. Look.\n"
    assert main(["targets", "--json"]) == 16
    document = json.loads(capsys.readouterr().out)
    assert document["bit_exact"] is False and document["error"]["code"] == "E601"


def test_a_reader_that_leaves_is_no_error() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = f"{sys.executable} -m toolchain.cli targets | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_tables_align() -> None:
    assert table(("name", "bytes"), [("a", 1200), ("long", None)]) == "name  bytes\n----  -----\na     1,200\nlong      -"
    assert table(("name",), []) == "name\n----"
    assert pairs([("a", 1), ("gone", None), ("far", True)]) == "a    1\nfar  yes"


def test_the_commands_are_those_of_the_table() -> None:
    for command in entry.COMMANDS.values():
        assert (ROOT / f"{command.module.replace('.', '/')}.py").is_file()
