"""What settings are refused, by file and key; and that whatever is taken works."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.support.sound import ALL, KWS, clips, features
from toolchain.errors import DataError
from toolchain.features.extract import extract
from toolchain.features.settings import FeatureSettings, features_text, load_features

PLAIN = 'kind = "mfcc"\n'


def settings_of(folder: Path, text: str | bytes) -> FeatureSettings:
    path = folder / "sound.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_features(path)


def test_the_defaults_are_the_keyword_benchmark(tmp_path: Path) -> None:
    found = settings_of(tmp_path, PLAIN)
    assert (found.window, found.hop, found.points, found.shape) == (480, 320, 512, (49, 10))
    assert dataclasses.replace(found, fft=512, log_offset=1e-6, scaling="htk") == KWS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("kinds = 1", "key 'kinds' is unknown. Did you mean 'kind'?"),
        ("rate = 0", "key 'rate' is 0. It must lie in 1,000 to 192,000"),
        ("rate = 16e3", "key 'rate' must be an integer, is a float"),
        ("fft = 500", "key 'fft' is 500. Use a power of two of 32 to 4,096"),
        ("fft = 256", "key 'window_ms' makes windows of 480 samples. Use 2 samples to the 256 of the transform"),
        ("window_ms = 300", "key 'window_ms' makes windows of 4,800 samples"),
        ("window_ms = nan", "key 'window_ms' is nan"),
        ("hop_ms = 0.02", "key 'hop_ms' makes 0 samples"),
        ("clip_ms = 20", "key 'clip_ms' makes 320 samples, a window has 480. Use a longer clip"),
        ("mels = 0", "key 'mels' is 0"),
        ("mels = 256\nwindow_ms = 15", "key 'mels' is 256, the transform has 128 bins. Use fewer, or a larger fft"),
        ("high_hz = 9000", "key 'high_hz' is 9000. It must lie above low_hz (20) and within rate / 2 (8000)"),
        ("low_hz = 4000", "key 'high_hz' is 4000. It must lie above low_hz (4000)"),
        ("low_hz = 40\nhigh_hz = 60", "key 'low_hz' and high_hz hold no bin of 31.25 Hz between them"),
        ("coefficients = 41", "key 'coefficients' is 41, there are 40 mels"),
        ("power = 3", "key 'power' is 3. It must lie in 1 to 2"),
        ("log_floor = 0", "key 'log_floor' is 0"),
        ('scaling = "none"', "key 'scaling' is 'none'. Use one of: orthonormal, htk"),
        ("preemphasis = 1.5", "key 'preemphasis' is 1.5"),
        ("clip_ms = 600_000\nhop_ms = 0.1", "Keep within 1,048,576 numbers"),
        ("rate = 16000\nrate = 8000", "it is not valid TOML"),
        ("rate = \x00", "it is not valid TOML"),
    ],
)
def test_wrong_settings_are_refused_by_file_and_key(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as fault:
        settings_of(tmp_path, PLAIN + line)
    assert fault.value.number == 215 and fault.value.place == "sound.toml"
    assert message in str(fault.value)


@pytest.mark.parametrize(
    ("content", "number"),
    [(b"", 215), (b'kind = "mel"', 215), (b'kind = "log_mel"\ncoefficients = 4', 215), (b"\xff", 215), (b"#" * 70_000, 215)],
)
def test_other_files_are_refused(content: bytes, number: int, tmp_path: Path) -> None:
    with pytest.raises(DataError) as fault:
        settings_of(tmp_path, content)
    assert fault.value.number == number


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none.toml", Path("nul\0")):
        with pytest.raises(DataError) as fault:
            load_features(place)
        assert fault.value.number == 205


def test_the_text_says_all(tmp_path: Path) -> None:
    for settings in (*ALL.values(), dataclasses.replace(KWS, log_floor=1e-30, low_hz=1 / 3)):
        found = settings_of(tmp_path, features_text(settings))
        assert found == dataclasses.replace(settings, fft=settings.points)


def drawn(rng: np.random.Generator) -> str:
    """Settings at random, some of them outside of what is allowed."""
    rate = int(rng.integers(900, 50_000))
    lines = {
        "kind": str(rng.choice(['"mfcc"', '"log_mel"'])),
        "rate": rate,
        "window_ms": round(float(1000 * rng.uniform(1, 800) / rate), 3),
        "hop_ms": round(float(1000 * rng.uniform(0.3, 900) / rate), 3),
        "clip_ms": round(float(1000 * rng.uniform(200, 4000) / rate), 3),
        "mels": int(rng.integers(1, 90)),
        "low_hz": round(float(rng.uniform(0, 0.1) * rate), 2),
        "high_hz": round(float(rng.uniform(0.05, 0.55) * rate), 2),
        "power": int(rng.integers(1, 3)),
        "preemphasis": round(float(rng.choice([0, 0.9])), 2),
        "fft": int(1 << rng.integers(5, 12)),
        "coefficients": int(rng.integers(1, 30)),
    }
    kept = [name for name in lines if name in ("kind", "rate", "window_ms", "clip_ms", "high_hz") or rng.random() < 0.5]
    return "".join(f"{name} = {lines[name]}\n" for name in kept)


def test_whatever_is_taken_works(tmp_path: Path) -> None:
    rng, taken, refused = np.random.default_rng(11), 0, 0
    while taken < 12:
        try:
            settings = settings_of(tmp_path, drawn(rng))
        except DataError as fault:
            assert fault.number == 215
            refused += 1
            continue
        taken += 1
        pcm = clips(settings)[[0, 2]]
        assert np.abs(extract(settings, pcm) - features(settings, pcm)).max() <= 2e-3, settings
    assert refused > 5
