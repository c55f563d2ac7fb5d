"""Flash: from a bundle to a board that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware.compilers import CompilerChoice, find_compiler
from firmware.device_build import build_device
from firmware.size import linked_size
from runtimes.board_engine import VIRTUAL, check_firmware, connected, flash_virtual
from targets.load import load_target
from toolchain.api.places import c_program, output_scale
from toolchain.api.progress import Progress, silent
from toolchain.bundle.read import read_bundle
from toolchain.errors import UsageError


@dataclass(frozen=True, slots=True)
class FlashResult:
    """What was done, step by step, or would be. build_id: what the running firmware told; empty in a dry run."""

    bundle: Path
    target: str
    port: str
    steps: tuple[str, ...]
    code_bytes: int
    weight_bytes: int
    build_id: str = ""

    def as_json(self) -> dict[str, object]:
        """The result as one object."""
        return {
            "bundle": str(self.bundle),
            "target": self.target,
            "port": self.port,
            "steps": list(self.steps),
            "flash": {"code_bytes": self.code_bytes, "weight_bytes": self.weight_bytes},
            "build_id": self.build_id or None,
        }


def flash(
    bundle: str | Path,
    port: str,
    *,
    compiler: CompilerChoice = "auto",
    dry_run: bool = False,
    progress: Progress = silent,
) -> FlashResult:
    """Build the firmware of a bundle, write it to a board, and check that the board runs it.

    port: `qemu` for the board that QEMU stands in for. dry_run: say what would be done. Raises TargetError (E301, E302),
    EnvironmentFault (E4xx), RunError (E505 to E508), UsageError(901) for a board that no tool here writes to.
    """
    opened = read_bundle(Path(bundle))
    target = load_target(opened.manifest.target)
    if port != VIRTUAL or target.flash_tool.method != "qemu":
        what = f"{target.name} cannot be written through {port!r}"
        raise UsageError(901, "--port", what, f"Boards that QEMU stands in for take --port {VIRTUAL}")
    progress("building the firmware")
    firmware = build_device(c_program(opened), output_scale(opened), target, find_compiler(target, compiler))
    size = linked_size(firmware.elf)
    steps = (
        f"copy {firmware.elf} into the flash of {target.name} in QEMU",
        f"start it and read its build id, which must be {firmware.build_id.hex()}",
    )
    done = FlashResult(opened.path, target.name, port, steps, size.code_bytes, size.rodata_bytes)
    if dry_run:
        return done
    progress("writing")
    flash_virtual(firmware.elf, target)
    progress("checking")
    with connected(target, port) as board:
        hello = board.hello()
    check_firmware(hello, firmware, target, port)
    return FlashResult(opened.path, target.name, port, steps, size.code_bytes, size.rodata_bytes, hello.build_id.hex())
