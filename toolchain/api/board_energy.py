"""Energy of an inference on a board that a meter supplies: windows of many inferences, and idling before them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from firmware.compilers import CompilerChoice, find_compiler
from firmware.device_build import build_device, tiny_name
from firmware.serial.tiny import TinyRunner
from runtimes.board_engine import connected, model_number
from runtimes.meters.energy import EnergyResult, WindowEnergy, energy_of, window_energy
from runtimes.meters.meter import Meter
from toolchain.api.places import as_bytes, c_program, output_scale
from toolchain.bundle.read import Bundle
from toolchain.ir.types import Array

WINDOWS, WINDOW_S, IDLE_S = 5, 2.0, 1.0


def measure_energy(
    bundle: Bundle,
    port: str,
    inputs: Sequence[Array],
    meter: Meter,
    compiler: CompilerChoice = "auto",
    *,
    windows: int = WINDOWS,
    window_s: float = WINDOW_S,
) -> EnergyResult:
    """Idle for IDLE_S, then so many windows of as many inferences as take window_s, on the first sample.

    A window lies between two edges of the meter's digital input where the board drives it, else between the moments at which the
    board's two time stamps came over the line, whose delays are those of one short line each. Raises RunError E506 to E508 and
    E515, EnvironmentFault E4xx.
    """
    program, target = c_program(bundle), bundle.target()
    firmware = build_device(program, output_scale(bundle), target, find_compiler(target, compiler))
    with connected(target, port) as board:
        hello = board.hello()
        number = model_number(board, hello, firmware, program, target, port)
        runner = TinyRunner(board.line, board.name)
        runner.command(f"profile {tiny_name(program)}")
        for index, array in enumerate(inputs):
            board.write(index, as_bytes(array)[0].tobytes(), hello.payload_bytes, number)
        meter.start()
        time.sleep(IDLE_S)
        idle = meter.stop()
        probe = runner.infer(1, 0)
        count = max(1, math.ceil(window_s * 1e6 / max(probe.microseconds, 1)))
        found: list[WindowEnergy] = []
        lost = idle.lost
        for _ in range(windows):
            meter.start()
            ran = runner.infer(count, 0)
            trace = meter.stop()
            lost += trace.lost
            found.append(window_energy(trace, ran.began_s, ran.ended_s, count))
    return energy_of(found, idle.mean_w(), meter.label, lost)
