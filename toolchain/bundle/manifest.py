"""What `manifest.json` says, as dataclasses. The JSON Schema beside this file says the same to other programs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

from targets.load import FORMATS
from toolchain.bundle.codec import CodecError, decode, encode
from toolchain.errors import RunError
from toolchain.ir.types import DType, TensorType

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_OPTIMISATION_FLAG = re.compile(r"-O[0-3sgz]?|-f(?!plugin|dump|profile|lto|use-ld)[a-z0-9-]+(=[a-z0-9-]+)?")
# What a 32-bit device can address.
_MAX_ARENA_BYTES = 1 << 32
_MAX_ALIGN = 1 << 12
_MAX_STEPS = 1 << 20
_STALE = "Compile the model again with this version of Strop"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of the program. dtype: IR name (`i8`). scale, zero_point: None for a tensor that is not quantized."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, slots=True)
class SourceModel:
    """The file that was compiled: name without folder, format (`onnx`, `tflite`, …), SHA-256 in hex."""

    file: str
    format: str
    sha256: str


@dataclass(frozen=True, slots=True)
class GraphFiles:
    """Where the graph lies: its text form and the archive of its constants, relative to the bundle.

    evened: the archive of what channels were divided by before quantization, None where none were.
    """

    text: str
    constants: str
    evened: str | None = None


@dataclass(frozen=True, slots=True)
class FurtherArena:
    """An arena behind the first one: the memory of the target that it lies in, and its bytes."""

    memory: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Ram:
    """Predicted RAM in bytes: what the caller gives as arena, and the stack (None: not predicted).

    lower_bound_bytes: no placement of the arena needs less. memory, memory_bytes: name and size of the target's default RAM.
    further: arenas in other memories; arena_bytes counts all of them, and offsets of buffers go through them in a row.
    waits, least_waits: estimated wait states of one inference in these memories, and the least by any choice of memories.
    """

    arena_bytes: int
    arena_align: int
    stack_bytes: int | None = None
    lower_bound_bytes: int | None = None
    memory: str | None = None
    memory_bytes: int | None = None
    further: tuple[FurtherArena, ...] = ()
    waits: int | None = None
    least_waits: int | None = None

    @property
    def first_bytes(self) -> int:
        """Bytes of the first arena."""
        return self.arena_bytes - sum(arena.bytes for arena in self.further)


@dataclass(frozen=True, slots=True)
class Flash:
    """Predicted flash in bytes: code (None: not predicted) and constants."""

    weight_bytes: int
    code_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predicted work of one inference.

    latency_ms: cycles, or instructions where those are not known, at the target's clock; None where it has none.
    """

    instructions: int
    cycles: int | None = None
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a bundle was compiled for: the objective and the limits (None: not given)."""

    optimize: str
    max_ram_bytes: int | None = None
    max_flash_bytes: int | None = None
    max_latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class StripFigures:
    """Layers, from the first to the last by name, that run in so many strips of columns. macs: of them; again: done twice."""

    first: str
    last: str
    count: int
    macs: int
    again: int


@dataclass(frozen=True, slots=True)
class PlanFigures:
    """A plan that no other beats in arena, flash, instructions and cycles.

    by_rows: parts of it run row by row. chosen: it is this bundle's. options: what makes `strop compile` choose it, None where
    it does not fit the target. strips: what runs in strips of columns.
    """

    arena_bytes: int
    flash_bytes: int
    instructions: int
    by_rows: bool
    chosen: bool
    cycles: int | None = None
    latency_ms: float | None = None
    options: str | None = None
    strips: tuple[StripFigures, ...] = ()


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A parameter of an already quantized model that the integer specification does not allow.

    tensor: name of the tensor or node. found: what the model has. done: what the program has instead.
    """

    tensor: str
    found: str
    done: str


