"""Features against TensorFlow's and against their definitions in float64; streams against clips; what the state takes."""

from __future__ import annotations

import ctypes
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.sound import ALL, KWS, TINY, clips, features
from toolchain.errors import DataError
from toolchain.features.extract import Extractor, extract, host_extractor
from toolchain.features.settings import FeatureSettings
from toolchain.features.source import REAL, Stored, print_features
from toolchain.features.tables import make_tables
from toolchain.ir.quantization import quantize_array
from toolchain.ir.types import Array, DType, Quant, per_tensor

# Of features, whose largest are some 100; tones leave triangles with nothing but what the transform rounds.
ERROR, ERROR_OF_TONES = 4e-5, 5e-4
INT8 = Stored(DType.I8, 0.37, -11)


@pytest.mark.parametrize("name", ALL)
def test_they_are_what_their_definition_says(name: str) -> None:
    settings, pcm = ALL[name], clips(ALL[name])
    found = extract(settings, pcm)
    assert found.shape == (5, *settings.shape) and found.dtype == np.float32
    error = np.abs(found - features(settings, pcm)).max(axis=(1, 2))
    assert error[1] <= ERROR_OF_TONES and np.delete(error, 1).max() <= ERROR


@pytest.mark.parametrize("kind", ["mfcc", "log_mel"])
@pytest.mark.parametrize("power", [1, 2])
def test_they_are_tensorflows(kind: str, power: int) -> None:
    tf = pytest.importorskip("tensorflow")
    settings = replace(KWS, kind=kind, power=power)
    pcm = clips(settings)[:3]
    frames = tf.signal.stft(pcm.astype(np.float32) / 32768, settings.window, settings.hop, 512)
    weights = tf.signal.linear_to_mel_weight_matrix(40, 257, 16_000, 20.0, 4000.0)
    logs = tf.math.log(tf.tensordot(tf.abs(frames) ** power, weights, 1) + 1e-6)
    wanted = logs if kind == "log_mel" else tf.signal.mfccs_from_log_mel_spectrograms(logs)[..., :10]
    # TensorFlow's own float32, of samples and triangles, is 2e-3 off the definition for the tones.
    np.testing.assert_allclose(extract(settings, pcm), wanted.numpy(), atol=5e-3)
    np.testing.assert_allclose(extract(settings, pcm[:1]), wanted.numpy()[:1], atol=1e-4)


def test_orthonormal_coefficients_keep_the_length() -> None:
    settings = replace(KWS, coefficients=40, scaling="orthonormal")
    pcm = clips(settings)[:1]
    logs = extract(replace(settings, kind="log_mel"), pcm)
    found = extract(settings, pcm)
    np.testing.assert_allclose((found**2).sum(axis=2), (logs**2).sum(axis=2), rtol=1e-5)
    np.testing.assert_allclose(extract(KWS, pcm)[..., 0], found[..., 0] * np.sqrt(2), rtol=1e-6)


def test_silence_is_the_floor() -> None:
    settings = replace(TINY, log_floor=1e-3)
    found = extract(settings, clips(settings)[3:4])
    np.testing.assert_allclose(found, np.log(1e-3), rtol=1e-6)


@pytest.mark.parametrize("stored", [INT8, Stored(DType.U8, 0.5, 100), Stored(DType.I16, 0.004, 0)])
def test_stored_features_are_the_quantized_ones(stored: Stored) -> None:
    pcm = clips(KWS)
    found = host_extractor(KWS, stored).features(pcm)
    quant: Quant = per_tensor(float(np.float32(stored.scale)), stored.zero_point)
    np.testing.assert_array_equal(found, quantize_array(extract(KWS, pcm), stored.dtype, quant))


