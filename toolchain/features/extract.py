"""Features of recorded clips, by the C that devices run, compiled for this machine and kept."""

from __future__ import annotations

import ctypes
import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firmware.host import build_shared
from firmware.program import CProgram
from toolchain.backends.c.backend import CFLAGS
from toolchain.errors import DataError
from toolchain.features.settings import FeatureSettings
from toolchain.features.source import ALIGN, REAL, FeatureSource, Stored, print_features
from toolchain.ir.types import Array

NAME = "sound"


@dataclass(frozen=True, slots=True)
class Extractor:
    """A compiled extractor. stored: how it stores features."""

    settings: FeatureSettings
    stored: Stored
    ram_bytes: int
    init: Callable[..., int]
    push: Callable[..., int]
    read: Callable[..., int]

    def features(self, pcm: Array) -> Array:
        """Features (n, frames, width) of the stored type, of clips (n, samples) int16 that were checked."""
        state = np.zeros(self.ram_bytes // ALIGN, np.int32)
        found = np.empty((len(pcm), *self.settings.shape), self.stored.dtype.numpy)
        for clip, out in zip(np.ascontiguousarray(pcm, np.int16), found, strict=True):
            self.init(state.ctypes.data)
            self.push(state.ctypes.data, clip.ctypes.data, len(clip))
            missing = self.read(state.ctypes.data, out.ctypes.data)
            assert missing == 0
        return found


def extract(settings: FeatureSettings, pcm: Array) -> Array:
    """Features (n, frames, width) float32 of clips pcm (n, samples) int16.

    samples: those of the settings. Raises DataError E201 for another shape, E202 for another type, E203 for no clips,
    EnvironmentFault E401, E402.
    """
    return host_extractor(settings).features(checked_pcm(settings, pcm))


def checked_pcm(settings: FeatureSettings, pcm: Array) -> Array:
    """The clips. Raises DataError E201, E202, E203."""
    if pcm.dtype != np.int16:
        raise DataError(202, "pcm", f"samples are {pcm.dtype}", "Give 16-bit integers")
    if pcm.ndim != 2 or pcm.shape[1] != settings.samples:
        what = f"clips have the shape {pcm.shape}, the settings have {settings.samples:,} samples"
        raise DataError(201, "pcm", what, "Give (clips, samples), or set rate and clip_ms")
    if not len(pcm):
        raise DataError(203, "pcm", "there are 0 clips", "Give at least one")
    return pcm


@functools.cache
def host_extractor(settings: FeatureSettings, stored: Stored = REAL) -> Extractor:
    """The extractor for this machine. Raises EnvironmentFault E401, E402."""
    made = print_features(settings, NAME, stored)
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        program = written(made, Path(folder))
        library = ctypes.CDLL(str(build_shared(program)))
    functions = [getattr(library, f"{program.name}_{verb}") for verb in ("init", "push", "read")]
    pointer, number = ctypes.c_void_p, ctypes.c_int32
    for function, arguments in zip(functions, ((pointer,), (pointer, pointer, number), (pointer, pointer)), strict=True):
        function.argtypes, function.restype = arguments, number
    return Extractor(settings, stored, made.ram_bytes, *functions)


def written(made: FeatureSource, folder: Path) -> CProgram:
    """The extractor's files in a folder, as the builder takes them: its name the prefix of functions, its arena the state."""
    for name, text in made.files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return CProgram(Path(made.header).stem, folder, made.header, (made.source,), ("c",), CFLAGS, made.ram_bytes, ALIGN, (), ())