@dataclass(frozen=True, slots=True)
class Buffer:
    """One buffer of the arena: byte offset, size, and the first and last step that needs it.

    Step 0 fills the inputs, step i runs the i-th kernel call counted from 1, the step after the last one reads the outputs.
    kind: `input`, `output`, `activation`, `rows` (of a tensor that is never whole), `scratch` or `constant` (copied to RAM).
    blocks: which of its bytes are needed when, each a first byte, an end, a first and a last step; empty where all are from first
    to last.
    """

    name: str
    offset: int
    bytes: int
    first: int
    last: int
    kind: str = "activation"
    blocks: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The kernel that would have been taken instead, and its predicted instructions for the whole node."""

    kernel: str
    instructions: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of the program: the node, its operation, the kernel chosen, and its predicted cost.

    cycles: at zero wait states, None where the core's are not modelled. runner_up: None where no other kernel takes the node.
    segment: number of the streamed segment that the layer runs in row by row; layers of one segment are measured together.
    steps: more than one where it runs or goes through images row by row.
    """

    name: str
    op: str
    kernel: str
    macs: int
    instructions: int
    weight_bytes: int
    scratch_bytes: int
    cycles: int | None = None
    runner_up: RunnerUp | None = None
    segment: int | None = None
    steps: int = 1

    @property
    def instructions_per_mac(self) -> float | None:
        """Predicted instructions over multiply-accumulates, None for layers without any."""
        return self.instructions / self.macs if self.macs else None


