"""Exports are taken by the build systems they are for, and what they build gives the reference's bytes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from firmware.compilers import find_compiler
from firmware.device_build import build_device
from firmware.image import read_image
from targets.load import load_target
from tests.support.build_systems import (
    ARDUINO_H,
    ARDUINO_MAIN,
    IDF_PROJECT,
    PIO_PACKAGES,
    STRICT,
    ZEPHYR_CONFIG,
    built,
    needs_cmake,
    said,
    shell,
    write_files,
)
from tests.support.digits import HERE, TEST, runs_libraries
from tests.support.engines import needs_arm_gcc, needs_qemu, needs_user_mode
from toolchain.api.exporting import SYSTEMS, export, sample_of
from toolchain.api.places import c_program, output_scale
from toolchain.bundle.read import read_bundle
from toolchain.cli.main import main
from toolchain.exports.arduino import library_name
from toolchain.exports.network import Facts, Network, gather

MACHINES = ("mps2_an385", "mps2_an386", "mps2_an500", "mps2_an505", "mps3_an547", "rv32_virt")
BOARDS = ("nucleo_l4r5zi", "stm32f746g_disco", "rp2350_pico2", "esp32c3")


def flags_of(build: Path, source: str) -> list[str]:
    """What the compiler was given for a file."""
    entries = json.loads((build / "compile_commands.json").read_text())
    (command,) = {entry["command"] for entry in entries if entry["file"].endswith(f"/{source}")}
    return command.split()


# --- CMake


@needs_cmake
@pytest.mark.parametrize("io", ["arena", "caller", "rows"])
def test_a_cmake_project_takes_it_as_a_folder(io: Any, bundles: Any, tmp_path: Path) -> None:
    export(
        bundles("host", **({"io": io} if io != "arena" else {})),
        "cmake",
        tmp_path / "third_party" / "digits",
        data=f"{TEST}[3:4]",
    )
    check = tmp_path / "third_party" / "digits" / "example" / "digits_check.c"
    write_files(
        tmp_path,
        {
            "CMakeLists.txt": "cmake_minimum_required(VERSION 3.15)\nproject(app C)\nadd_subdirectory(third_party/digits)\n"
            "add_executable(app third_party/digits/example/main.c third_party/digits/example/digits_check.c)\n"
            "target_link_libraries(app PRIVATE strop::digits)\n"
        },
    )
    build = built(tmp_path, tmp_path / "b", "-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_C_FLAGS={STRICT}")
    assert said([build / "app"], tmp_path) == "digits: equal\n"
    flags = flags_of(build, "src/digits.c")
    assert flags.index("-O2") > flags.index("-O3")
    assert "-ffp-contract=off" in flags and not (build / "third_party/digits/example").exists()
    text = check.read_text()
    last = re.findall(r"sample_output_0\[\d+\] = \{\s*(\d+)", text)[0]
    check.write_text(re.sub(rf"(sample_output_0\[\d+\] = \{{\s*){last}", rf"\g<1>{int(last) ^ 1}", text))
    said(["cmake", "--build", build], tmp_path)
    assert said([build / "app"], tmp_path, status=1) == "digits: different\n"


@needs_cmake
def test_an_installed_library_is_found(bundles: Any, tmp_path: Path) -> None:
    export(bundles("host"), "cmake", tmp_path / "lib", facts=Facts(version="2.3.4"))
    shell(block(tmp_path / "lib" / "README.md"), tmp_path / "lib")
    assert shutil.which("digits_check", path=str(tmp_path / "lib/build/host/example"))
    user = "cmake_minimum_required(VERSION 3.15)\nproject(app C)\nfind_package(strop_digits {} CONFIG REQUIRED)\n"
    user += "add_executable(app main.c)\ntarget_link_libraries(app PRIVATE strop::digits)\n"
    main = "#include <digits.h>\nstatic _Alignas(16) unsigned char arena[DIGITS_ARENA_BYTES];\n"
    main += "int main(void) { return digits_init(arena); }\n"
    prefix = f"-DCMAKE_PREFIX_PATH={tmp_path / 'lib/stage'}"
    write_files(tmp_path / "user", {"CMakeLists.txt": user.format("2.1"), "main.c": main})
    said([built(tmp_path / "user", tmp_path / "b", prefix) / "app"], tmp_path)
    write_files(tmp_path / "user", {"CMakeLists.txt": user.format("3.0")})
    assert "compatible" in said(["cmake", "-S", "user", "-B", "c", prefix], tmp_path, status=1)


@needs_cmake
def test_the_arena_goes_where_the_user_says(bundles: Any, tmp_path: Path) -> None:
    export(bundles("host"), "cmake", tmp_path / "lib")
    build = built(tmp_path / "lib", tmp_path / "b", "-DDIGITS_ARENA_SECTION=.fast")
    assert said([build / "example" / "digits_check"], tmp_path) == "digits: equal\n"
    headers = said(["objdump", "-h", build / "libstrop_digits.a"], tmp_path)
    assert re.search(r"\.fast +00000[0-9a-f]{3}", headers)


@needs_cmake
@needs_qemu
@needs_arm_gcc
@pytest.mark.parametrize(
    "target",
    [
        "mps2_an386",
        "rv32_virt",
        *(pytest.param(each, marks=pytest.mark.long) for each in MACHINES if each[-3:] not in ("386", "irt")),
    ],
)
def test_the_page_for_a_core_runs_in_qemu(target: str, bundles: Any, tmp_path: Path) -> None:
    export(bundles(target), "cmake", tmp_path / "lib", data=f"{TEST}[0:1]")
    assert "100% tests passed" in shell(block(tmp_path / "lib" / "README.md"), tmp_path / "lib")


@needs_cmake
@needs_user_mode("raspberry_pi_4")
@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-gcc") is None, reason="no cross-compiler (Debian: gcc-aarch64-linux-gnu)")
def test_the_page_for_a_linux_board_runs_in_user_mode(bundles: Any, tmp_path: Path) -> None:
    export(bundles("raspberry_pi_4"), "cmake", tmp_path / "lib")
    assert "100% tests passed" in shell(block(tmp_path / "lib" / "README.md"), tmp_path / "lib")
    assert "On the board itself the preset is `host`" in (tmp_path / "lib" / "README.md").read_text()


@needs_cmake
@runs_libraries
def test_the_page_for_this_machines_processor(bundles: Any, tmp_path: Path) -> None:
    export(bundles(HERE), "cmake", tmp_path / "lib")
    lines = (
        block(tmp_path / "lib" / "README.md").replace("--preset device", "--preset host").replace("build/device", "build/host")
    )
    assert "100% tests passed" in shell(lines, tmp_path / "lib")


@needs_cmake
@needs_arm_gcc
def test_several_arenas_and_sections(bundles: Any, tmp_path: Path) -> None:
    bundle = bundles("nucleo_h7a3zi", memories={"dtcm": 600, "axi_sram": 500})
    export(bundle, "cmake", tmp_path / "lib")
    build = built(
        tmp_path / "lib",
        tmp_path / "b",
        f"-DCMAKE_TOOLCHAIN_FILE={tmp_path / 'lib/toolchain.cmake'}",
        f'-DCMAKE_C_FLAGS=-mcpu=cortex-m7 -mthumb {STRICT} -DDIGITS_ARENA_1_SECTION=\\".dtcm\\"',
    )
    symbols = said(["arm-none-eabi-nm", "-S", build / "libstrop_digits.a"], tmp_path)
    sizes = {name: int(size, 16) for size, name in re.findall(r"([0-9a-f]{8}) [BD] (digits_arena\w*)", symbols)}
    assert sizes["digits_arena"] <= 600 and sizes["digits_arena_1"] <= 600 and len(sizes) == 2
    assert ".dtcm" in said(["arm-none-eabi-objdump", "-h", build / "libstrop_digits.a"], tmp_path)
    library = ["-isystem", Path(__file__).parents[2] / "firmware/harness/include"]
    check = ["arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mthumb", *STRICT.split(), *library, "-Iinclude"]
    said([*check, "-c", "example/digits_check.c", "-o", "check.o"], tmp_path / "lib")
    assert "digits_init(digits_arena, digits_arena_1)" in (tmp_path / "lib/README.md").read_text()


@needs_cmake
def test_float_outputs_may_be_off_by_rounding_and_not_more(bundles: Any, tmp_path: Path) -> None:
    export(bundles("host", precision="float32"), "cmake", tmp_path / "lib")
    build = built(tmp_path / "lib", tmp_path / "b", f"-DCMAKE_C_FLAGS={STRICT}")
    assert said([build / "example/digits_check"], tmp_path) == "digits: equal\n"
    check = tmp_path / "lib/example/digits_check.c"
    text = check.read_text()
    stored = re.search(r"(sample_output_0\[40\] = \{)([^}]*)", text)
    assert stored is not None
    values = np.array([int(number) for number in re.findall(r"\d+", stored[2])], np.uint8).view("<f4").copy()
    values[values.argmax()] *= 1.0001
    check.write_text(text[: stored.start(2)] + ", ".join(map(str, values.view(np.uint8))) + text[stored.end(2) :])
    said(["cmake", "--build", build], tmp_path)
    assert said([build / "example/digits_check"], tmp_path, status=1) == "digits: different\n"


@needs_arm_gcc
def test_a_core_without_the_instructions_is_told_of(bundles: Any, tmp_path: Path) -> None:
    export(bundles("mps2_an386"), "cmake", tmp_path / "lib")
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb", "-Iinclude", "-c", "src/digits.c", "-o", "x.o"]
    text = said(command, tmp_path / "lib", status=1)
    assert "digits was compiled for mps2_an386 and needs an Arm core with the DSP extension" in text


# --- Arduino


def properties(folder: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / "library.properties").read_text().splitlines())


def arduino_faults(folder: Path) -> list[str]:
    """What the published rules of Arduino libraries (arduino-lint's strict ones that need no network) forbid."""
    told = properties(folder)
    wanted = ("name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures")
    faults = [f"no {key}" for key in wanted if not told.get(key)]
    name = told["name"]
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,62}", name) or not re.search("[a-zA-Z]", name):
        faults.append(f"name {name}")
    if name.lower().startswith("arduino") or "library" in name.lower() or told["maintainer"].lower().startswith("arduino"):
        faults.append("reserved word")
    if not re.fullmatch(r"\d+\.\d+\.\d+", told["version"]):
        faults.append("version")
    if told["paragraph"].startswith(told["sentence"]):
        faults.append("paragraph repeats sentence")
    if told["category"] not in ("Data Processing", "Other"):
        faults.append("category")
    faults += [f"no header {each}" for each in told["includes"].split(",") if not (folder / "src" / each).is_file()]
    for line in (folder / "keywords.txt").read_text().splitlines():
        if not re.fullmatch(r"\w+\t(KEYWORD[12]|LITERAL1)", line):
            faults.append(f"keyword {line}")
    for sketch in folder.rglob("*.ino"):
        if sketch.stem != sketch.parent.name or sketch.parent.parent != folder / "examples":
            faults.append(f"sketch {sketch.name}")
    faults += [f"no {each}" for each in ("README.md", "LICENSE", f"src/{name}.h") if not (folder / each).is_file()]
    extra = {path.name for path in folder.iterdir()} - {"src", "examples"}
    return faults + sorted(extra - {"library.properties", "keywords.txt", "README.md", "LICENSE"})


