"""Search: digits on an RP2040 in 6 KB of RAM, 12 KB of flash and 2 ms, beside the best of 20 random networks that fit."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.api import bench
from toolchain.training.recipes.cost import predict
from toolchain.training.recipes.data import load_data
from toolchain.training.recipes.engine import make_engine
from toolchain.training.recipes.recipe import Recipe, load_recipe
from toolchain.training.recipes.tracking import NoTracker
from toolchain.training.recipes.train import train

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "examples" / "recipes" / "digits_search.toml"
RAM_BYTES, FLASH_BYTES, MILLISECONDS = 6144, 12288, 2.0
RANDOM, MINUTES = 20, 20


def test_the_found_network_fits_and_no_random_one_is_better(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna comes with strop[train]")
    begun = time.monotonic()
    command = [sys.executable, "-m", "toolchain.cli", "train", str(RECIPE), "-o", str(tmp_path / "search"), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=3600)
    minutes = (time.monotonic() - begun) / 60
    found = json.loads(done.stdout)
    measured = bench(Path(found["best"]["folder"]) / "bundle").measurement
    ram = measured.arena_bytes + (measured.stack_bytes or 0)
    flash = (measured.code_bytes or 0) + (measured.rodata_bytes or 0)
    assert measured.cycles is not None
    milliseconds = measured.cycles / 125_000
    print(f"\nsearch: {minutes:.1f} minutes, {len(found['trials'])} candidates, {found['settings']}")
    right = found["best"]["integer_accuracy"]
    print(f"measured: RAM {ram:,} B with stack, flash {flash:,} B, {milliseconds:.3f} ms, {right:.2%} right")
    assert ram <= RAM_BYTES and flash <= FLASH_BYTES and milliseconds <= MILLISECONDS and found["best"]["bit_exact"]
    assert minutes <= MINUTES
    # They learn of the same teachers, from the same samples.
    teachers = tmp_path / "search" / "teacher"
    others = [
        train(each, tmp_path / f"random-{number}", NoTracker(), teacher=teachers) for number, each in enumerate(within_limits())
    ]
    rights = sorted(each.integer_accuracy or 0.0 for each in others)
    print(f"{RANDOM} random networks within the limits: {' '.join(f'{each:.2%}' for each in rights)}")
    assert right >= rights[-1]


def within_limits() -> list[Recipe]:
    """Recipes of different random networks that the compiler finds to keep the limits."""
    recipe = load_recipe(RECIPE)
    assert recipe.search is not None and recipe.compile is not None
    data, rng, seen, found = load_data(recipe), np.random.default_rng(0), set(), list[Recipe]()
    while len(found) < RANDOM:
        settings = {name: int(rng.integers(low, high + 1)) for name, (low, high) in recipe.search.space.items()}
        if tuple(settings.values()) in seen:
            continue
        seen.add(tuple(settings.values()))
        own = replace(recipe, search=None, network=replace(recipe.network, settings=settings))
        cost = predict(make_engine(own, data.shape, data.classes).graph(), data.train.x, recipe.compile)
        if all(share <= 0 for share in cost.excess(recipe.compile).values()):
            found.append(own)
    return found
