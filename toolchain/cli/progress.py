"""A progress bar on standard error, only when a person is watching."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

from toolchain.api.progress import Progress, silent


@contextmanager
def shown_progress() -> Generator[Progress]:
    """A bar per stage when standard error is a terminal, else silence. It is gone when the block ends."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        current = bars.add_task("", total=None, visible=False)
        name = ""

        def report(stage: str, done: int = 0, total: int = 0) -> None:
            nonlocal current, name
            if stage != name:
                name = stage
                # A task's total cannot be taken back.
                bars.remove_task(current)
                current = bars.add_task(stage, total=None)
            bars.update(current, completed=done, total=total or None)

        yield report