def sketch_says(folder: Path, place: Path, *options: str) -> str:
    """Compile a library and its example as the Arduino builder would, with a stand-in core, and run it here."""
    write_files(place, {"core/Arduino.h": ARDUINO_H, "core/main.cpp": ARDUINO_MAIN})
    (sketch,) = folder.rglob("*.ino")
    (place / "sketch.cpp").write_text(f'#include <Arduino.h>\n#line 1 "{sketch.name}"\n{sketch.read_text()}')
    include = [f"-I{folder / 'src'}", f"-I{sketch.parent}", f"-I{place / 'core'}"]
    sources = [*folder.joinpath("src").rglob("*.c"), *sketch.parent.glob("*.c")]
    for index, source in enumerate(sources):
        said(["cc", "-std=gnu17", "-Os", "-w", *include, *options, "-c", source, "-o", place / f"{index}.o"], place)
    strict = ["c++", "-std=gnu++11", "-Wall", "-Wextra", "-Werror", *include]
    said([*strict, "sketch.cpp", "core/main.cpp", *(f"{index}.o" for index in range(len(sources))), "-o", "sketch"], place)
    return said([place / "sketch"], place)


@needs_cmake
def test_an_arduino_sketch_runs_and_the_metadata_keeps_the_rules(bundles: Any, tmp_path: Path) -> None:
    export(
        bundles("host"), "arduino", tmp_path / "lib", facts=Facts("1.2.3", "A. Name", "a@example.com", "https://example.com/x")
    )
    assert arduino_faults(tmp_path / "lib") == []
    told = properties(tmp_path / "lib")
    assert (told["name"], told["version"], told["architectures"]) == ("digits", "1.2.3", "*")
    assert told["maintainer"] == "A. Name <a@example.com>"
    assert sketch_says(tmp_path / "lib", tmp_path) == "digits: equal\n"


