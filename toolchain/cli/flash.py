"""Build a bundle's firmware, write it to a board and check that the board runs it.

The firmware talks over the board's serial port: MLPerf Tiny's text protocol for the public benchmark runner, and frames for
`strop run`, `verify` and `bench --on board:PORT`. Boards that QEMU stands in for have the port `qemu`. What writes to a board is
named by its target, which may have several tools; `docs/flashing.md` has the steps and drivers of each board.

An interrupted or failed run leaves a board without a whole program; the same command again writes it.

A board with an [update] section takes signed updates: `--key` writes a boot loader with the key's public half and the bundle
as first image, `--update` sends a bundle, or an update that `--save` wrote, into the board's spare slot. The board tests and
confirms it, or goes back to what it had. `strop keys DIR` makes keys.

examples:
  strop flash build/kws --port auto --dry-run
  strop flash build/kws --port /dev/ttyACM0
  strop flash build/kws --port usb:066DFF495056805087 --tool openocd
  strop flash build/kws --port /dev/ttyACM0 --drive /media/RPI-RP2
  strop flash build/kws --port qemu
  strop flash build/kws build/vww --port qemu
  strop bench build/kws --on board:qemu
  strop flash build/kws --port qemu --key keys/strop.key
  strop flash build/kws --port auto --key keys/strop.key --dry-run
  strop flash build/kws-2 --port qemu --key keys/strop.key --update
  strop flash build/kws-2 --key keys/strop.key --version 7 --save kws-2.update
  strop flash kws-2.update --port qemu --update
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.answer import Answer
from toolchain.cli.progress import shown_progress
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from firmware.device_build import Variant
    from firmware.update.keys import SigningKey
    from toolchain.api.flashing import Place
    from toolchain.api.updating import UpdateResult

TOOLS = ("uf2", "pyocd", "openocd", "jlink", "stm32loader", "dfu", "esptool")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    note = "a folder that `strop compile` wrote; several of one target share one arena and run one at a time; "
    note += "with --update also a file that --save wrote"
    parser.add_argument("bundle", nargs="+", metavar="BUNDLE", help=note)
    note = "serial port that the board talks over: a device, auto, usb:SERIAL, or qemu for the board that QEMU stands in for"
    parser.add_argument("--port", metavar="PORT", help=note)
    parser.add_argument("--tool", choices=TOOLS, help="what writes to the board (default: the target's first)")
    note = "stm32loader: the port that the chip's own loader listens on, where it is not --port"
    parser.add_argument("--loader-port", default="", metavar="PORT", help=note)
    note = "uf2: the folder where the board's drive is mounted (default: looked for)"
    parser.add_argument("--drive", type=Path, metavar="FOLDER", help=note)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, as one would type it, and do nothing")
    note = "build in the board's watchdog: it restarts the board when a run of the model takes longer than MS milliseconds"
    parser.add_argument("--watchdog", type=int, default=0, metavar="MS", help=note)
    note = "drive the board's timing pin: it falls before and after the runs that a power meter measures"
    parser.add_argument("--timing-pin", action="store_true", help=note)
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

    place = _place(arguments)
    with shown_progress() as progress:
        done = flash(
            arguments.bundle,
            place,
            compiler=arguments.compiler,
            dry_run=arguments.dry_run,
            watchdog_ms=arguments.watchdog,
            timing_pin=arguments.timing_pin,
            progress=progress,
        )
    head = f"{done.target} at {done.port}: {done.code_bytes:,} B of code, {done.weight_bytes:,} B of weights, by {done.tool}"
    shared = f"{', '.join(done.models)}: {done.arena_bytes:,} B of arena, one at a time"
    steps = (f"  {number}. {step}" for number, step in enumerate(done.steps, 1))
    lines = [head, *([shared] if len(done.models) > 1 else []), *steps]
    if done.missing:
        lines.append(f"missing: {done.missing}")
    lines.append(f"it runs build {done.build_id}" if done.build_id else "nothing was done")
    return Answer(done.as_json(), "\n".join(lines))


def _place(arguments: argparse.Namespace) -> Place:
    """Where the board is. Questions come before the progress bar, which would draw over them."""
    from toolchain.api.flashing import Place, settled

    asked = Place(arguments.port, arguments.tool or "", arguments.loader_port, arguments.drive)
    watched = sys.stdin.isatty() and sys.stderr.isatty() and not arguments.json
    return settled(arguments.bundle[0], asked, choose=_ask if watched else None, dry_run=arguments.dry_run)


def _ask(question: str, choices: Sequence[str]) -> int:
    """Ask on the terminal until one of the choices is named."""
    for number, choice in enumerate(choices, 1):
        print(f"  {number}. {choice}", file=sys.stderr)
    while True:
        print(f"{question} [1-{len(choices)}] ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise KeyboardInterrupt
        if line.strip().isdigit() and 1 <= int(line) <= len(choices):
            return int(line) - 1


def _key(arguments: argparse.Namespace) -> SigningKey:
    from firmware.update.keys import load_key

    if not arguments.key:
        raise UsageError(901, "--key", "it is missing", "Give the private key that `strop keys DIR` made")
    return load_key(Path(arguments.key))


def _variant(arguments: argparse.Namespace) -> Variant:
    from firmware.device_build import Variant

    return Variant(watchdog_ms=arguments.watchdog, timing_pin=arguments.timing_pin)


def _save(arguments: argparse.Namespace) -> Answer:
    from toolchain.api.updating import FIRST_VERSION, sign, write_update

    version = arguments.version or FIRST_VERSION
    images = sign(_one(arguments), _key(arguments), version, compiler=arguments.compiler, how=_variant(arguments))
    write_update(images, Path(arguments.save))
    sizes = [len(image.data) for image in images]
    found: dict[str, object] = {"file": arguments.save, "version": images[0].version, "image_bytes": sizes}
    return Answer(found, f"{arguments.save}: version {images[0].version}, {' and '.join(f'{size:,}' for size in sizes)} B")


def _install(arguments: argparse.Namespace) -> Answer:
    from toolchain.api.updating import FIRST_VERSION, install

    bundle, key, place = _one(arguments), _key(arguments), _place(arguments)
    with shown_progress() as progress:
        done = install(
            bundle,
            place,
            key,
            version=arguments.version or FIRST_VERSION,
            compiler=arguments.compiler,
            dry_run=arguments.dry_run,
            how=_variant(arguments),
            progress=progress,
        )
    steps = [f"  {number}. {step}" for number, step in enumerate(done.steps, 1)]
    lines = [f"{done.target} at {done.port}: version {done.version}, {done.image_bytes:,} B, by {done.tool}", *steps]
    if done.missing:
        lines.append(f"missing: {done.missing}")
    lines.append(f"it runs build {done.build_id}" if done.build_id else "nothing was done")
    return Answer(done.as_json(), "\n".join(lines))


def _update(arguments: argparse.Namespace) -> Answer:
    from toolchain.api.updating import next_version, read_update, sign, target_of, update

    if arguments.dry_run:
        raise UsageError(
            901, "--dry-run", "an update is sent to the board's own firmware, by no tool", "Leave it out, or --update"
        )
    with shown_progress() as progress:
        target = None
        if Path(_one(arguments)).is_dir():
            progress("building and signing")
            target = target_of(_one(arguments))
            key, version = _key(arguments), arguments.version
            if version is None:
                version = next_version(target, arguments.port)
            images = sign(_one(arguments), key, version, compiler=arguments.compiler, how=_variant(arguments))
        else:
            images = read_update(Path(_one(arguments)))
        return _told(update(images, arguments.port, target=target, progress=progress))


def _told(done: UpdateResult) -> Answer:
    slot = done.slots.slot if done.slots else None
    text = f"{done.target} at {done.port}: version {done.version} in slot {slot}, {done.image_bytes:,} B, confirmed"
    return Answer(done.as_json(), f"{text}\nit runs build {done.build_id}")


def _one(arguments: argparse.Namespace) -> str:
    """The only bundle. Raises UsageError E901."""
    if len(arguments.bundle) != 1:
        raise UsageError(901, "BUNDLE", f"an update is of one bundle, {len(arguments.bundle)} were given", "Send them one by one")
    only: str = arguments.bundle[0]
    return only
