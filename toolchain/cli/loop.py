"""From what devices report to a better model on them: rounds of ingest, validate, drift, train, explain, compile, gate, rollout.

acquire brings what the recipe's sources and the fleet's stores have and this loop has not. start trains and installs the first
model. run goes on with the open round, or begins one, until it is decided; one that was cut off, at any moment, goes on where it
was. status tells where it is, approve lets a candidate pass that waits for a person, report
writes a page with plots, serve shows that page on 127.0.0.1 as it grows, fetch brings a bundle of the registry when the loop's
key signed the decision on it. labels export writes samples without labels as tasks of Label Studio, labels import takes its
answers. The name of a step does that step of the open round alone.

examples:
  strop loop acquire examples/loop/loop.toml
  strop loop start examples/loop/loop.toml
  strop loop run examples/loop/loop.toml --rounds 12
  strop loop status examples/loop/loop.toml
  strop loop drift examples/loop/loop.toml
  strop loop fetch examples/loop/loop.toml --alias champion --target rp2040_pico -o build/champion
  strop loop labels export examples/loop/loop.toml -o tasks.json
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.cli.answer import Answer, pairs, table
from toolchain.cli.progress import shown_progress
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.loop.run import Round
    from toolchain.loop.settings import LoopSettings

STEPS = ("observe", "ingest", "validate", "drift", "train", "explain", "compile", "gate", "rollout")
ACTIONS = ("acquire", "start", "run", "status", "approve", "report", "serve", "fetch", "labels", *STEPS)
LABELS = ("export", "import")
DECIDED = ("rolled out", "rolled back", "refused", "stopped")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument(
        "loop",
        metavar="LOOP",
        nargs="+",
        help="a .toml file; docs/loop.md says what it may hold. After labels: export LOOP, or import LOOP",
    )
    parser.add_argument("--answers", metavar="FILE", help="labels import: Label Studio's export as JSON")
    note = "run: go through so many rounds at most, and end with one that tried a new model (default: 1)"
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help=note)
    parser.add_argument("--by", metavar="NAME", help="approve: who agrees")
    note = "report: the page (default: report.html in the loop's folder); fetch: the bundle's folder; labels export: the tasks"
    parser.add_argument("-o", "--output", metavar="PLACE", help=note)
    note = "keep trainings and candidates in this MLflow: a server or a store such as sqlite:///runs.db"
    parser.add_argument("--track", metavar="URI", help=note)
    parser.add_argument("--port", type=int, default=8050, metavar="N", help="serve: where (default 8050, 0 for any free port)")
    parser.add_argument("--seconds", type=float, metavar="S", help="serve: end after so long")
    parser.add_argument("--alias", choices=("candidate", "champion"), default="champion", help="fetch: which (default champion)")
    parser.add_argument("--target", metavar="T", help="fetch: the bundle's (default: the first of [compile])")


def run(arguments: argparse.Namespace) -> Answer:
    """Do the action."""
    from toolchain.loop.run import APPROVAL, Round, approve, make_fleet, run_step, start
    from toolchain.loop.settings import RegistryPart, load_loop
    from toolchain.loop.store import Store
    from toolchain.training.recipes.tracking import make_tracker

    if arguments.action == "labels":
        return _labels(arguments)
    if len(arguments.loop) != 1:
        raise UsageError(901, f"strop loop {arguments.action}", "it takes one file", "Give the loop's .toml file")
    settings = load_loop(arguments.loop[0])
    if arguments.track:
        settings = replace(settings, registry=RegistryPart(arguments.track))
    store = Store(settings.folder)
    if arguments.action == "status":
        from toolchain.loop.status import status

        found = status(store, settings.fleet.devices)
        return Answer(found, _told(found))
    if arguments.action == "acquire":
        from toolchain.loop.run import acquire_all

        with shown_progress() as progress:
            made = acquire_all(settings, store, progress)
        return Answer(made, pairs(tuple((key, str(value)) for key, value in made.items())))
    if arguments.action == "report":
        from toolchain.loop.report import write_page

        page = write_page(settings, store, arguments.output)
        return Answer({"report": str(page)}, f"report  {page}")
    if arguments.action == "serve":
        from benchmarks.history.server import serve
        from toolchain.cli.dashboard import served
        from toolchain.loop.report import LivePage

        return served(serve(LivePage(settings), arguments.port), arguments.seconds)
    if arguments.action == "fetch":
        return _fetch(settings, arguments.alias, arguments.target, arguments.output)
    fleet, tracker = make_fleet(settings), make_tracker(arguments.track)
    if arguments.action == "start":
        made = start(settings, store, fleet, tracker)
        return Answer(made, pairs(tuple((key, str(value)) for key, value in made.items())))
    if arguments.action in STEPS:
        done = run_step(settings, store, fleet, tracker, arguments.action)
        return Answer(done, pairs(tuple((key, str(value)) for key, value in done.items())))
    current = Round(settings, store, fleet, tracker, store.open_round())
    if arguments.action == "run":
        return _run(current, arguments.rounds)
    approve(current, arguments.by or "")
    return Answer({APPROVAL: current.number, "by": arguments.by}, f"round {current.number} may go on, says {arguments.by}")


def _labels(arguments: argparse.Namespace) -> Answer:
    """Samples to people, and their labels back."""
    from toolchain.loop.labels import export_tasks, import_answers
    from toolchain.loop.settings import load_loop

    if len(arguments.loop) != 2 or arguments.loop[0] not in LABELS:
        raise UsageError(901, "strop loop labels", "it takes export or import, and a file", "strop loop labels export LOOP.toml")
    way, settings = arguments.loop[0], load_loop(arguments.loop[1])
    if way == "export":
        place = Path(arguments.output or settings.folder / "tasks.json")
        count = export_tasks(settings, place)
        return Answer({"tasks": count, "file": str(place)}, f"{count:,} tasks  {place}")
    if not arguments.answers:
        raise UsageError(901, "strop loop labels import", "no file was given", "Give Label Studio's export: --answers FILE")
    found = import_answers(settings, Path(arguments.answers)).as_json()
    return Answer(found, pairs(tuple((key, str(value)) for key, value in found.items())))


def _run(current: Round, rounds: int) -> Answer:
    """Rounds until one tried a new model, or waits."""
    from toolchain.loop.run import run_round

    found: list[dict[str, Any]] = []
    with shown_progress() as progress:
        for _ in range(rounds):
            outcome = run_round(current.settings, current.store, current.fleet, current.tracker, progress)
            found.append(outcome.as_json())
            if outcome.decision is None or outcome.decision in DECIDED:
                break
    shown = table(("round", "decision", "reason"), [(one["round"], one["decision"] or "waits", one["reason"]) for one in found])
    return Answer({"rounds": found}, shown)


def _fetch(settings: LoopSettings, alias: str, target: str | None, output: str | None) -> Answer:
    """A bundle of the registry."""
    from toolchain.loop.registry import open_registry
    from toolchain.loop.run import KEYS

    if output is None:
        raise UsageError(901, "-o", "fetch needs a folder for the bundle", "Name one: -o FOLDER")
    registry = open_registry(settings)
    if registry is None:
        raise UsageError(901, "registry", "the loop has none", "pip install 'strop[loop]', or give uri in [registry]")
    wanted = target or settings.compile.targets[0]
    version = registry.fetch(alias, wanted, Path(output), settings.folder / KEYS)
    found = {"alias": alias, "version": version, "target": wanted, "bundle": output}
    return Answer(found, pairs(tuple(found.items())))


def _told(found: dict[str, Any]) -> str:
    """Where the loop is, for a person."""
    rows = [(one["round"], one["decision"] or "open", ", ".join(one["steps"]), one["reason"]) for one in found["rounds"]]
    facts = [("model of round", found["deployed"]), ("events", found["events"]), ("quarantined", found["quarantined"])]
    if found["devices"]:
        facts.append(("devices", ", ".join(f"{count:,} {phase.replace('_', ' ')}" for phase, count in found["devices"].items())))
    head = pairs(tuple(facts))
    return f"{head}\n\n{table(('round', 'decision', 'steps done', 'reason'), rows)}"
