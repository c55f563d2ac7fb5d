"""Test support: programs that take exports, and stand-ins for the parts of build systems that are not on registries."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

needs_cmake = pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("cc") is None, reason="CMake or a C compiler is missing (Debian: cmake, gcc)"
)
STRICT = "-Wall -Wextra -Werror -Wconversion"

# What setup() and loop() of a sketch need of an Arduino core.
ARDUINO_H = """#pragma once
#include <cstdio>
#include <cstdlib>
struct Port {
    void begin(unsigned long) {}
    explicit operator bool() const { return true; }
    void print(const char *text) { std::printf("%s", text); }
    void println(const char *text) { std::printf("%s\\n", text); }
};
static Port Serial;
static inline void delay(unsigned long) { std::exit(0); }
"""
ARDUINO_MAIN = "void setup();\nvoid loop();\nint main() { setup(); for (;;) { loop(); } }\n"

# Zephyr's package as far as a module and an application see it: options from prj.conf, modules, the library `app`.
ZEPHYR_CONFIG = """
enable_language(C)
file(STRINGS ${CMAKE_SOURCE_DIR}/prj.conf lines REGEX "^CONFIG_")
set(CONFIG_STROP_DIGITS_ARENA_SECTION "$ENV{ARENA_SECTION}")
foreach(line ${lines})
    string(REGEX MATCH "^([^=]*)=(.*)$" line ${line})
    set(${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
endforeach()
add_library(zephyr_interface INTERFACE)
target_compile_options(zephyr_interface INTERFACE -Os -std=c99)
add_executable(app $ENV{ZEPHYR_BASE}/empty.c)
target_link_libraries(app PRIVATE zephyr_interface)
function(zephyr_include_directories)
    target_include_directories(zephyr_interface INTERFACE ${ARGN})
endfunction()
macro(zephyr_library_named name)
    set(ZEPHYR_CURRENT_LIBRARY ${name})
    add_library(${name} STATIC "")
    target_link_libraries(${name} PUBLIC zephyr_interface)
    target_link_libraries(app PRIVATE ${name})
endmacro()
function(zephyr_library_sources)
    target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
foreach(module ${ZEPHYR_EXTRA_MODULES})
    add_subdirectory(${module}/zephyr modules/strop)
endforeach()
"""

# ESP-IDF's project.cmake as far as components see it; `main` is the program, its dependencies are those of the manifest.
IDF_PROJECT = """
function(idf_component_register)
    cmake_parse_arguments(own "" "" "SRCS;INCLUDE_DIRS;PRIV_INCLUDE_DIRS" ${ARGN})
    get_filename_component(name ${CMAKE_CURRENT_SOURCE_DIR} NAME)
    set(COMPONENT_LIB ${name} PARENT_SCOPE)
    add_library(${name} STATIC ${own_SRCS})
    target_include_directories(${name} PUBLIC ${own_INCLUDE_DIRS} PRIVATE ${own_PRIV_INCLUDE_DIRS})
    target_compile_options(${name} PRIVATE -Og -std=gnu17)
endfunction()
macro(project name)
    _project(${name} C)
    set(CONFIG_STROP_DIGITS_ARENA_SECTION "$ENV{ARENA_SECTION}")
    add_subdirectory($ENV{COMPONENT} component)
    add_subdirectory(main)
    get_filename_component(component $ENV{COMPONENT} NAME)
    target_link_libraries(main PUBLIC ${component})
    add_executable(${name} $ENV{IDF_PATH}/start.c)
    target_link_libraries(${name} PRIVATE main)
endmacro()
"""

# PlatformIO's platform for this machine, and its SCons, both of which it would fetch from its own registry.
PIO_PACKAGES = {
    "packages/tool-scons/package.json": '{"name": "tool-scons", "version": "4.41101.0", "system": "*"}',
    "packages/tool-scons/.piopm": '{"type": "tool", "name": "tool-scons", "version": "4.41101.0",'
    ' "spec": {"owner": "platformio", "id": null, "name": "tool-scons", "requirements": null, "uri": null}}',
    "packages/tool-scons/scons.py": "import SCons.Script\nSCons.Script.main()\n",
    "platforms/native/platform.json": '{"name": "native", "title": "Native", "version": "1.2.1", "packages": {}}',
    "platforms/native/.piopm": '{"type": "platform", "name": "native", "version": "1.2.1",'
    ' "spec": {"owner": "platformio", "id": null, "name": "native", "requirements": null, "uri": null}}',
    "platforms/native/platform.py": (
        "from platformio.public import PlatformBase\n\n\nclass NativePlatform(PlatformBase):\n    pass\n"
    ),
    "platforms/native/builder/main.py": (
        "from SCons.Script import Default, DefaultEnvironment\nenv = DefaultEnvironment()\n"
        "for tool in ('gcc', 'g++', 'gnulink', 'ar'):\n    env.Tool(tool)\nDefault([env.BuildProgram()])\n"
    ),
}


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Write texts by path below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def said(command: Sequence[object], place: Path, more: Mapping[str, str] | None = None, status: int = 0) -> str:
    """What a program printed; it must end with the status."""
    import os

    done = subprocess.run(
        [str(word) for word in command],
        cwd=place,
        env={**os.environ, **(more or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def shell(text: str, place: Path, more: Mapping[str, str] | None = None) -> str:
    """Run a page's lines as a reader would; `pio` and `strop` are this environment's."""
    path = f"{Path(sys.executable).parent}:{dict(more or {}).get('PATH', '')}"
    import os

    return said(["sh", "-e", "-c", text], place, {**(more or {}), "PATH": f"{path}{os.environ['PATH']}"})


def built(source: Path, build: Path, *options: object, more: Mapping[str, str] | None = None) -> Path:
    """Configure and build a CMake project and return its build folder."""
    said(["cmake", "-S", source, "-B", build, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", *options], source, more)
    said(["cmake", "--build", build, "-j2"], source, more)
    return build
