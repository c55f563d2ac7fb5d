"""Sound features of a bundle: their extractor among its C files, held to this machine's bytes, and measured."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from firmware.program import CProgram
from toolchain.api.places import Where, as_bytes, c_program, run_program
from toolchain.bundle.manifest import FeatureFacts
from toolchain.bundle.read import Bundle
from toolchain.errors import DataError, RunError, UsageError
from toolchain.features.extract import host_extractor
from toolchain.features.runnable import raw_pcm, runnable
from toolchain.features.settings import FeatureSettings, features_text, load_features
from toolchain.features.source import ALIGN, Stored, feature_bytes, print_features, stored_as
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.lowering.limits import Limits
from toolchain.pipeline import Compiled

SETTINGS_NAME = "features.toml"
PLACES = ("host", "emulator", "unicorn", "qemu")
CHECKED_CLIPS = 3
COUNTED_FRAMES = 2
CLIP_VALUES = 1 << 20
"""Samples of all clips that are checked, at most; the first one always is."""


@dataclass(frozen=True, slots=True)
class FeatureCheck:
    """An extractor on a place against this machine's. equal: clips whose features are the same, byte by byte."""

    clips: int
    frames: int
    equal: int

    @property
    def passed(self) -> bool:
        """True when no byte differs."""
        return self.equal == self.clips


@dataclass(frozen=True, slots=True)
class FeatureCost:
    """What an extractor takes. instructions, cycles: of a frame, the mean of two of noise, None where nothing counts them.

    stack_bytes: as painted. code_bytes, table_bytes: flash, as linked with what it needs of the compiler's library.
    """

    ram_bytes: int
    stack_bytes: int | None
    code_bytes: int | None
    table_bytes: int | None
    instructions: int | None
    cycles: int | None


def with_features(compiled: Compiled, settings: FeatureSettings | None) -> tuple[Compiled, FeatureFacts | None]:
    """The compiled graph with an extractor of its input, where settings are given, and what the manifest says of it.

    Raises DataError E216 where the network takes something else, UsageError(901) where there is no C.
    """
    if settings is None:
        return compiled, None
    section = compiled.sections.get("c")
    if section is None:
        what = f"the bundle has no C, only {', '.join(compiled.sections)}"
        raise UsageError(901, "--features", what, "Compile for a target that takes C, with --format c")
    name = compiled.options.name
    made = print_features(settings, name, _stored(compiled.graph, settings), compiled.target.core.kernels)
    files = {path: text.encode() for path, text in made.files.items()} | {SETTINGS_NAME: features_text(settings).encode()}
    sources: tuple[str, ...] = tuple(section["sources"])  # type: ignore[arg-type]
    sections: Mapping[str, Mapping[str, object]] = {**compiled.sections, "c": {**section, "sources": [*sources, made.source]}}
    facts = FeatureFacts(
        settings=SETTINGS_NAME,
        header=made.header,
        source=made.source,
        kind=settings.kind,
        rate=settings.rate,
        window=settings.window,
        hop=settings.hop,
        frames=settings.frames,
        width=settings.width,
        ram_bytes=made.ram_bytes,
        table_bytes=made.table_bytes,
    )
    return replace(compiled, files={**compiled.files, **files}, sections=sections), facts


def beside_features(limits: Limits, graph: Graph, settings: FeatureSettings | None) -> Limits:
    """Limits of a network that shares its memories with an extractor of its input. Raises DataError E216."""
    if settings is None:
        return limits
    ram, flash = feature_bytes(settings, _stored(graph, settings))
    return replace(limits, features_ram_bytes=ram, features_flash_bytes=flash)


def check_shape(graph: Graph, settings: FeatureSettings | None) -> None:
    """Raise DataError E216 where a network takes something else than the features that there are."""
    if settings is None:
        return
    shape, frames = f"{settings.frames} x {settings.width}", math.prod(settings.shape)
    if len(graph.inputs) != 1:
        what = f"it takes {len(graph.inputs)} inputs, features are one"
        raise DataError(216, graph.name, what, "Compile a network of one input")
    value = graph.inputs[0]
    wide = tuple(size for size in value.type.shape if size != 1)
    if wide not in (tuple(size for size in settings.shape if size != 1), (frames,)):
        what = f"input {value.name!r:.80} is {value.type.shape!s:.80}, the features are {shape}"
        raise DataError(216, graph.name, what, "Give the settings that it was trained with")


