"""Train a network by a recipe: a TOML file of data, network, training and target.

The folder gets the model, its bundle, the samples it was calibrated and tested on, and result.json. A training that was cut
off goes on where it was when the command is given again. A recipe with [search] looks for the network's settings first.

examples:
  strop train examples/recipes/digits.toml -o build/digits
  strop train RECIPE.toml -o build/net --track sqlite:///runs.db
  torchrun --nproc-per-node 2 -m toolchain.cli train RECIPE.toml -o build/net
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from toolchain.cli.answer import Answer, pairs, table
from toolchain.cli.progress import shown_progress

if TYPE_CHECKING:
    from toolchain.training.recipes.search import SearchResult, Trial
    from toolchain.training.recipes.train import TrainResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("recipe", metavar="RECIPE", help="a .toml file; docs/training.md says what it may hold")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the folder that gets what is made")
    note = "keep the course in MLflow, too: the address of a server or of a store, such as sqlite:///runs.db"
    parser.add_argument("--track", metavar="URI", help=note)


def run(arguments: argparse.Namespace) -> Answer:
    """Train."""
    from toolchain.training.recipes.recipe import load_recipe
    from toolchain.training.recipes.tracking import make_tracker
    from toolchain.training.recipes.train import train

    recipe = load_recipe(arguments.recipe)
    if recipe.search is not None:
        from toolchain.training.recipes.search import search

        with shown_progress() as progress:
            chosen = search(recipe, arguments.output, lambda: make_tracker(arguments.track), progress)
        return Answer(chosen.as_json(), f"{searched(chosen)}\n\n{told(chosen.best)}")
    with shown_progress() as progress:
        found = train(recipe, arguments.output, make_tracker(arguments.track), progress)
    return Answer(found.as_json(), told(found))


def searched(found: SearchResult) -> str:
    """The candidates that none beats, for a person."""
    names = list(found.settings)
    rows = [
        (*(trial.settings[name] for name in names), *_figures(trial))
        for trial in sorted(found.pareto, key=lambda each: each.loss or 0)
    ]
    tried = sum(trial.loss is not None for trial in found.trials)
    head = f"{len(found.trials)} candidates, {tried} within the limits; none beats these:"
    shown = table((*names, "loss", "right", "RAM B", "flash B", "ms"), rows)
    return f"{head}\n{shown}\n\nchosen: {', '.join(f'{name} {value}' for name, value in found.settings.items())}"


def _figures(trial: Trial) -> tuple[object, ...]:
    assert trial.cost is not None
    right = "" if trial.accuracy is None else f"{trial.accuracy:.1%}"
    return f"{trial.loss:.4f}", right, trial.cost.ram_bytes, trial.cost.flash_bytes, round(trial.cost.latency_ms, 3)


def told(found: TrainResult) -> str:
    """A training's result for a person."""

    def share(value: float | None) -> str | None:
        return None if value is None else f"{value:.2%}"

    exact = None if found.bit_exact is None else "bit-exact" if found.bit_exact else "DIFFERS from the reference"
    return pairs(
        (
            ("folder", str(found.folder)),
            ("model", found.model),
            ("parameters", found.parameters),
            ("epochs", found.epochs),
            ("test loss", f"{found.loss:.4f}"),
            ("test right", share(found.accuracy)),
            ("on the device", share(found.integer_accuracy)),
            ("program", exact),
        )
    )
