"""Make a pair of keys for signed updates: DIR/strop.key signs and stays secret, DIR/strop.pub is for others to check with.

examples:
  strop keys ~/keys/sensors
  strop flash build/kws --port qemu --key ~/keys/sensors/strop.key
"""

from __future__ import annotations

import argparse
from pathlib import Path

from toolchain.cli.answer import Answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("folder", metavar="DIR", help="where they go; made where it is missing")


def run(arguments: argparse.Namespace) -> Answer:
    """Make keys."""
    from firmware.update.keys import PRIVATE_NAME, PUBLIC_NAME, new_keys

    folder = Path(arguments.folder)
    public = new_keys(folder).public.hex()
    found: dict[str, object] = {"private": str(folder / PRIVATE_NAME), "public": str(folder / PUBLIC_NAME), "public_hex": public}
    text = f"{folder / PRIVATE_NAME} signs: keep it secret, and keep a copy\n{folder / PUBLIC_NAME}: {public}"
    return Answer(found, text)
