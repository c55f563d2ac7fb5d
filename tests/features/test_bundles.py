"""Bundles with an extractor: what they hold, that verify and bench run it, what is refused, and how exports carry it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from firmware.compilers import find_compiler
from targets.load import load_target
from tests.support.build_systems import STRICT, built, needs_cmake, said, write_files
from tests.support.digits import CALIBRATION, MODEL, runs_libraries
from tests.support.engines import needs_unicorn
from toolchain.api import compile, verify
from toolchain.api.exporting import SYSTEMS, export
from toolchain.bundle.read import read_bundle
from toolchain.cli.main import main
from toolchain.errors import DataError, RunError, TargetError, UsageError
from toolchain.features.extract import host_extractor
from toolchain.features.settings import FeatureSettings, features_text, load_features
from toolchain.features.source import stored_as

# 8 x 8 and not below 0, as the example's network takes.
SOUND = FeatureSettings("log_mel", rate=4000, window_ms=16.0, hop_ms=8.0, clip_ms=72.0, mels=8, high_hz=2000.0, log_offset=1.0)
ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "toolchain/bundle/manifest.schema.json"


def compiled(folder: Path, target: str, settings: FeatureSettings = SOUND, **more: object) -> Path:
    chosen = {"formats": ("c",), "calibrate": str(CALIBRATION), "features": settings} | more
    return compile(MODEL, target, folder, **chosen).bundle  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The example with an extractor, once a target."""
    folder = tmp_path_factory.mktemp("bundles")

    def made(target: str) -> Path:
        return folder / target if (folder / target).exists() else compiled(folder / target, target)

    return made


def test_a_bundle_holds_the_extractor(bundle: Callable[[str], Path]) -> None:
    opened = read_bundle(bundle("rp2040_pico"))
    facts, files = opened.manifest.features, opened.manifest.files
    assert facts is not None and opened.manifest.c is not None
    assert (facts.frames, facts.width, facts.rate, facts.window, facts.hop) == (8, 8, 4000, 64, 32)
    assert {facts.header, facts.source, facts.settings, "c/strop/features_f32.h", "c/strop/fft_f32.h"} <= files.keys()
    assert facts.source in opened.manifest.c.sources
    assert load_features(opened.file(facts.settings)).shape == SOUND.shape
    assert f"`{facts.header}` makes its input" in opened.file("README.md").read_text()
    jsonschema.validate(json.loads(opened.file("manifest.json").read_text()), json.loads(SCHEMA.read_text()))


def test_limits_count_the_extractor(bundle: Callable[[str], Path], tmp_path: Path) -> None:
    manifest = read_bundle(bundle("rp2040_pico")).manifest
    assert manifest.features is not None
    ram, table = manifest.features.ram_bytes, manifest.features.table_bytes
    with pytest.raises(TargetError, match=rf"E301 .*activations and {ram:,} B of features need") as fault:
        compiled(tmp_path / "small", "rp2040_pico", max_ram_bytes=ram + 16)
    least = int(re.search(r"need ([\d,]+) B at the least", str(fault.value))[1].replace(",", ""))  # type: ignore[index]
    found = read_bundle(compiled(tmp_path / "least", "rp2040_pico", max_ram_bytes=least)).manifest
    assert found.ram is not None and found.ram.arena_bytes + ram <= least
    with pytest.raises(TargetError, match="E301"):
        compiled(tmp_path / "less", "rp2040_pico", max_ram_bytes=least - 1)
    with pytest.raises(TargetError, match=rf"E302 .*and {table:,} B of features need"):
        compiled(tmp_path / "flash", "rp2040_pico", max_flash_bytes=table)
    assert not any((tmp_path / name).exists() for name in ("small", "less", "flash"))


@needs_unicorn
@pytest.mark.parametrize("target", ["rp2040_pico", "nucleo_l4r5zi", "esp32c3"])
def test_verify_holds_it_to_this_machine(target: str, bundle: Callable[[str], Path]) -> None:
    found = verify(bundle(target), place="unicorn", samples=2)
    assert found.features is not None and found.features.clips == 3 and found.passed and found.bit_exact
    assert found.as_json()["features"] == {"clips": 3, "frames": 8, "equal": 3}


def test_verify_runs_it_here(bundle: Callable[[str], Path]) -> None:
    found = verify(bundle("host"), samples=2)
    assert found.features is not None and found.features.passed


