"""An ESP-IDF component: CMakeLists.txt, Kconfig, idf_component.yml, and an example project."""

from __future__ import annotations

import json

from toolchain.exports.check import check_files, include_files, source_names
from toolchain.exports.cmake import library_files, usage
from toolchain.exports.network import LICENCE_ID, LICENCE_NOTE, Network

EXAMPLE = "examples/check"
# Chips by target; programs of portable kernels run on all.
CHIPS = {"esp32c3": "esp32c3"}


def esp_idf(network: Network) -> dict[str, str]:
    """The component's files, by path."""
    name = network.name
    return {
        "CMakeLists.txt": _cmake(network),
        "Kconfig": _kconfig(network),
        "idf_component.yml": _manifest(network),
        **include_files(network),
        **library_files(network),
        f"{EXAMPLE}/CMakeLists.txt": f"""cmake_minimum_required(VERSION 3.16)
include($ENV{{IDF_PATH}}/tools/cmake/project.cmake)
project({name}_check)
""",
        f"{EXAMPLE}/main/CMakeLists.txt": f'idf_component_register(SRCS "main.c" "{name}_check.c" INCLUDE_DIRS ".")\n',
        f"{EXAMPLE}/main/idf_component.yml": f"""# The component that this example lies in.
dependencies:
  {network.package}:
    version: "*"
    override_path: "../../.."
""",
        f"{EXAMPLE}/main/main.c": _main(network),
        **check_files(network, f"{EXAMPLE}/main/"),
        "README.md": _readme(network),
    }


def _cmake(network: Network) -> str:
    compiled = " ".join(f"src/{source}" for source in sorted(network.sources))
    sources = " ".join(f'"{source}"' for source in source_names(network))
    upper, option = network.upper, f"CONFIG_STROP_{network.upper}_ARENA_SECTION"
    return f"""idf_component_register(
    SRCS {sources}
    INCLUDE_DIRS "include"
    PRIV_INCLUDE_DIRS "src")
# Of the sources, so that they come after those of the project: results and speed hang on them.
set_property(SOURCE {compiled} APPEND PROPERTY COMPILE_OPTIONS {" ".join(network.flags)})
if({option})
    set_property(SOURCE src/{network.name}_arena.c APPEND PROPERTY
        COMPILE_DEFINITIONS {upper}_ARENA_SECTION="${{{option}}}")
endif()
"""


def _kconfig(network: Network) -> str:
    return f"""menu "{network.name}, a network compiled by Strop"

    config STROP_{network.upper}_ARENA_SECTION
        string "Linker section of {network.name}_arena"
        default ""
        help
            Where the component's own arena lies; .bss where empty.

endmenu
"""


def _manifest(network: Network) -> str:
    facts = network.facts
    chip = CHIPS.get(network.target.name)
    chips = f"targets:\n  - {chip}\n" if chip and network.kernels else ""
    return f"""version: "{facts.version}"
description: {json.dumps(network.sentence)}
url: {json.dumps(facts.url)}
license: {LICENCE_ID}
maintainers:
  - {json.dumps(f"{facts.author} <{facts.email}>")}
{chips}dependencies:
  idf: ">=5.0"
examples:
  - path: ./{EXAMPLE}
"""


def _main(network: Network) -> str:
    return f"""#include "{network.name}_check.h"

#include <stdio.h>

void app_main(void)
{{
    printf("{network.name}: %s\\n", {network.name}_check_word());
}}
"""


def _readme(network: Network) -> str:
    name = network.name
    chip = CHIPS.get(network.target.name, "esp32c3")
    return f"""# {name} for ESP-IDF

{network.sentence} This folder is a component. With ESP-IDF 5.0 or later set up in the shell:

```sh
cd {EXAMPLE}
idf.py set-target {chip}
idf.py build flash monitor
```

The console says `{name}: equal`. In a project of yours, copy this folder to `components/{network.package}`, or name it in the
`idf_component.yml` beside your sources:

```yaml
dependencies:
  {network.package}:
    version: "*"
    override_path: "/path/to/this/folder"
```

{usage(network)}
`idf.py menuconfig` puts it into a section of your linker fragment. {name}_run takes its stack from the task that calls it.

{LICENCE_NOTE}
"""