@needs_arm_gcc
def test_arduino_sources_carry_the_flags(bundles: Any, tmp_path: Path) -> None:
    """GCC joins multiplications and additions of floats unless the flags forbid it, which would change results."""
    bundle = bundles("mps2_an386", precision="float32")
    export(bundle, "arduino", tmp_path / "lib")
    core = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-std=gnu17", "-w", "-Os"]
    joined = {}
    for name, source in (("plain", bundle / "c/digits.c"), ("carried", "lib/src/digits.c")):
        said([*core, "-c", source, "-o", f"{name}.o"], tmp_path)
        joined[name] = len(re.findall(r"\tv(?:fma|fms|mla)", said(["arm-none-eabi-objdump", "-d", f"{name}.o"], tmp_path)))
    assert joined["plain"] > 5
    assert joined["carried"] == 0


# --- Zephyr

MODULE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "build"],
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
        "build": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "cmake": {"type": "string"},
                "kconfig": {"type": "string"},
                "cmake-ext": {"type": "boolean"},
                "kconfig-ext": {"type": "boolean"},
                "sysbuild-cmake": {"type": "string"},
                "sysbuild-kconfig": {"type": "string"},
                "depends": {"type": "array", "items": {"type": "string"}},
                "settings": {"type": "object"},
            },
        },
        "samples": {"type": "array", "items": {"type": "string"}},
        "tests": {"type": "array", "items": {"type": "string"}},
    },
}


