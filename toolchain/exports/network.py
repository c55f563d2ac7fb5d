"""What every export is made of: the bundle's C files, the names that metadata may carry, and one sample with its outputs."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from firmware.program import CProgram
from targets.model import Target
from toolchain.bundle.manifest import Manifest, TensorInfo
from toolchain.bundle.read import Bundle
from toolchain.errors import RunError
from toolchain.ir.types import DType

# What the preprocessor must know of the core for the kernels of each folder of firmware/kernels, and how to say it.
NEEDS = {
    "armv6m": ("defined(__thumb__)", "an Arm Cortex-M core"),
    "armv7m": ("defined(__thumb2__)", "an Arm core with Thumb-2, Cortex-M3 or later"),
    "armv7em": ("defined(__ARM_FEATURE_DSP)", "an Arm core with the DSP extension: Cortex-M4, M7, M33 and the like"),
    "mve": ("defined(__ARM_FEATURE_MVE)", "an Arm core with Helium: Cortex-M55 or M85"),
    "rv32im": ("defined(__riscv_mul)", "a RISC-V core with the M extension"),
    "neon": ("defined(__ARM_NEON)", "an Arm core with NEON"),
    "neon_dot": ("defined(__ARM_FEATURE_DOTPROD)", "an Arm core with NEON's dot products"),
    "x86_64": ("defined(__AVX2__)", "an x86-64 processor with AVX2, -march=x86-64-v3"),
}
MAX_NAME = 64
LICENCE_NAME = "LICENSE"
LICENCE_ID = "Apache-2.0"
LICENCE_NOTE = (
    f"What Strop wrote here, kernels, generated C and build files, is under the Apache License 2.0 (`{LICENCE_NAME}`).\nThe "
    "network itself, its weights in numbers, keeps the terms of the model that it was compiled from."
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What metadata says besides the network: a version x.y.z, who answers for it, and where it is at home."""

    version: str = "1.0.0"
    author: str = "Unknown"
    email: str = "nobody@example.com"
    url: str = "https://example.com"


@dataclass(frozen=True, slots=True)
class Sample:
    """Stored bytes of every input and of the outputs that the reference gives for them.

    tolerances: how far each output may be off, in its own units; 0 asks for equal bytes.
    """

    inputs: tuple[bytes, ...]
    outputs: tuple[bytes, ...]
    tolerances: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """A bundle's C program as an export takes it.

    header: the public header's text; further: name and text of public headers beside it. sources: name and text of what is
    compiled. private: other headers, by path relative to the sources. flags: of the compiler, optimisation only. kernels: folders
    of firmware/kernels that the program has files of.
    """

    manifest: Manifest
    program: CProgram
    target: Target
    header: str
    further: Mapping[str, str]
    sources: Mapping[str, str]
    private: Mapping[str, str]
    sample: Sample
    facts: Facts

    @property
    def name(self) -> str:
        """The C identifier that entry points start with."""
        return self.program.name

    @property
    def upper(self) -> str:
        """The prefix of its macros."""
        return self.name.upper()

    @property
    def flags(self) -> tuple[str, ...]:
        """Optimisation flags; the results hang on some of them."""
        return self.program.cflags

    @property
    def slug(self) -> str:
        """Lower case, digits and single dashes: what registries take as a name."""
        return re.sub(r"-+", "-", re.sub(r"[^a-z0-9]", "-", self.name.lower())).strip("-") or "network"

    @property
    def package(self) -> str:
        """`strop_NAME` without underscores in a row or at the end: what component managers take as a name."""
        return re.sub(r"_+", "_", f"strop_{self.name}")[:MAX_NAME].strip("_")

    @property
    def sentence(self) -> str:
        """One line about it."""
        precision = re.sub(r"[^A-Za-z0-9_ ]", "", self.manifest.precision)[:40]
        return f"The network {self.name}, {precision}, compiled by Strop for {self.target.name}."

    @property
    def kernels(self) -> frozenset[str]:
        """Folders of firmware/kernels, but `portable`, that it has files of."""
        own = {PurePosixPath(path).name: text for path, text in self.private.items()}
        return frozenset(folder for folder in self.target.core.kernels[:-1] if _shares(own, folder))

    @property
    def arenas(self) -> tuple[tuple[str, str, str], ...]:
        """Array, macro of its bytes, and macro of its linker section of each arena."""
        name, upper = self.name, self.upper
        first = (f"{name}_arena", f"{upper}_ARENA_BYTES", f"{upper}_ARENA_SECTION")
        numbers = range(1, len(self.program.further) + 1)
        return (first, *((f"{name}_arena_{n}", f"{upper}_ARENA_{n}_BYTES", f"{upper}_ARENA_{n}_SECTION") for n in numbers))


def gather(bundle: Bundle, program: CProgram, target: Target, sample: Sample, facts: Facts) -> Network:
    """Read the C files of a bundle that was checked already. Raises RunError(504) for names that no build file could take."""
    root, header = PurePosixPath(program.header).parent, f"{program.name}.h"
    names = [name for name in bundle.manifest.files if PurePosixPath(name).is_relative_to(root)]
    texts = {PurePosixPath(name).relative_to(root).as_posix(): _text(bundle, name) for name in names}
    compiled = {PurePosixPath(name).relative_to(root).as_posix() for name in program.sources if name in names}
    if header not in texts or len(compiled) != len(program.sources):
        what = f"its sources do not lie beside {header}"
        raise RunError(504, str(bundle.path), what, "Compile the model again with this version of Strop")
    sources = {name: text for name, text in texts.items() if name in compiled}
    features = bundle.manifest.features
    shown = {PurePosixPath(features.header).name} & texts.keys() if features else set[str]()
    private = {name: text for name, text in texts.items() if name not in {header, *shown, *compiled}}
    further = {name: texts[name] for name in shown}
    return Network(bundle.manifest, program, target, texts[header], further, sources, private, sample, facts)


def _text(bundle: Bundle, name: str) -> str:
    """The text of a C file. Raises RunError(504)."""
    if not re.fullmatch(r"[A-Za-z0-9_./-]+\.[ch]", name):
        raise RunError(504, str(bundle.path), f"{name!r:.200} is no C file's name", "Compile the model again")
    try:
        return bundle.file(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise RunError(504, str(bundle.path / name), f"it is no text: {fault}", "Compile the model again") from fault


def _shares(own: Mapping[str, str], folder: str) -> bool:
    """Whether a file of the program is one of firmware/kernels/folder."""
    kernels = importlib.resources.files("firmware").joinpath("kernels", folder)
    return any((file := kernels.joinpath(name)).is_file() and file.read_text("utf-8") == text for name, text in own.items())


def guarded(network: Network, text: str) -> str:
    """A source whose compilation says in words when the core is not one that the kernels are written for."""
    lines: list[str] = []
    for folder in sorted(network.kernels & NEEDS.keys()):
        condition, core = NEEDS[folder]
        what = f"{network.name} was compiled for {network.target.name} and needs {core}"
        lines += [f"#if !({condition})", f'#error "{what}: set the compiler\'s core, or compile it for another target"', "#endif"]
    return "\n".join([*lines, text]) if lines else text


def licence() -> bytes:
    """The text of the licence that what Strop writes is under."""
    beside = Path(__file__).with_name(LICENCE_NAME)
    return (beside if beside.is_file() else Path(__file__).parents[2] / LICENCE_NAME).read_bytes()


def c_type(tensor: TensorInfo) -> str:
    """The C type of a tensor's elements."""
    return {"f32": "float", "bool": "uint8_t"}.get(tensor.dtype, f"{DType(tensor.dtype).numpy.name}_t")
