"""A CMake library: for add_subdirectory, or installed for find_package; with a toolchain file and presets for its core."""

from __future__ import annotations

import json
from dataclasses import replace

from firmware.build import START_UP, own_text
from firmware.linker import linker_script, plan_ram
from firmware.program import CProgram
from targets.model import Linux, Target
from toolchain.bundle.readme import tensor_table
from toolchain.exports.check import arena_source, check_files, include_files, source_names
from toolchain.exports.network import LICENCE_NOTE, Network, guarded

MINIMUM = "cmake_minimum_required(VERSION 3.15)"
# What the example lies in beside its own files where there is no operating system.
BARE = ("harness/harness.h", "harness/memory.c", "harness/include/string.h")


def cmake(network: Network) -> dict[str, str]:
    """The library's files, by path."""
    name, target = network.name, network.target
    files = {
        "CMakeLists.txt": _library(network),
        f"cmake/strop_{name}Config.cmake": f'include("${{CMAKE_CURRENT_LIST_DIR}}/strop_{name}Targets.cmake")\n',
        **include_files(network),
        **library_files(network),
        **check_files(network, "example/"),
        "example/CMakeLists.txt": _example(network),
        "example/main.c": host_main(network),
        "CMakePresets.json": presets(_presets(target)),
        "README.md": _readme(network),
    }
    if is_bare(target) or is_crossed(target):
        files["toolchain.cmake"] = toolchain_file(target)
    if target.qemu is not None and target.core.architecture in START_UP:
        files |= _bare_example(network)
    return files


def library_files(network: Network, folder: str = "src/") -> dict[str, str]:
    """Sources with their private headers, and the arena."""
    sources = {f"{folder}{path}": guarded(network, text) for path, text in network.sources.items()}
    private = {f"{folder}{path}": text for path, text in network.private.items()}
    return {**sources, **private, f"{folder}{network.name}_arena.c": arena_source(network)}


def is_bare(target: Target) -> bool:
    """True for cores without an operating system, which a toolchain file selects."""
    return target.core.architecture in START_UP


def is_crossed(target: Target) -> bool:
    """True for boards with Linux that programs are mostly compiled for elsewhere."""
    return target.core.linux is not None and target.core.linux.machine != "x86_64"


def host_main(network: Network) -> str:
    """A program that says whether the stored sample gives the right outputs."""
    name = network.name
    return f"""#include "{name}_check.h"

#include <stdio.h>

int main(void)
{{
    printf("{name}: %s\\n", {name}_check_word());
    return {name}_check();
}}
"""


def _library(network: Network) -> str:
    name, upper, target = network.name, network.upper, f"strop_{network.name}"
    sources = "\n    ".join(source_names(network))
    compiled = " ".join(f"src/{source}" for source in sorted(network.sources))
    headers = " ".join(include_files(network))
    return f"""{MINIMUM}
project({target} VERSION {network.facts.version} DESCRIPTION "{network.sentence}" LANGUAGES C)

get_directory_property(parent PARENT_DIRECTORY)
if(parent)
    set(alone OFF)
else()
    set(alone ON)
endif()
option({upper}_EXAMPLE "Build the example, which runs a stored sample" ${{alone}})
option({upper}_INSTALL "Install the library for find_package({target})" ${{alone}})
set({upper}_ARENA_SECTION "" CACHE STRING "Linker section of {name}_arena; .bss where empty")

add_library({target} STATIC
    {sources})
add_library(strop::{name} ALIAS {target})
set_target_properties({target} PROPERTIES EXPORT_NAME {name})
target_compile_features({target} PRIVATE c_std_11)
target_include_directories({target} PUBLIC
    $<BUILD_INTERFACE:${{CMAKE_CURRENT_SOURCE_DIR}}/include>
    $<INSTALL_INTERFACE:include/{target}>)
# Of the sources, so that they come after those of the build type: results and speed hang on them.
set_property(SOURCE {compiled} APPEND PROPERTY COMPILE_OPTIONS {" ".join(network.flags)})
if({upper}_ARENA_SECTION)
    set_property(SOURCE src/{name}_arena.c APPEND PROPERTY
        COMPILE_DEFINITIONS {upper}_ARENA_SECTION="${{{upper}_ARENA_SECTION}}")
endif()

if({upper}_INSTALL)
    include(CMakePackageConfigHelpers)
    write_basic_package_version_file(${{CMAKE_CURRENT_BINARY_DIR}}/{target}ConfigVersion.cmake COMPATIBILITY SameMajorVersion)
    install(TARGETS {target} EXPORT {target}Targets ARCHIVE DESTINATION lib)
    install(FILES {headers} DESTINATION include/{target})
    install(EXPORT {target}Targets NAMESPACE strop:: DESTINATION lib/cmake/{target})
    install(FILES cmake/{target}Config.cmake ${{CMAKE_CURRENT_BINARY_DIR}}/{target}ConfigVersion.cmake
        DESTINATION lib/cmake/{target})
endif()

if({upper}_EXAMPLE)
    enable_testing()
    add_subdirectory(example)
endif()
"""


