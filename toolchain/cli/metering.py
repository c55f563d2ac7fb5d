"""The options that name a power meter."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtimes.meters.meter import Meter


def add_meter(parser: argparse.ArgumentParser) -> None:
    """Declare --meter and --volts."""
    note = "also measure energy: ppk2:PORT, lpm01a:PORT, or ina219:BUS[:ADDRESS[:OHMS]]"
    parser.add_argument("--meter", metavar="METER", help=note)
    note = "supply of the board (default 3.3): what lpm01a gives, and what ppk2, which measures current, multiplies by"
    parser.add_argument("--volts", type=float, default=3.3, metavar="V", help=note)


@contextlib.contextmanager
def metered(arguments: argparse.Namespace) -> Generator[Meter | None]:
    """The meter that was named, open, or None. Raises UsageError(901), EnvironmentFault E404 and E405, RunError E515."""
    if arguments.meter is None:
        yield None
        return
    from runtimes.meters.meter import open_meter

    with contextlib.closing(open_meter(arguments.meter, arguments.volts)) as meter:
        yield meter
