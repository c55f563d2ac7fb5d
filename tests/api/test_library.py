"""The format `library`: the module of a bundle against the reference, its checks, threads, and a bundle moved away from Strop."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import threading
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import numpy as np
import pytest

from targets.load import load_target
from tests.support.digits import CALIBRATION, HERE, MODEL, images, runs_libraries
from toolchain.api import compile, run
from toolchain.bundle.read import read_bundle
from toolchain.errors import RunError, TargetError
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.reference.evaluator import run as evaluate

pytest.importorskip("ziglang", reason="zig builds libraries (pip install strop[mcu])")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example in int8, in the default formats of a board that this machine is one of."""
    path = tmp_path_factory.mktemp("bundles") / "digits"
    compile(MODEL, HERE, path, calibrate=str(CALIBRATION))
    return path


def module_of(bundle: Path, name: str = "digits") -> ModuleType:
    """The bundle's Python module, by its file."""
    spec = importlib.util.spec_from_file_location(f"library_{bundle.parent.name}", bundle / "library" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def stored_images(graph: Graph, count: int) -> list[Array]:
    """Random stored images, the first two at the ends of the type."""
    rng = np.random.default_rng(5)
    values = rng.integers(-128, 128, (count, *graph.inputs[0].type.shape), dtype=np.int8)
    values[0], values[1] = -128, 127
    return list(values)


def test_the_default_bundle_of_a_board(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    jsonschema.validate(manifest, json.loads((files("toolchain.bundle") / "manifest.schema.json").read_text()))
    machine = load_target(HERE).core.linux
    assert machine is not None
    places = {"file": "library/libdigits.so", "module": "library/digits.py"}
    assert manifest["library"] == {**places, "machine": machine.machine, "cpu_flags": list(machine.cpu_flags)}
    assert {"c", "tflite", "library"} <= manifest.keys() and "onnx" not in manifest
    assert "ziglang" in manifest["versions"]
    assert read_bundle(bundle).manifest.format_names == ("c", "library", "tflite")


@runs_libraries
def test_every_byte_is_that_of_the_reference(bundle: Path) -> None:
    graph, network = read_bundle(bundle).graph(), module_of(bundle).Network()
    for image in stored_images(graph, 20):
        (expected,) = evaluate(graph, [image])
        (found,) = network.run_stored([image])
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(network.run(image)[0], network.run({graph.inputs[0].name: image})[0])


@runs_libraries
@pytest.mark.parametrize("io", ["arena", "caller", "rows"])
def test_real_units_are_quantized_as_strop_does(io: Any, bundle: Path, tmp_path: Path) -> None:
    place = bundle if io == "arena" else tmp_path / "b"
    if io != "arena":
        compile(MODEL, HERE, place, calibrate=str(CALIBRATION), io=io, formats=("library",))
    network, data = module_of(place).Network(), images(12)
    np.save(tmp_path / "x.npy", data)
    expected = run(bundle, str(tmp_path / "x.npy"), place="litert_reference").outputs[0].real
    found = np.stack([network.run([image])[0] for image in data])
    assert found.dtype == np.float32
    # LiteRT rounds fully connected layers once; nothing else differs.
    np.testing.assert_allclose(found, expected, atol=2 / 256)
    np.testing.assert_array_equal(found.argmax(axis=-1), expected.argmax(axis=-1))


@runs_libraries
@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (np.zeros((1, 8, 7, 1), np.float32), "has shape"),
        (np.zeros((1, 1, 8, 8), np.int16), "takes int8 or real units as floats, not int16"),
        (np.full((1, 1, 8, 8), np.nan, np.float32), "NaN or infinite"),
        ([np.zeros(64, np.float32)] * 2, "has shape"),
        ({"nope": np.zeros(64, np.float32)}, "given were nope"),
        ("text", r"an array of shape \(\) was given"),
    ],
)
def test_wrong_inputs_are_told(inputs: Any, text: str, bundle: Path) -> None:
    module = module_of(bundle)
    with pytest.raises(module.InputError, match=text):
        module.Network().run(inputs)


@runs_libraries
def test_instances_run_at_the_same_time_and_threads_take_turns(bundle: Path) -> None:
    module, data = module_of(bundle), images(40)
    shared = module.Network()
    expected = [shared.run(image)[0] for image in data]
    wrong: list[int] = []

    def work(network: Any) -> None:
        for _ in range(5):
            wrong.extend(i for i, image in enumerate(data) if not np.array_equal(network.run(image)[0], expected[i]))

    threads = [threading.Thread(target=work, args=(network,)) for network in (shared, shared, module.Network(), module.Network())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@runs_libraries
def test_outputs_are_the_callers(bundle: Path) -> None:
    network, data = module_of(bundle).Network(), stored_images(read_bundle(bundle).graph(), 8)
    given = [image.copy() for image in data]
    found = [network.run_stored([image])[0] for image in data]
    again = [network.run_stored([image])[0] for image in data]
    np.testing.assert_array_equal(found, again)
    assert len({output.tobytes() for output in found}) > 1
    np.testing.assert_array_equal(data, given)


@runs_libraries
def test_a_library_of_another_machine_says_so(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "b")
    library = tmp_path / "b" / "library" / "libdigits.so"
    content = bytearray(library.read_bytes())
    content[18] ^= 0x55  # the ELF header's machine
    library.write_bytes(content)
    module = module_of(tmp_path / "b")
    with pytest.raises(module.LibraryError, match=rf"libdigits.so is for {load_target(HERE).core.linux.machine} Linux, this is "):  # type: ignore[union-attr]
        module.Network()


@runs_libraries
def test_a_processor_without_the_instructions_is_told(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(bundle)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nFeatures : fp asimd evtstrm\n\nprocessor : 1\nFeatures : fp asimd asimddp\n")
    assert module.missing_flags(("asimd", "asimddp"), cpuinfo) == ["asimddp"]
    assert module.missing_flags(("asimd",), cpuinfo) == module.missing_flags(("asimd",), tmp_path / "none") == []
    monkeypatch.setattr(module.missing_flags, "__defaults__", (cpuinfo,))
    with pytest.raises(module.LibraryError, match=r"libdigits\.so may use instructions that this processor lacks: "):
        module.Network()


def test_libraries_are_for_linux(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="E306 host: format 'library' is not taken"):
        compile(MODEL, "host", tmp_path / "b", formats=("library",), precision="float32")
    assert not (tmp_path / "b").exists()


def test_a_library_that_is_not_the_manifests_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "b")
    with (tmp_path / "b" / "library" / "digits.py").open("a") as file:
        file.write("# more\n")
    with pytest.raises(RunError, match=r"E504 .*digits\.py"):
        read_bundle(tmp_path / "b")
