"""What a recipe says, read from TOML and checked: every fault is an E208 that names the file and the key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, cast

from targets.table import Table, parse_table, read_content
from toolchain.acquire.sources import SourceList, load_sources
from toolchain.api.quantizing import PRECISIONS
from toolchain.errors import DataError
from toolchain.features.settings import FeatureSettings, parse_features
from toolchain.lowering.variants import Objective
from toolchain.training.recipes.augment import AUGMENTS
from toolchain.training.recipes.zoo import ZOO, Setting

Framework = Literal["keras", "torch"]
Task = Literal["classify", "reconstruct"]
Schedule = Literal["cosine", "constant"]
Layout = Literal["channels_last", "channels_first"]

MAX_RECIPE_BYTES = 1 << 20
OBJECTIVES = ("balanced", "speed", "ram", "size")
_LARGE, _SEEDS = 1 << 40, (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class DataPart:
    """Where samples come from. train, test: DATA. input: the array's name in .npz files. layout: of the files' images.

    shape: of one sample as files have it, without the batch; empty where the files say it. validation: share of `train`.
    sources: what DATA that begin with `@` are files of. seed: of the split, None for the recipe's.
    """

    train: str
    test: str | None
    input: str
    layout: Layout
    shape: tuple[int, ...]
    validation: float
    sources: SourceList | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class AugmentPart:
    """One augmentation of AUGMENTS and its settings."""

    kind: str
    settings: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class NetworkPart:
    """A network of ZOO with settings, or a function of the user's: `python` is `module:function`."""

    kind: str
    settings: Mapping[str, Setting]
    python: str = ""


@dataclass(frozen=True, slots=True)
class FitPart:
    """How weights are found. patience: epochs without a better validation loss before it ends, 0 for never."""

    epochs: int = 30
    batch: int = 32
    learning_rate: float = 3e-3
    schedule: Schedule = "cosine"
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    patience: int = 0


@dataclass(frozen=True, slots=True)
class PrunePart:
    """Channels to take away: their share, in how many rounds, and epochs after each."""

    share: float
    rounds: int = 3
    epochs: int = 10


@dataclass(frozen=True, slots=True)
class DistillPart:
    """Who gives answers that are learnt, too: the file `teacher`, or `networks` of `network`, trained first on the same samples.

    weight: of the answers beside the labels. temperature: softens both the answers and the learner's. epochs, augments: of
    networks that are trained; none stand for the recipe's own.
    """

    teacher: str
    weight: float = 0.5
    temperature: float = 4.0
    network: NetworkPart | None = None
    networks: int = 1
    epochs: int = 0
    augments: tuple[AugmentPart, ...] = ()


@dataclass(frozen=True, slots=True)
class FineTunePart:
    """Epochs in the integer arithmetic of the device."""

    epochs: int
    learning_rate: float = 1e-4