@needs_cmake
def test_a_zephyr_application_takes_the_module(bundles: Any, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML reads module.yml")
    export(bundles("host"), "zephyr", tmp_path / "module")
    module = yaml.safe_load((tmp_path / "module/zephyr/module.yml").read_text())
    jsonschema.validate(module, MODULE_SCHEMA)
    assert (tmp_path / "module" / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    assert (tmp_path / "module" / module["build"]["kconfig"]).is_file()
    twister = yaml.safe_load((tmp_path / "module/samples/check/sample.yaml").read_text())
    (regex,) = twister["tests"]["strop.digits.check"]["harness_config"]["regex"]
    zephyr = write_files(tmp_path / "zephyr", {"ZephyrConfig.cmake": ZEPHYR_CONFIG, "empty.c": "typedef int nothing;\n"})
    environment = {"ZEPHYR_BASE": str(zephyr), "ARENA_SECTION": ".fast"}
    sample = tmp_path / "module/samples/check"
    build = built(sample, tmp_path / "b", f"-DZephyr_DIR={zephyr}", f"-DCMAKE_C_FLAGS={STRICT}", more=environment)
    assert re.search(regex, said([build / "app"], tmp_path))
    flags = flags_of(build, "src/digits.c")
    assert flags.index("-O2") > flags.index("-Os") and "-fno-strict-aliasing" in flags
    assert ".fast" in said(["objdump", "-h", build / "app"], tmp_path)
    (sample / "prj.conf").write_text("CONFIG_PRINTK=y\n")
    off = said(["cmake", "-S", sample, "-B", tmp_path / "off", f"-DZephyr_DIR={zephyr}"], sample, environment)
    assert "strop_digits" not in off and not list((tmp_path / "off").rglob("strop_digits.dir"))


@pytest.mark.parametrize(("target", "needs"), [("host", None), ("mps2_an386", "ARMV7_M_ARMV8_M_MAINLINE"), ("esp32c3", "RISCV")])
def test_kconfig_reads_the_options(target: str, needs: str | None, bundles: Any, tmp_path: Path) -> None:
    kconfiglib = pytest.importorskip("kconfiglib", reason="the checker of Kconfig files")
    export(bundles(target), "zephyr", tmp_path / "module")
    for core in (True, False) if needs else (True,):
        own = f"config {needs}\n\tbool\n\tdefault {'y' if core else 'n'}\n" if needs else ""
        root = tmp_path / "Kconfig"
        root.write_text(f'{own}rsource "module/zephyr/Kconfig"\n')
        options = kconfiglib.Kconfig(str(root), warn_to_stderr=False)
        options.load_config(str(tmp_path / "module/samples/check/prj.conf"), replace=False)
        assert [warning for warning in options.warnings if "STROP" in warning] == [] or not core
        assert options.syms["STROP_DIGITS"].str_value == ("y" if core else "n")
        assert options.syms["STROP_DIGITS_ARENA_SECTION"].visibility == (2 if core else 0)


# --- PlatformIO


@pytest.fixture
def pio(tmp_path: Path) -> dict[str, str]:
    """An environment in which PlatformIO finds what it would fetch, and fetches nothing."""
    pytest.importorskip("platformio", reason="PlatformIO builds and checks its libraries")
    pytest.importorskip("SCons", reason="PlatformIO builds with SCons")
    home = write_files(tmp_path / "pio", PIO_PACKAGES)
    return {"PLATFORMIO_CORE_DIR": str(home), "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no", "PLATFORMIO_NO_ANSI": "1"}


@needs_cmake
def test_platformio_builds_the_example_of_the_page(bundles: Any, tmp_path: Path, pio: dict[str, str]) -> None:
    export(bundles("host"), "platformio", tmp_path / "digits")
    text = block(tmp_path / "digits" / "README.md").replace("pio run", "pio run -v")
    output = shell(text, tmp_path / "digits", pio)
    assert output.endswith("digits: equal\n")
    (line,) = [line for line in output.splitlines() if line.endswith("src/digits.c")]
    assert "-ffp-contract=off" in line and "-fno-strict-aliasing" in line
    manifest = json.loads((tmp_path / "digits/library.json").read_text())
    for example in manifest["examples"]:
        assert all((tmp_path / "digits" / example["base"] / name).is_file() for name in example["files"])


def test_platformio_takes_the_manifest(bundles: Any, tmp_path: Path, pio: dict[str, str]) -> None:
    export(bundles("host"), "platformio", tmp_path / "lib")
    # The list of licences is on the network; its form is not.
    code = (
        "import sys, json; import platformio.package.manifest.schema as s\n"
        "s.ManifestSchema.load_spdx_licenses = staticmethod(lambda *a: {'licenses': [{'licenseId': 'Apache-2.0'}]})\n"
        "from platformio.package.manifest.parser import ManifestParserFactory as F\n"
        "print(json.dumps(s.ManifestSchema().load_manifest(F.new_from_file('library.json').as_dict())))"
    )
    loaded = json.loads(said([sys.executable, "-c", code], tmp_path / "lib", pio))
    assert (loaded["name"], loaded["license"], loaded["platforms"]) == ("digits", "Apache-2.0", ["*"])


# --- ESP-IDF


@needs_cmake
def test_an_esp_idf_project_takes_the_component(bundles: Any, tmp_path: Path) -> None:
    component = tmp_path / "strop_digits"
    export(bundles("host"), "esp-idf", component)
    start = "void app_main(void);\nint main(void) { app_main(); return 0; }\n"
    idf = write_files(tmp_path / "idf", {"tools/cmake/project.cmake": IDF_PROJECT, "start.c": start})
    environment = {"IDF_PATH": str(idf), "COMPONENT": str(component), "ARENA_SECTION": ".fast"}
    build = built(component / "examples/check", tmp_path / "b", f"-DCMAKE_C_FLAGS={STRICT}", more=environment)
    assert said([build / "digits_check"], tmp_path) == "digits: equal\n"
    flags = flags_of(build, "src/digits.c")
    assert flags.index("-O2") > flags.index("-Og")
    assert ".fast" in said(["objdump", "-h", build / "digits_check"], tmp_path)


def test_the_component_manager_takes_and_packs_it(bundles: Any, tmp_path: Path) -> None:
    pytest.importorskip("idf_component_manager", reason="Espressif's checker of components")
    export(bundles("esp32c3"), "esp-idf", tmp_path / "strop_digits", facts=Facts(version="1.2.3"))
    tool = [Path(sys.executable).parent / "compote"]
    environment = {"IDF_TOOLS_PATH": str(tmp_path / "tools")}
    for folder in ("strop_digits", "strop_digits/examples/check/main"):
        said([*tool, "-W", "manifest", "lint", tmp_path / folder / "idf_component.yml"], tmp_path, environment)
    pack = [*tool, "-W", "component", "pack", "--name", "strop_digits", "--project-dir", tmp_path / "strop_digits"]
    said([*pack, "--dest-dir", tmp_path / "packed"], tmp_path / "strop_digits", environment)
    assert (tmp_path / "packed/strop_digits_1.2.3/src/digits.c").is_file()
    assert (tmp_path / "packed/strop_digits_1.2.3.tgz").is_file()


# --- the firmware


@needs_cmake
@needs_arm_gcc
@pytest.mark.parametrize(
    "target",
    ["mps2_an386", *(pytest.param(each, marks=pytest.mark.long) for each in (*MACHINES, *BOARDS) if each != "mps2_an386")],
)
def test_the_firmware_project_builds_the_bytes_of_flash(target: str, bundles: Any, tmp_path: Path) -> None:
    bundle = bundles(target)
    export(bundle, "firmware", tmp_path / "project")
    # Elsewhere, as the name of a folder must not change a byte.
    place = tmp_path / "harness_of_mine"
    (tmp_path / "project").rename(place)
    lines = [line for line in block(place / "README.md").splitlines() if "run" not in line]
    shell("\n".join(lines), place)
    opened, board = read_bundle(bundle), load_target(target)
    flashed = build_device(c_program(opened), output_scale(opened), board, find_compiler(board, "gcc"))
    ours, theirs = read_image(flashed.elf), read_image(place / "build/firmware.elf")
    assert sum(len(part.data) for part in ours.segments) > 8000
    assert theirs.segments == ours.segments
    assert (place / "build/firmware.hex").read_text().startswith(":")
    assert (place / "build/compile_commands.json").is_file()


@needs_cmake
@needs_arm_gcc
def test_the_page_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "examples").symlink_to(root / "examples")
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"^    (\S.*)$", (root / "docs/exports.md").read_text(), re.MULTILINE)
    strop = [line for line in lines if line.startswith("strop ")]
    assert (len(strop), len(lines)) == (3, 6)
    for line in strop:
        assert main(shlex.split(line)[1:]) == 0, line
    shell("\n".join(lines[lines.index(strop[-1]) + 1 :]), tmp_path)
    assert (tmp_path / "build/firmware/build/firmware.hex").is_file()


