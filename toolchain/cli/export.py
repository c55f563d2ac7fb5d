"""Write a bundle's C program as a library, component or module of another build system.

What is written needs no Strop: sources, headers, build files, an example that runs one stored sample and says whether its
outputs are those of the reference, and a README with the steps. `firmware` is the whole program that `strop flash` writes, as a
CMake project to open in an IDE; it builds the same bytes. The folder must be new or empty.

examples:
  strop export build/kws --as cmake -o third_party/kws
  strop export build/kws --as arduino --data 'samples.npz[0:1]' -o ~/Arduino/libraries/kws
  strop export build/kws --as zephyr --release 1.2.0 --author 'A. Name <a@example.com>' -o modules/kws
  strop export build/kws --as firmware -o kws_firmware
"""

from __future__ import annotations

import argparse
import re

from toolchain.cli.answer import Answer
from toolchain.cli.progress import shown_progress
from toolchain.errors import UsageError

SYSTEMS = ("cmake", "arduino", "zephyr", "platformio", "esp-idf", "firmware")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that `strop compile` wrote")
    parser.add_argument("--as", required=True, choices=SYSTEMS, dest="system", help="the build system")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--data", metavar="DATA", help="the example's sample is the first of these; by default random values")
    parser.add_argument("--release", metavar="X.Y.Z", default="1.0.0", help="version in the metadata (default 1.0.0)")
    parser.add_argument("--author", metavar="'NAME <MAIL>'", help="who answers for it, in the metadata")
    parser.add_argument("--url", metavar="URL", help="where it is at home, in the metadata")


def run(arguments: argparse.Namespace) -> Answer:
    """Export."""
    from toolchain.api.exporting import export
    from toolchain.exports.network import Facts

    facts = Facts(version=arguments.release, **_author(arguments.author), **({"url": arguments.url} if arguments.url else {}))
    with shown_progress() as progress:
        done = export(arguments.bundle, arguments.system, arguments.output, data=arguments.data, facts=facts, progress=progress)
    text = f"{done.path}: {done.files} files for {done.system}, target {done.target}; README.md says the steps"
    return Answer(done.as_json(), text)


def _author(text: str | None) -> dict[str, str]:
    """`A. Name <a@example.com>` as name and address. Raises UsageError(901)."""
    if text is None:
        return {}
    match = re.fullmatch(r"\s*([^<>]+?)\s*<([^<>]+)>\s*", text)
    if match is None:
        raise UsageError(901, "--author", f"{text!r:.80} has no address", "Write a name and an address: A. Name <a@example.com>")
    return {"author": match[1], "email": match[2]}
