"""Recipes of sound: array files and folders of WAV files come to the same features, which the bundle computes, too."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from tests.support.sound import TINY
from toolchain.errors import DataError
from toolchain.features.extract import extract
from toolchain.features.sound import class_names, read_sound
from toolchain.ir.types import Array
from toolchain.training.recipes.data import load_data
from toolchain.training.recipes.recipe import Recipe, load_recipe

ROOT = Path(__file__).parents[2]
PLAIN = """
name = "sound"
[data]
train = "train.npz"
validation = 0.0
[features]
kind = "log_mel"
rate = 4000
window_ms = 8
hop_ms = 8
clip_ms = 80
mels = 5
low_hz = 100
high_hz = 2000
[network]
kind = "cnn"
"""


def recipe_of(folder: Path, text: str = PLAIN) -> Recipe:
    (folder / "recipe.toml").write_text(text)
    return load_recipe(folder / "recipe.toml")


def sounds() -> tuple[Array, Array]:
    """Twelve clips of three classes."""
    pcm = np.random.default_rng(0).integers(-20_000, 20_000, (12, TINY.samples), dtype=np.int16)
    return pcm, np.arange(12) % 3


def write_wav(path: Path, pcm: Array, rate: int = 4000, channels: int = 1, width: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(pcm.astype("<i2").tobytes())


def test_the_network_sees_features(tmp_path: Path) -> None:
    pcm, labels = sounds()
    np.savez(tmp_path / "train.npz", x=pcm, y=labels)
    recipe = recipe_of(tmp_path)
    assert recipe.features == TINY
    data = load_data(recipe)
    assert data.shape == (10, 5, 1) and data.classes == 3
    order = [int(np.flatnonzero((extract(TINY, pcm)[..., None] == x).all(axis=(1, 2, 3)))[0]) for x in data.train.x]
    assert sorted(order) == list(range(12))
    np.testing.assert_array_equal(data.train.labels, labels[order])


def test_a_folder_of_wav_files_is_the_same(tmp_path: Path) -> None:
    pcm, labels = sounds()
    names = ("ape", "bee", "cat")
    for number, (clip, label) in enumerate(zip(pcm, labels, strict=True)):
        write_wav(tmp_path / "wavs" / names[label] / f"{number:02}.{'WAV' if number == 5 else 'wav'}", clip)
    (tmp_path / "wavs/ape/notes.txt").write_text("none")
    (tmp_path / "wavs/list.txt").write_text("none")
    assert class_names(str(tmp_path / "wavs")) == names
    order = np.argsort(labels, kind="stable")
    found, numbers = read_sound(str(tmp_path / "wavs"), TINY, "x", names)
    np.testing.assert_array_equal(found, pcm[order])
    np.testing.assert_array_equal(numbers, labels[order])
    data = load_data(recipe_of(tmp_path, PLAIN.replace("train.npz", "wavs")))
    assert data.classes == 3 and len(data.train.x) == 12


def test_short_files_end_in_silence_and_long_ones_are_cut(tmp_path: Path) -> None:
    write_wav(tmp_path / "a/short.wav", np.arange(1, 101))
    write_wav(tmp_path / "b/long.wav", np.arange(1, 1001))
    found, _ = read_sound(str(tmp_path), TINY, "x", ("a", "b"))
    np.testing.assert_array_equal(found[0], np.concatenate([np.arange(1, 101), np.zeros(220)]))
    np.testing.assert_array_equal(found[1], np.arange(1, 321))


def test_test_folders_number_their_classes_as_training_does(tmp_path: Path) -> None:
    pcm, _ = sounds()
    for name in ("ape", "bee"):
        write_wav(tmp_path / "train" / name / "0.wav", pcm[0])
    write_wav(tmp_path / "test/bee/0.wav", pcm[1])
    text = PLAIN.replace('train = "train.npz"', 'train = "train"\ntest = "test"')
    assert load_data(recipe_of(tmp_path, text)).test.labels == np.array([1])
    write_wav(tmp_path / "test/cow/0.wav", pcm[1])
    with pytest.raises(DataError) as fault:
        load_data(recipe_of(tmp_path, text))
    assert fault.value.number == 206 and "'cow' is none of those to train on" in str(fault.value)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"rate": 8000}, "it has 1 channels of 16 bits at 8,000 Hz. Convert it to one channel of 16 bits at 4,000 Hz"),
        ({"channels": 2}, "it has 2 channels of 16 bits"),
        ({"width": 1}, "it has 1 channels of 8 bits"),
    ],
)
def test_other_forms_of_sound_are_refused(form: dict[str, int], message: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "a/x.wav", np.zeros(400), **form)
    with pytest.raises(DataError) as fault:
        read_sound(str(tmp_path), TINY, "x", ("a",))
    assert fault.value.number == 202 and message in str(fault.value)


def test_damaged_files_are_refused_or_shorter(tmp_path: Path) -> None:
    write_wav(tmp_path / "a/x.wav", sounds()[0][0])
    whole = (tmp_path / "a/x.wav").read_bytes()
    rng, refused = np.random.default_rng(2), 0
    float_format = whole[:20] + struct.pack("<H", 3) + whole[22:]
    for content in [b"", b"RIFF", whole[:45], float_format, *(_spoilt(whole, rng) for _ in range(300))]:
        (tmp_path / "a/x.wav").write_bytes(content)
        try:
            found, _ = read_sound(str(tmp_path), TINY, "x", ("a",))
            assert found.shape == (1, TINY.samples)
        except DataError as fault:
            assert fault.number in (202, 205)
            refused += 1
    assert refused > 50


def _spoilt(whole: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(whole[: int(rng.integers(20, len(whole)))])
    for _ in range(int(rng.integers(0, 4))):
        data[int(rng.integers(0, min(len(data), 48)))] = int(rng.integers(0, 256))
    return bytes(data)


@pytest.mark.parametrize(
    ("change", "number", "message"),
    [
        (("mels = 5", "mels = 0"), 208, "key 'features.mels' is 0"),
        (("mels = 5", "melts = 5"), 208, "key 'features.melts' is unknown. Did you mean 'mels'?"),
        (("validation = 0.0", "shape = [10, 5]"), 208, "key 'data.shape' is said by features"),
        (("clip_ms = 80", "clip_ms = 90"), 201, "shape (320,), input 'x' needs (1, 360)"),
        (("train.npz", "folder"), 203, "there are no .wav files in folders of it"),
    ],
)
def test_what_does_not_fit_is_refused(change: tuple[str, str], number: int, message: str, tmp_path: Path) -> None:
    pcm, labels = sounds()
    np.savez(tmp_path / "train.npz", x=pcm, y=labels)
    (tmp_path / "folder/ape").mkdir(parents=True)
    with pytest.raises(DataError) as fault:
        load_data(recipe_of(tmp_path, PLAIN.replace(*change)))
    assert fault.value.number == number and message in str(fault.value)


def test_fractions_are_refused(tmp_path: Path) -> None:
    pcm, labels = sounds()
    np.savez(tmp_path / "train.npz", x=pcm / 32768, y=labels)
    with pytest.raises(DataError) as fault:
        load_data(recipe_of(tmp_path))
    assert fault.value.number == 202


@pytest.mark.long
def test_the_example_is_trained_and_runs_on_sound(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    pytest.importorskip("unicorn")
    example = ROOT / "examples/sound"
    python(str(example / "make_clips.py"), str(tmp_path / "build/tones"))
    text = (example / "tones.toml").read_text().replace("../../", f"{tmp_path}/")
    (tmp_path / "tones.toml").write_text(text)
    strop = ("-m", "toolchain.cli")
    found = json.loads(python(*strop, "train", str(tmp_path / "tones.toml"), "-o", str(tmp_path / "out"), "--json"))
    assert found["bit_exact"] and found["integer_accuracy"] > 0.9
    assert found["costs"]["features"]["frames"] == 30
    checked = json.loads(python(*strop, "verify", str(tmp_path / "out/bundle"), "--json"))
    assert checked["features"] == {"clips": 3, "frames": 30, "equal": 3}


def python(*arguments: str) -> str:
    """What a program prints."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