def _stored(graph: Graph, settings: FeatureSettings) -> Stored:
    """How the network's input stores features. Raises DataError E216."""
    check_shape(graph, settings)
    value = graph.inputs[0]
    stored = stored_as(value.type)
    if stored is None:
        what = f"input {value.name!r:.80} is {value.type.dtype} without one scale"
        raise DataError(216, graph.name, what, "Compile it with int8, int16 or float32 inputs")
    return stored


def check_features(bundle: Bundle, place: Where, seed: int) -> FeatureCheck | None:
    """Hold a bundle's extractor to this machine's on noise, tones and extremes; None where there is none, or the place runs no C.

    Raises DataError E215, E216, RunError (E5xx), EnvironmentFault (E4xx).
    """
    facts = bundle.manifest.features
    if facts is None or place.place not in PLACES:
        return None
    settings, stored = _settings(bundle, facts)
    pcm = _clips(settings, np.random.default_rng(seed))
    expected = as_bytes(host_extractor(settings, stored).features(pcm))
    with _program(bundle, facts, stored, settings.samples, settings.frames) as program:
        found = run_program(program, bundle.target(), place, (raw_pcm(pcm),)).outputs[0]
    return FeatureCheck(len(pcm), settings.frames, int((found == expected).all(axis=1).sum()))


def feature_cost(bundle: Bundle, place: Where) -> FeatureCost | None:
    """What a bundle's extractor takes; None where there is none, or the place runs no C. Raises as `check_features`."""
    facts = bundle.manifest.features
    if facts is None or place.place not in PLACES:
        return None
    settings, stored = _settings(bundle, facts)
    samples = settings.window + (COUNTED_FRAMES - 1) * settings.hop
    noise = np.random.default_rng(0).integers(-8192, 8192, (1, samples), dtype=np.int16)
    with _program(bundle, facts, stored, samples, 1) as program:
        told = run_program(program, bundle.target(), place, (raw_pcm(noise),), count=True).measurement
    frame = [None if total is None else round(total / COUNTED_FRAMES) for total in (told.instructions, told.cycles)]
    return FeatureCost(facts.ram_bytes, told.stack_bytes, told.code_bytes, told.rodata_bytes, *frame)


def _settings(bundle: Bundle, facts: FeatureFacts) -> tuple[FeatureSettings, Stored]:
    """Settings, and how features are stored. Raises DataError E215, E216, RunError(504) where manifest and settings differ."""
    settings = load_features(bundle.file(facts.settings))
    if settings.shape != (facts.frames, facts.width):
        what = f"they make {settings.shape}, the manifest says {(facts.frames, facts.width)}"
        raise RunError(504, str(bundle.file(facts.settings)), what, "Compile the model again")
    return settings, _stored(bundle.graph(), settings)


@contextmanager
def _program(bundle: Bundle, facts: FeatureFacts, stored: Stored, samples: int, frames: int) -> Generator[CProgram]:
    """A bundle's extractor as a program of its own."""
    network = c_program(bundle)
    prefix = facts.header.rpartition("/")[2].removesuffix(".h")
    alone = replace(
        network,
        name=prefix,
        header=facts.header,
        sources=(facts.source,),
        arena_bytes=facts.ram_bytes,
        arena_align=ALIGN,
        io="arena",
        further=(),
    )
    with runnable(alone, samples, frames, facts.width * stored.dtype.bits // 8) as program:
        yield program


def _clips(settings: FeatureSettings, rng: np.random.Generator) -> Array:
    """Noise, a sweep and square waves at full scale, as many as are not too long to run."""
    count = max(1, min(CHECKED_CLIPS, CLIP_VALUES // settings.samples))
    time = np.arange(settings.samples) / settings.samples
    sweep = 12_000 * np.sin(np.pi * settings.samples / 2 * time**2) + rng.normal(0, 30, settings.samples)
    square = np.where(np.sin(2 * np.pi * 37 * time) >= 0, 32767, -32768)
    noise = rng.integers(-32768, 32767, settings.samples, endpoint=True)
    return np.stack([noise, sweep, square])[:count].astype(np.int16)
