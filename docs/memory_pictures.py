"""The pictures of docs/memory.md: `python docs/memory_pictures.py` draws them again with the report's own code."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from benchmarks.models import mobilenet_v2
from benchmarks.report.pictures import memory_picture
from targets.load import load_target
from toolchain.api.describing import describe_bundle
from toolchain.bundle.manifest import SourceModel
from toolchain.lowering.variants import Objective
from toolchain.pipeline import CompileOptions, compile_model

FOLDER = Path(__file__).parent / "pictures"
OBJECTIVES: tuple[Objective, ...] = ("speed", "ram")
TARGET, FORMAT = "mps2_an386", "c"
ROOT_TAG = re.compile(r"<svg ")


def draw(objective: Objective) -> str:
    """MobileNetV2 0.35 on 96x96 pixels over one inference, as an SVG file of its own."""
    options = CompileOptions("mobilenet", (FORMAT,), objective=objective)
    compiled = compile_model(mobilenet_v2(0.35, 96, 10), load_target(TARGET), options)
    picture = memory_picture(describe_bundle(compiled, SourceModel("mobilenet", "graph", "0" * 64)))
    style = (files("benchmarks.report") / "style.css").read_text(encoding="utf-8")
    # A file of its own has no page around it: rules of the page do not match, those of the picture do.
    named = ROOT_TAG.sub('<svg xmlns="http://www.w3.org/2000/svg" ', picture, count=1)
    head, tail = named.split(">", 1)
    return f"{head}><style>{style}</style>{tail}\n"


def main() -> None:
    """Write all pictures."""
    FOLDER.mkdir(exist_ok=True)
    for objective in OBJECTIVES:
        (FOLDER / f"memory_{objective}.svg").write_text(draw(objective), encoding="utf-8")


if __name__ == "__main__":
    main()
