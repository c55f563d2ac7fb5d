"""Sources of a loop's recipe: brought by a step of their own, told in the snapshot and on the card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.acquire.test_sources import sources
from tests.loop.test_lake import lines
from toolchain.cli.main import main
from toolchain.loop.card import CardFacts, model_card
from toolchain.loop.gate import Decision
from toolchain.loop.retrain import FACTS, take_snapshot
from toolchain.loop.settings import CardPart, load_loop
from toolchain.loop.validate import Samples
from toolchain.training.recipes.data import load_data
from toolchain.training.recipes.recipe import load_recipe

pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")
LOOP = Path(__file__).parents[2] / "examples" / "loop" / "loop.toml"


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """The example's loop with a recipe of sources, and events in a folder that is a store."""
    sources(tmp_path)
    text = LOOP.with_name("recipe.toml").read_text()
    train, test = (next(line for line in text.splitlines() if line.startswith(f"{key} = ")) for key in ("train", "test"))
    text = text.replace(train, 'sources = "s.toml"\ntrain = "@digits[0:200]"').replace(test, 'test = "@sums/test.npz[0:50]"')
    (tmp_path / "recipe.toml").write_text(text)
    text = LOOP.read_text().partition("[simulation]")[0].replace("../../build/loop/fleet/events", f"file://{tmp_path}/there")
    (tmp_path / "loop.toml").write_text(text.replace("../../build/loop", "loop"))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.jsonl").write_bytes(b"".join(lines(5)))
    return tmp_path / "loop.toml"


def test_the_step_brings_sources_and_events_once(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[dict[str, Any]] = []
    for _ in range(2):
        assert main(["loop", "acquire", str(loop), "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert [[one["fresh"] for one in each["sources"]] for each in told] == [[True, True], [False, False]]
    assert [each["mirrored"]["objects"] for each in told] == [1, 0]
    assert (loop.parent / "loop" / "mirror" / "events" / "a.jsonl").read_bytes() == (
        loop.parent / "there" / "a.jsonl"
    ).read_bytes()
    (loop.parent / "s.toml").write_text((loop.parent / "s.toml").read_text().replace("CC-BY-4.0", "free"))
    assert main(["loop", "acquire", str(loop), "--json"]) == 12
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "E211"


def test_licences_are_in_the_snapshot_and_on_the_card(loop: Path) -> None:
    settings = load_loop(loop)
    recipe = load_recipe(settings.train.recipe)
    data = load_data(replace(recipe, data=replace(recipe.data, train="@digits[200:300]", test=None, validation=0.0))).train
    assert data.labels is not None
    count = len(data.x)
    field = Samples(data.x, data.labels, np.full(count, "yard"), np.array([f"g{n}" for n in range(count)]), np.ones(count, bool))
    snapshot = take_snapshot(loop.parent / "snapshot", settings.train, recipe, field, 10)
    listed = recipe.data.sources
    assert listed is not None
    wanted = [{"name": one.name, "url": one.url, "sha256": one.sha256, "licence": "CC-BY-4.0"} for one in listed.sources]
    assert json.loads((loop.parent / "snapshot" / FACTS).read_text())["sources"] == wanted
    facts = CardFacts(
        name="digits",
        number=1,
        said=CardPart(),
        times=None,
        snapshot=json.loads((loop.parent / "snapshot" / FACTS).read_text()),
        trained={"parameters": 1, "epochs": 1, "validation_loss": 0.5},
        drift={"segments": []},
        built=[],
        answers=[],
        float_accuracy=0.5,
        integer_accuracy=0.5,
        decision=Decision(True, (), ()),
    )
    card = model_card(facts)
    assert all(f"`{one['name']}`: licence CC-BY-4.0, SHA-256 `{one['sha256']}`" in card for one in wanted)
    assert snapshot.digest in card