def marks_of(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Which of the measured calls each layer is a part of: its own, or that of its segment."""
    marks: list[int] = []
    for index, layer in enumerate(layers):
        joined = index > 0 and layer.segment is not None and layer.segment == layers[index - 1].segment
        marks.append((marks[-1] if marks else -1) + (not joined))
    return tuple(marks)


@dataclass(frozen=True, slots=True)
class CFiles:
    """The C program: paths relative to the bundle; cflags are optimisation flags only. io: `arena`, `caller` or `rows`."""

    header: str
    sources: tuple[str, ...]
    include_dirs: tuple[str, ...]
    cflags: tuple[str, ...]
    io: str = "arena"


@dataclass(frozen=True, slots=True)
class FeatureFacts:
    """The extractor of the features that the network takes, which is among the C sources. Paths are relative to the bundle.

    settings: TOML. rate: samples a second; window, hop: samples. frames, width: of the network's input. ram_bytes: of its state,
    table_bytes: of its constants in flash.
    """

    settings: str
    header: str
    source: str
    kind: str
    rate: int
    window: int
    hop: int
    frames: int
    width: int
    ram_bytes: int
    table_bytes: int


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """A TensorRT engine, or the model that one is built from where it runs.

    sm: the GPU's. real: type of what is not quantized. batch: samples at a time, fewest, usual, most. script: builds or loads it
    and checks its outputs. package: what built it, None where it is still to be built. kernels: of the engine; layers: those that
    multiply by weights; int8_layers: those of them that read int8.
    """

    sm: int
    real: str
    batch: tuple[int, ...]
    script: str
    package: str | None = None
    kernels: int | None = None
    layers: int | None = None
    int8_layers: int | None = None


@dataclass(frozen=True, slots=True)
class FormatFile:
    """The main file of another format, relative to the bundle.

    tensor_bytes: what its tensors take in TFLM's arena with the file's order and offline plan; _own_plan: what they would in the
    graph's order by TFLM's own plan. offline_plan: the file has one (`tflite`, `tflm`). The rest is given where the format is a
    C++ project (`tflm`): its header, sources and build file, the op registrations, and TFLM's arena in bytes on the host (exact)
    and on 32-bit targets (an upper bound) by kernel library. module: Python that runs the file,
    machine: the processor that it is for, as `uname -m` says, cpu_flags: what /proc/cpuinfo must list of it (`library`).
    engine: of `tensorrt`.
    """

    file: str
    header: str | None = None
    sources: tuple[str, ...] | None = None
    project: str | None = None
    registrations: tuple[str, ...] | None = None
    arena_bytes_host: int | None = None
    arena_bytes_32bit: int | None = None
    arena_bytes_32bit_cmsis_nn: int | None = None
    arena_bytes_32bit_cmsis_nn_mve: int | None = None
    tensor_bytes: int | None = None
    tensor_bytes_own_plan: int | None = None
    offline_plan: bool | None = None
    module: str | None = None
    machine: str | None = None
    cpu_flags: tuple[str, ...] | None = None
    engine: EngineFacts | None = None


@dataclass(frozen=True, slots=True)
class SeenValues:
    """Elements of a value over all calibration samples: extremes, mean and standard deviation."""

    minimum: float
    maximum: float
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class RangeChoice:
    """The range that a value of the float model was given, in real units, and the method that gave it.

    losses: at the network's end by method, with nothing but this value quantized; empty where none was measured.
    seen: what calibration saw of it, None in bundles of older versions.
    """

    name: str
    method: str
    low: float
    high: float
    losses: Mapping[str, float] = field(default_factory=dict[str, float])
    seen: SeenValues | None = None


@dataclass(frozen=True, slots=True)
class RoundingChoice:
    """How a layer's weights were rounded. ridge: None where they stayed near the float ones. Errors: mean squares, real units."""

    name: str
    error_nearest: float
    error: float
    ridge: float | None = None


@dataclass(frozen=True, slots=True)
class PrecisionFigures:
    """A network that `--precision auto` tried. wide: nodes in int16. loss: on samples that set no range, before rounding.

    Figures are predicted, None where it does not keep the limits or they are not known. allowed: within what it may take.
    """

    wide: int
    loss: float
    weight_bytes: int | None = None
    code_bytes: int | None = None
    arena_bytes: int | None = None
    latency_ms: float | None = None
    allowed: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a float model was quantized. ranges: the method asked for, `auto`, or `none` where weights alone were.

    rounding: `optimal` or `nearest`. precisions: what `--precision auto` had to choose from, int8 first.
    """

    ranges: str
    rounding: str
    samples: int
    tensors: tuple[RangeChoice, ...] = ()
    layers: tuple[RoundingChoice, ...] = ()
    precisions: tuple[PrecisionFigures, ...] = ()


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Digest (hex) and size of one file."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that a bundle says of itself.

    name: C identifier that entry points start with. precision: what `--precision` came to. formats: main files by format
    (`tflite`, `onnx`, …), top-level keys of the JSON beside `c`. ram, flash, predicted, asked: None without a C program.
    calibration: None where the model was not quantized here. plans: what else there was to choose from, where `--explain`
    asked for it. adjustments: of an already quantized model. features: of sound, None where the network takes something else.
    target_file: what describes the target, where it is none of Strop's.
    versions: of Strop and of the packages that shaped the bytes. files: every file but the manifest, filled in by `write_bundle`.
    """

    name: str
    target: str
    precision: str
    source: SourceModel
    graph: GraphFiles
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    macs: int
    versions: Mapping[str, str]
    ram: Ram | None = None
    flash: Flash | None = None
    predicted: Predicted | None = None
    asked: Asked | None = None
    calibration: Calibration | None = None
    plans: tuple[PlanFigures, ...] = ()
    adjustments: tuple[Adjustment, ...] = ()
    buffers: tuple[Buffer, ...] = ()
    layers: tuple[Layer, ...] = ()
    c: CFiles | None = None
    formats: Mapping[str, FormatFile] = field(default_factory=dict[str, FormatFile])
    files: Mapping[str, FileEntry] = field(default_factory=dict[str, FileEntry])
    schema: int = SCHEMA_VERSION
    target_file: str | None = None
    features: FeatureFacts | None = None

    @property
    def format_names(self) -> tuple[str, ...]:
        """The formats the bundle holds, `c` first."""
        return (*(("c",) if self.c else ()), *sorted(self.formats))


def manifest_bytes(manifest: Manifest) -> bytes:
    """The text of `manifest.json`: sorted keys, two spaces, ASCII, so that equal manifests have equal bytes."""
    document = encode(manifest)
    document.update(document.pop("formats"))
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def parse_manifest(content: bytes, place: str) -> Manifest:
    """The manifest in the bytes of a `manifest.json`. Raises RunError(504) that names the place and the key at fault."""
    document = _json_object(content, place)
    version = document.get("schema")
    if version != SCHEMA_VERSION:
        raise RunError(504, place, f"its schema is {version!s:.20}, this Strop reads {SCHEMA_VERSION}", _STALE)
    own = {field.name for field in fields(Manifest)} - {"formats"}
    shared = {key: value for key, value in document.items() if key in own or key not in FORMATS}
    formats = {key: value for key, value in document.items() if key not in shared}
    try:
        manifest = cast("Manifest", decode(Manifest, shared))
        return _checked(replace(manifest, formats=decode(Mapping[str, FormatFile], formats)))
    except CodecError as fault:
        raise RunError(504, place, str(fault), _STALE) from fault


def _checked(manifest: Manifest) -> Manifest:
    """The manifest when nothing in it could make a compiler do more than compile; it may come from a stranger."""
    if not _IDENTIFIER.fullmatch(manifest.name):
        raise CodecError(f"key 'name' must be a C identifier, is {manifest.name!r:.80}")
    for flag in manifest.c.cflags if manifest.c else ():
        if not _OPTIMISATION_FLAG.fullmatch(flag):
            raise CodecError(f"key 'c.cflags' must hold optimisation flags only, has {flag!r:.80}")
    if manifest.ram is not None:
        _check_number("ram.arena_bytes", manifest.ram.arena_bytes, 1, _MAX_ARENA_BYTES)
        _check_number("ram.arena_align", manifest.ram.arena_align, 1, _MAX_ALIGN)
        for arena in manifest.ram.further:
            _check_number("ram.further.bytes", arena.bytes, 1, _MAX_ARENA_BYTES)
        _check_number("ram.further", manifest.ram.first_bytes, 1, _MAX_ARENA_BYTES)
        _check_memory(manifest, manifest.ram.arena_bytes)
    for tensor in (*manifest.inputs, *manifest.outputs):
        _check_tensor(tensor)
    if manifest.features is not None:
        _check_features(manifest, manifest.features)
    return manifest


def _check_features(manifest: Manifest, found: FeatureFacts) -> None:
    """Raise CodecError unless the features are as many as the input takes, and their C is among the sources."""
    _check_number("features.ram_bytes", found.ram_bytes, 1, _MAX_ARENA_BYTES)
    if manifest.c is None or found.source not in manifest.c.sources:
        raise CodecError(f"key 'features.source' names {found.source!r:.80}, which is none of the sources")
    taken = [math.prod(tensor.shape) for tensor in manifest.inputs]
    if taken != [found.frames * found.width]:
        raise CodecError(
            f"key 'features' has {found.frames:,} frames of {found.width:,}, the network takes {taken!s:.80} numbers"
        )


def _check_number(key: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise CodecError(f"key '{key}' is {value:,.0f}, it must lie in {low:,} to {high:,}")


def _check_tensor(tensor: TensorInfo) -> None:
    """Raise CodecError unless the element type exists and shape and bytes agree."""
    if tensor.dtype not in set(DType):
        raise CodecError(f"tensor {tensor.name!r:.80} has the element type {tensor.dtype!r:.40}")
    needed = TensorType(tensor.shape, DType(tensor.dtype)).bytes
    if min(tensor.shape, default=0) < 0 or tensor.bytes != needed:
        raise CodecError(f"tensor {tensor.name!r:.80} of shape {tensor.shape!s:.80} has {needed:,} B, not {tensor.bytes:,}")


def _check_memory(manifest: Manifest, arena: int) -> None:
    """Raise CodecError unless all buffers lie in the arena and within the steps of the layers."""
    steps = sum(layer.steps for layer in manifest.layers)
    if min((layer.steps for layer in manifest.layers), default=1) < 1 or steps > _MAX_STEPS:
        raise CodecError(f"key 'layers' has {steps:,} steps, each must have 1 or more, all at most {_MAX_STEPS:,}")
    for buffer in manifest.buffers:
        _check_buffer(buffer, arena, steps + 1)


def _check_buffer(buffer: Buffer, arena: int, last: int) -> None:
    """Raise CodecError unless a buffer and its blocks lie in the arena and in time."""
    whole = ((0, buffer.bytes, buffer.first, buffer.last),)
    for block in (*whole, *buffer.blocks):
        inside = (
            len(block) == 4 and 0 <= block[0] <= block[1] <= buffer.bytes and buffer.first <= block[2] <= block[3] <= buffer.last
        )
        if not inside or buffer.first < 0 or buffer.last > last or buffer.offset < 0 or buffer.offset + buffer.bytes > arena:
            raise CodecError(f"buffer {buffer.name!r:.80} leaves the arena of {arena:,} B or the steps 0 to {last:,}")


def _json_object(content: bytes, place: str) -> dict[str, Any]:
    try:
        document = json.loads(content, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as fault:
        raise RunError(504, place, f"it is not JSON: {fault!s:.120}", _STALE) from fault
    if not isinstance(document, dict):
        raise RunError(504, place, f"it holds {type(document).__name__}, not an object", _STALE)
    return cast("dict[str, Any]", document)


def _reject_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")
