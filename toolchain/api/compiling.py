"""Compile: from a model file to a bundle on disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from calibration.doubts import calibration_doubts
from calibration.mixed import Budget, Price
from calibration.prepare import Rounding
from targets.load import known_target, parse_target, read_target_file
from targets.model import Target
from toolchain.api.describing import describe_bundle
from toolchain.api.features import beside_features, check_shape, with_features
from toolchain.api.inspecting import NO_SHAPES
from toolchain.api.library import with_library
from toolchain.api.prequantized import keep_parameters, with_parameters
from toolchain.api.progress import Progress, silent
from toolchain.api.quantizing import AUTO, AfterPass, Converted, Precision, form_of, to_precision
from toolchain.api.results import CompileResult
from toolchain.backends.tensorrt.standalone import Batch
from toolchain.bundle.example import EXAMPLE_NAME, example_c
from toolchain.bundle.graph_files import EVENED_NAME, evened_file, graph_files
from toolchain.bundle.manifest import Manifest, SourceModel
from toolchain.bundle.readme import README_NAME, readme
from toolchain.bundle.write import write_bundle
from toolchain.errors import ModelError, TargetError
from toolchain.features.settings import FeatureSettings
from toolchain.frontends.load import load_model, model_format
from toolchain.ir.graph import Graph
from toolchain.lowering.limits import Limits
from toolchain.lowering.lower import InterfaceMode
from toolchain.lowering.plans import latency_ms
from toolchain.lowering.variants import Objective
from toolchain.passes.canonical import canonicalize
from toolchain.passes.evened import evened_factors, kept_channels, signed_factors
from toolchain.passes.qdq.notes import Note
from toolchain.passes.split_layers import split_layers
from toolchain.pipeline import NO_MEMORIES, Compiled, CompileOptions, compile_model, program_of

DIGEST_CHUNK_BYTES = 1 << 20
TARGET_NAME = "target.toml"


def compile(
    model: str | Path,
    target: str,
    output: str | Path,
    *,
    name: str | None = None,
    formats: Sequence[str] = (),
    precision: Precision = "auto",
    calibrate: str | None = None,
    ranges: str = AUTO,
    rounding: Rounding = "optimal",
    optimize: Objective = "balanced",
    io: InterfaceMode = "arena",
    max_ram_bytes: int | None = None,
    max_flash_bytes: int | None = None,
    max_latency_ms: float | None = None,
    memories: Mapping[str, int | None] = NO_MEMORIES,
    copy_weights: bool = False,
    input_shapes: Mapping[str, tuple[int, ...]] = NO_SHAPES,
    progress: Progress = silent,
    after: AfterPass | None = None,
    skip: Sequence[str] = (),
    explain: bool = False,
    batch: Batch | None = None,
    features: FeatureSettings | None = None,
) -> CompileResult:
    """Compile a model for a target and write the bundle to the folder `output`.

    target: a name of `strop targets` or a .toml file. name: prefix of C names, from the file's name when None. formats: empty
    takes those of the target's own that can hold the model. precision, calibrate (DATA), ranges, rounding: see `to_precision`.
    optimize: `speed`, `ram`, `size` or `balanced`, what the program is chosen for among those within the limits: bytes of the
    arena, bytes of weights and code, predicted milliseconds of one inference. io: `arena` keeps inputs and outputs in the arena,
    `caller` takes pointers. memories: RAM of the target to use, by name, with the most bytes of it or None for all; the default
    RAM always is. copy_weights: constants are copied from flash to RAM where that spares wait states. after: told name and result
    of every pass. skip: passes of toolchain/passes/canonical.py to leave out. explain: list in the manifest what there was to
    choose from. batch: samples at a time of the formats `onnx` and `tensorrt`, whose first dimension is open then. features: what
    its input is made of. Nothing is written when it raises ModelError (E1xx), DataError (E2xx), TargetError (E3xx),
    EnvironmentFault(404), RunError(505), UsageError(901).
    """
    form_of(precision)
    limits, half, path = Limits(max_ram_bytes, max_flash_bytes, max_latency_ms), precision == "float16", Path(model)
    device, own = _described(target)
    progress("reading the model")
    canonical = canonicalize(load_model(path, input_shapes), after=after, skip=skip)
    check_shape(canonical, features)
    prefix = default_name(path) if name is None else name
    options = CompileOptions(prefix, tuple(formats), io, limits, optimize, explain, memories, copy_weights, batch, half)
    notes: tuple[Note, ...] = ()
    kept = with_parameters(canonical, model_format(path), precision, calibrate)
    if kept is None:
        converted = to_precision(canonical, precision, calibrate, ranges, rounding, budget_of(device, options), progress, after)
    else:
        graph, notes = keep_parameters(kept, precision, calibrate, ranges, progress, after)
        converted = Converted(graph)
    progress("compiling")
    options = replace(options, limits=beside_features(limits, converted.graph, features))
    compiled, facts = with_features(with_library(compile_model(converted.graph, device, options)), features)
    described = describe_bundle(compiled, SourceModel(path.name, model_format(path), source_digest(path)), converted, notes)
    described = replace(described, target_file=next(iter(own), None), features=facts)
    return _written(Path(output), compiled, described, converted, {**_evened(canonical, converted, compiled.graph), **own})


def _written(
    output: Path, compiled: Compiled, described: Manifest, converted: Converted, more: Mapping[str, bytes]
) -> CompileResult:
    """Write the bundle. more: files besides those of the graph and of the formats. Raises RunError(505)."""
    files = {**graph_files(compiled.graph), **compiled.files, **_pages(described, compiled.target), **more}
    plan = compiled.program.plan if compiled.program else None
    absent = tuple(f"No {name}: {fault}" for name, fault in compiled.left_out.items())
    warnings = (*absent, *calibration_doubts(converted.quantized))
    return CompileResult(output, write_bundle(output, files, described), plan, warnings)


def _described(target: str) -> tuple[Target, dict[str, bytes]]:
    """A target and, where it is the user's own, its file for the bundle, which then works where that is not."""
    if not target.endswith(".toml"):
        return known_target(target), {}
    content = read_target_file(target)
    return parse_target(content, target), {TARGET_NAME: content}


