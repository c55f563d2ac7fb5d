"""A PlatformIO library: library.json, and an example project that runs on the host or a board."""

from __future__ import annotations

import json

from toolchain.exports.check import check_files, include_files
from toolchain.exports.cmake import host_main, library_files, usage
from toolchain.exports.network import LICENCE_ID, LICENCE_NOTE, Network

# Platform and board of PlatformIO for targets that it knows.
BOARDS = {
    "nucleo_l4r5zi": ("ststm32", "nucleo_l4r5zi", "stm32cube"),
    "stm32f746g_disco": ("ststm32", "disco_f746ng", "stm32cube"),
    "nrf52840_dk": ("nordicnrf52", "nrf52840_dk", "zephyr"),
    "rp2040_pico": ("raspberrypi", "pico", "arduino"),
    "esp32c3": ("espressif32", "esp32-c3-devkitm-1", "espidf"),
}


def platformio(network: Network) -> dict[str, str]:
    """The library's files, by path."""
    example = f"examples/{network.name}_check/"
    return {
        "library.json": _manifest(network),
        **include_files(network),
        **library_files(network),
        f"{example}platformio.ini": _project(),
        f"{example}src/main.c": host_main(network),
        **check_files(network, f"{example}src/"),
        "README.md": _readme(network),
    }


def _manifest(network: Network) -> str:
    facts, name = network.facts, network.name
    board = BOARDS.get(network.target.name)
    check = f"{name}_check"
    document = {
        "name": network.slug,
        "version": facts.version,
        "description": network.sentence,
        "keywords": ["neural network", "inference", "tinyml"],
        "authors": [{"name": facts.author, "email": facts.email, "maintainer": True}],
        "homepage": facts.url,
        "license": LICENCE_ID,
        "frameworks": "*",
        "platforms": [board[0]] if board and network.kernels else "*",
        "headers": [f"{name}.h", f"{name}_arena.h", *network.further],
        "build": {"includeDir": "include", "srcDir": "src", "flags": list(network.flags)},
        "examples": [
            {
                "name": check,
                "base": f"examples/{check}",
                "files": ["platformio.ini", "src/main.c", f"src/{check}.c", f"src/{check}.h"],
            }
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _project() -> str:
    return """; The library that this example lies in, on this machine; add an environment of your board.
[env:native]
platform = native
lib_deps = symlink://../..
"""


def _readme(network: Network) -> str:
    name, board = network.name, BOARDS.get(network.target.name)
    own = "your platform, board and framework"
    lines = f"platform = {board[0]}\nboard = {board[1]}\nframework = {board[2]}" if board else f"; {own}"
    native = f"""On this machine:

```sh
cd examples/{name}_check
pio run -e native
.pio/build/native/program
```

It says `{name}: equal`. """
    note = (
        f"It is for the core of {network.target.name}; the example's `native` environment does not build. "
        if network.kernels
        else native
    )
    return f"""# {name} for PlatformIO

{network.sentence}

{note}In a project of yours, `platformio.ini`:

```ini
[env:device]
{lines}
lib_deps = symlink:///path/to/this/folder
```

{usage(network)}
`pio pkg pack` makes one file of it, and `pio pkg publish` gives it to a registry.

{LICENCE_NOTE}
"""
