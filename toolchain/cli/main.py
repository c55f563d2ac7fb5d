"""Entry point of `strop`: finds the command, runs it, prints its answer or its error, and sets the exit status."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from toolchain.cli.answer import Answer
from toolchain.errors import StropError, UsageError


@dataclass(frozen=True, slots=True)
class Command:
    """One command: the module with `add_arguments(parser)` and `run(arguments) -> Answer`, and its line in `strop --help`."""

    module: str
    summary: str


COMMANDS: dict[str, Command] = {
    "targets": Command("toolchain.cli.targets", "list targets, or show one"),
    "doctor": Command("toolchain.cli.doctor", "what this machine has: compilers, emulators, packages, ports, services"),
    "inspect": Command("toolchain.cli.inspect", "graph, MACs and parameters of a model, and which targets it fits"),
    "train": Command("toolchain.cli.train", "train a network by a recipe, and compile it"),
    "acquire": Command("toolchain.cli.acquire", "bring data into a folder: downloaded, checked, with licences"),
    "loop": Command("toolchain.cli.loop", "retrain from what devices report, and roll out what is better"),
    "compile": Command("toolchain.cli.compile", "turn a model into a bundle for a target"),
    "verify": Command("toolchain.cli.verify", "hold a bundle's program to the reference, byte by byte"),
    "run": Command("toolchain.cli.run", "run a bundle on inputs and print or save the outputs"),
    "bench": Command("toolchain.cli.bench", "measure a bundle: instructions, RAM, flash, latency"),
    "flash": Command("toolchain.cli.flash", "build a bundle's firmware and write it to a board"),
    "keys": Command("toolchain.cli.keys", "make keys that sign updates for boards"),
    "export": Command("toolchain.cli.export", "write a bundle for CMake, Arduino, Zephyr, PlatformIO or ESP-IDF"),
    "agent": Command("toolchain.cli.agent", "run a bundle on a Linux board and report every inference"),
    "gateway": Command("toolchain.cli.gateway", "watch boards on serial ports and forward what they tell"),
    "forward": Command("toolchain.cli.forward", "carry events from Kafka or files to a sink"),
    "tune": Command("toolchain.cli.tune", "fit the cost model of a core by measuring micro-kernels"),
    "report": Command("toolchain.cli.report", "one self-contained HTML page about bundles and suites"),
    "dashboard": Command("toolchain.cli.dashboard", "serve the history of measurements as a page on this machine"),
}
LOG_LEVELS = ("error", "warning", "info", "debug")
EPILOG = "`strop COMMAND --help` shows a command's options and examples."
INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are coded like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError(901)."""
        raise UsageError(901, self.prog, message, f"`{self.prog} --help` shows what it takes")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `strop` with the given arguments (those of the process by default) and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    level = "warning"
    try:
        parsed, unknown = _parser(arguments).parse_known_args(arguments)
        if unknown:
            place = f"strop {parsed.command}"
            raise UsageError(901, place, f"unknown arguments: {' '.join(unknown)}", f"`{place} --help` shows what it takes")
        level = parsed.log_level
        logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
        answer = importlib.import_module(COMMANDS[parsed.command].module).run(parsed)
    except StropError as fault:
        return _fail(fault, as_json, level)
    except KeyboardInterrupt as stop:
        if stop.args:
            print(stop.args[0], file=sys.stderr)
        return INTERRUPTED
    except Exception as fault:
        return _fail(_own_defect(fault), as_json, level)
    return _show(answer, as_json)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser, with the options of only the command that the arguments name."""
    parser = _Parser(prog="strop", description="Compile a trained network for a device, prove it, measure it.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"strop {version()}")
    _add_common(parser, as_json=False, log_level="warning")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    named = next((word for word in arguments if word in COMMANDS), None)
    for name, command in COMMANDS.items():
        if name != named:
            commands.add_parser(name, help=command.summary)
            continue
        module = importlib.import_module(command.module)
        shape = argparse.RawDescriptionHelpFormatter
        own = commands.add_parser(
            name, help=command.summary, description=module.__doc__, formatter_class=shape, allow_abbrev=False
        )
        module.add_arguments(own)
        _add_common(own, as_json=argparse.SUPPRESS, log_level=argparse.SUPPRESS)
    return parser


def _add_common(parser: argparse.ArgumentParser, as_json: bool | str, log_level: str) -> None:
    """The options of every command, taken before and after its name; a default of SUPPRESS keeps what came before."""
    shared = parser.add_argument_group("options of every command")
    shared.add_argument("--json", action="store_true", default=as_json, help="print one JSON object, for errors too")
    shared.add_argument("--log-level", choices=LOG_LEVELS, default=log_level, help="what to log; debug adds tracebacks")


def version() -> str:
    """Strop's version."""
    from importlib import metadata

    try:
        return metadata.version("strop")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _own_defect(fault: Exception) -> StropError:
    what = f"{type(fault).__name__}: {str(fault) or 'no message'}"
    error = UsageError(902, "strop", what, "Run it again with --log-level debug and report what it prints")
    error.__cause__ = fault
    return error


def _fail(fault: StropError, as_json: bool, level: str) -> int:
    if level == "debug":
        traceback.print_exception(fault.__cause__ or fault)
    if as_json:
        return _print(json.dumps(fault.as_json(), indent=2), fault.exit_status)
    print(fault, file=sys.stderr)
    return fault.exit_status


def _show(answer: Answer, as_json: bool) -> int:
    if as_json:
        document = {**answer.document, **(answer.fault.as_json() if answer.fault else {})}
        return _print(json.dumps(document, indent=2, allow_nan=False), answer.fault.exit_status if answer.fault else 0)
    status = _print(answer.text, 0) if answer.text else 0
    if answer.fault is not None:
        print(answer.fault, file=sys.stderr)
        return answer.fault.exit_status
    return status


def _print(text: str, status: int) -> int:
    """Print to standard output; a reader that has gone away is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