# --- what holds for all


@pytest.mark.parametrize(
    ("name", "arduino", "platformio", "component"),
    [
        ("digits", "digits", "digits", "strop_digits"),
        ("Arduino_kws", "strop_Arduino_kws", "arduino-kws", "strop_Arduino_kws"),
        ("_my__net_", "my__net", "my-net", "strop_my_net"),
        ("_1", "strop_1", "1", "strop_1"),
        ("_", "network", "network", "strop"),
        ("a" * 64, "a" * 63, "a" * 64, "strop_" + "a" * 58),
    ],
)
def test_names_become_what_each_registry_takes(name: str, arduino: str, platformio: str, component: str, bundles: Any) -> None:
    network = network_of(bundles("host"))
    named = replace(network, program=replace(network.program, name=name))
    assert (library_name(named), named.slug, named.package) == (arduino, platformio, component)
    # The slugs of Espressif's manager: 64 characters at most, no two marks in a row, none at either end.
    assert re.fullmatch(r"[A-Za-z0-9]+([_-][A-Za-z0-9]+)*", component) and len(component) <= 64


def network_of(bundle: Path) -> Network:
    opened = read_bundle(bundle)
    target = load_target(opened.manifest.target)
    return gather(opened, c_program(opened), target, sample_of(opened, None), Facts())


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def block(page: Path) -> str:
    """The first shell lines of a page."""
    code = re.search(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    assert code is not None
    return code[1]


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_same_bytes_again_with_a_page_and_a_licence(system: Any, bundles: Any, tmp_path: Path) -> None:
    for place in ("a", "b"):
        export(bundles("host"), system, tmp_path / place)
    first, second = files_of(tmp_path / "a"), files_of(tmp_path / "b")
    assert first == second
    page = first["README.md"].decode()
    assert "The network digits, int8, compiled by Strop for host." in page and "Apache License 2.0 (`LICENSE`)" in page
    assert b"Apache License" in first["LICENSE"]
    assert not any(str(tmp_path).encode() in content for content in first.values())


@needs_cmake
def test_headers_are_clean_c_and_cpp(bundles: Any, tmp_path: Path) -> None:
    export(bundles("host"), "cmake", tmp_path / "lib")
    text = '#include "digits_arena.h"\n#include "digits_check.h"\n#include "digits.h"\n'
    text += "int main() { return digits_init(digits_arena) + digits_check(); }\n"
    write_files(tmp_path / "lib", {"main.cpp": text})
    include = ["-Iinclude", "-Iexample", "-Isrc"]
    sources = ["src/digits.c", "src/digits_arena.c", "example/digits_check.c"]
    for source in sources:
        for standard in ("c99", "c11", "gnu17"):
            flags = [f"-std={standard}", *STRICT.split(), "-fno-strict-aliasing", "-ffp-contract=off"]
            said(["cc", *flags, *include, "-c", source, "-o", f"{Path(source).stem}.o"], tmp_path / "lib")
    objects = [f"{Path(source).stem}.o" for source in sources]
    said(["c++", "-std=c++11", "-pedantic", *STRICT.split(), *include, "main.cpp", *objects, "-o", "app"], tmp_path / "lib")
    said(["./app"], tmp_path / "lib")
