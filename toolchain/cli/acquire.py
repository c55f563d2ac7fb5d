"""Bring data from files, web servers and object stores into a folder: whole, checked by digest, with their licences.

A source takes its place when all of it is there and has its digests. A download that was cut off goes on where it was when the
command is given again; what is there and right is left alone. The folder's sources.lock.json tells what is there. Recipes with
sources do the same by themselves before they train.

examples:
  strop acquire examples/recipes/sources.toml -o build/data
  strop acquire SOURCES.toml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from toolchain.cli.answer import Answer, table
from toolchain.cli.progress import shown_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("sources", metavar="SOURCES", help="a .toml file; docs/data.md says what it may hold")
    note = "the folder that gets a folder of each source (default: what the file says, else data beside it)"
    parser.add_argument("-o", "--output", metavar="DIR", help=note)


def run(arguments: argparse.Namespace) -> Answer:
    """Acquire."""
    from toolchain.acquire.acquire import acquire
    from toolchain.acquire.sources import load_sources

    listed = load_sources(arguments.sources)
    with shown_progress() as progress:
        found = acquire(listed, Path(arguments.output) if arguments.output else None, progress)
    rows = [(one.name, one.files, one.bytes, one.licence, "brought" if one.fresh else "was there", one.path) for one in found]
    shown = table(("source", "files", "bytes", "licence", "", "path"), rows)
    return Answer({"sources": [one.as_json() for one in found]}, shown)
