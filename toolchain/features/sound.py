"""Recorded clips: 16-bit samples of an array file, or a folder of WAV files by class."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calibration.data import load_samples
from toolchain.errors import DataError
from toolchain.features.settings import FeatureSettings
from toolchain.ir.graph import Value
from toolchain.ir.types import Array, DType, TensorType

MAX_CLIPS_BYTES = 1 << 34


def class_names(place: str) -> tuple[str, ...]:
    """Names of a folder's folders, in order: class numbers. None for other places. Raises DataError E205."""
    folder = Path(place)
    return tuple(path.name for path in _entries(folder) if path.is_dir()) if folder.is_dir() else ()


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, in order. Raises DataError E205."""
    try:
        return sorted(folder.iterdir())
    except OSError as fault:
        raise DataError(205, str(folder), f"it cannot be read: {fault.strerror}", "Give a folder of your own") from fault


def read_sound(place: str, settings: FeatureSettings, input_name: str, names: Sequence[str]) -> tuple[Array, Array | None]:
    """Clips (n, samples) int16 and class numbers (n,), None where there are none, of DATA or a folder.

    input_name: of the array in .npz files. names: of the classes of a folder, one folder of .wav files each; shorter files end in
    silence, longer ones are cut. Raises DataError E201, E202, E203, E205, E206.
    """
    if Path(place).is_dir():
        return _folder(Path(place), settings, names)
    value = Value(input_name, TensorType((1, settings.samples), DType.I16))
    taken = load_samples(place, (value,)).take()
    return taken.stored[0].reshape(-1, settings.samples), taken.labels


def _folder(folder: Path, settings: FeatureSettings, names: Sequence[str]) -> tuple[Array, Array]:
    own = class_names(str(folder))
    unknown = sorted(set(own) - set(names))
    if unknown:
        what = f"class {unknown[0]!r:.80} is none of those to train on"
        raise DataError(206, str(folder), what, "Give both folders the same classes")
    places = [(folder / name, number) for number, name in enumerate(names) if name in own]
    files = [(path, number) for place, number in places for path in _entries(place) if path.suffix.lower() == ".wav"]
    if not files:
        raise DataError(203, str(folder), "there are no .wav files in folders of it", "Make a folder for every class")
    if len(files) * settings.samples * 2 > MAX_CLIPS_BYTES:
        raise DataError(201, str(folder), f"{len(files):,} clips take more than {MAX_CLIPS_BYTES:,} B", "Use shorter clips")
    clips = np.zeros((len(files), settings.samples), np.int16)
    for clip, (path, _) in zip(clips, files, strict=True):
        found = _wav(path, settings)
        clip[: len(found)] = found
    return clips, np.array([number for _, number in files], np.int64)


def _wav(path: Path, settings: FeatureSettings) -> Array:
    """The first samples of a file. Raises DataError E202, E205."""
    try:
        with wave.open(str(path), "rb") as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            if form != (1, 2, settings.rate):
                what = f"it has {form[0]} channels of {8 * form[1]} bits at {form[2]:,} Hz"
                raise DataError(202, str(path), what, f"Convert it to one channel of 16 bits at {settings.rate:,} Hz")
            return np.frombuffer(file.readframes(settings.samples), "<i2")
    except (OSError, EOFError, ValueError, RuntimeError, wave.Error) as fault:
        raise DataError(205, str(path), f"it cannot be read: {fault!s:.100}", "Give WAV files of plain PCM") from fault
