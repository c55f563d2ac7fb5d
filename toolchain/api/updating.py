"""Updates: sign a bundle's firmware for both slots of a board, bring it there, and see it confirmed, or the old one back."""

from __future__ import annotations

import os
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from firmware.compilers import CompilerChoice, find_compiler
from firmware.device_build import PLAIN, Variant, trial_ms_of
from firmware.programmers.base import Step
from firmware.serial.ports import Choose
from firmware.update.build import (
    KnownAnswer,
    build_boot,
    build_images,
    factory_flash,
    factory_image,
    update_of,
)
from firmware.update.image import VERSION_MOST, SlotImage, pack_update, split_update
from firmware.update.keys import SigningKey
from firmware.update.known import generated_inputs
from firmware.update.send import SlotState, Updater
from runtimes.board_engine import VIRTUAL, connected, flash_virtual
from targets.load import load_target
from targets.model import Target
from toolchain.api.flashing import Place, image_steps, settled, take_steps, tool_of
from toolchain.api.places import c_program, output_scale
from toolchain.api.progress import Progress, silent
from toolchain.bundle.read import Bundle, read_bundle
from toolchain.errors import EnvironmentFault, RunError, UsageError
from toolchain.ir.types import DType
from toolchain.reference.evaluator import run

FIRST_VERSION = 1
TRIAL_SHARE = 0.7
"""Of a trial's time, the most that a run may be predicted to take: it is not known to the percent."""

_MAX_FILE_BYTES = 1 << 26
_ANY_BYTES = (DType.I8, DType.U8, DType.I16, DType.U16)


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What runs now, and the slots afterwards; None, and an empty build id, after a dry run.

    tool, steps, missing: of an installation, as of `FlashResult`.
    """

    target: str
    port: str
    version: int
    build_id: str
    image_bytes: int
    slots: SlotState | None
    tool: str = ""
    steps: tuple[str, ...] = ()
    missing: str = ""

    def as_json(self) -> dict[str, object]:
        """The result as one object."""
        return {
            "target": self.target,
            "port": self.port,
            "version": self.version,
            "build_id": self.build_id or None,
            "image_bytes": self.image_bytes,
            "slots": asdict(self.slots) if self.slots else None,
            "tool": self.tool or None,
            "steps": list(self.steps),
            "missing": self.missing or None,
        }


def known_answer(bundle: Bundle) -> KnownAnswer | None:
    """What a right board computes in its self-test; None where that is not the reference's to the last bit, as it is not with
    floats, or not every byte is an input."""
    graph = bundle.graph()
    values = (*graph.inputs, *(output for node in graph.nodes for output in node.outputs))
    if any(value.type.dtype.is_float for value in values) or any(each.type.dtype not in _ANY_BYTES for each in graph.inputs):
        return None
    program = c_program(bundle)
    arrays = [
        np.frombuffer(data, value.type.dtype.numpy).reshape(value.type.shape)
        for data, value in zip(generated_inputs(program.input_bytes), graph.inputs, strict=True)
    ]
    check = 0
    for output in run(graph, arrays):
        check = zlib.crc32(np.ascontiguousarray(output).tobytes(), check)
    return KnownAnswer(check)


def sign(
    bundle: str | Path, key: SigningKey, version: int, *, compiler: CompilerChoice = "auto", how: Variant = PLAIN
) -> tuple[SlotImage, ...]:
    """Build a bundle's firmware for every slot of its target and sign it. how: with a watchdog or a timing pin.

    Raises UsageError E901 for a version that no board counts to, EnvironmentFault E401 to E404, TargetError E301 and E302.
    """
    if not 0 < version <= VERSION_MOST:
        raise UsageError(901, "--version", f"{version} is no version", f"Give 1 to {VERSION_MOST}")
    opened = read_bundle(Path(bundle))
    target = opened.target()
    update_of(target)
    check_trial(opened, target)
    found = find_compiler(target, compiler)
    return build_images(c_program(opened), output_scale(opened), target, found, key, version, known_answer(opened), how)


def check_trial(bundle: Bundle, target: Target) -> None:
    """Raise EnvironmentFault E403 where one run is predicted to take so long that the watchdog would end every trial."""
    predicted, trial_ms = bundle.manifest.predicted, trial_ms_of(target)
    latency_ms = predicted.latency_ms if predicted else None
    if trial_ms and latency_ms and latency_ms > TRIAL_SHARE * trial_ms:
        what = f"a run takes some {latency_ms:,.0f} ms, and the watchdog ends a trial after {trial_ms:,} ms"
        raise EnvironmentFault(403, target.name, what, "Compile a smaller model")


def write_update(images: tuple[SlotImage, ...], path: Path) -> None:
    """Write an update's file aside, then in its place. Raises RunError E505."""
    try:
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_bytes(pack_update(images))
        aside.replace(path)
    except OSError as fault:
        raise RunError(505, str(path), f"it cannot be written: {fault.strerror}", "Choose another place") from fault