@dataclass(frozen=True, slots=True)
class CompilePart:
    """What the trained model is compiled for, and limits: bytes of RAM and flash, milliseconds."""

    target: str
    precision: str = "int8"
    optimize: Objective = "balanced"
    max_ram_bytes: int | None = None
    max_flash_bytes: int | None = None
    max_latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class SearchPart:
    """A search for the network's settings. space: choices or (low, high) per setting. epochs: of a trial.

    finalists: how many of the best are trained in full.
    """

    trials: int = 40
    minutes: float = 20.0
    epochs: int = 8
    finalists: int = 2
    space: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole recipe. folder: of its file, which paths in it begin at. features: what the network sees of data that are sound."""

    name: str
    folder: Path
    framework: Framework
    task: Task
    seed: int
    data: DataPart
    augments: tuple[AugmentPart, ...]
    network: NetworkPart
    fit: FitPart
    prune: PrunePart | None
    distill: DistillPart | None
    fine_tune: FineTunePart | None
    compile: CompilePart | None
    search: SearchPart | None
    features: FeatureSettings | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of all that the recipe says, but for where its file lies."""
        facts = {key: value for key, value in asdict(self).items() if key != "folder"}
        # Recipes that do not say what once could not be said keep the digests that they had.
        if facts["data"].pop("sources") is not None and self.data.sources is not None:
            facts["data"]["sources"] = self.data.sources.digest
        if self.data.seed is None:
            del facts["data"]["seed"]
        if self.features is None:
            del facts["features"]
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def recipe_fault(place: str, problem: str, hint: str = "") -> DataError:
    """The E208 of a recipe."""
    return DataError(208, place, problem, hint)


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe. Raises DataError E205 where the file cannot be read, E208 where it is wrong."""
    file = Path(path)
    content = read_content(file, MAX_RECIPE_BYTES, "Give a recipe's .toml file", recipe_fault)
    return _recipe(parse_table(content, file.name, recipe_fault), file.resolve().parent)


def _recipe(table: Table, folder: Path) -> Recipe:
    parts = ("prune", "distill", "fine_tune", "compile", "search", "augment", "fit", "features")
    table.expect(("name", "data", "network"), ("framework", "task", "seed", *parts))
    given = table.values
    task = cast("Task", table.choice("task", ("classify", "reconstruct")) if "task" in given else "classify")
    made = Recipe(
        name=table.identifier("name"),
        folder=folder,
        framework=cast("Framework", table.choice("framework", ("keras", "torch")) if "framework" in given else "keras"),
        task=task,
        seed=table.integer("seed", 0, _SEEDS) if "seed" in given else 0,
        data=_data(table.table("data"), folder),
        augments=tuple(_augment(each) for each in table.tables("augment")) if "augment" in given else (),
        network=_network(table.table("network"), task),
        fit=_fit(table.table("fit")) if "fit" in given else FitPart(),
        prune=_prune(table.table("prune")) if "prune" in given else None,
        distill=_distill(table.table("distill"), task) if "distill" in given else None,
        fine_tune=_fine_tune(table.table("fine_tune")) if "fine_tune" in given else None,
        compile=_compile(table.table("compile")) if "compile" in given else None,
        search=_search(table.table("search")) if "search" in given else None,
        features=parse_features(table.table("features")) if "features" in given else None,
    )
    _check_together(table, made)
    return made


def _check_together(table: Table, made: Recipe) -> None:
    if made.features is not None and made.data.shape:
        raise table.fault("data.shape", "is said by features", "Leave it out")
    if made.distill is not None and made.task != "classify":
        raise table.fault("distill", "learns answers of a classifier", "Leave it out, or use task = 'classify'")
    for place, spec in (
        ("data.train", made.data.train),
        ("data.test", made.data.test or ""),
        ("distill.teacher", _teacher(made)),
    ):
        if spec.startswith("@") and (made.data.sources is None or made.data.sources.path(spec) is None):
            raise table.fault(place, f"is '{spec:.60}', which no source brings", "Name it in the file that data.sources names")
    if made.fit.patience and not made.data.validation:
        raise table.fault("fit.patience", "needs samples that decide when to stop", "Leave it out, or give data.validation")
    if made.fine_tune is not None and (made.compile is None or made.compile.precision != "int8"):
        raise table.fault("fine_tune", "needs what the model is compiled for", "Add [compile] with precision 'int8'")
    if made.search is not None:
        if made.compile is None:
            raise table.fault("search", "needs a target to ask for costs", "Add [compile]")
        for name, bounds in made.search.space.items():
            kind = ZOO[made.network.kind].settings.get(name) if made.network.kind else None
            if kind is None or not isinstance(kind.default, int):
                raise table.fault(f"search.space.{name}", f"is no whole number among the settings of '{made.network.kind}'")
            if not kind.low <= bounds[0] <= bounds[1] <= kind.high:
                raise table.fault(f"search.space.{name}", f"must be [low, high] in {kind.low:g} to {kind.high:g}")


def _teacher(made: Recipe) -> str:
    return "" if made.distill is None else made.distill.teacher


def _data(table: Table, folder: Path) -> DataPart:
    table.expect(("train",), ("test", "input", "layout", "shape", "validation", "seed", "sources"))
    given = table.values
    layouts = ("channels_last", "channels_first")
    return DataPart(
        train=table.text("train"),
        test=table.text("test") if "test" in given else None,
        input=table.text("input") if "input" in given else "x",
        layout=cast("Layout", table.choice("layout", layouts) if "layout" in given else "channels_last"),
        shape=tuple(int(size) for size in table.numbers("shape", (1, 2, 3))) if "shape" in given else (),
        validation=table.number("validation", 0.0, 0.5) if "validation" in given else 0.1,
        sources=load_sources(folder / table.text("sources")) if "sources" in given else None,
        seed=table.integer("seed", 0, _SEEDS) if "seed" in given else None,
    )


def _augment(table: Table) -> AugmentPart:
    kind = table.choice("kind", tuple(AUGMENTS)) if "kind" in table.values else ""
    if not kind:
        raise table.fault("kind", "is missing", f"Use one of: {', '.join(AUGMENTS)}")
    settings = AUGMENTS[kind].settings
    table.expect(("kind",), tuple(settings))
    found = {name: table.number(name, *bounds) for name, bounds in settings.items() if name in table.values}
    return AugmentPart(kind, found)


def _network(table: Table, task: Task) -> NetworkPart:
    if "python" in table.values:
        table.expect(("python",), tuple(key for key in table.values if key != "python"))
        settings = {key: _setting(table, key) for key in table.values if key != "python"}
        return NetworkPart("", settings, table.text("python"))
    kinds = tuple(name for name, entry in ZOO.items() if entry.task == task)
    table.need(("kind",))
    kind = table.choice("kind", kinds)
    known = ZOO[kind].settings
    table.expect(("kind",), tuple(known))
    found: dict[str, Setting] = {}
    for name, bounds in known.items():
        if name in table.values:
            whole = isinstance(bounds.default, int)
            low, high = bounds.low, bounds.high
            found[name] = table.integer(name, int(low), int(high)) if whole else table.number(name, low, high)
    return NetworkPart(kind, found)


def _setting(table: Table, key: str) -> Setting:
    value = table.values[key]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise table.fault(key, "must be a number", "Functions of your own take numbers by name")
    return value


def _fit(table: Table) -> FitPart:
    table.expect((), tuple(item.name for item in fields(FitPart)))
    given, usual = table.values, FitPart()

    def number(key: str, normal: float, low: float, high: float) -> float:
        return table.number(key, low, high) if key in given else normal

    def whole(key: str, normal: int, low: int, high: int) -> int:
        return table.integer(key, low, high) if key in given else normal

    schedule = table.choice("schedule", ("cosine", "constant")) if "schedule" in given else usual.schedule
    return FitPart(
        epochs=whole("epochs", usual.epochs, 1, 100_000),
        batch=whole("batch", usual.batch, 1, 65_536),
        learning_rate=number("learning_rate", usual.learning_rate, 1e-8, 10.0),
        schedule=cast("Schedule", schedule),
        weight_decay=number("weight_decay", usual.weight_decay, 0.0, 1.0),
        label_smoothing=number("label_smoothing", usual.label_smoothing, 0.0, 0.5),
        patience=whole("patience", usual.patience, 0, 100_000),
    )


def _prune(table: Table) -> PrunePart:
    table.expect(("share",), ("rounds", "epochs"))
    given = table.values
    return PrunePart(
        share=table.number("share", 0.0, 0.95),
        rounds=table.integer("rounds", 1, 100) if "rounds" in given else 3,
        epochs=table.integer("epochs", 0, 100_000) if "epochs" in given else 10,
    )


def _distill(table: Table, task: Task) -> DistillPart:
    given = table.values
    trained = ("networks", "epochs", "augment") if "network" in given else ()
    table.expect(("network",) if trained else ("teacher",), ("weight", "temperature", *trained))
    usual = DistillPart("")
    return DistillPart(
        teacher="" if trained else table.text("teacher"),
        weight=table.number("weight", 0.0, 1.0) if "weight" in given else usual.weight,
        temperature=table.number("temperature", 0.1, 100.0) if "temperature" in given else usual.temperature,
        network=_network(table.table("network"), task) if trained else None,
        networks=table.integer("networks", 1, 100) if "networks" in given else usual.networks,
        epochs=table.integer("epochs", 1, 100_000) if "epochs" in given else usual.epochs,
        augments=tuple(_augment(each) for each in table.tables("augment")) if "augment" in given else (),
    )


def _fine_tune(table: Table) -> FineTunePart:
    table.expect(("epochs",), ("learning_rate",))
    rate = table.number("learning_rate", 1e-8, 1.0) if "learning_rate" in table.values else 1e-4
    return FineTunePart(table.integer("epochs", 1, 100_000), rate)


def _compile(table: Table) -> CompilePart:
    table.expect(("target",), ("precision", "optimize", "max_ram", "max_flash", "max_latency_ms"))
    given = table.values
    return CompilePart(
        target=table.text("target"),
        precision=table.choice("precision", PRECISIONS) if "precision" in given else "int8",
        optimize=cast("Objective", table.choice("optimize", OBJECTIVES) if "optimize" in given else "balanced"),
        max_ram_bytes=table.integer("max_ram", 1, _LARGE) if "max_ram" in given else None,
        max_flash_bytes=table.integer("max_flash", 1, _LARGE) if "max_flash" in given else None,
        max_latency_ms=table.number("max_latency_ms", 1e-6, 1e9) if "max_latency_ms" in given else None,
    )


def _search(table: Table) -> SearchPart:
    table.expect((), ("trials", "minutes", "epochs", "finalists", "space"))
    given = table.values
    space: dict[str, tuple[int, int]] = {}
    if "space" in given:
        ranges = table.table("space")
        for name in ranges.values:
            low, high = ranges.numbers(name, (2,))
            space[name] = (int(low), int(high))
    return SearchPart(
        trials=table.integer("trials", 1, 100_000) if "trials" in given else 40,
        minutes=table.number("minutes", 0.01, 100_000) if "minutes" in given else 20.0,
        epochs=table.integer("epochs", 1, 100_000) if "epochs" in given else 8,
        finalists=table.integer("finalists", 1, 100) if "finalists" in given else 2,
        space=space,
    )
