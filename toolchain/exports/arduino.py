"""An Arduino library: format 1.5 with a src folder, and an example sketch."""

from __future__ import annotations

import re

from toolchain.exports.check import check_files, include_files
from toolchain.exports.cmake import library_files, usage
from toolchain.exports.network import LICENCE_NOTE, Network

# Cores for Arduino by the boards that have one; every other target is told apart by its instructions alone.
ARCHITECTURES = {
    "rp2040_pico": "rp2040,mbed_rp2040",
    "rp2350_pico2": "rp2040",
    "esp32c3": "esp32",
    "nrf52840_dk": "nrf52,mbed_nano",
    "nucleo_h7a3zi": "stm32",
    "nucleo_l4r5zi": "stm32",
    "nucleo_u575": "stm32",
    "stm32f746g_disco": "stm32",
}
MAX_NAME = 63


def arduino(network: Network) -> dict[str, str]:
    """The library's files, by path. The IDE takes no flags of a library, so the sources set their own."""
    sketch = f"examples/{network.name}_check/"
    files = {**include_files(network, "src/"), **library_files(network, "src/")}
    for name in network.sources:
        files[f"src/{name}"] = _with_flags(network, files[f"src/{name}"])
    return {
        "library.properties": _properties(network),
        "keywords.txt": _keywords(network),
        "README.md": _readme(network),
        **files,
        f"{sketch}{network.name}_check.ino": _sketch(network),
        **check_files(network, sketch),
    }


def library_name(network: Network) -> str:
    """A name of at most 63 letters, digits and underscores that begins with no underscore and not with "Arduino"."""
    name = network.name.strip("_")[:MAX_NAME] or "network"
    if not re.search(r"[A-Za-z]", name) or name.lower().startswith("arduino"):
        name = f"strop_{name}"[:MAX_NAME]
    return name


def _with_flags(network: Network, text: str) -> str:
    options = ", ".join(f'"{flag.removeprefix("-f").removeprefix("-")}"' for flag in network.flags)
    why = "/* The flags that results and speed hang on; a library cannot give them otherwise. */"
    return f"{why}\n#pragma GCC optimize({options})\n{text}"


def _properties(network: Network) -> str:
    facts = network.facts
    person = f"{facts.author} <{facts.email}>"
    architectures = ARCHITECTURES.get(network.target.name, "*") if network.kernels else "*"
    size = f"{network.manifest.macs} multiply-accumulates, {network.program.ram_bytes} bytes of RAM besides the stack"
    return f"""name={library_name(network)}
version={facts.version}
author={person}
maintainer={person}
sentence={network.sentence}
paragraph=Plain C11 without heap or interpreter, {size}.
category=Data Processing
url={facts.url}
architectures={architectures}
includes={network.name}_arena.h
"""


def _keywords(network: Network) -> str:
    name, upper, program = network.name, network.upper, network.program
    functions = [f"{name}_init", f"{name}_push_row" if program.io == "rows" else f"{name}_run"]
    if program.io != "caller":
        functions += [f"{name}_input_{i}" for i in range(len(program.input_bytes))]
        functions += [f"{name}_output_{i}" for i in range(len(program.output_bytes))]
    constants = [f"{upper}_ARENA_BYTES", f"{upper}_ARENA_ALIGN"]
    constants += [f"{upper}_INPUT_{i}_BYTES" for i in range(len(program.input_bytes))]
    constants += [f"{upper}_OUTPUT_{i}_BYTES" for i in range(len(program.output_bytes))]
    return "".join([*(f"{word}\tKEYWORD2\n" for word in functions), *(f"{word}\tLITERAL1\n" for word in constants)])


def _sketch(network: Network) -> str:
    name = network.name
    return f"""// Runs one stored sample and says whether its outputs are those of the reference.
#include <{name}_arena.h>

#include "{name}_check.h"

void setup() {{
  Serial.begin(115200);
  while (!Serial) {{
  }}
}}

void loop() {{
  Serial.print("{name}: ");
  Serial.println({name}_check_word());
  delay(2000);
}}
"""


def _readme(network: Network) -> str:
    name = network.name
    return f"""# {name} for Arduino

{network.sentence}

1. Copy this folder to `libraries` in your sketchbook, or zip it and take Sketch > Include Library > Add .ZIP Library.
2. Open File > Examples > {library_name(network)} > {name}_check, choose your board, and upload it.
3. Open the serial monitor at 115,200 baud: it says `{name}: equal` every two seconds.

With arduino-cli:

```sh
arduino-cli compile --fqbn YOUR:BOARD:NAME --library . examples/{name}_check
```

In a sketch of yours:

{usage(network)}
{LICENCE_NOTE}
"""
