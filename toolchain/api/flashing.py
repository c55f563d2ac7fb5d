"""Flash: from a bundle to a board that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from firmware.compilers import CompilerChoice, find_compiler
from firmware.device_build import DeviceFirmware, DeviceModel, Variant, build_models, tiny_name
from firmware.programmers.base import FlashImage, Job, Step, flash_image
from firmware.programmers.table import programmer_for
from firmware.programmers.uf2 import Uf2, loaders
from firmware.serial.ports import Choose, FoundPort, settle_port
from firmware.several import check_names
from firmware.size import linked_size
from runtimes.board_engine import VIRTUAL, check_firmware, connected, flash_virtual
from targets.model import Target
from toolchain.api.places import c_program, output_scale
from toolchain.api.progress import Progress, silent
from toolchain.bundle.read import Bundle, read_bundle
from toolchain.errors import RunError, StropError, UsageError

INTERRUPTED = "E509 {place}: it was interrupted while the board was written, which has no whole program now. Flash it again."


@dataclass(frozen=True, slots=True)
class FlashResult:
    """What was done, step by step, or would be. build_id: what the running firmware told; empty in a dry run.

    tool: what wrote, with its version; in a dry run `missing` says how to get it where it is not installed.
    models: names of what the image runs, one at a time; arena_bytes: that they share.
    """

    bundles: tuple[Path, ...]
    target: str
    port: str
    tool: str
    steps: tuple[str, ...]
    code_bytes: int
    weight_bytes: int
    models: tuple[str, ...]
    arena_bytes: int
    build_id: str = ""
    missing: str = ""

    @property
    def bundle(self) -> Path:
        """The first one."""
        return self.bundles[0]

    def as_json(self) -> dict[str, object]:
        """The result as one object."""
        return {
            "bundle": str(self.bundle),
            "bundles": [str(bundle) for bundle in self.bundles],
            "models": list(self.models),
            "ram": {"arena_bytes": self.arena_bytes},
            "target": self.target,
            "port": self.port,
            "tool": self.tool,
            "missing": self.missing or None,
            "steps": list(self.steps),
            "flash": {"code_bytes": self.code_bytes, "weight_bytes": self.weight_bytes},
            "build_id": self.build_id or None,
        }


@dataclass(frozen=True, slots=True)
class Place:
    """Where a board is. tool: what writes, empty for the target's default. port: that it talks over. loader_port: of its ROM
    loader, where that is another. drive: of a UF2 loader. `qemu` as the port is the board that QEMU stands in for.
    """

    port: str
    tool: str = ""
    loader_port: str = ""
    drive: Path | None = None


def settled(bundle: str | Path, place: Place, *, choose: Choose | None = None, dry_run: bool = False) -> Place:
    """The place with what was to be looked for: `auto` and `usb:SERIAL` become a port, and a UF2 loader's drive is found.

    choose: asks a person where several boards fit. dry_run: words stand for what was not found.
    Raises RunError E510, UsageError E901, EnvironmentFault E404 and E405.
    """
    target = read_bundle(Path(bundle)).target()
    if place.port == VIRTUAL:
        if place.tool:
            raise UsageError(901, "--tool", f"the port {VIRTUAL} takes no tool", "Leave --tool out")
        return place
    programmer, chip = programmer_for(target, place.tool)
    port = _port(target, place.port, choose, dry_run)
    loader_port = _port(target, place.loader_port, choose, dry_run).device if place.loader_port else ""
    drive = place.drive
    if drive is None and isinstance(programmer, Uf2):
        drive = _drive(target, chip, choose, dry_run)
    return Place(port.device, programmer.name, loader_port, drive)


def _port(target: Target, wanted: str, choose: Choose | None, dry_run: bool) -> FoundPort:
    try:
        return settle_port(target, wanted, choose)
    except StropError:
        if dry_run:
            return FoundPort("PORT" if ":" in wanted or wanted == "auto" else wanted)
        raise


def _drive(target: Target, chip: str, choose: Choose | None, dry_run: bool) -> Path | None:
    found = list(loaders(chip))
    if len(found) == 1:
        return found[0]
    if dry_run:
        return None
    if not found:
        hint = "Hold BOOTSEL (or press RESET twice) and connect the board; its drive may be named by --drive"
        raise RunError(510, target.name, f"no drive of a {chip} in its loader is mounted", hint)
    names = [str(drive) for drive in found]
    if choose is None:
        raise RunError(510, target.name, f"{len(found)} drives fit: {'; '.join(names)}", "Name one by --drive")
    return found[choose(f"Which drive is the {target.name}?", names)]


def flash(
    bundle: str | Path | Sequence[str | Path],
    place: Place | str,
    *,
    compiler: CompilerChoice = "auto",
    dry_run: bool = False,
    watchdog_ms: int = 0,
    timing_pin: bool = False,
    progress: Progress = silent,
    choose: Choose | None = None,
) -> FlashResult:
    """Build the firmware of a bundle, write it to a board, and check that the board runs it.

    bundle: or several of one target, which share one arena and run one at a time. place: a port alone means the target's default
    tool. dry_run: say what would be done. watchdog_ms: restart the board when a run takes longer, 0 for never. timing_pin: the
    board's pin marks runs for a power meter. choose: asks a person where several boards fit. Raises TargetError (E301, E302),
    EnvironmentFault (E4xx), RunError (E505 to E513), UsageError E901. An interrupt while the board is written is a
    KeyboardInterrupt that says so.
    """
    paths = [bundle] if isinstance(bundle, str | Path) else [*bundle]
    opened = [read_bundle(Path(path)) for path in paths]
    target = target_of(opened)
    wanted = settled(paths[0], Place(place) if isinstance(place, str) else place, choose=choose, dry_run=dry_run)
    tool, missing = tool_of(target, wanted, dry_run)
    progress("building the firmware")
    models = [DeviceModel(c_program(each), output_scale(each)) for each in opened]
    programs = [model.program for model in models]
    check_names(programs, [tiny_name(program) for program in programs])
    firmware = build_models(
        models, target, find_compiler(target, compiler), Variant(watchdog_ms=watchdog_ms, timing_pin=timing_pin)
    )
    size = linked_size(firmware.elf)
    steps = _steps(target, wanted, firmware)
    ask = f"ask the firmware at {wanted.port} for its build id, which must be {firmware.build_id.hex()}"
    done = FlashResult(
        bundles=tuple(each.path for each in opened),
        target=target.name,
        port=wanted.port,
        tool=tool,
        steps=(*(step.text for step in steps), ask),
        code_bytes=size.code_bytes,
        weight_bytes=size.rodata_bytes,
        models=tuple(model.program.name for model in models),
        arena_bytes=max(model.program.ram_bytes for model in models),
        missing=missing,
    )
    if dry_run:
        return done
    take_steps(steps, f"{target.name} at {wanted.port}", progress)
    progress("checking")
    with connected(target, wanted.port) as board:
        hello = board.hello()
    check_firmware(hello, firmware, target, wanted.port)
    return replace(done, build_id=hello.build_id.hex())


def target_of(bundles: Sequence[Bundle]) -> Target:
    """The target of all bundles. Raises UsageError(901) where they have several, or files that differ describe it."""
    targets = [bundle.target() for bundle in bundles]
    if any(target != targets[0] for target in targets):
        names = dict.fromkeys(target.name for target in targets)
        what = f"the bundles are for {' and '.join(names)}" if len(names) > 1 else f"they describe {targets[0].name} differently"
        raise UsageError(901, "BUNDLE", what, "Give bundles of one target, or flash them one by one")
    return targets[0]


def write_firmware(firmware: DeviceFirmware, target: Target, place: Place, progress: Progress = silent) -> None:
    """Write an image to a board. Raises what `flash` raises of writing."""
    take_steps(_steps(target, place, firmware), f"{target.name} at {place.port}", progress)


def tool_of(target: Target, place: Place, dry_run: bool) -> tuple[str, str]:
    """The tool with its version, and in a dry run how to get it where it is missing."""
    if place.port == VIRTUAL:
        return VIRTUAL, ""
    programmer, _ = programmer_for(target, place.tool)
    try:
        return programmer.version(), ""
    except StropError as fault:
        if dry_run:
            return programmer.name, f"{fault.place}: {fault.message}. {fault.hint}"
        raise


def _steps(target: Target, place: Place, firmware: DeviceFirmware) -> tuple[Step, ...]:
    if place.port == VIRTUAL:
        if target.qemu is None:
            raise UsageError(901, "--port", f"QEMU has no machine for {target.name}", "Give the port of a real board")

        def copy(progress: Progress) -> None:
            progress("writing")
            flash_virtual(firmware.elf, target)

        return (Step(f"copy {firmware.elf} into the flash of {target.name} in QEMU", copy),)
    return image_steps(target, place, flash_image(firmware.elf, target))


def image_steps(target: Target, place: Place, image: FlashImage) -> tuple[Step, ...]:
    """What writes an image to a board on a desk, verifies and starts it. Raises RunError E510, UsageError E901."""
    programmer, chip = programmer_for(target, place.tool)
    port = settle_port(target, place.port) if place.port != "PORT" else FoundPort(place.port)
    return programmer.steps(Job(target, chip, image, place.loader_port or place.port, port.probe, place.drive))


def take_steps(steps: Sequence[Step], place: str, progress: Progress) -> None:
    """Take the steps; all but the last thing that a person sees of an interrupt is the message."""
    try:
        for step in steps:
            step.run(progress)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(INTERRUPTED.format(place=place)) from stop
