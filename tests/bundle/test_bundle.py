"""Bundles are written whole, read back checked, and are the same bytes for the same input."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from toolchain.bundle.graph_files import CONSTANTS_NAME, TEXT_NAME, graph_files, read_graph
from toolchain.bundle.manifest import (
    Adjustment,
    Asked,
    Buffer,
    CFiles,
    Flash,
    FormatFile,
    GraphFiles,
    Layer,
    Manifest,
    PlanFigures,
    Predicted,
    Ram,
    RunnerUp,
    SourceModel,
    TensorInfo,
    manifest_bytes,
    parse_manifest,
)
from toolchain.bundle.read import read_bundle
from toolchain.bundle.write import is_inside, write_bundle
from toolchain.errors import RunError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import DType, Quant, TensorType, i8

SCHEMA = json.loads((files("toolchain.bundle") / "manifest.schema.json").read_text())
DIGEST = "0" * 64


def dense_graph(seed: int = 1) -> Graph:
    rng = np.random.default_rng(seed)
    x = Value("x", i8((1, 4), 0.5, 3))
    w = Value("../w.npy", TensorType((2, 4), DType.I8, Quant((0.25, 0.5), (0, 0), 0)))
    b = Value("file", TensorType((2,), DType.I32, Quant((0.125, 0.25), (0, 0), 0)))
    node = make_node("fully_connected", [x, w, b], ["y"], quant=Quant((0.5,), (1,)))
    weights = rng.integers(-127, 128, (2, 4), np.int8)
    return Graph("net", (x,), node.outputs, (node,), {"../w.npy": weights, "file": np.array([5, -6], np.int32)})


def full_manifest() -> Manifest:
    return Manifest(
        name="net",
        target="mps2_an386",
        precision="int8",
        source=SourceModel("net.onnx", "onnx", DIGEST),
        graph=GraphFiles(TEXT_NAME, CONSTANTS_NAME),
        inputs=(TensorInfo("x", "i8", (1, 4), 4, 0.5, 3),),
        outputs=(TensorInfo("y", "i8", (1, 2), 2, 0.5, 1),),
        macs=8,
        versions={"strop": "0.1.0"},
        ram=Ram(64, 16, 100),
        flash=Flash(16, 300),
        predicted=Predicted(500, 600, 0.024),
        asked=Asked("speed", 4096, 65536, 1.5),
        plans=(PlanFigures(16, 316, 500, False, True, 600, 0.024, "--optimize speed"),),
        adjustments=(Adjustment("w", "the weights have zero point 3, the specification has 0", "folded"),),
        buffers=(Buffer("x", 0, 4, 0, 0), Buffer("y", 4, 8, 0, 2, "rows", ((0, 4, 0, 1), (4, 8, 1, 2)))),
        layers=(
            Layer("y", "fully_connected", "portable.conv_2d_s8", 8, 500, 16, 0, 900, RunnerUp("portable.conv_2d_plain_s8", 700)),
        ),
        c=CFiles("c/net.h", ("c/net.c",), ("c",), ("-O2", "-fno-builtin", "-ffp-contract=off")),
        formats={"tflite": FormatFile("net.tflite")},
    )


def contents() -> dict[str, bytes]:
    return {**graph_files(dense_graph()), "c/net.h": b"int x;\n", "c/net.c": b"", "net.tflite": b"TFL3"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "out" / "net", contents(), full_manifest())
    return tmp_path / "out" / "net"


def edit(bundle: Path, change: dict[str, object]) -> None:
    """Change top-level keys of the manifest as an attacker would."""
    place = bundle / "manifest.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **change}))


def test_round_trip_keeps_manifest_and_graph(bundle: Path) -> None:
    opened = read_bundle(bundle)
    assert replace(opened.manifest, files={}) == full_manifest()
    graph = opened.graph()
    expected = dense_graph()
    assert graph.nodes == expected.nodes
    np.testing.assert_array_equal(graph.constants["../w.npy"], expected.constants["../w.npy"])
    np.testing.assert_array_equal(graph.constants["file"], [5, -6])
    assert [path.name for path in bundle.parent.iterdir()] == ["net"]


def test_same_input_gives_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_bundle(tmp_path / name, contents(), full_manifest())
    first = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(first) == 6
    for path in first:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_manifest_follows_the_schema(bundle: Path) -> None:
    jsonschema.validate(json.loads((bundle / "manifest.json").read_text()), SCHEMA)
    sparse = replace(full_manifest(), ram=None, flash=None, predicted=None, c=None, formats={})
    jsonschema.validate(json.loads(manifest_bytes(sparse)), SCHEMA)
    assert parse_manifest(manifest_bytes(sparse), "m") == sparse


def test_schema_and_dataclasses_have_the_same_keys() -> None:
    own = {field.name for field in fields(Manifest)} - {"formats"}
    formats = {"library", "tflite", "tflm", "onnx", "tensorrt", "tfjs", "litertjs", "savedmodel"}
    assert set(SCHEMA["properties"]) == own | formats
    kinds = {
        "ram": Ram,
        "flash": Flash,
        "predicted": Predicted,
        "asked": Asked,
        "c": CFiles,
        "graph": GraphFiles,
        "source": SourceModel,
    }
    for key, kind in kinds.items():
        assert set(SCHEMA["properties"][key]["properties"]) == {field.name for field in fields(kind)}
    lists = {"buffers": Buffer, "layers": Layer, "plans": PlanFigures, "adjustments": Adjustment}
    for key, kind in lists.items():
        assert set(SCHEMA["properties"][key]["items"]["properties"]) == {field.name for field in fields(kind)}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"schema": 2}, "its schema is 2"),
        ({"schema": None}, "its schema is None"),
        ({"name": 'x"\nint main;'}, "C identifier"),
        ({"macs": "8"}, "key 'macs' must be int"),
        ({"macs": True}, "key 'macs' must be int"),
        ({"inputs": {}}, "key 'inputs' must be a list"),
        ({"inputs": [{"name": "x"}]}, "key 'inputs[0].dtype' is missing"),
        ({"surprise": 1}, "key 'surprise' is unknown"),
        ({"buffers": [{"name": "x", "offset": 62, "bytes": 4, "first": 0, "last": 0}]}, "buffer 'x' leaves the arena of 64 B"),
        ({"buffers": [{"name": "x", "offset": 0, "bytes": 4, "first": 0, "last": 10**9}]}, "or the steps 0 to 2"),
        (
            {"buffers": [{"name": "x", "offset": 0, "bytes": 4, "first": 0, "last": 2, "blocks": [[0, 5, 0, 1]]}]},
            "buffer 'x' leaves",
        ),
        (
            {"buffers": [{"name": "x", "offset": 0, "bytes": 4, "first": 0, "last": 2, "blocks": [[0, 4, 0]]}]},
            "buffer 'x' leaves",
        ),
        ({"graph": {"text": "../graph.strop", "constants": CONSTANTS_NAME}}, "does not list it"),
        ({"tflite": {"file": "/etc/passwd"}}, "does not list it"),
        ({"files": {"../../etc/passwd": {"sha256": DIGEST, "bytes": 9}}}, "leads out of the bundle"),
        ({"files": {"/etc/passwd": {"sha256": DIGEST, "bytes": 9}}}, "leads out of the bundle"),
        ({"files": {"c": {"sha256": DIGEST, "bytes": 10**30}}}, "no plain file"),
        ({"files": {"missing": {"sha256": DIGEST, "bytes": 9}}}, "cannot be read"),
        ({"c": {"header": "c/net.h", "sources": ["c/net.c"], "include_dirs": ["/usr"], "cflags": []}}, "leads out"),
        ({"c": {"header": "c/net.h", "sources": ["c/net.c"], "include_dirs": [], "cflags": ["-fplugin=x"]}}, "optimisation"),
    ],
)
def test_hostile_manifest_is_refused(bundle: Path, change: dict[str, object], what: str) -> None:
    edit(bundle, change)
    with pytest.raises(RunError) as fault:
        read_bundle(bundle)
    assert fault.value.number == 504
    assert what in fault.value.message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": NaN}', b"[" * 100_000, b"\xff\xfe", b'{"schema": 1}'])
def test_manifest_that_is_no_manifest_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "manifest.json").write_bytes(content)
    with pytest.raises(RunError, match="E504"):
        read_bundle(bundle)


def test_changed_short_and_long_files_are_refused(bundle: Path) -> None:
    place = bundle / "c" / "net.h"
    for content in (b"int y;\n", b"int", b"int x;\n\n"):
        place.write_bytes(content)
        with pytest.raises(RunError, match=r"E504 .*net\.h"):
            read_bundle(bundle)


def test_links_are_refused(bundle: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.h"
    real.write_bytes(b"int x;\n")
    (bundle / "c" / "net.h").unlink()
    (bundle / "c" / "net.h").symlink_to(real)
    with pytest.raises(RunError, match="it is a link"):
        read_bundle(bundle)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="E504"):
        read_bundle(tmp_path / "nothing")


def test_a_bundle_is_replaced_and_other_folders_are_not(bundle: Path, tmp_path: Path) -> None:
    files_now = {**contents(), "c/net.h": b"int z;\n"}
    write_bundle(bundle, files_now, full_manifest())
    assert read_bundle(bundle).file("c/net.h").read_bytes() == b"int z;\n"
    other = tmp_path / "other"
    other.mkdir()
    write_bundle(other, contents(), full_manifest())
    read_bundle(other)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(bundle)
    for name in ("mine", "file", "link"):
        with pytest.raises(RunError) as fault:
            write_bundle(tmp_path / name, contents(), full_manifest())
        assert fault.value.number == 505
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_failed_write_leaves_the_old_bundle(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = Path.write_bytes

    def fill_up(self: Path, data: bytes) -> int:
        if self.name == "net.tflite":
            raise OSError(28, "No space left on device")
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(RunError, match="No space left"):
        write_bundle(bundle, contents(), full_manifest())
    monkeypatch.undo()
    read_bundle(bundle)
    assert [path.name for path in bundle.parent.iterdir()] == ["net"]


@pytest.mark.parametrize("name", ["/a", "../a", "a/../b", "a//b", "./a", "a\\b", "c:a", "a\nb", "manifest.json", "", "."])
def test_names_that_lead_out(name: str, tmp_path: Path) -> None:
    assert not is_inside(name)
    with pytest.raises(RunError, match="E505"):
        write_bundle(tmp_path / "b", {name: b""}, full_manifest())


def archive(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as zipped:
        for name, content in entries.items():
            zipped.writestr(name, content)
    return buffer.getvalue()


def npy(array: object, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        archive({}),
        archive({"0.npy": npy(np.zeros((2, 4), np.int8)), "1.npy": b""}),
        archive({"0.npy": npy(np.zeros((2, 4), np.int8)), "1.npy": npy(np.zeros(2, np.int32))}, zipfile.ZIP_DEFLATED),
        archive({"0.npy": npy(np.zeros((2, 4), np.int8)), "1.npy": npy(np.array([{}, {}], object), pickled=True)}),
        archive({"0.npy": npy(np.zeros((2, 4), np.int8)), "1.npy": npy(np.zeros(2, np.int32))[:-1]}),
    ],
)
def test_damaged_constants_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "g").write_bytes(graph_files(dense_graph())[TEXT_NAME])
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(RunError, match="E504"):
        read_graph(tmp_path / "g", tmp_path / "c")
