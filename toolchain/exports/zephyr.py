"""A Zephyr module: module.yml, Kconfig and CMakeLists.txt, and a sample application that Twister can run."""

from __future__ import annotations

from toolchain.exports.check import check_files, include_files
from toolchain.exports.cmake import host_main, library_files, usage
from toolchain.exports.network import LICENCE_NOTE, Network

SAMPLE = "samples/check"
# What Kconfig knows of the instructions that kernels need.
DEPENDS = {
    "armv6m": "CPU_CORTEX_M",
    "armv7m": "ARMV7_M_ARMV8_M_MAINLINE",
    "armv7em": "ARMV7_M_ARMV8_M_MAINLINE",
    "mve": "ARMV8_1_M_MAINLINE",
    "rv32im": "RISCV",
    "neon": "ARM || ARM64",
    "neon_dot": "ARM64",
    "x86_64": "64BIT",
}
# Zephyr's names of boards.
BOARDS = {
    "host": "native_sim",
    "mps2_an385": "mps2/an385",
    "mps3_an547": "mps3/corstone300/an547",
    "esp32c3": "esp32c3_devkitm",
    "nrf52840_dk": "nrf52840dk/nrf52840",
    "nucleo_h7a3zi": "nucleo_h7a3zi_q",
    "nucleo_l4r5zi": "nucleo_l4r5zi",
    "nucleo_u575": "nucleo_u575zi_q",
    "rp2040_pico": "rpi_pico",
    "rp2350_pico2": "rpi_pico2/rp2350a/m33",
    "stm32f746g_disco": "stm32f746g_disco",
}


def zephyr(network: Network) -> dict[str, str]:
    """The module's files, by path."""
    name = network.name
    return {
        "zephyr/module.yml": f"""name: strop_{name}
build:
  cmake: zephyr
  kconfig: zephyr/Kconfig
samples:
  - samples
""",
        "zephyr/CMakeLists.txt": _cmake(network),
        "zephyr/Kconfig": _kconfig(network),
        **include_files(network),
        **library_files(network),
        f"{SAMPLE}/CMakeLists.txt": _sample(network),
        f"{SAMPLE}/prj.conf": _prj(network),
        f"{SAMPLE}/sample.yaml": _twister(network),
        f"{SAMPLE}/src/main.c": host_main(network),
        **check_files(network, f"{SAMPLE}/src/"),
        "README.md": _readme(network),
    }


def _cmake(network: Network) -> str:
    name, option = network.name, f"CONFIG_STROP_{network.upper}"
    compiled = [f"${{root}}/src/{source}" for source in sorted(network.sources)]
    arena = f"${{root}}/src/{name}_arena.c"
    return f"""if({option})
  get_filename_component(root ${{CMAKE_CURRENT_LIST_DIR}} DIRECTORY)
  zephyr_include_directories(${{root}}/include)
  zephyr_library_named(strop_{name})
  zephyr_library_sources({" ".join(compiled)} {arena})
  # Of the sources, so that they come after those of the application: results and speed hang on them.
  set_property(SOURCE {" ".join(compiled)} APPEND PROPERTY COMPILE_OPTIONS {" ".join(network.flags)})
  if(NOT {option}_ARENA_SECTION STREQUAL "")
    set_property(SOURCE {arena} APPEND PROPERTY
      COMPILE_DEFINITIONS {network.upper}_ARENA_SECTION="${{{option}_ARENA_SECTION}}")
  endif()
endif()
"""


def _kconfig(network: Network) -> str:
    option = f"STROP_{network.upper}"
    depends = "".join(f"\tdepends on {DEPENDS[folder]}\n" for folder in sorted(network.kernels & DEPENDS.keys()))
    return f"""config {option}
\tbool "{network.name}, a network compiled by Strop"
{depends}\thelp
\t  {network.sentence}

if {option}

config {option}_ARENA_SECTION
\tstring "Linker section of {network.name}_arena"
\tdefault ""
\thelp
\t  Where the library's own arena lies; .bss where empty. It takes
\t  no memory in applications that give an arena of their own.

endif # {option}
"""


def _sample(network: Network) -> str:
    name = network.name
    return f"""cmake_minimum_required(VERSION 3.20.0)

# The module that this sample lies in; west manifests that list it need no such line.
get_filename_component(module ${{CMAKE_CURRENT_LIST_DIR}}/../.. ABSOLUTE)
list(APPEND ZEPHYR_EXTRA_MODULES ${{module}})

find_package(Zephyr REQUIRED HINTS $ENV{{ZEPHYR_BASE}})
project({name}_check LANGUAGES C)

target_sources(app PRIVATE src/main.c src/{name}_check.c)
"""


def _prj(network: Network) -> str:
    """Stack for the network, and the floating-point unit where kernels use its registers."""
    floats = "mve" in network.kernels or any("f32" in name for name in network.private)
    unit = "fpu_sp" in network.target.core.features and floats
    stack = max(2048, -(-((network.manifest.ram.stack_bytes or 0) if network.manifest.ram else 0) // 1024) * 1024 + 2048)
    return f"CONFIG_STROP_{network.upper}=y\nCONFIG_MAIN_STACK_SIZE={stack}\n" + ("CONFIG_FPU=y\n" if unit else "")


def _twister(network: Network) -> str:
    name = network.name
    return f"""sample:
  name: {name} check
  description: Runs one stored sample and compares its outputs
tests:
  strop.{name}.check:
    tags: strop
    harness: console
    harness_config:
      type: one_line
      regex:
        - "{name}: equal"
"""


def _readme(network: Network) -> str:
    name, board = network.name, BOARDS.get(network.target.name)
    start = "In a Zephyr workspace" if board else "In a Zephyr workspace, with your board's name for BOARD"
    flash = "west build -d build/check -t run" if board == "native_sim" else "west flash -d build/check"
    return f"""# {name} for Zephyr

{network.sentence} This folder is a Zephyr module.

{start}:

```sh
west build -b {board or "BOARD"} -d build/check samples/check
{flash}
```

The console says `{name}: equal`. `west twister -T samples` runs the same as a test.

In an application of yours, list the module in your manifest (`west.yml`), or before `find_package(Zephyr)`:

```cmake
list(APPEND ZEPHYR_EXTRA_MODULES /path/to/this/folder)
```

and set `CONFIG_STROP_{network.upper}=y` in `prj.conf`.

{usage(network)}
`CONFIG_STROP_{network.upper}_ARENA_SECTION` puts it into a section of your linker script. {network.name}_run takes its stack
from the thread that calls it.

{LICENCE_NOTE}
"""
