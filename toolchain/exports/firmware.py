"""A board's whole firmware as a CMake project: what `strop flash` builds, byte for byte, in a folder that an IDE opens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from firmware.build import (
    FREESTANDING_FLAGS,
    HARNESS_FLAGS,
    HARNESS_OWN_FLAGS,
    LIBRARY_FLAGS,
    LINK_FLAGS,
    START_UP,
    STRING_FOLDER,
    WARNING_FLAGS,
)
from firmware.device_build import DeviceFirmware, DeviceParts
from targets.model import Target
from toolchain.exports.cmake import presets, toolchain_file
from toolchain.exports.network import LICENCE_NOTE, Network

BUILT_IN = ("-isystem", STRING_FOLDER)
# The linker script tells by this name what is not the program; CMake ends objects of bare cores in .obj.
AROUND = "harness_"


def firmware(network: Network, built: DeviceFirmware) -> dict[str, str]:
    """The project's files, by path. built: what `strop flash` would write, whose sources and linker script are taken."""
    folder, target = built.elf.parent, network.target
    compiled = ["glue.c", *built.around.sources, START_UP[target.core.architecture]]
    files = {
        "CMakeLists.txt": _project(network, built.around, compiled),
        "toolchain.cmake": toolchain_file(target),
        "CMakePresets.json": presets([_preset(target)]),
        "firmware.ld": (folder / "firmware.ld").read_text("utf-8").replace(f"*{AROUND}*.o(", f"*{AROUND}*.o*("),
        "README.md": _readme(network, built),
        **{f"network/{path}": text for path, text in (*network.sources.items(), *network.private.items())},
        **{f"network/{path}": text for path, text in {f"{network.name}.h": network.header, **network.further}.items()},
    }
    for path in sorted(folder.rglob("*.[ch]")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".c" and name not in (*compiled, "memory.c"):
            continue  # the start-up of another architecture
        files[f"board/{AROUND if name in compiled else ''}{name}"] = path.read_text("utf-8")
    return files


def _project(network: Network, parts: DeviceParts, compiled: Sequence[str]) -> str:
    target = network.target
    common = [flag for flag in FREESTANDING_FLAGS if flag not in BUILT_IN]
    around = [*common, *parts.flags, *HARNESS_FLAGS, *HARNESS_OWN_FLAGS["gcc"]]
    program = [*common, *WARNING_FLAGS, *network.flags]
    networks = [f"network/{Path(name).relative_to(Path(network.program.header).parent)}" for name in network.program.sources]
    boards = [*(f"board/{AROUND}{name}" for name in compiled), "board/memory.c"]
    lines = "\n    ".join
    qemu = _qemu(target)
    return f"""cmake_minimum_required(VERSION 3.21)
project({network.name}_firmware LANGUAGES C)

# The network first, as the order of objects is that of the bytes.
set(network
    {lines(networks)})
set(board
    {lines(boards)})
set_property(SOURCE ${{network}} PROPERTY COMPILE_OPTIONS
    {lines(program)})
set_property(SOURCE ${{board}} PROPERTY COMPILE_OPTIONS
    {lines(around)})

add_executable(firmware ${{network}} ${{board}})
set_target_properties(firmware PROPERTIES SUFFIX .elf LINK_DEPENDS ${{CMAKE_CURRENT_SOURCE_DIR}}/firmware.ld)
target_include_directories(firmware PRIVATE board network)
target_include_directories(firmware SYSTEM PRIVATE board/{STRING_FOLDER})
target_link_options(firmware PRIVATE {" ".join(LINK_FLAGS)} -T${{CMAKE_CURRENT_SOURCE_DIR}}/firmware.ld {LIBRARY_FLAGS["gcc"][0]})
target_link_libraries(firmware PRIVATE gcc)
add_custom_command(TARGET firmware POST_BUILD
    COMMAND ${{CMAKE_OBJCOPY}} -O ihex $<TARGET_FILE:firmware> firmware.hex BYPRODUCTS firmware.hex)
{qemu}"""


def _qemu(target: Target) -> str:
    """A target that runs the firmware where QEMU stands in for the board."""
    if target.qemu is None:
        return ""
    qemu = target.qemu
    bios = "" if qemu.system == "arm" else " -bios none"
    return f"""
find_program(QEMU qemu-system-{qemu.system})
if(QEMU)
    add_custom_target(run DEPENDS firmware USES_TERMINAL COMMAND ${{QEMU}} -M {qemu.machine} -cpu {qemu.cpu}{bios}
        -display none -serial mon:stdio -kernel $<TARGET_FILE:firmware>)
endif()
"""


def _preset(target: Target) -> dict[str, object]:
    """Debug information, and no flags of a build type: they would change the bytes."""
    return {
        "name": "device",
        "displayName": target.description,
        "binaryDir": "${sourceDir}/build",
        "toolchainFile": "${sourceDir}/toolchain.cmake",
        "cacheVariables": {
            "CMAKE_BUILD_TYPE": "RelWithDebInfo",
            "CMAKE_C_FLAGS_RELWITHDEBINFO": "-g",
            "CMAKE_EXPORT_COMPILE_COMMANDS": "ON",
        },
    }


def _readme(network: Network, built: DeviceFirmware) -> str:
    target = network.target
    run = "cmake --build --preset device --target run   # in QEMU; Ctrl-A X ends it\n" if target.qemu else ""
    return f"""# Firmware: {network.name} on {target.name}

{target.description}. {network.sentence} Open the folder in an IDE that knows CMake presets, or:

```sh
cmake --preset device
cmake --build --preset device
{run}```

`build/firmware.elf` and `build/firmware.hex` hold what `strop flash` writes: built by {built.compiler.label}, every loaded byte
is the same, and a board with it tells build {built.build_id.hex()} and takes `strop run`, `verify` and `bench --on board:PORT`.

| folder | what |
| --- | --- |
| `network/` | the network as the bundle has it, interface in `{network.name}.h` |
| `board/` | start-up, serial port, the loop and both protocols; `harness_glue.c` lists the network |
| `firmware.ld` | where everything lies |
| `toolchain.cmake` | the compiler and the core |

{LICENCE_NOTE}
"""
