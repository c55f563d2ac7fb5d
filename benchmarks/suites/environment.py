"""What a measurement ran on, as far as the system tells: processor, clock, governor, temperature, load."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
SYSTEM = Path("/sys")


@dataclass(frozen=True, slots=True)
class Environment:
    """This machine. clock_mhz, temperature_c: when asked; None where the system does not tell. load: of the last minute."""

    system: str
    machine: str
    cores: int
    python: str
    processor: str | None = None
    clock_mhz: float | None = None
    governor: str | None = None
    temperature_c: float | None = None
    load: float | None = None


def environment() -> Environment:
    """What this machine tells now."""
    load = None
    with suppress(OSError, AttributeError):
        load = round(os.getloadavg()[0], 2)
    return Environment(
        f"{platform.system()} {platform.release()}",
        platform.machine(),
        os.cpu_count() or 1,
        platform.python_version(),
        _processor(),
        _clock_mhz(),
        next(_texts(SYSTEM.glob("devices/system/cpu/cpu0/cpufreq/scaling_governor")), None),
        _hottest(),
        load,
    )


def _processor() -> str | None:
    return _cpu_field("model name") or platform.processor() or None


def _clock_mhz() -> float | None:
    for text in _texts(SYSTEM.glob("devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")):
        return round(float(text) / 1000, 1)
    shown = _cpu_field("cpu MHz")
    return round(float(shown), 1) if shown else None


def _hottest() -> float | None:
    """The highest of the thermal zones, degrees Celsius."""
    found = [float(text) / 1000 for text in _texts(SYSTEM.glob("class/thermal/thermal_zone*/temp")) if text.lstrip("-").isdigit()]
    return max(found, default=None)


def _cpu_field(name: str) -> str | None:
    """The first processor's line of a name."""
    with suppress(OSError, ValueError):
        for line in CPU_INFO.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return None


def _texts(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        with suppress(OSError, ValueError):
            yield path.read_text().strip()