def _example(network: Network) -> str:
    name, qemu = network.name, network.target.qemu
    hosted = f"""add_executable({name}_check main.c {name}_check.c)
target_compile_features({name}_check PRIVATE c_std_11)
target_link_libraries({name}_check PRIVATE strop::{name})
add_test(NAME {name}_check COMMAND {name}_check)
"""
    if not is_bare(network.target):
        return hosted
    bare = f'message(STATUS "{name}: for your core; link strop::{name} and call {name}_check() of example/")\n'
    if qemu is not None:
        start = START_UP[network.target.core.architecture]
        bare = f"""# The start-up and the linker script are those of the emulated board.
add_executable({name}_check bare_main.c {start} {name}_check.c memory.c)
target_compile_features({name}_check PRIVATE c_std_11)
target_compile_options({name}_check PRIVATE -Os -ffreestanding -ffunction-sections -fno-tree-loop-distribute-patterns)
target_include_directories({name}_check SYSTEM PRIVATE ${{CMAKE_CURRENT_SOURCE_DIR}}/include)
target_link_libraries({name}_check PRIVATE strop::{name} gcc)
target_link_options({name}_check PRIVATE -static -nostdlib -Wl,--gc-sections -T${{CMAKE_CURRENT_SOURCE_DIR}}/board.ld)
set_target_properties({name}_check PROPERTIES LINK_DEPENDS ${{CMAKE_CURRENT_SOURCE_DIR}}/board.ld)
find_program(QEMU qemu-system-{qemu.system})
if(QEMU)
    set_target_properties({name}_check PROPERTIES CROSSCOMPILING_EMULATOR
        "${{QEMU}};{";".join(qemu_arguments(network.target))}")
    add_test(NAME {name}_check COMMAND {name}_check)
    set_tests_properties({name}_check PROPERTIES PASS_REGULAR_EXPRESSION "{name}: equal" TIMEOUT 60)
endif()
"""
    return f"if(CMAKE_SYSTEM_NAME STREQUAL Generic)\n{_nested(bare)}else()\n{_nested(hosted)}endif()\n"


