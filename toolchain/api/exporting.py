"""Export: a bundle's C program as a library, component or module of another build system."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from calibration.data import load_samples
from firmware.compilers import find_compiler
from firmware.device_build import build_device
from toolchain.api.places import as_bytes, c_program, output_scale
from toolchain.api.progress import Progress, silent
from toolchain.api.verifying import random_inputs, reference_outputs, tolerances
from toolchain.bundle.read import Bundle, read_bundle
from toolchain.bundle.write import check_empty, write_folder
from toolchain.errors import UsageError
from toolchain.exports.arduino import arduino
from toolchain.exports.cmake import cmake
from toolchain.exports.esp_idf import esp_idf
from toolchain.exports.firmware import firmware
from toolchain.exports.network import LICENCE_NAME, Facts, Network, Sample, gather, licence
from toolchain.exports.platformio import platformio
from toolchain.exports.zephyr import zephyr

System = Literal["cmake", "arduino", "zephyr", "platformio", "esp-idf", "firmware"]
SYSTEMS: dict[System, Callable[[Network], dict[str, str]]] = {
    "cmake": cmake,
    "arduino": arduino,
    "zephyr": zephyr,
    "platformio": platformio,
    "esp-idf": esp_idf,
}
ESP_KERNELS = frozenset({"rv32im"})
# Of random inputs the first that is neither an extreme nor zero.
SAMPLE = 4
_VERSION = re.compile(r"(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){2}")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}")
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!&*+,;=%-]+")


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written. files: their number. sample: whose outputs the example compares, `random` or the data's."""

    path: Path
    system: str
    bundle: Path
    target: str
    files: int
    sample: str

    def as_json(self) -> dict[str, object]:
        """The result as one object."""
        return {
            "export": str(self.path),
            "as": self.system,
            "bundle": str(self.bundle),
            "target": self.target,
            "files": self.files,
            "sample": self.sample,
        }


def export(
    bundle: str | Path,
    system: System,
    output: str | Path,
    *,
    data: str | None = None,
    facts: Facts | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Write a bundle's C program for another build system into a new or empty folder.

    data: DATA whose first sample the example runs; None takes random values. facts: version, author and address for metadata.
    Raises RunError (E504, E505), DataError (E2xx), UsageError(901), and for `firmware` what `flash` raises before it writes.
    """
    path = Path(output)
    known = facts or Facts()
    check_facts(known)
    check_empty(path)
    opened = read_bundle(Path(bundle))
    target = opened.target()
    program = c_program(opened)
    progress("computing the sample")
    network = gather(opened, program, target, sample_of(opened, data), known)
    files = {name: text.encode() for name, text in _texts(network, system, opened, progress).items()}
    write_folder(path, {**files, LICENCE_NAME: licence()})
    return ExportResult(path, system, opened.path, target.name, len(files) + 1, data or "random")


def _texts(network: Network, system: System, bundle: Bundle, progress: Progress) -> dict[str, str]:
    """Files of a system by path. Raises UsageError(901) where it has no core of the target's kind."""
    if system == "firmware":
        progress("building the firmware")
        scale, compiler = output_scale(bundle), find_compiler(network.target, "gcc")
        built = build_device(network.program, scale, network.target, compiler)
        if built.around.checked:
            what = f"the boot ROM of {network.target.name} wants a checksum, which `strop flash` writes after linking"
            raise UsageError(901, "--as", what, "Flash it with Strop, or take the network --as cmake")
        return firmware(network, built)
    if system == "esp-idf" and network.kernels - ESP_KERNELS:
        core = network.target.core.name
        what = f"ESP-IDF has RISC-V and Xtensa chips, {network.target.name} is a {core}"
        raise UsageError(901, "--as", what, "Compile for esp32c3, or for host, whose programs run on every core")
    return SYSTEMS[system](network)


def sample_of(bundle: Bundle, data: str | None) -> Sample:
    """The first sample of DATA, or a random one, with the reference's outputs. Raises DataError (E2xx)."""
    graph = bundle.graph()
    if data is None:
        arrays = tuple(array[SAMPLE:] for array in random_inputs(graph, SAMPLE + 1, np.random.default_rng(0)))
    else:
        arrays = tuple(array[:1] for array in load_samples(data, graph.inputs).take().stored)
    outputs = reference_outputs(graph, arrays)
    raw = [tuple(as_bytes(array)[0].tobytes() for array in each) for each in (arrays, outputs)]
    return Sample(raw[0], raw[1], tolerances(bundle, graph, outputs))


def check_facts(facts: Facts) -> None:
    """Refuse what would break a metadata file. Raises UsageError(901)."""
    if not _VERSION.fullmatch(facts.version):
        raise UsageError(901, "--release", f"{facts.version!r:.80} is no version", "Write it as 1.2.3")
    plain = facts.author.isprintable() and 0 < len(facts.author) <= 100 and not set(facts.author) & set('<>"\\$#;:{}')
    if not plain or facts.author.lower().startswith("arduino"):
        raise UsageError(
            901, "--author", f"{facts.author!r:.80} is no name", "Write a name and an address: A. Name <a@example.com>"
        )
    if not _EMAIL.fullmatch(facts.email):
        raise UsageError(
            901, "--author", f"{facts.email!r:.80} is no address", "Write a name and an address: A. Name <a@example.com>"
        )
    if not _URL.fullmatch(facts.url):
        raise UsageError(901, "--url", f"{facts.url!r:.80} is no address", "Write it as https://example.com/kws")
