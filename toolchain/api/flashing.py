"""Flash: from a bundle to a board that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from firmware.compilers import CompilerChoice, find_compiler
from firmware.device_build import DeviceFirmware, DeviceModel, build_models, tiny_name
from firmware.several import check_names
from firmware.size import linked_size
from runtimes.board_engine import VIRTUAL, check_firmware, connected, flash_virtual
from targets.load import load_target
from targets.model import Target
from toolchain.api.places import c_program, output_scale
from toolchain.api.progress import Progress, silent
from toolchain.bundle.read import Bundle, read_bundle
from toolchain.errors import UsageError


@dataclass(frozen=True, slots=True)
class FlashResult:
    """What was done, step by step, or would be. build_id: what the running firmware told; empty in a dry run.

    models: names of what the image runs, one at a time; arena_bytes: that they share.
    """

    bundles: tuple[Path, ...]
    target: str
    port: str
    steps: tuple[str, ...]
    code_bytes: int
    weight_bytes: int
    models: tuple[str, ...]
    arena_bytes: int
    build_id: str = ""

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
            "steps": list(self.steps),
            "flash": {"code_bytes": self.code_bytes, "weight_bytes": self.weight_bytes},
            "build_id": self.build_id or None,
        }


def flash(
    bundle: str | Path | Sequence[str | Path],
    port: str,
    *,
    compiler: CompilerChoice = "auto",
    dry_run: bool = False,
    progress: Progress = silent,
) -> FlashResult:
    """Build the firmware of a bundle, write it to a board, and check that the board runs it.

    bundle: or several of one target, which share one arena and run one at a time. port: `qemu` for the board that QEMU stands in
    for. dry_run: say what would be done. Raises TargetError (E301, E302), EnvironmentFault (E4xx), RunError (E505 to E508),
    UsageError(901) for a board that no tool here writes to, and for bundles that do not go together.
    """
    paths = [bundle] if isinstance(bundle, str | Path) else [*bundle]
    opened = [read_bundle(Path(path)) for path in paths]
    target = target_of(opened)
    check_writable(target, port)
    progress("building the firmware")
    models = [DeviceModel(c_program(each), output_scale(each)) for each in opened]
    programs = [model.program for model in models]
    check_names(programs, [tiny_name(program) for program in programs])
    firmware = build_models(models, target, find_compiler(target, compiler))
    size = linked_size(firmware.elf)
    steps = (
        f"copy {firmware.elf} into the flash of {target.name} in QEMU",
        f"start it and read its build id, which must be {firmware.build_id.hex()}",
    )
    done = FlashResult(
        tuple(each.path for each in opened),
        target.name,
        port,
        steps,
        size.code_bytes,
        size.rodata_bytes,
        tuple(model.program.name for model in models),
        max(model.program.ram_bytes for model in models),
    )
    if dry_run:
        return done
    progress("writing")
    write_firmware(firmware, target, port)
    progress("checking")
    with connected(target, port) as board:
        hello = board.hello()
    check_firmware(hello, firmware, target, port)
    return replace(done, build_id=hello.build_id.hex())


def target_of(bundles: Sequence[Bundle]) -> Target:
    """The target of all bundles. Raises UsageError(901) where they have several."""
    names = dict.fromkeys(bundle.manifest.target for bundle in bundles)
    if len(names) > 1:
        what = f"the bundles are for {' and '.join(names)}"
        raise UsageError(901, "BUNDLE", what, "Give bundles of one target, or flash them one by one")
    return load_target(next(iter(names)))


def check_writable(target: Target, port: str) -> None:
    """Raise UsageError(901) for a board that no tool here writes to."""
    if port != VIRTUAL or target.flash_tool.method != "qemu":
        what = f"{target.name} cannot be written through {port!r}"
        raise UsageError(901, "--port", what, f"Boards that QEMU stands in for take --port {VIRTUAL}")


def write_firmware(firmware: DeviceFirmware, target: Target, port: str) -> None:
    """Write an image to a board. Raises RunError E505, UsageError(901)."""
    check_writable(target, port)
    flash_virtual(firmware, target)