def read_update(path: Path) -> tuple[SlotImage, ...]:
    """The images of an update's file. Raises RunError E511 where it is none."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as fault:
        raise RunError(511, str(path), f"it cannot be read: {fault.strerror}", "Give a file that `--save` wrote") from fault
    return split_update(data, str(path))


def install(
    bundle: str | Path,
    place: Place | str,
    key: SigningKey,
    *,
    version: int = FIRST_VERSION,
    compiler: CompilerChoice = "auto",
    dry_run: bool = False,
    how: Variant = PLAIN,
    progress: Progress = silent,
    choose: Choose | None = None,
) -> UpdateResult:
    """Write boot loader and first image to a board, its state of updates erased, and check that it runs.

    place, dry_run, choose: as of `flash`. how: as of `sign`. An interrupted one is repeated as a whole.
    Raises as `sign`; UsageError E901 for a board that no tool here writes to; RunError E505 to E513.
    """
    target = target_of(bundle)
    update_of(target)
    wanted = settled(bundle, Place(place) if isinstance(place, str) else place, choose=choose, dry_run=dry_run)
    tool, missing = tool_of(target, wanted, dry_run)
    progress("building boot loader and firmware")
    image = sign(bundle, key, version, compiler=compiler, how=how)[0]
    boot = build_boot(target, key.public, find_compiler(target, compiler))
    steps = _install_steps(target, wanted, boot, image)
    ask = f"ask the board at {wanted.port} for slot 0, version {version}, build id {image.build_id.hex()}"
    texts = (*(step.text for step in steps), ask)
    done = UpdateResult(target.name, wanted.port, version, "", len(image.data), None, tool, texts, missing)
    if dry_run:
        return done
    take_steps(steps, f"{target.name} at {wanted.port}", progress)
    progress("checking")
    with connected(target, wanted.port) as board:
        state = Updater(board, target, 0).started()
        hello = board.hello()
    if (state.slot, state.version, hello.build_id) != (0, version, image.build_id):
        what = f"it runs version {state.version} of build {hello.build_id.hex()[:12]} in slot {state.slot}"
        raise RunError(512, target.name, what, "Flash it again")
    return replace(done, build_id=hello.build_id.hex(), slots=state)


def _install_steps(target: Target, place: Place, boot: Path, image: SlotImage) -> tuple[Step, ...]:
    """What writes boot loader and first image."""
    if place.port != VIRTUAL:
        return image_steps(target, place, factory_image(boot, target, image))
    if target.qemu is None or target.flash_tool.method != "qemu":
        what = f"{target.name} cannot be written through {place.port!r}"
        raise UsageError(901, "--port", what, "Give the port of a real board")

    def copy(progress: Progress) -> None:
        progress("writing")
        flash_virtual(boot, target, factory_flash(update_of(target), image))

    return (Step(f"copy {boot} and an image of {len(image.data):,} B into the flash of {target.name} in QEMU", copy),)


def update(
    images: tuple[SlotImage, ...], port: str, *, target: Target | None = None, progress: Progress = silent
) -> UpdateResult:
    """Bring an update to a board that has a boot loader, and wait until the board confirms it.

    target: of the images, where it is none of Strop's.

    Raises RunError E506 to E508, E511 for an update of another board, E512 where the board went back to what it had.
    """
    target = target or load_target(images[0].target)
    with connected(target, port) as board:
        hello = board.hello()
        updater = Updater(board, target, hello.payload_bytes)
        check_board(hello.board, target, port)
        state = updater.update(images, lambda done, of: progress("sending", done, of))
    image = images[0]
    return UpdateResult(target.name, port, image.version, image.build_id.hex(), len(image.data), state)


def next_version(target: Target, port: str) -> int:
    """One more than the version that a board runs."""
    with connected(target, port) as board:
        return Updater(board, target, board.hello().payload_bytes).state().version + 1


def target_of(bundle: str | Path) -> Target:
    """A bundle's target."""
    return read_bundle(Path(bundle)).target()


def check_board(name: str, target: Target, place: str) -> None:
    """Raise RunError E508 for another board."""
    if name != target.name:
        raise RunError(508, place, f"it is {name!r}, the update is for {target.name}", "Choose another port")
