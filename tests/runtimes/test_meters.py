"""Power meters: their protocols against instruments that play a known current, and energy as the integral of it."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from runtimes.meters.energy import STUDENT, WindowEnergy, energy_of, window_energy
from runtimes.meters.ina219 import Ina219
from runtimes.meters.lpm01a import Lpm01a, trace_of
from runtimes.meters.meter import Trace, open_meter
from runtimes.meters.ppk2 import Ppk2, currents
from tests.support.meters import Ina219Chip, PowerShield, Ppk2Kit, on_terminal
from toolchain.errors import EnvironmentFault, RunError, UsageError


def two_steps(seconds: float) -> float:
    """5 mA, and 20 mA from 0.1 s to 0.3 s."""
    return 0.02 if 0.1 <= seconds < 0.3 else 0.005


def measured(meter: Any, seconds: float) -> Trace:
    meter.start()
    time.sleep(seconds)
    trace = meter.stop()
    meter.close()
    return trace


def test_ppk2_integrates_between_edges_of_its_input() -> None:
    pytest.importorskip("ppk2_api")
    kit = Ppk2Kit(two_steps, falls_s=(0.1, 0.3))
    with on_terminal(kit.serve) as port:
        trace = measured(Ppk2(port, 3.0), 0.2)
    assert b"\x11\x01" in kit.commands  # ampere meter
    assert b"\x0d\x0b\xb8" in kit.commands  # 3000 mV: 0x0320 is 800 mV
    assert len(trace.marks_s) == 2
    assert trace.marks_s[1] - trace.marks_s[0] == pytest.approx(0.2, abs=2e-5)
    assert trace.energy_j(*trace.marks_s) == pytest.approx(0.02 * 3.0 * 0.2, rel=0.002)
    assert trace.watts[100:9000].mean() == pytest.approx(0.005 * 3.0, rel=0.002)
    assert trace.lost == 0


def test_ppk2_samples_that_are_lost_are_counted() -> None:
    pytest.importorskip("ppk2_api")
    with on_terminal(Ppk2Kit(two_steps, lose=100).serve) as port:
        trace = measured(Ppk2(port, 3.0), 0.05)
    assert trace.lost == pytest.approx(len(trace.seconds) / 99, abs=2)


def test_ppk2_currents_are_those_of_its_package() -> None:
    """Within one range, where the package does not smooth."""
    package = pytest.importorskip("ppk2_api.ppk2_api")
    kit = Ppk2Kit(lambda at: 0.001 + at * 10)
    with on_terminal(kit.serve) as port:
        api = package.PPK2_API(port, timeout=1)
        api.get_modifiers()
        api.current_vdd = 3000
        words = np.array([kit.word(index) for index in range(500)], np.uint32)
        theirs, _ = api.get_samples(words.tobytes())
        ours = currents(words, api.modifiers, 3.0, api.adc_mult)
        api.ser.close()
    assert ours * 1e6 == pytest.approx(theirs, rel=1e-9)
    assert ours == pytest.approx([0.001 + index / 10_000 for index in range(500)], rel=0.005)


def test_lpm01a_integrates_between_its_events() -> None:
    shield = PowerShield(two_steps, falls_s=(0.1, 0.3))
    with on_terminal(shield.serve) as port:
        trace = measured(Lpm01a(port, 2.5), 0.2)
    assert shield.commands[0] == "htc"
    assert {"output energy", "format ascii_dec", "freq 1k", "eventsrc d7 fal", "volt 2500m", "pwr on nostatus"} <= {
        *shield.commands
    }
    assert shield.commands[-2:] == ["stop", "hrc"]
    assert trace.marks_s[1] - trace.marks_s[0] == pytest.approx(0.2, abs=1e-6)
    assert trace.energy_j(*trace.marks_s) == pytest.approx(0.02 * 2.5 * 0.2, rel=0.002)
    assert trace.watts[:90].mean() == pytest.approx(0.005 * 2.5, rel=0.002)


def test_lpm01a_lines_as_the_manual_has_them() -> None:
    """UM2243: 6409-07 is 640.9 u; here of joules, a thousand a second. What is no sample is not taken for one."""
    text = b"PowerShield > ack start\r\n6409-07\r\nTimeStamp: 000s 001ms, buff 03%\r\nevent 4 ris\r\n1000-06\r\n12345-06\r\n64"
    trace = trace_of([(10.0, text[:40]), (10.001, text[40:])], "meter")
    assert trace.watts == pytest.approx([0.6409, 1.0])
    assert trace.marks_s == pytest.approx((trace.seconds[0],))
    assert trace.seconds[-1] == pytest.approx(10.001, abs=1.1e-3)


def test_ina219_reads_shunt_and_bus() -> None:
    chip = Ina219Chip(lambda _: -0.0123, 3.3, 0.1)
    begun = time.monotonic()
    trace = measured(Ina219(chip, ohms=0.1), 0.1)
    lasted = time.monotonic() - begun
    assert chip.written == [(0, 0x199F)]
    assert trace.watts == pytest.approx(np.full(len(trace.watts), -0.0123 * 3.3), rel=1e-3)
    assert 40 < len(trace.watts) <= lasted * 1000 + 2, "each sample once, and the chip makes one a millisecond"
    assert chip.closed


def test_ina219_that_measures_nothing_is_an_error() -> None:
    chip = Ina219Chip(lambda _: 0.01, 3.3, 0.1)
    meter = Ina219(chip)
    chip.taken = 1 << 40
    meter.start()
    time.sleep(0.6)
    with pytest.raises(RunError, match=r"E515 .*measured nothing in 0\.5 s"):
        meter.stop()
    with pytest.raises(OSError, match="Remote"):
        Ina219(chip, 0x41)


def say_nothing(_: int, stop: threading.Event) -> None:
    stop.wait()


def test_meters_that_say_nothing_or_refuse_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ppk2_api")
    monkeypatch.setattr("runtimes.meters.lpm01a.ANSWER_S", 0.1)
    with on_terminal(say_nothing) as port:
        with pytest.raises(RunError, match=r"E515 lpm01a at .*gave no answer in 0\.1 s"):
            Lpm01a(port, 3.0)
        with pytest.raises(RunError, match=r"E515 ppk2 at .*gave no answer"):
            Ppk2(port, 3.0)
    with on_terminal(PowerShield(two_steps, refuses="output").serve) as port, pytest.raises(RunError, match="it refuses 'output"):
        Lpm01a(port, 3.0)


@pytest.mark.parametrize(
    ("text", "volts", "fault"),
    [
        ("joulescope:1", 3.3, r"E901 --meter: there is no meter 'joulescope:1'"),
        ("ppk2", 3.3, r"E901 --meter"),
        ("ppk2:/nowhere/tty", 9.0, r"E901 --volts: it is 9"),
        ("lpm01a:/nowhere/tty", 1.2, r"E901 --volts: lpm01a gives 1\.8 to 3\.3 V"),
        ("lpm01a:/nowhere/tty", 3.0, r"E405 /nowhere/tty"),
        ("ina219:x", 3.0, r"E901 --meter: 'x' names no INA219"),
        ("ina219:1:90", 3.0, r"E901 --meter"),
        ("ina219:77", 3.0, r"E40[45] "),
    ],
)
def test_wrong_meters_are_errors(text: str, volts: float, fault: str) -> None:
    with pytest.raises((UsageError, EnvironmentFault), match=fault):
        open_meter(text, volts)


def test_a_port_without_a_kit_cannot_be_opened() -> None:
    pytest.importorskip("ppk2_api")
    with pytest.raises(EnvironmentFault, match="E405"):
        open_meter("ppk2:/nowhere/tty")


# --- the integral


def steady(watts: float, seconds: float, marks: tuple[float, ...] = ()) -> Trace:
    count = round(seconds * 1000)
    return Trace(np.arange(1, count + 1) / 1000, np.full(count, watts), 1e-3, marks)


def test_samples_at_the_ends_count_in_part() -> None:
    trace = Trace(np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 4.0]), 0.1)
    assert trace.energy_j(0.05, 0.25) == pytest.approx(0.05 * 1 + 0.1 * 2 + 0.05 * 4)


@pytest.mark.parametrize(("began", "ended"), [(-1.0, 0.5), (0.5, 3.0), (0.5, 0.5)])
def test_a_window_outside_of_the_trace_is_an_error(began: float, ended: float) -> None:
    with pytest.raises(RunError, match=r"E515 .*do not cover"):
        steady(1.0, 2.0).energy_j(began, ended)


def test_the_digital_input_has_precedence_over_the_line() -> None:
    found = window_energy(steady(2.0, 3.0, (0.2, 1.0, 2.0)), 0.9, 2.2, 10)
    assert (found.by, found.seconds, found.per_inference_uj) == ("digital input", 1.0, pytest.approx(2e6 / 10))
    found = window_energy(steady(2.0, 3.0, (1.0,)), 1.0, 2.5, 10)
    assert (found.by, found.total_uj) == ("serial line", pytest.approx(3e6))


def test_idle_is_told_apart_and_repeats_give_the_uncertainty() -> None:
    windows = [WindowEnergy(1000.0 * total, 0.5, 100, "serial line") for total in (10, 11, 12)]
    found = energy_of(windows, 0.004, "meter")
    assert found.total_uj == pytest.approx(110)
    assert found.active_uj == pytest.approx(110 - 0.004e6 * 0.5 / 100)
    assert found.total_half_uj == pytest.approx(STUDENT[1] * 10 / 3**0.5)
    assert energy_of(windows[:1], 0.0, "meter").total_half_uj is None