def budget_of(target: Target, options: CompileOptions) -> Budget:
    """What programs of the target may take under the options, and what they do take."""

    def price(graph: Graph) -> Price | None:
        try:
            program = program_of(canonicalize(graph), target, options)
        except TargetError:
            return None
        if program is None:
            return None
        latency = latency_ms(target, program.cycles or program.instructions)
        return Price(program.weight_bytes, program.code_bytes, program.plan.arena_bytes, latency)

    limits = options.limits
    return Budget(price, limits.flash_bytes is not None, limits.ram_bytes is not None, limits.latency_ms is not None)


def _pages(manifest: Manifest, target: Target) -> dict[str, bytes]:
    """What tells a person how to run the bundle, and the example of it where the target has a system to run it on."""
    has_system = target.core.architecture == "host" or target.core.linux is not None
    example = {EXAMPLE_NAME: example_c(manifest).encode()} if has_system and manifest.c is not None else {}
    return {README_NAME: readme(manifest, has_system=has_system).encode(), **example}


def _evened(canonical: Graph, converted: Converted, graph: Graph) -> dict[str, bytes]:
    """The file that tells how a float graph's values compare with those of the integer graph that was made of it."""
    if converted.quantized is None:
        return {}
    factors = evened_factors(split_layers(canonical), converted.quantized.real)
    return {EVENED_NAME: evened_file(graph, signed_factors(factors, kept_channels(converted.quantized.graph, graph)))}


def default_name(path: Path) -> str:
    """A C identifier from a file's name: `My-Net.v2.onnx` gives `my_net_v2`."""
    plain = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_")[:40]
    return plain if plain and plain[0].isalpha() else f"model_{plain}".rstrip("_")


def source_digest(path: Path) -> str:
    """SHA-256 of a file; of a folder over its files in order of their names, each with name and size."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file()):
        try:
            if path.is_dir():
                digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                while chunk := stream.read(DIGEST_CHUNK_BYTES):
                    digest.update(chunk)
        except OSError as fault:
            raise ModelError(101, str(file), f"the file cannot be read ({fault.strerror})", "Check the path") from fault
    return digest.hexdigest()
