"""Build a bundle's firmware, write it to a board and check that the board runs it.

The firmware talks over the board's serial port: MLPerf Tiny's text protocol for the public benchmark runner, and frames for
`strop run`, `verify` and `bench --on board:PORT`. Boards that QEMU stands in for have the port `qemu`.

A board with an [update] section takes signed updates: `--key` writes a boot loader with the key's public half and the bundle
as first image, `--update` sends a bundle, or an update that `--save` wrote, into the board's spare slot. The board tests and
confirms it, or goes back to what it had. `strop keys DIR` makes keys.

examples:
  strop flash build/kws --port qemu
  strop flash build/kws --port qemu --dry-run
  strop bench build/kws --on board:qemu
  strop flash build/kws --port qemu --key keys/strop.key
  strop flash build/kws-2 --port qemu --key keys/strop.key --update
  strop flash build/kws-2 --key keys/strop.key --version 7 --save kws-2.update
  strop flash kws-2.update --port qemu --update
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.answer import Answer
from toolchain.cli.progress import shown_progress
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from firmware.update.keys import SigningKey
    from toolchain.api.updating import UpdateResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "bundle", metavar="BUNDLE", help="a folder that `strop compile` wrote; with --update also a file that --save wrote"
    )
    note = "where the board is; qemu for the one that QEMU stands in for"
    parser.add_argument("--port", metavar="PORT", help=note)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    note = "C compiler: the core's GCC where there is one, else zig (auto), or one of them"
    parser.add_argument("--compiler", choices=("auto", "gcc", "zig"), default="auto", help=note)

    signed = parser.add_argument_group("signed updates")
    signed.add_argument("--key", metavar="FILE", help="private key, which `strop keys` makes")
    signed.add_argument("--update", action="store_true", help="send it to the spare slot of a board that was flashed with --key")
    note = "version that the image gets; 1 at first, then one more than the board runs"
    signed.add_argument("--version", type=int, metavar="N", help=note)
    signed.add_argument("--save", metavar="FILE", help="sign the bundle and write the update to a file, and nothing to a board")


def run(arguments: argparse.Namespace) -> Answer:
    """Flash a board."""
    if arguments.save:
        return _save(arguments)
    if not arguments.port:
        raise UsageError(901, "--port", "it is missing", "Give the board's port, or `--port qemu`")
    if arguments.update:
        return _update(arguments)
    return _install(arguments) if arguments.key else _flash(arguments)


def _flash(arguments: argparse.Namespace) -> Answer:
    from toolchain.api.flashing import flash

    with shown_progress() as progress:
        done = flash(arguments.bundle, arguments.port, compiler=arguments.compiler, dry_run=arguments.dry_run, progress=progress)
    head = f"{done.target} at {done.port}: {done.code_bytes:,} B of code, {done.weight_bytes:,} B of weights"
    lines = [head, *(f"  {number}. {step}" for number, step in enumerate(done.steps, 1))]
    lines.append(f"it runs build {done.build_id}" if done.build_id else "nothing was done")
    return Answer(done.as_json(), "\n".join(lines))


def _key(arguments: argparse.Namespace) -> SigningKey:
    from firmware.update.keys import load_key

    if not arguments.key:
        raise UsageError(901, "--key", "it is missing", "Give the private key that `strop keys DIR` made")
    return load_key(Path(arguments.key))


def _save(arguments: argparse.Namespace) -> Answer:
    from toolchain.api.updating import FIRST_VERSION, sign, write_update

    images = sign(arguments.bundle, _key(arguments), arguments.version or FIRST_VERSION, compiler=arguments.compiler)
    write_update(images, Path(arguments.save))
    sizes = [len(image.data) for image in images]
    found: dict[str, object] = {"file": arguments.save, "version": images[0].version, "image_bytes": sizes}
    return Answer(found, f"{arguments.save}: version {images[0].version}, {' and '.join(f'{size:,}' for size in sizes)} B")


def _install(arguments: argparse.Namespace) -> Answer:
    from toolchain.api.updating import FIRST_VERSION, install

    with shown_progress() as progress:
        version, key = arguments.version or FIRST_VERSION, _key(arguments)
        return _told(
            install(arguments.bundle, arguments.port, key, version=version, compiler=arguments.compiler, progress=progress)
        )


def _update(arguments: argparse.Namespace) -> Answer:
    from toolchain.api.updating import next_version, read_update, sign, target_of, update

    with shown_progress() as progress:
        if Path(arguments.bundle).is_dir():
            progress("building and signing")
            key, version = _key(arguments), arguments.version
            if version is None:
                version = next_version(target_of(arguments.bundle), arguments.port)
            images = sign(arguments.bundle, key, version, compiler=arguments.compiler)
        else:
            images = read_update(Path(arguments.bundle))
        return _told(update(images, arguments.port, progress=progress))


def _told(done: UpdateResult) -> Answer:
    text = f"{done.target} at {done.port}: version {done.version} in slot {done.slots.slot}, {done.image_bytes:,} B, confirmed"
    return Answer(done.as_json(), f"{text}\nit runs build {done.build_id}")
