"""The agent where there is no Strop: what the archive of `strop agent --export` starts."""

from __future__ import annotations

import argparse
import json
import sys
from typing import NoReturn

from toolchain.agent import command
from toolchain.errors import StropError, UsageError


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are coded like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError(901)."""
        raise UsageError(901, self.prog, message, "--help shows what it takes")


def main(version: str) -> int:
    """Run with the arguments of the process; the exit status."""
    parser = _Parser(description="Run a bundle of Strop on this board and report what happened.")
    command.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, for errors too; needs -o FILE")
    parser.add_argument("--version", action="version", version=version)
    as_json = "--json" in sys.argv
    try:
        arguments = parser.parse_args()
        if as_json and arguments.output in (None, "-"):
            raise UsageError(901, "--json", "standard output takes one object", "Name a place for outputs with -o")
        document, failed = command.run(arguments, version)
    except StropError as fault:
        return _fail(fault, as_json)
    except KeyboardInterrupt:
        return 130
    if as_json:
        print(json.dumps({**document, **(failed.as_json() if failed else {})}, indent=2))
        return failed.exit_status if failed else 0
    command.tell(document)
    return _fail(failed, as_json) if failed else 0


def _fail(fault: StropError, as_json: bool) -> int:
    print(json.dumps(fault.as_json(), indent=2) if as_json else fault, file=sys.stdout if as_json else sys.stderr)
    return fault.exit_status