def spoilt(source: Path, place: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """A copy with one file changed, and its digest in the manifest."""
    shutil.copytree(source, place)
    data = change((place / name).read_bytes())
    (place / name).write_bytes(data)
    document = json.loads((place / "manifest.json").read_text())
    document["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (place / "manifest.json").write_text(json.dumps(document))
    return place


def test_one_wrong_step_is_found(bundle: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def louder(text: bytes) -> bytes:
        assert b".offset = 1.0F" in text
        return text.replace(b".offset = 1.0F", b".offset = 1.02F")

    place = spoilt(bundle("host"), tmp_path / "b", "c/digits_features.c", louder)
    found = verify(place, samples=1)
    assert found.bit_exact and found.features is not None and not found.features.passed and not found.passed
    assert main(["verify", str(place), "--samples", "1"]) == 16
    told = capsys.readouterr()
    assert "features" in told.out and "E601" in told.err and "features of " in told.err


@pytest.mark.parametrize(
    ("change", "number"),
    [
        (lambda text: text.replace(b"mels = 8", b"mels = 9"), 504),
        (lambda text: text.replace(b"mels = 8", b"mels = 0"), 215),
        (lambda text: b"\0", 215),
    ],
)
def test_other_settings_in_a_bundle_are_found(
    change: Callable[[bytes], bytes], number: int, bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    place = spoilt(bundle("host"), tmp_path / "b", "features.toml", change)
    with pytest.raises((DataError, RunError)) as fault:
        verify(place, samples=1)
    assert fault.value.number == number


@pytest.mark.parametrize(
    "change",
    [{"ram_bytes": 0}, {"frames": 9}, {"source": "c/other.c"}, {"settings": "../features.toml"}, {"width": "8"}, {"more": 1}],
)
def test_a_manifest_that_says_else_is_refused(change: dict[str, object], bundle: Callable[[str], Path], tmp_path: Path) -> None:
    place = tmp_path / "b"
    shutil.copytree(bundle("host"), place)
    document = json.loads((place / "manifest.json").read_text())
    document["features"] |= change
    (place / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(RunError) as fault:
        read_bundle(place)
    assert fault.value.number == 504


@needs_unicorn
def test_bench_tells_what_a_frame_takes(bundle: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    place = str(bundle("rp2040_pico"))
    assert main(["bench", place, "--on", "unicorn", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["features"]
    facts = read_bundle(Path(place)).manifest.features
    assert facts is not None and found["ram_bytes"] == facts.ram_bytes
    # The linker adds what divides and normalizes.
    assert facts.table_bytes <= found["table_bytes"] <= facts.table_bytes + 200
    assert 50_000 < found["instructions"] < found["cycles"] < 200_000 and 0 < found["stack_bytes"] < 400


@pytest.mark.parametrize("settings", [FeatureSettings("mfcc"), FeatureSettings("log_mel", clip_ms=60.0, mels=16)])
def test_features_of_another_shape_are_refused(settings: FeatureSettings, tmp_path: Path) -> None:
    with pytest.raises(DataError) as fault:
        compiled(tmp_path / "b", "host", settings)
    assert fault.value.number == 216 and "input 'image' is (1, 1, 8, 8), the features are " in str(fault.value)
    assert not list(tmp_path.iterdir())


def test_a_bundle_without_c_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as fault:
        compiled(tmp_path / "b", "host", formats=("onnx",))
    assert fault.value.number == 901 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", ["float32", "int16x8"])
def test_features_are_stored_as_the_input_is(precision: str, tmp_path: Path) -> None:
    calibrate = None if precision == "float32" else str(CALIBRATION)
    place = compiled(tmp_path / "b", "host", precision=precision, calibrate=calibrate)
    found = verify(place, samples=1)
    assert found.features is not None and found.features.passed


def test_the_command_tells_what_it_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sound.toml").write_text(features_text(SOUND))
    command = ["compile", str(MODEL), "--target", "rp2040_pico", "--calibrate", str(CALIBRATION), "-o", str(tmp_path / "b")]
    assert main([*command, "--features", str(tmp_path / "sound.toml")]) == 0
    assert "log_mel, 8 frames of 8 at 4,000 Hz; " in capsys.readouterr().out
    assert main([*command, "--features", str(tmp_path / "none.toml"), "--json"]) == 12
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "E205"


@needs_cmake
def test_a_cmake_project_makes_the_input_of_sound(bundle: Callable[[str], Path], tmp_path: Path) -> None:
    place = bundle("host")
    export(place, "cmake", tmp_path / "digits")
    assert "`digits_features_push`" in (tmp_path / "digits/README.md").read_text()
    pcm = np.random.default_rng(4).integers(-9000, 9000, (1, SOUND.samples), dtype=np.int16)
    main_c = f"""#include <digits.h>
#include <digits_features.h>
#include <stdio.h>
static const int16_t pcm[] = {{{", ".join(map(str, pcm[0]))}}};
static _Alignas(DIGITS_ARENA_ALIGN) unsigned char arena[DIGITS_ARENA_BYTES];
static _Alignas(DIGITS_FEATURES_RAM_ALIGN) unsigned char state[DIGITS_FEATURES_RAM_BYTES];
int main(void) {{
    if (digits_init(arena) != 0 || digits_features_init(state) != 0) {{ return 1; }}
    if (digits_features_push(state, pcm, {SOUND.samples}) != DIGITS_FEATURES_FRAMES) {{ return 2; }}
    if (digits_features_read(state, digits_input_0(arena)) != 0) {{ return 3; }}
    for (int i = 0; i < DIGITS_INPUT_0_BYTES; ++i) {{ printf("%d ", digits_input_0(arena)[i]); }}
    return digits_run(arena);
}}
"""
    user = "cmake_minimum_required(VERSION 3.15)\nproject(app C)\nadd_subdirectory(digits)\n"
    user += "add_executable(app main.c)\ntarget_link_libraries(app PRIVATE strop::digits)\n"
    write_files(tmp_path, {"CMakeLists.txt": user, "main.c": main_c})
    build = built(tmp_path, tmp_path / "b", "-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_C_FLAGS={STRICT}")
    stored = stored_as(read_bundle(place).graph().inputs[0].type)
    assert stored is not None
    wanted = host_extractor(SOUND, stored).features(pcm)
    assert said([build / "app"], tmp_path).split() == [str(value) for value in wanted.reshape(-1)]


@needs_cmake
def test_the_header_is_installed(bundle: Callable[[str], Path], tmp_path: Path) -> None:
    export(bundle("host"), "cmake", tmp_path / "lib")
    build = built(tmp_path / "lib", tmp_path / "b")
    said(["cmake", "--install", build, "--prefix", tmp_path / "stage"], tmp_path)
    assert (tmp_path / "stage/include/strop_digits/digits_features.h").is_file()


@pytest.mark.parametrize("system", [system for system in SYSTEMS if system != "cmake"])
def test_every_export_carries_it(system: str, bundle: Callable[[str], Path], tmp_path: Path) -> None:
    export(bundle("esp32c3"), system, tmp_path / "out")  # type: ignore[arg-type]
    (header,) = (tmp_path / "out").rglob("digits_features.h")
    (source,) = (tmp_path / "out").rglob("digits_features.c")
    (public,) = (tmp_path / "out").rglob("digits.h")
    (network,) = (tmp_path / "out").rglob("digits.c")
    assert header.parent == public.parent and source.parent == network.parent
    for path in (tmp_path / "out").rglob("*"):
        if path.name in ("CMakeLists.txt", "library.json"):
            text = path.read_text()
            assert text.count("digits.c") == text.count("digits_features.c"), path


def test_what_the_page_shows_compiles_and_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs/features.md").read_text()
    blocks = dict(re.findall(r"```(c|python)\n(.*?)```", page, re.S))
    names: dict[str, object] = {}
    exec(blocks["python"], names)
    assert np.shape(names["features"]) == (3, 49, 10)  # type: ignore[arg-type]
    place = compiled(tmp_path / "b", "host", name="kws")
    (tmp_path / "page.c").write_text(f"{blocks['c']}\nint main(void) {{ return start() | (hear(0, 0) - 1); }}\n")
    compiler = find_compiler(load_target("host"))
    files = read_bundle(place).manifest.c
    assert files is not None
    command = [*compiler.command, "-std=c11", *STRICT.split(), *files.cflags, f"-I{place}/c", "page.c"]
    said([*command, *(place / source for source in files.sources), "-o", "page"], tmp_path)
    said([tmp_path / "page"], tmp_path)


@pytest.mark.long
@runs_libraries
def test_a_library_exports_it(tmp_path: Path) -> None:
    place = compiled(tmp_path / "b", "x86_64_linux", formats=("c", "library"))
    (library,) = place.glob("library/*.so")
    assert b"digits_features_push" in library.read_bytes()
    found = verify(place, samples=1)
    assert found.features is not None and found.features.passed
