"""Test support: trains every network of the zoo in one framework on the digits and prints a JSON line for each.

python -m tests.support.zoo_runs keras|torch FOLDER NETWORK …
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from toolchain.training.recipes.recipe import load_recipe
from toolchain.training.recipes.tracking import NoTracker
from toolchain.training.recipes.train import train
from toolchain.training.recipes.zoo import ZOO

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
RECIPE = """
name = "zoo"
framework = "{framework}"
task = "{task}"
seed = 1
[data]
train = "{digits}/train.npz[0:600]"
test = "{digits}/test.npz[0:100]"
input = "image"
layout = "channels_first"
[network]
kind = "{kind}"
[fit]
epochs = {epochs}
learning_rate = 0.005
[compile]
target = "nucleo_l4r5zi"
"""


def main(framework: str, folder: Path, kinds: list[str], epochs: int = 6) -> None:
    for kind in kinds:
        entry = ZOO[kind]
        path = folder / f"{kind}.toml"
        path.write_text(RECIPE.format(framework=framework, task=entry.task, digits=DIGITS, kind=kind, epochs=epochs))
        found = train(load_recipe(path), folder / kind, NoTracker())
        print(json.dumps({"kind": kind, **found.as_json()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