def pushed(extractor: Extractor, pcm: Array, rng: np.random.Generator) -> tuple[Array, list[int]]:
    """Features of one clip pushed in pieces of random length, and how many frames came with each."""
    state = np.zeros(extractor.ram_bytes // 4, np.int32)
    out = np.full(extractor.settings.shape, -1, extractor.stored.dtype.numpy)
    extractor.init(state.ctypes.data)
    came, at = list[int](), 0
    while at < len(pcm):
        count = int(rng.choice([0, 1, 3, 50, 400, 5000]))
        piece = np.ascontiguousarray(pcm[at : at + count])
        missing = extractor.read(state.ctypes.data, out.ctypes.data)
        assert missing == max(0, extractor.settings.frames - sum(came))
        came.append(extractor.push(state.ctypes.data, piece.ctypes.data, len(piece)))
        at += count
    assert extractor.read(state.ctypes.data, out.ctypes.data) == 0
    return out, came


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("stored", [REAL, INT8])
def test_streams_give_what_clips_give(name: str, stored: Stored) -> None:
    settings = ALL[name]
    extractor, pcm, rng = host_extractor(settings, stored), clips(settings), np.random.default_rng(5)
    for clip, wanted in zip(pcm, extractor.features(pcm), strict=True):
        found, came = pushed(extractor, clip, rng)
        assert sum(came) == settings.frames
        np.testing.assert_array_equal(found.view(np.uint8), wanted.view(np.uint8))


def test_a_long_stream_gives_its_last_frames() -> None:
    settings = replace(TINY, clip_ms=400.0)
    pcm = clips(settings)[0]
    whole = extract(settings, pcm[None])[0]
    found, came = pushed(host_extractor(TINY), pcm, np.random.default_rng(1))
    assert sum(came) == settings.frames > TINY.frames
    np.testing.assert_array_equal(found, whole[-TINY.frames :])


@pytest.mark.parametrize("name", ALL)
def test_it_keeps_within_its_state(name: str) -> None:
    settings, guard = ALL[name], 256
    for stored in (REAL, INT8):
        extractor = host_extractor(settings, stored)
        memory = np.full(extractor.ram_bytes + 2 * guard, 0xA5, np.uint8)
        out = np.full(settings.frames * settings.width * stored.dtype.bits // 8 + 2 * guard, 0xA5, np.uint8)
        state, into = memory.ctypes.data + guard, out.ctypes.data + guard
        assert state % 4 == 0 and into % 4 == 0
        assert extractor.init(state) == 0
        for clip in (clips(settings)[0], clips(settings)[2]):
            extractor.push(state, clip.ctypes.data, len(clip))
        assert extractor.read(state, into) == 0
        for bytes_ in (memory, out):
            assert (bytes_[:guard] == 0xA5).all() and (bytes_[-guard:] == 0xA5).all()
            assert not (bytes_[guard:-guard] == 0xA5).all()


def test_a_state_that_is_none_is_refused() -> None:
    extractor = host_extractor(TINY)
    memory = (ctypes.c_uint8 * (extractor.ram_bytes + 8))()
    at = ctypes.addressof(memory) // 4 * 4 + 4
    assert extractor.init(at) == 0
    assert extractor.init(at + 1) == 1 and extractor.init(at + 2) == 1 and extractor.init(None) == 1


def test_sizes_are_those_of_the_tables_and_the_state() -> None:
    for settings in ALL.values():
        made = print_features(settings, "net", INT8)
        tables = make_tables(settings)
        defined = re.findall(r"^static const (float|uint16_t) net_features_(\w+)\[(\d+)\]", made.files[made.source], re.M)
        assert {name for _, name, _ in defined} == set(tables.arrays)
        assert sum({"float": 4, "uint16_t": 2}[kind] * int(count) for kind, _, count in defined) == made.table_bytes
        assert f"#define NET_FEATURES_RAM_BYTES {made.ram_bytes} " in made.files[made.header]


def test_every_bin_between_the_ends_is_shared_out() -> None:
    for settings in ALL.values():
        tables = make_tables(settings)
        assert int(tables.bins.sum()) == len(tables.slopes) == tables.last - tables.first + 1
        assert (tables.slopes >= 0).all() and (tables.slopes <= 1).all()


@pytest.mark.parametrize(
    ("change", "number"),
    [
        (lambda x: x.astype(np.float32), 202),
        (lambda x: x[:, 1:], 201),
        (lambda x: x[0], 201),
        (lambda x: x[:0], 203),
    ],
)
def test_wrong_clips_are_refused(change: object, number: int) -> None:
    assert callable(change)
    with pytest.raises(DataError) as fault:
        extract(TINY, change(clips(TINY)))
    assert fault.value.number == number


def test_it_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STROP_CACHE", str(tmp_path))
    settings = FeatureSettings("mfcc", clip_ms=200.0, coefficients=5)
    pcm = clips(settings)
    host_extractor.cache_clear()
    first = extract(settings, pcm)
    (built,) = (tmp_path / "builds").iterdir()
    host_extractor.cache_clear()
    np.testing.assert_array_equal(extract(settings, pcm), first)
    assert list((tmp_path / "builds").iterdir()) == [built]
