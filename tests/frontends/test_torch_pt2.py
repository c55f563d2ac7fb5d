"""torch.export programs: the graph equals torch, and files that could run code are refused."""

from __future__ import annotations

import importlib.util
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.onnx_graphs import error_of
from tests.support.torch_programs import make_programs
from toolchain.errors import EnvironmentFault, ModelError
from toolchain.frontends.torch import load_pt2
from toolchain.passes.canonical import canonicalize
from toolchain.reference.evaluator import run

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "onnxscript")), reason="torch is not installed"
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pt2")
    make_programs(folder)
    return folder / "net.pt2"


def test_equals_torch(saved: Path) -> None:
    graph = canonicalize(load_pt2(saved))
    x, want = np.load(saved.with_name("x.npy")), np.load(saved.with_name("y.npy"))
    assert graph.name == "net"
    assert error_of(run(graph, [x])[0], want) < 1e-5
    assert [node.op for node in graph.nodes].count("transpose") == 1


def test_time_limit(saved: Path) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        load_pt2(saved, limit_seconds=0.01)
    assert caught.value.number == 405


def test_absent_package(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault) as caught:
        load_pt2(saved)
    assert caught.value.number == 404
    assert "strop[torch]" in caught.value.hint


def altered(saved: Path, tmp_path: Path, change: Callable[[str, bytes], bytes | None], extra: dict[str, bytes]) -> Path:
    """A copy of the archive with members changed, left out or added."""
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            content = change(entry.filename, source.read(entry))
            if content is not None:
                target.writestr(entry.filename, content)
        for name, content in extra.items():
            target.writestr(name, content)
    return path


def refused(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_pt2(path)
    return caught.value


def test_plain_pickle(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(pickle.dumps({"a": 1}))
    assert refused(path).number == 110


def test_torch_save_archive(saved: Path) -> None:
    assert refused(saved.with_name("plain.pt2")).number == 110


@pytest.mark.parametrize(("content", "number"), [(b"", 102), (b"hello", 102), (b"PK\x03\x04 not a zip", 103)])
def test_odd_bytes(tmp_path: Path, content: bytes, number: int) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(content)
    assert refused(path).number == number


def test_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.pt2").number == 101


def edit_json(member: str, edit: Callable[[Any], None]) -> Callable[[str, bytes], bytes]:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith(member):
            return content
        tree = json.loads(content)
        edit(tree)
        return json.dumps(tree).encode()

    return change


def test_call_outside_tensor_operations(saved: Path, tmp_path: Path) -> None:
    def edit(tree: Any) -> None:
        tree["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"

    fault = refused(altered(saved, tmp_path, edit_json("models/model.json", edit), {}))
    assert fault.number == 110
    assert "torch.os.system" in fault.message


def test_size_that_is_code(saved: Path, tmp_path: Path) -> None:
    def edit(tree: Any) -> None:
        tree["range_constraints"] = {"__import__('os').getpid()": {}}
        tree["graph_module"]["expr_str"] = "__import__('os').getpid()"

    assert refused(altered(saved, tmp_path, edit_json("models/model.json", edit), {})).number == 110


def test_pickled_weight(saved: Path, tmp_path: Path) -> None:
    def edit(tree: Any) -> None:
        next(iter(tree["config"].values()))["use_pickle"] = True

    assert refused(altered(saved, tmp_path, edit_json("model_weights_config.json", edit), {})).number == 110


def test_sample_inputs_that_run_code(saved: Path, tmp_path: Path) -> None:
    bomb = saved.with_name("bomb.pt").read_bytes()

    def change(name: str, content: bytes) -> bytes:
        return bomb if name.endswith("sample_inputs/model.pt") else content

    assert refused(altered(saved, tmp_path, change, {})).number == 110
    assert not saved.with_name("ran").exists()


def test_unknown_member(saved: Path, tmp_path: Path) -> None:
    path = altered(saved, tmp_path, lambda name, content: content, {"net/data/constants/custom_obj_0": b"\x80\x04."})
    assert refused(path).number == 110


def test_without_the_program(saved: Path, tmp_path: Path) -> None:
    path = altered(saved, tmp_path, lambda name, content: None if name.endswith("model.json") else content, {})
    assert refused(path).number == 102


def test_weights_cut_off(saved: Path, tmp_path: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        return content[:4] if name.endswith("weight_0") else content

    assert refused(altered(saved, tmp_path, change, {})).number == 103
