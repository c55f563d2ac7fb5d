"""Test support: boards that QEMU stands in for, each on a pseudo-terminal of its own, flashed with a boot loader and an image."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from unittest.mock import patch

from benchmarks.fleet.inventory import Delivery
from firmware.compilers import find_compiler
from firmware.serial.virtual import halted, start
from firmware.update.build import KnownAnswer, build_boot, factory_flash, update_of
from firmware.update.image import SlotImage, pack_update
from firmware.update.keys import SigningKey
from runtimes.qemu_engine import find_qemu
from targets.load import load_target
from toolchain.api import updating

FLASH = Path("flash.bin")


@contextmanager
def board(target_name: str, image: SlotImage, key: SigningKey, folder: Path) -> Generator[str]:
    """The port of a running board whose flash lies in a folder; it is flashed where the folder has none."""
    target = load_target(target_name)
    assert target.qemu is not None
    boot = build_boot(target, key.public, find_compiler(target, "auto"))
    slots = folder / FLASH
    if not slots.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with slots.open("wb") as file:
            file.write(factory_flash(update_of(target), image))
            file.truncate(target.qemu.data_bytes)
    # A board's own processor costs this machine nothing; the one that QEMU emulates polls its port and would take a core.
    patient = folder / "qemu"
    patient.write_text(f'#!/bin/sh\nexec nice -n 19 {find_qemu(target.qemu)} "$@"\n')
    patient.chmod(0o755)
    with halted(target.qemu, str(patient), boot, slots) as (process, port):
        start(process)
        yield port


@dataclass(frozen=True)
class Signed:
    """A bundle, its images for both slots, and the delivery of them in a file."""

    bundle: Path
    images: tuple[SlotImage, ...]
    delivery: Delivery


def signed(bundle: Path, key: SigningKey, number: int, folder: Path, *, spoilt: bool = False) -> Signed:
    """Sign a bundle. spoilt: with an answer that no board gives."""
    with spoilt_answers(lambda path: spoilt and path == bundle):
        images = updating.sign(bundle, key, number)
    data = pack_update(images)
    file = folder / f"{bundle.name}-{number}.update"
    file.write_bytes(data)
    digest = sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    return Signed(bundle, images, Delivery(sha256(data).hexdigest(), str(file), number, images[0].build_id.hex(), digest))


@contextmanager
def spoilt_answers(chosen: Callable[[Path], bool]) -> Generator[None]:
    """Chosen bundles that are signed here get a known answer that is wrong."""
    right = updating.known_answer

    def wrong(opened: updating.Bundle) -> KnownAnswer | None:
        found = right(opened)
        return replace(found, check=found.check ^ 1) if found is not None and chosen(opened.path) else found

    with patch.object(updating, "known_answer", wrong):
        yield
