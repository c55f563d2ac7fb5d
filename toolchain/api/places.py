"""Runs a bundle on a place: its C program on this machine or in an emulator, or its other formats in their own engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np

from firmware.compilers import CompilerChoice
from firmware.device_build import Scale
from firmware.program import CProgram, Interface
from runtimes.base import CallCost, Measurement, RunResult, outputs_digest
from runtimes.linux_engine import run_native, runs_here
from targets.load import load_target
from targets.model import Target
from toolchain.api.gpu import run_gpu
from toolchain.bundle.read import Bundle
from toolchain.errors import RunError, UsageError
from toolchain.ir.types import Array, DType

if TYPE_CHECKING:
    from runtimes.browser_engine import Backend, Format

Place = Literal["host", "emulator", "unicorn", "qemu", "board", "gpu"]
Engine = Literal["litert", "litert_reference", "tflm", "onnxruntime"]
Browser = Literal["browser", "browser:cpu", "browser:wasm", "browser:webgl", "browser:webgpu", "browser:litertjs", "browser:tfjs"]
"""A backend of TF.js, or of LiteRT.js where the bundle has that alone; `litertjs` and `tfjs` choose the engine, on wasm."""

WEB_FORMATS: tuple[Format, ...] = ("tfjs", "litertjs")
# The format that each engine runs.
ENGINES: dict[Engine, str] = {"litert": "tflite", "litert_reference": "tflite", "tflm": "tflite", "onnxruntime": "onnx"}
# What each web format can compute with.
BACKENDS_OF: dict[Format, tuple[Backend, ...]] = {"tfjs": ("cpu", "wasm", "webgl", "webgpu"), "litertjs": ("wasm", "webgpu")}


@dataclass(frozen=True, slots=True)
class Where:
    """A place and the compiler to build with. place: `emulator` takes whichever of unicorn and QEMU fits. port: of a `board`."""

    place: Place | Engine | Browser
    compiler: CompilerChoice = "auto"
    port: str = ""

    @property
    def is_browser(self) -> bool:
        """True for the places that run web formats."""
        return self.place in get_args(Browser)


def where(bundle: Bundle, place: str | None, compiler: CompilerChoice = "auto") -> Where:
    """The place that a user named, or the default: `host` for bundles that this machine runs, `gpu` for those of GPUs, `browser`
    for those with nothing but web formats, else `emulator`. Raises UsageError(901)."""
    if place is None:
        target = bundle.target()
        if target.gpu is not None:
            return Where("gpu", compiler)
        formats = set(bundle.manifest.format_names)
        if formats and formats <= set(WEB_FORMATS):
            return Where("browser", compiler)
        return Where("host" if target.core.architecture == "host" or runs_here(target) else "emulator", compiler)
    if place in get_args(Browser):
        return Where(cast("Browser", place), compiler)
    known = (*get_args(Place), *ENGINES)
    name, colon, port = place.partition(":")
    if name not in known or (name == "board") != bool(port) or (colon and not port):
        shown = ", ".join("board:PORT" if each == "board" else each for each in (*known, *get_args(Browser)))
        raise UsageError(901, "--on", f"there is no place {place!r}", f"Use one of: {shown}")
    return Where(cast("Place | Engine", name), compiler, port)


@dataclass(frozen=True, slots=True)
class Ran:
    """What running gave. outputs: (samples, *shape) of the stored types. measurement: None from an engine of another format."""

    outputs: list[Array]
    place: str
    outputs_sha256: str
    measurement: Measurement | None = None


def run_anywhere(bundle: Bundle, place: Where, inputs: Sequence[Array], *, count: bool = False) -> Ran:
    """Run every sample of a bundle on a place. inputs, count, errors: as of `run_samples` and `run_engine`."""
    if place.is_browser:
        return run_page(bundle, cast("Browser", place.place), inputs, count=count)
    if place.place in ENGINES:
        outputs = run_engine(bundle, place.place, inputs)
        return Ran(outputs, place.place, outputs_digest([as_bytes(output) for output in outputs]))
    if place.place == "gpu":
        ran = run_gpu(bundle, inputs, count=count)
        told = ran.measurement
        return Ran(ran.outputs, f"{told.runtime} ({told.device})", told.outputs_sha256, told)
    result = run_samples(bundle, place, inputs, count=count)
    found = result.measurement
    return Ran(stored_outputs(bundle, result.outputs), f"{found.runtime} ({found.device})", found.outputs_sha256, found)


def run_engine(bundle: Bundle, engine: Engine, inputs: Sequence[Array]) -> list[Array]:
    """Outputs (samples, *shape) of another format of the bundle in its own engine, on this machine.

    Raises RunError(504) when the bundle lacks the format, EnvironmentFault (E4xx), RunError(501, 502).
    """
    form = ENGINES[engine]
    entry = bundle.manifest.formats.get(form)
    if entry is None:
        what = f"the bundle holds no {form}, only {', '.join(bundle.manifest.format_names)}"
        raise RunError(504, str(bundle.path), what, f"Compile with --format {form}")
    model = bundle.file(entry.file).read_bytes()
    samples = [[array[index] for array in inputs] for index in range(len(inputs[0]))]
    if engine == "onnxruntime":
        from runtimes.onnxruntime_engine import OnnxSession

        session = OnnxSession(model)
        rows = [list(session.run(sample).values()) for sample in samples]
    else:
        from runtimes.guarded import run_guarded

        rows = run_guarded(engine, model, samples)
    return [np.stack(column) for column in zip(*rows, strict=True)]


def run_page(bundle: Bundle, place: Browser, inputs: Sequence[Array], *, count: bool = False) -> Ran:
    """Run every sample of a bundle's web format in a browser. count: also time runs.

    Raises RunError(504) when the bundle lacks the format, and what `run_browser` raises.
    """
    from runtimes.browser_engine import run_browser

    form, backend = _web_format(bundle, place)
    graph = bundle.graph()
    folder = bundle.file(bundle.manifest.formats[form].file).parent
    found = run_browser(folder, form, inputs, (graph.inputs, graph.outputs), backend=backend, count=count)
    measurement = found.measurement([as_bytes(output) for output in found.outputs])
    return Ran(list(found.outputs), f"{measurement.runtime} ({found.browser})", measurement.outputs_sha256, measurement)


def _web_format(bundle: Bundle, place: Browser) -> tuple[Format, Backend]:
    """The format to run and the backend that runs it: TF.js where the bundle has it and nothing else is asked for."""
    asked = place.partition(":")[2]
    held: list[Format] = [form for form in WEB_FORMATS if form in bundle.manifest.formats]
    wanted: list[Format] = [form for form in held if asked in (form, *BACKENDS_OF[form], "")]
    if not wanted:
        what = f"{place} cannot run it, it holds {', '.join(bundle.manifest.format_names)}"
        raise RunError(504, str(bundle.path), what, "Compile with --format tfjs or litertjs")
    return wanted[0], cast("Backend", "wasm" if asked in (*WEB_FORMATS, "") else asked)


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
        arena_bytes=manifest.ram.first_bytes,
        arena_align=manifest.ram.arena_align,
        input_bytes=tuple(tensor.bytes for tensor in manifest.inputs),
        output_bytes=tuple(tensor.bytes for tensor in manifest.outputs),
        io=cast("Interface", manifest.c.io),
        input_rows=_input_rows(bundle) if manifest.c.io == "rows" else 0,
        further=tuple((arena.memory, arena.bytes) for arena in manifest.ram.further),
    )


def _input_rows(bundle: Bundle) -> int:
    """Rows of the only input of a program that takes it row by row. Raises RunError(504) when it is no image."""
    inputs = bundle.manifest.inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] < 1 or inputs[0].bytes % inputs[0].shape[1]:
        what = "a program that takes its input row by row has one image as input"
        raise RunError(504, str(bundle.path), what, "Compile the bundle again")
    return inputs[0].shape[1]


def run_samples(bundle: Bundle, place: Where, inputs: Sequence[Array], *, count: bool = False) -> RunResult:
    """Run every sample and return raw outputs and a Measurement.

    inputs: one array per input, (samples, *shape) of the stored type. count: also count instructions or time runs.
    Raises EnvironmentFault (E4xx), RunError (E5xx), TargetError(301, 302), UsageError(901).
    """
    program, target = c_program(bundle), bundle.target()
    raw = tuple(as_bytes(array) for array in inputs)
    if place.place == "board":
        from runtimes.board_engine import run_board

        _check_emulated(target)
        return run_board(program, output_scale(bundle), target, place.port, raw, count=count, compiler=place.compiler)
    return run_program(program, target, place, raw, count=count)


def run_program(program: CProgram, target: Target, place: Where, raw: tuple[Array, ...], *, count: bool = False) -> RunResult:
    """Run every sample of a C program here or in an emulator. raw: (samples, bytes) per input. Else as `run_samples`."""
    if place.place == "host":
        from runtimes.host_engine import TIMEOUT_S, run_host

        if runs_here(target):
            return run_native(program, target, raw, count=count, compiler=place.compiler, timeout_s=TIMEOUT_S)
        _check_host(target)
        return run_host(program, load_target("host"), raw, count=count, compiler=place.compiler)
    _check_emulated(target)
    from runtimes.emulator import run_emulated

    return run_emulated(program, target, raw, engine=_engine(place), count=count, compiler=place.compiler)


def output_scale(bundle: Bundle) -> Scale:
    """What a board's text protocol makes numbers of the first output by, and the first input of numbers."""
    first, given = bundle.manifest.outputs[0], bundle.manifest.inputs[0]
    own = (first.scale or 1.0, first.zero_point or 0, DType(first.dtype).bits // 8)
    return Scale(*own, given.scale or 1.0, given.zero_point or 0)


def profile_layers(bundle: Bundle, place: Where, inputs: Sequence[Array]) -> tuple[CallCost, ...]:
    """What every layer of a bundle takes in an emulator, for the first sample. inputs, errors: as of `run_samples`."""
    target = bundle.target()
    if place.place in ("host", "board", "gpu"):
        raise UsageError(901, "--on", "single layers are measured in an emulator only", "Use --on emulator")
    _check_emulated(target)
    from runtimes.emulator import profile_emulated

    sample = [as_bytes(array)[0].tobytes() for array in inputs]
    return profile_emulated(c_program(bundle), target, sample, engine=_engine(place), compiler=place.compiler)


def _engine(place: Where) -> Literal["auto", "qemu", "unicorn"]:
    """The emulator that a place means."""
    return "qemu" if place.place == "qemu" else "unicorn" if place.place == "unicorn" else "auto"


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


def _check_host(target: Target) -> None:
    own = target.core.kernels[0]
    if target.core.architecture != "host" and own != "portable":
        what = f"programs for {target.name} use instructions of {own}, which this machine does not have"
        raise UsageError(901, "--on", what, "Use --on emulator, or compile for the target host")


def _check_emulated(target: Target) -> None:
    if target.core.architecture == "host":
        raise UsageError(901, "--on", "a bundle of target host has no emulator", "Use --on host")
