"""What every layer takes on a board: an image that tells it is put into the board's place, and the plain one put back."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence

from firmware.compilers import CompilerChoice, find_compiler
from firmware.device_build import DeviceFirmware, Variant, build_device
from firmware.serial.board import Board
from runtimes.board_engine import VIRTUAL, BoardProfile, check_firmware, connected, profile_on
from targets.model import Target
from toolchain.api.flashing import Place, write_firmware
from toolchain.api.places import as_bytes, c_program, output_scale
from toolchain.bundle.manifest import marks_of
from toolchain.bundle.read import Bundle
from toolchain.ir.types import Array


def profile_board(bundle: Bundle, port: str, inputs: Sequence[Array], compiler: CompilerChoice = "auto") -> BoardProfile:
    """Profile a bundle's layers on a board, for the first sample.

    A board on a desk is flashed with the profiling image, then with the plain one again; one that QEMU stands in for starts from
    the profiling image, and its flash stays as it is. inputs: (samples, *shape) of the stored types.
    Raises TargetError (E301, E302), EnvironmentFault (E4xx), RunError (E502 to E508), UsageError(901).
    """
    program, scale, target = c_program(bundle), output_scale(bundle), bundle.target()
    calls = len(set(marks_of(bundle.manifest.layers)))
    chosen = find_compiler(target, compiler)
    profiling = build_device(program, scale, target, chosen, Variant(calls=calls))
    with _running(profiling, build_device(program, scale, target, chosen), target, port) as board:
        check_firmware(board.hello(), profiling, target, port)
        return profile_on(board, program, target, calls, [as_bytes(array) for array in inputs], virtual=port == VIRTUAL)


@contextlib.contextmanager
def _running(image: DeviceFirmware, plain: DeviceFirmware, target: Target, port: str) -> Generator[Board]:
    """A board that runs image; after that it has the plain one."""
    if port == VIRTUAL:
        with connected(target, port, image.elf) as board:
            yield board
        return
    write_firmware(image, target, Place(port))
    try:
        with connected(target, port) as board:
            yield board
    finally:
        write_firmware(plain, target, Place(port))
