"""Real networks for Linux boards: every byte of the programs and of the very libraries in QEMU's user mode, and the agent where
there is nothing but tflite_runtime 2.14 and NumPy 1."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from firmware.cache import cache_root
from firmware.compilers import find_compiler, run_compiler
from runtimes.linux_engine import find_user_mode
from targets.load import load_target
from tests.support.digits import CALIBRATION, MODEL, TEST
from tests.support.engines import needs_user_mode
from tests.support.mlperf import MLPERF, MODELS, model_inputs, needs_mlperf, spoken_words
from toolchain.api import compile, verify
from toolchain.api.verifying import reference_outputs
from toolchain.bundle.read import read_bundle
from toolchain.cli.agent_archive import write_archive
from toolchain.ir.quantization import dequantize_array, quant_of
from toolchain.ir.types import Array

pytestmark = pytest.mark.long

NETWORKS = (*(pytest.param(model, marks=needs_mlperf) for model in MODELS), "digits")
# Where Debian's cross packages put the C library of a machine.
SYSROOTS = {"raspberry_pi_5": "/usr/aarch64-linux-gnu", "beaglebone_black": "/usr/arm-linux-gnueabihf"}
SAMPLES = 20
OVERHEAD_US = 50.0
BOARD_PACKAGES = ("tflite_runtime==2.14.0", "numpy<2")


def bundle_of(network: str, board: str, folder: Path) -> Path:
    place = folder / network
    if network == "digits":
        compile(MODEL, board, place, name=network, calibrate=str(CALIBRATION))
    else:
        compile(MLPERF / f"{network}_int8.tflite", board, place, name=network)
    return place


def inputs_of(network: str, bundle: Path) -> Array:
    return model_inputs(network, read_bundle(bundle).graph().inputs[0].type.shape, SAMPLES)


@pytest.mark.parametrize("board", [pytest.param(name, marks=needs_user_mode(name)) for name in SYSROOTS])
@pytest.mark.parametrize("network", NETWORKS)
def test_programs_are_exact_on_every_byte(network: str, board: str, tmp_path: Path) -> None:
    bundle = bundle_of(network, board, tmp_path)
    np.save(tmp_path / "x.npy", inputs_of(network, bundle))
    found = verify(bundle, place="emulator", data=str(tmp_path / "x.npy"), count=True)
    assert found.measurement is not None
    instructions = found.measurement.instructions
    print(f"\n{network} on {board}: {found.samples} samples, bit exact {found.bit_exact}, {instructions:,} instructions")
    assert found.bit_exact and found.samples == SAMPLES


@pytest.mark.parametrize("board", [pytest.param(name, marks=needs_user_mode(name)) for name in SYSROOTS])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_library_itself_is_exact_on_every_byte(network: str, board: str, tmp_path: Path) -> None:
    """The example of the bundle, linked with its shared library, on the C library of the board's system."""
    sysroot = Path(SYSROOTS[board])
    if not (sysroot / "lib" / "libc.so.6").is_file():
        pytest.skip(f"{sysroot} is not there (Debian: libc6-arm64-cross, libc6-armhf-cross)")
    bundle, target = bundle_of(network, board, tmp_path), load_target(board)
    flags = ("-std=c11", "-O1", "-Ic", "example/main.c", "-Llibrary", f"-l{network}", "-o", "run")
    run_compiler(find_compiler(target, "zig"), flags, place=network, cwd=bundle)
    data = inputs_of(network, bundle)
    path, linux = find_user_mode(target)
    command = (path, "-cpu", linux.cpu, "-L", str(sysroot), "-E", "LD_LIBRARY_PATH=library", "./run")
    done = subprocess.run(command, cwd=bundle, input=data.tobytes(), capture_output=True, check=True)
    (expected,) = reference_outputs(read_bundle(bundle).graph(), [data])
    assert done.stdout == expected.tobytes()
    print(f"\n{network}: library/lib{network}.so for {board}, {len(data)} samples, {len(done.stdout):,} B equal")


@pytest.fixture(scope="module")
def board_python() -> Path:
    """Python of an environment with tflite_runtime 2.14 and NumPy 1 alone."""
    place = cache_root() / f"board-python-{sys.version_info[0]}.{sys.version_info[1]}"
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "-q", "install", *BOARD_PACKAGES]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(place)
            pytest.skip(f"tflite_runtime 2.14 cannot be installed here: {done.stderr.strip()[-200:]}")
    return python


@needs_mlperf
def test_the_agent_passes_keyword_spotting_on_a_board(board_python: Path, tmp_path: Path) -> None:
    packages = subprocess.run([board_python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    found = {entry["name"]: entry["version"] for entry in json.loads(packages.stdout)}
    assert found.keys() - {"pip", "setuptools", "wheel"} == {"numpy", "tflite-runtime"}
    bundle = bundle_of("kws", "raspberry_pi_5", tmp_path)
    words, labels = spoken_words(100, 500)
    np.save(tmp_path / "x.npy", words)
    write_archive(tmp_path / "agent.pyz", "test")
    np.save(tmp_path / "real.npy", dequantize_array(words, quant_of(read_bundle(bundle).graph().inputs[0].type)))
    reals = [board_run(board_python, bundle, tmp_path, "real.npy")["overhead_us"]["p50"] for _ in range(5)]
    documents = [board_run(board_python, bundle, tmp_path, "x.npy") for _ in range(5)]
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    correct = sum(line["top"] == label for line, label in zip(lines, labels, strict=True))
    (expected,) = reference_outputs(read_bundle(bundle).graph(), [words[:, None]])
    agree = sum(line["top"] == row.argmax() for line, row in zip(lines, expected, strict=True))
    events = (tmp_path / "t.jsonl").read_text().splitlines()
    overheads = [document["overhead_us"]["p50"] for document in documents]
    print(f"\nkws, tflite_runtime {found['tflite-runtime']}, numpy {found['numpy']}: {correct} of {len(lines)} right")
    print(f"as the reference {agree}; events {len(events)}; agent around an inference, medians of 5 runs: {sorted(overheads)} µs")
    print(f"with inputs in real units, which it quantizes: {sorted(reals)} µs")
    assert {document["engine"] for document in documents} == {"tflite_runtime"}
    assert len(lines) == 400 and len(events) == 10 * 400
    # 355 with LiteRT's reference kernels, 356 with XNNPACK.
    assert correct >= 354 and agree >= 397
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if min(overheads) > OVERHEAD_US and load > cores:
        pytest.skip(f"a load of {load:.1f} on {cores} cores is no place to hold {min(overheads):.1f} µs to {OVERHEAD_US:g}")
    assert min(overheads) <= OVERHEAD_US


def board_run(python: Path, bundle: Path, folder: Path, data: str) -> dict[str, dict[str, float]]:
    """A run of the archive in the board's environment, from which nothing of Strop can be imported."""
    given = (str(bundle), "--input", data, "-o", "out.jsonl", "--telemetry", "t.jsonl", "--json")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), "-I", "agent.pyz", *given, "--engine", "auto"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_user_mode("raspberry_pi_5")
def test_the_example_is_as_right_on_a_board_as_everywhere(tmp_path: Path) -> None:
    found = verify(bundle_of("digits", "raspberry_pi_5", tmp_path), place="emulator", data=str(TEST), model=MODEL)
    assert found.bit_exact and found.accuracy.correct == 393
