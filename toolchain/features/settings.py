"""What features of sound are computed, read from TOML and checked: every fault is an E215 that names the file and the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, cast

from targets.table import Table, parse_table, read_content
from toolchain.errors import DataError

Kind = Literal["log_mel", "mfcc"]
Scaling = Literal["orthonormal", "htk"]

MAX_FILE_BYTES = 1 << 16
MAX_FEATURES = 1 << 20
FFT_SIZES = tuple(1 << power for power in range(5, 13))
KINDS: tuple[Kind, ...] = ("log_mel", "mfcc")
SCALINGS: tuple[Scaling, ...] = ("orthonormal", "htk")


@dataclass(frozen=True, slots=True)
class FeatureSettings:
    """Features of a clip of sound. Defaults are those of MLPerf Tiny's keyword spotting, but for log_offset and scaling.

    rate: samples a second. window_ms, hop_ms: length and distance of windows; clip_ms: of what the network sees; each rounded to
    whole samples. fft: points of the transform, a power of two; 0 for the least that holds a window. mels: triangles between
    low_hz and high_hz, evenly spaced on HTK's mel scale. power: 1 sums magnitudes under them, 2 squares. Logarithms are
    ln(max(sum + log_offset, log_floor)) for samples of -1 to 1. coefficients: of the DCT-II, `mfcc` alone. scaling:
    `orthonormal`, or `htk`, whose coefficient 0 is larger by sqrt(2). preemphasis: share of the sample before that is taken off
    each sample.
    """

    kind: Kind
    rate: int = 16_000
    window_ms: float = 30.0
    hop_ms: float = 20.0
    clip_ms: float = 1000.0
    fft: int = 0
    mels: int = 40
    low_hz: float = 20.0
    high_hz: float = 4000.0
    coefficients: int = 10
    power: int = 1
    log_floor: float = 1e-6
    log_offset: float = 0.0
    scaling: Scaling = "orthonormal"
    preemphasis: float = 0.0

    @property
    def window(self) -> int:
        """Samples of a window."""
        return round(self.rate * self.window_ms / 1000)

    @property
    def hop(self) -> int:
        """Samples from the start of a window to that of the next one."""
        return round(self.rate * self.hop_ms / 1000)

    @property
    def samples(self) -> int:
        """Samples of a clip."""
        return round(self.rate * self.clip_ms / 1000)

    @property
    def points(self) -> int:
        """Points of the transform."""
        return self.fft or next((size for size in FFT_SIZES if size >= self.window), FFT_SIZES[-1])

    @property
    def frames(self) -> int:
        """Windows that lie in a clip."""
        return 1 + (self.samples - self.window) // self.hop

    @property
    def width(self) -> int:
        """Numbers of a frame."""
        return self.coefficients if self.kind == "mfcc" else self.mels

    @property
    def shape(self) -> tuple[int, int]:
        """Of a clip's features: frames, numbers of each."""
        return self.frames, self.width


def features_fault(place: str, problem: str, hint: str = "") -> DataError:
    """The E215 of feature settings."""
    return DataError(215, place, problem, hint)


def load_features(path: str | Path) -> FeatureSettings:
    """Read settings. Raises DataError E205 where the file cannot be read, E215 where it is wrong."""
    file = Path(path)
    content = read_content(file, MAX_FILE_BYTES, "Give a .toml file of feature settings", features_fault)
    return parse_features(parse_table(content, file.name, features_fault))


def parse_features(table: Table) -> FeatureSettings:
    """The settings of a table, whose own faults they are."""
    names = tuple(item.name for item in fields(FeatureSettings))
    table.expect(("kind",), names[1:])
    found: dict[str, object] = {"kind": table.choice("kind", KINDS)}
    for name, (low, high) in _WHOLE.items():
        if name in table.values:
            found[name] = table.integer(name, low, high)
    for name, (lowest, highest) in _REAL.items():
        if name in table.values:
            found[name] = table.number(name, lowest, highest)
    if "scaling" in table.values:
        found["scaling"] = table.choice("scaling", SCALINGS)
    made = FeatureSettings(**cast("Mapping[str, object]", found))  # type: ignore[arg-type]
    _check_together(table, made)
    return made


_WHOLE = {
    "rate": (1000, 192_000),
    "fft": (FFT_SIZES[0], FFT_SIZES[-1]),
    "mels": (1, 256),
    "coefficients": (1, 256),
    "power": (1, 2),
}
_REAL = {
    "window_ms": (0.01, 10_000.0),
    "hop_ms": (0.01, 10_000.0),
    "clip_ms": (0.01, 600_000.0),
    "low_hz": (0.0, 96_000.0),
    "high_hz": (0.0, 96_000.0),
    "log_floor": (1e-30, 1e6),
    "log_offset": (0.0, 1e6),
    "preemphasis": (0.0, 1.0),
}


def _check_together(table: Table, made: FeatureSettings) -> None:
    """Raise the E215 of settings that do not go together."""
    if made.points not in FFT_SIZES:
        raise table.fault("fft", f"is {made.points:,}", f"Use a power of two of {FFT_SIZES[0]} to {FFT_SIZES[-1]:,}")
    if not 2 <= made.window <= made.points:
        what = f"makes windows of {made.window:,} samples"
        raise table.fault("window_ms", what, f"Use 2 samples to the {made.points:,} of the transform")
    if made.hop < 1:
        raise table.fault("hop_ms", f"makes {made.hop} samples", "Use one sample or more")
    if made.samples < made.window:
        raise table.fault("clip_ms", f"makes {made.samples:,} samples, a window has {made.window:,}", "Use a longer clip")
    if made.mels > made.points // 2:
        raise table.fault("mels", f"is {made.mels}, the transform has {made.points // 2} bins", "Use fewer, or a larger fft")
    if not made.low_hz < made.high_hz <= made.rate / 2:
        what = f"is {made.high_hz:g}"
        raise table.fault("high_hz", what, f"It must lie above low_hz ({made.low_hz:g}) and within rate / 2 ({made.rate / 2:g})")
    bin_hz = made.rate / made.points
    if not any(made.low_hz < number * bin_hz < made.high_hz for number in range(1, made.points // 2 + 1)):
        raise table.fault("low_hz", f"and high_hz hold no bin of {bin_hz:g} Hz between them", "Widen them, or use a larger fft")
    if made.kind == "mfcc" and made.coefficients > made.mels:
        raise table.fault("coefficients", f"is {made.coefficients}, there are {made.mels} mels", "Use as many or fewer")
    if made.kind == "log_mel" and "coefficients" in table.values:
        raise table.fault("coefficients", "is of mfcc alone", "Leave it out; log_mel gives all mels")
    if made.frames * made.width > MAX_FEATURES:
        raise table.fault("clip_ms", f"makes {made.frames:,} frames of {made.width}", f"Keep within {MAX_FEATURES:,} numbers")


def features_text(settings: FeatureSettings) -> str:
    """The settings as TOML, every key, so that later defaults change nothing."""
    lines = ["# Features that the network of this bundle takes."]
    for item in fields(FeatureSettings):
        value = getattr(settings, item.name)
        if item.name == "fft":
            value = settings.points
        if item.name == "coefficients" and settings.kind != "mfcc":
            continue
        lines.append(f'{item.name} = "{value}"' if isinstance(value, str) else f"{item.name} = {value!r}")
    return "\n".join(lines) + "\n"
