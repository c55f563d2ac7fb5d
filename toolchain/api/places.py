"""Runs a bundle's C program on a place: this machine or an emulator of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np

from firmware.compilers import CompilerChoice
from firmware.program import CProgram
from runtimes.base import RunResult
from targets.load import load_target
from targets.model import Target
from toolchain.bundle.read import Bundle
from toolchain.errors import RunError, UsageError
from toolchain.ir.types import Array, DType

Place = Literal["host", "emulator", "unicorn", "qemu"]


@dataclass(frozen=True, slots=True)
class Where:
    """A place and the compiler to build with. place: `emulator` takes whichever of unicorn and QEMU has the core."""

    place: Place
    compiler: CompilerChoice = "auto"


def where(bundle: Bundle, place: str | None, compiler: CompilerChoice = "auto") -> Where:
    """The place that a user named, or the default: `host` for bundles of the host, else `emulator`. Raises UsageError(901)."""
    if place is None:
        return Where("host" if bundle.manifest.target == "host" else "emulator", compiler)
    if place not in get_args(Place):
        raise UsageError(901, "--on", f"there is no place {place!r}", f"Use one of: {', '.join(get_args(Place))}")
    return Where(cast("Place", place), compiler)


def c_program(bundle: Bundle) -> CProgram:
    """The C program of a bundle. Raises RunError(504) when it has none."""
    manifest = bundle.manifest
    if manifest.c is None or manifest.ram is None:
        what = f"the bundle holds no C program, only {', '.join(manifest.format_names) or 'nothing'}"
        raise RunError(504, str(bundle.path), what, "Compile with --format c")
    return CProgram(
        name=manifest.name,
        root=bundle.path,
        header=manifest.c.header,
        sources=manifest.c.sources,
        include_dirs=manifest.c.include_dirs,
        cflags=manifest.c.cflags,
        arena_bytes=manifest.ram.arena_bytes,
        arena_align=manifest.ram.arena_align,
        input_bytes=tuple(tensor.bytes for tensor in manifest.inputs),
        output_bytes=tuple(tensor.bytes for tensor in manifest.outputs),
    )


def run_samples(bundle: Bundle, place: Where, inputs: Sequence[Array], *, count: bool = False) -> RunResult:
    """Run every sample and return raw outputs and a Measurement.

    inputs: one array per input, (samples, *shape) of the stored type. count: also count instructions or time runs.
    Raises EnvironmentFault (E4xx), RunError (E5xx), TargetError(301, 302), UsageError(901).
    """
    program = c_program(bundle)
    raw = tuple(as_bytes(array) for array in inputs)
    target = load_target(bundle.manifest.target)
    if place.place == "host":
        from runtimes.host_engine import run_host

        return run_host(program, load_target("host"), raw, count=count, compiler=place.compiler)
    _check_emulated(target)
    from runtimes.emulator import run_emulated

    engine = "auto" if place.place == "emulator" else place.place
    return run_emulated(program, target, raw, engine=engine, count=count, compiler=place.compiler)


def as_bytes(array: Array) -> Array:
    """(samples, *shape) of any type as (samples, bytes) uint8, little-endian."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(array.shape[0], -1).view(np.uint8).reshape(array.shape[0], -1)


def from_bytes(raw: Array, dtype: str, shape: Sequence[int]) -> Array:
    """The opposite of `as_bytes` for a tensor of the manifest."""
    kind = DType(dtype).numpy.newbyteorder("<")
    return np.ascontiguousarray(raw).view(kind).reshape(raw.shape[0], *shape)


def stored_outputs(bundle: Bundle, raw: Sequence[Array]) -> list[Array]:
    """Raw output bytes as arrays (samples, *shape) of the stored type."""
    return [from_bytes(data, tensor.dtype, tensor.shape) for data, tensor in zip(raw, bundle.manifest.outputs, strict=True)]


def _check_emulated(target: Target) -> None:
    if target.core.architecture == "host":
        raise UsageError(901, "--on", "a bundle of target host has no emulator", "Use --on host")