def _nested(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def qemu_arguments(target: Target) -> list[str]:
    """What QEMU takes before the name of an ELF file that talks by semihosting."""
    qemu = target.qemu
    if qemu is None:
        return []
    bios = [] if qemu.system == "arm" else ["-bios", "none"]
    common = ["-display", "none", "-monitor", "none", "-serial", "none"]
    return ["-M", qemu.machine, "-cpu", qemu.cpu, *bios, *common, "-semihosting-config", "enable=on,target=native", "-kernel"]


def _bare_example(network: Network) -> dict[str, str]:
    """The example for the emulated board: its start-up, its linker script, and a main that writes by semihosting."""
    target, program = network.target, network.program
    flash = target.flash
    start = START_UP[target.core.architecture]
    script = linker_script(target, flash, plan_ram(_with_own_arena(program), target))
    files = {f"example/{name.partition('/')[2]}": own_text(name) for name in (f"boards/{start}", *BARE)}
    return {**files, "example/board.ld": script, "example/bare_main.c": _bare_main(network.name)}


def _with_own_arena(program: CProgram) -> CProgram:
    """The program as a linker script sees it that leaves its arenas and buffers to .bss."""
    size = program.ram_bytes + 16 * (1 + len(program.further))
    owned = {"arena": 0, "caller": program.outside_bytes, "rows": 0}[program.io]
    return replace(program, io="caller", arena_bytes=16, further=(), input_bytes=(size + owned,), output_bytes=())


def _bare_main(name: str) -> str:
    return f"""/* Says by semihosting whether the stored sample gives the right outputs. */
#include "harness.h"
#include "{name}_check.h"

enum {{ HOST_WRITE0 = 0x04, HOST_EXIT = 0x18, EXIT_NORMAL = 0x20026, EXIT_FAULT = 0x20024 }};

static _Noreturn void leave(uintptr_t why)
{{
    for (;;) {{
        (void)strop_host(HOST_EXIT, (const void *)why);
    }}
}}

void strop_report_fault(const struct strop_fault *fault)
{{
    (void)fault;
    (void)strop_host(HOST_WRITE0, "{name}: fault\\n");
    leave(EXIT_FAULT);
}}

static int check(void *argument)
{{
    (void)argument;
    (void)strop_host(HOST_WRITE0, "{name}: ");
    (void)strop_host(HOST_WRITE0, {name}_check_word());
    (void)strop_host(HOST_WRITE0, "\\n");
    return 0;
}}

void strop_main(void)
{{
    (void)strop_call(check, 0, strop_stack_high);
    leave(EXIT_NORMAL);
}}
"""


def toolchain_file(target: Target) -> str:
    """Selects the target's compiler and core."""
    core = target.core
    # RISC-V compilers often come without a C library.
    flags = " ".join((*core.gcc_flags, *(("-ffreestanding",) if core.architecture == "riscv" else ())))
    if core.linux is None:
        kind, rest = "Generic", "set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)\n"
    else:
        kind, rest = "Linux", _user_mode(core.linux, core.gcc.removesuffix("-gcc"))
    return f"""# {core.name}: {target.description}
set(CMAKE_SYSTEM_NAME {kind})
set(CMAKE_SYSTEM_PROCESSOR {core.linux.machine if core.linux else core.architecture})
set(CMAKE_C_COMPILER {core.gcc})
set(CMAKE_C_FLAGS_INIT "{flags}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
{rest}"""


def _user_mode(linux: Linux, triple: str) -> str:
    """Lets tests run in QEMU's user mode, on the C library of Debian's cross packages where that is there."""
    return f"""find_program(QEMU {linux.qemu})
if(QEMU)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${{QEMU}} -cpu {linux.cpu} -L /usr/{triple})
endif()
"""


def presets(rows: list[dict[str, object]]) -> str:
    """CMakePresets.json with a build and a test preset for every configuration."""
    names = [str(row["name"]) for row in rows]
    document = {
        "version": 3,
        "configurePresets": rows,
        "buildPresets": [{"name": name, "configurePreset": name} for name in names],
        "testPresets": [{"name": name, "configurePreset": name, "output": {"outputOnFailure": True}} for name in names],
    }
    return json.dumps(document, indent=2) + "\n"


def _presets(target: Target) -> list[dict[str, object]]:
    common: dict[str, object] = {"displayName": target.description, "binaryDir": "${sourceDir}/build/${presetName}"}
    release = {"CMAKE_BUILD_TYPE": "Release"}
    where = "${sourceDir}/toolchain.cmake"
    device: dict[str, object] = {"name": "device", **common, "toolchainFile": where, "cacheVariables": release}
    if is_bare(target):
        return [device]
    flags = {"CMAKE_C_FLAGS": " ".join(target.core.gcc_flags)} if target.core.gcc_flags else {}
    host: dict[str, object] = {"name": "host", **common, "cacheVariables": {**release, **flags}}
    return [device, host] if is_crossed(target) else [host]


def usage(network: Network) -> str:
    """C that runs the network, for the pages."""
    name, program, arena = network.name, network.program, network.arenas[0][0]
    init = f"{name}_init({', '.join(array for array, _, _ in network.arenas)});"
    body = {
        "arena": f"/* fill {name}_input_0({arena}) */\n{name}_run({arena});\n/* read {name}_output_0({arena}) */",
        "caller": f"{name}_run({arena}, /* your inputs and outputs */ …);",
        "rows": f"/* fill {name}_input_0({arena}) with a row */\n{name}_push_row({arena}); /* 0: the output is there */",
    }[program.io]
    return f"""```c
#include "{name}_arena.h"

{init}
{body}
```

`{arena}` is memory of the library's, linked only where it is used; `{name}_init` takes any memory of
`{network.upper}_ARENA_BYTES` bytes aligned to `{network.upper}_ARENA_ALIGN`.{_features(network)}

{tensor_table(network.manifest)}"""


def _features(network: Network) -> str:
    """How the network's input comes about where it is sound, for the pages."""
    if network.manifest.features is None:
        return ""
    name = f"{network.name}_features"
    return f"""

`{name}.h` makes the network's input of 16-bit sound: `{name}_init`, `{name}_push` with every piece that comes, and `{name}_read`
before a run."""


def _readme(network: Network) -> str:
    name, target = network.name, network.target
    crossed = is_bare(target) or is_crossed(target)
    preset = "device" if crossed else "host"
    tools = f"CMake 3.21 or later{f', Ninja or Make, and `{target.core.gcc}`' if crossed else ' and a C compiler'}"
    result = f"`{name}_check` runs a stored sample and says `{name}: equal`"
    if crossed:
        result += (
            ", in QEMU where that is installed"
            if target.qemu or target.core.linux
            else " once you link it into a program of your board"
        )
    if is_crossed(target):
        result += ". On the board itself the preset is `host`"
    return f"""# {name} for CMake

{network.sentence} With {tools}:

```sh
cmake --preset {preset}
cmake --build --preset {preset}
ctest --preset {preset}
cmake --install build/{preset} --prefix stage
```

{result}. In a project of yours:

```cmake
add_subdirectory({name})   # this folder; or find_package(strop_{name} CONFIG REQUIRED) where it is installed
target_link_libraries(app PRIVATE strop::{name})
```

{usage(network)}
`-D{network.upper}_ARENA_SECTION=.name` puts it into a section of your linker script.

{LICENCE_NOTE}
"""
