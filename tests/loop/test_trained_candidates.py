"""The gate on candidates that were really trained and compiled: a good one passes, each bad one is refused for its fault."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.ir.types import Array
from toolchain.loop.run import Round, do_step, make_fleet, start
from toolchain.loop.settings import Change, LoopSettings, load_loop
from toolchain.loop.simulation import changed
from toolchain.loop.store import Store
from toolchain.training.recipes.tracking import NoTracker

pytestmark = pytest.mark.long
pytest.importorskip("tensorflow")
pytest.importorskip("pyarrow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
EXAMPLES = Path(__file__).parents[2] / "examples"
SEEN, POISONED, TAKEN = slice(897, 1397), 4, 9
NETWORK = 'kind = "cnn"\nfilters = 12\ngrid = 2'


def recipe(**changes: str) -> str:
    """The example's recipe with other parts; keys are texts of it."""
    text = (EXAMPLES / "loop" / "recipe.toml").read_text().replace("epochs = 25", "epochs = 14")
    text = text.replace("../digits", str(EXAMPLES / "digits"))
    for key, value in changes.items():
        old = {"network": NETWORK, "train": f"{EXAMPLES / 'digits' / 'train.npz'}[0:897]", "epochs": "epochs = 14"}[key]
        assert text.count(old) == 1, key
        text = text.replace(old, value)
    return text


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> LoopSettings:
    """A loop whose first model is in use."""
    folder = tmp_path_factory.mktemp("loop")
    text = (EXAMPLES / "loop" / "loop.toml").read_text().replace("../../build/loop", str(folder / "loop"))
    text = text.replace('["rp2040_pico", "mps2_an386"]', '["rp2040_pico"]').replace("../digits", str(EXAMPLES / "digits"))
    (folder / "loop.toml").write_text(f'{text}\n[explain]\nsamples = 0\n[registry]\nuri = "none"\n')
    (folder / "recipe.toml").write_text(recipe())
    settings = load_loop(folder / "loop.toml")
    start(settings, Store(settings.folder), make_fleet(settings), NoTracker())
    return settings


def digits(part: slice) -> tuple[Array, Array]:
    with np.load(EXAMPLES / "digits" / "train.npz") as stored:
        return np.moveaxis(stored["image"][part], 1, -1).astype(np.float32), stored["y"][part].astype(np.int64)


def field_samples(folder: Path, spoil: Callable[[Array, Array], tuple[Array, Array]]) -> None:
    """Labelled samples of a hall, as it was, and then of a yard that is dark. spoil: what happens to x and y on the way."""
    x, y = digits(SEEN)
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (segment, gain, noise) in enumerate((("hall", 1.0, 0.02), ("yard", 0.5, 0.2)), 1):
        seen, labels = spoil(changed(Change(segment, gain, noise), x, rng), y)
        names, groups = np.full(len(labels), segment), np.arange(len(labels)).astype("U8")
        np.savez(folder / f"{number}.npz", x=seen, y=labels, segment=names, group=groups, allow_pickle=False)


def judged(
    loop: LoopSettings, tmp_path: Path, text: str, spoil: Callable[[Array, Array], tuple[Array, Array]] = lambda x, y: (x, y)
) -> dict[str, Any]:
    """What the gate says of the candidate that a recipe makes of field samples."""
    store = Store(loop.folder)
    (tmp_path / "recipe.toml").write_text(text)
    field_samples(tmp_path / "samples", spoil)
    settings = replace(
        loop,
        train=replace(loop.train, recipe=tmp_path / "recipe.toml", min_samples=1),
        fleet=replace(loop.fleet, samples=tmp_path / "samples"),
    )
    current = Round(settings, store, make_fleet(loop), NoTracker(), store.open_round())
    with store.change() as base:
        base.execute("DELETE FROM samples")
        base.executemany("INSERT INTO samples VALUES (?, ?)", [("1.npz", 1), ("2.npz", 2)])
    yard = {"segment": "yard", "drifted": True, "since": 2, "scores": [], "causes": ["dark"]}
    store.finish(current.number, "drift", 0.0, {"segments": [yard], "drifted": ["yard"]})
    for step in ("train", "explain", "compile", "gate"):
        found = do_step(current, step)
    store.close_round(current.number, "tried", "")
    print(f"\n{found['reasons']}")
    return found


def assert_refused(found: dict[str, Any], reason: str) -> None:
    assert not found["accepted"]
    assert any(reason in each for each in found["reasons"]), found["reasons"]


def test_a_good_candidate_passes(loop: LoopSettings, tmp_path: Path) -> None:
    found = judged(loop, tmp_path, recipe())
    assert found["reasons"] == [] and found["accepted"]
    assert found["after"]["drifted"] > found["before"]["drifted"] + 0.1


def test_one_that_knows_its_samples_by_heart(loop: LoopSettings, tmp_path: Path) -> None:
    text = recipe(train=f"{few(tmp_path)}", network='kind = "mlp"\nwidth = 128\ndepth = 2', epochs="epochs = 60")
    text = text.replace('[[augment]]\nkind = "shift"\nsteps = 1\n', "")
    found = judged(loop, tmp_path, text, lambda x, y: (x[:30], y[:30]))
    assert_refused(found, "points of accuracy between samples trained on and others")


def few(folder: Path) -> Path:
    """A file of forty samples."""
    with np.load(EXAMPLES / "digits" / "train.npz") as stored:
        np.savez(folder / "few.npz", image=stored["image"][:40], y=stored["y"][:40])
    return folder / "few.npz"


def test_one_that_is_too_slow(loop: LoopSettings, tmp_path: Path) -> None:
    found = judged(
        loop, tmp_path, recipe(network='kind = "cnn"\nfilters = 60\nblocks = 2\nstride = 1\ngrid = 1', epochs="epochs = 4")
    )
    assert_refused(found, "milliseconds on rp2040_pico")


def test_one_that_is_too_big(loop: LoopSettings, tmp_path: Path) -> None:
    found = judged(loop, tmp_path, recipe(network='kind = "mlp"\nwidth = 1000\ndepth = 1', epochs="epochs = 4"))
    assert_refused(found, "bytes of flash on rp2040_pico")


def test_one_that_never_saw_a_class(loop: LoopSettings, tmp_path: Path) -> None:
    with np.load(EXAMPLES / "digits" / "train.npz") as stored:
        x, y = stored["image"][:897], stored["y"][:897]
    # One sample stays, so that there are ten classes.
    kept = (y != 8) | (np.arange(len(y)) == np.flatnonzero(y == 8)[0])
    np.savez(tmp_path / "sliced.npz", image=x[kept], y=y[kept])

    def without(x: Array, y: Array) -> tuple[Array, Array]:
        return x[y != 8], y[y != 8]

    found = judged(loop, tmp_path, recipe(train=str(tmp_path / "sliced.npz")), without)
    assert_refused(found, "points lost on old samples of class 8")


def test_one_that_learnt_poisoned_labels(loop: LoopSettings, tmp_path: Path) -> None:
    def poison(x: Array, y: Array) -> tuple[Array, Array]:
        found, mine = y.copy(), np.flatnonzero(y == POISONED)
        found[np.random.default_rng(2).permutation(mine)[: round(0.2 * len(mine))]] = TAKEN
        return x, found

    assert_refused(judged(loop, tmp_path, recipe(), poison), f"labels of class {POISONED} in doubt")
