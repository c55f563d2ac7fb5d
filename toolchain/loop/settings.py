"""What a loop's file says, read from TOML and checked: every fault is an E210 that names the file and the key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from benchmarks.telemetry.settings import SinkSettings, filled
from targets.load import load_target
from targets.table import Table, parse_table, read_content
from toolchain.acquire.options import read_options
from toolchain.acquire.sources import check_url, protocol_of
from toolchain.errors import DataError, UsageError
from toolchain.training.recipes.data import resolved

MAX_LOOP_BYTES = 1 << 20
SPARK_PACKAGES = ("org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0", "io.delta:delta-spark_4.2_2.13:4.4.0")
KAFKA_KEYS = ("username", "password_file", "ca_file", "client_cert", "client_key", "client", "sasl", "tls")
MIRROR = "mirror"
_LARGE = 1 << 40


@dataclass(frozen=True, slots=True)
class FleetPart:
    """What devices give. devices: the inventory, a JSON file. events: folder of JSON lines. samples: folder of .npz with labels.

    events_url, samples_url: where the folders are mirrored from, empty for nowhere. options: of the stores there.
    pause_s: seconds that a turn of the fleet takes.
    """

    devices: Path
    events: Path
    samples: Path
    pause_s: float = 60.0
    events_url: str = ""
    samples_url: str = ""
    options: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)


@dataclass(frozen=True, slots=True)
class SparkPart:
    """master: `local[*]`, `spark://HOST:PORT`, `yarn`, `k8s://…`. jars: files or folders of them. packages: Maven's names,
    fetched where no jars are given. conf: more of Spark's own settings.
    """

    master: str = "local[*]"
    jars: tuple[str, ...] = ()
    packages: tuple[str, ...] = SPARK_PACKAGES
    conf: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class IngestPart:
    """late_s: seconds between an event's time and its arrival from which on it is late. batch: lines of one commit.

    engine: `local` or `spark`. format: `parquet`, or `delta`, which Spark writes. kafka: where events come from, None for the
    fleet's folder. send: names or URLs of telemetry sinks that get what a simulated fleet tells.
    """

    late_s: float = 3600.0
    batch: int = 50_000
    engine: str = "local"
    format: str = "parquet"
    send: tuple[str, ...] = ()
    kafka: SinkSettings | None = None
    spark: SparkPart = SparkPart()


@dataclass(frozen=True, slots=True)
class ValidatePart:
    """future_s: how far ahead of now a time may lie. classes: how many there are. max_quarantine: share that stops the loop."""

    classes: int
    future_s: float = 3600.0
    max_quarantine: float = 0.2


@dataclass(frozen=True, slots=True)
class DriftPart:
    """reference: inferences of a segment that windows are compared with. window: inferences. alarms: share of false ones.

    windows: how many of the last three must have drifted before a training is opened.
    """

    reference: int = 600
    window: int = 100
    alarms: float = 0.001
    windows: int = 2


@dataclass(frozen=True, slots=True)
class TrainPart:
    """recipe: its file; its data are the old samples. field_test: share of field groups that no training sees.

    min_samples: labelled samples of drifted segments below which no training begins.
    """

    recipe: Path
    field_test: float = 0.3
    min_samples: int = 100


@dataclass(frozen=True, slots=True)
class ExplainPart:
    """samples: of a class in a test set whose attributions are computed, 0 for none. seed: of their choice.

    features: names along the last axis of a sample, none for numbers.
    """

    samples: int = 2
    seed: int = 0
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CardPart:
    """What only people know: what the model is for, the licence of its samples, what it must not be used for."""

    use: str = ""
    licence: str = ""
    limits: str = ""


@dataclass(frozen=True, slots=True)
class RegistryPart:
    """uri: of the MLflow that keeps candidates, `none` for none. Empty for MLFLOW_TRACKING_URI, or a file in the folder."""

    uri: str = ""


@dataclass(frozen=True, slots=True)
class CompilePart:
    """targets: of the fleet. precision: of all."""

    targets: tuple[str, ...]
    precision: str = "int8"


@dataclass(frozen=True, slots=True)
class GatePart:
    """What a candidate must keep. Shares are of 1: 0.01 is one point of accuracy.

    max_loss: of the old samples' accuracy. min_gain: on samples from the field. max_slice_loss: of any class with slice_samples.
    max_gap: between samples trained on and not. max_quantization_loss: float against integers. max_label_doubt: labels of a class
    that their neighbours contradict, above what is usual. Limits of 0 are none. approval: a person must agree.
    """

    max_loss: float = 0.01
    min_gain: float = 0.0
    max_slice_loss: float = 0.1
    slice_samples: int = 20
    max_gap: float = 0.15
    max_quantization_loss: float = 0.02
    max_label_doubt: float = 0.1
    max_ram_bytes: int = 0
    max_flash_bytes: int = 0
    max_latency_ms: float = 0.0
    approval: bool = False


@dataclass(frozen=True, slots=True)
class RolloutPart:
    """stages: percent of the fleet, one after the other. inferences: of new devices that a stage is judged by.

    max_failures: their share, and that of devices that do not take the update. max_confidence_loss: against devices that still
    run the old model. max_latency: times the old one. update_key: private key that signs what devices take, None for none.
    """

    stages: tuple[int, ...] = (5, 25, 100)
    inferences: int = 100
    max_failures: float = 0.02
    max_confidence_loss: float = 0.1
    max_latency: float = 5.0
    update_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What drift does to a segment's images: turned by degrees, multiplied by gain, normal noise of a deviation added.

    classes: of images that nobody sees there before.
    """

    segment: str
    gain: float = 1.0
    noise: float = 0.0
    rotation: float = 0.0
    classes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SimulationPart:
    """A fleet that is simulated. data: DATA like the recipe's, with labels. begins: turn that changes set in at.

    devices: how many. segments: their names. inferences: of a device in a turn. corrections: share of them whose label is sent.
    always: noise that all see.
    """

    data: str
    devices: int
    segments: tuple[str, ...]
    inferences: int
    corrections: float
    begins: int
    seed: int
    always: float
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """A whole loop. folder: where lake, rounds and state are kept. simulation: None for real devices."""

    name: str
    folder: Path
    digest: str
    fleet: FleetPart
    ingest: IngestPart
    validate: ValidatePart
    drift: DriftPart
    train: TrainPart
    compile: CompilePart
    gate: GatePart
    rollout: RolloutPart
    simulation: SimulationPart | None = None
    explain: ExplainPart = ExplainPart()
    card: CardPart = CardPart()
    registry: RegistryPart = RegistryPart()


def loop_fault(place: str, problem: str, hint: str = "") -> DataError:
    """The E210 of a loop's file."""
    return DataError(210, place, problem, hint)


def load_loop(path: str | Path) -> LoopSettings:
    """Read a loop's file; paths in it begin at its folder. Raises DataError E205, E210, TargetError E303."""
    file = Path(path)
    content = read_content(file, MAX_LOOP_BYTES, "Give a loop's .toml file", loop_fault)
    table = parse_table(content, file.name, loop_fault)
    optional = ("ingest", "kafka", "spark", "drift", "explain", "gate", "rollout", "registry", "card", "simulation")
    table.expect(("name", "folder", "fleet", "validate", "train", "compile"), optional)
    base = file.resolve().parent
    folder = (base / table.text("folder")).resolve()
    return LoopSettings(
        name=table.identifier("name"),
        folder=folder,
        digest=hashlib.sha256(content).hexdigest(),
        fleet=_fleet(table, base, folder),
        ingest=_ingest(table, base),
        validate=_validate(table.table("validate")),
        drift=_drift(_part(table, "drift")),
        train=_train(table.table("train"), base),
        compile=_compile(table.table("compile")),
        gate=_gate(_part(table, "gate")),
        rollout=_rollout(_part(table, "rollout"), base),
        simulation=_simulation(table.table("simulation"), base) if "simulation" in table.values else None,
        explain=_explain(_part(table, "explain")),
        card=_card(_part(table, "card")),
        registry=_registry(_part(table, "registry")),
    )


def _part(table: Table, key: str) -> Table:
    return table.table(key) if key in table.values else Table(table.file, key, {}, table.made)


def _number(table: Table, key: str, normal: float, low: float, high: float) -> float:
    return table.number(key, low, high) if key in table.values else normal


def _whole(table: Table, key: str, normal: int, low: int, high: int) -> int:
    return table.integer(key, low, high) if key in table.values else normal


def _fleet(whole: Table, base: Path, folder: Path) -> FleetPart:
    table = whole.table("fleet")
    table.expect(("devices", "events", "samples"), ("pause_s", "options"))
    places, urls = dict[str, Path](), dict[str, str]()
    for key in ("events", "samples"):
        urls[key] = url = check_url(table, key) if protocol_of(table.text(key)) else ""
        places[key] = folder / MIRROR / key if url else base / table.text(key)
        if url and "simulation" in whole.values:
            raise table.fault(key, "is a URL, and a simulated fleet writes into a folder", "Name a folder")
    return FleetPart(
        base / table.text("devices"),
        places["events"],
        places["samples"],
        _number(table, "pause_s", 60.0, 0, 1e6),
        urls["events"],
        urls["samples"],
        read_options(table.table("options"), base) if "options" in table.values else {},
    )


def _ingest(whole: Table, base: Path) -> IngestPart:
    table = _part(whole, "ingest")
    table.expect((), ("late_s", "batch", "engine", "format", "send"))
    engine = table.choice("engine", ("local", "spark")) if "engine" in table.values else "local"
    form = table.choice("format", ("parquet", "delta")) if "format" in table.values else "parquet"
    if engine == "local" and form == "delta":
        raise table.fault("format", "is 'delta', which the engine 'local' does not write", "Set engine = 'spark'")
    if engine == "spark" and "kafka" not in whole.values:
        raise table.fault("engine", "is 'spark', which reads Kafka, and there is no table [kafka]", "Say where Kafka is")
    return IngestPart(
        _number(table, "late_s", 3600.0, 0, 1e9),
        _whole(table, "batch", 50_000, 1, 10_000_000),
        engine,
        form,
        table.texts("send") if "send" in table.values else (),
        _kafka(whole.table("kafka")) if "kafka" in whole.values else None,
        _spark(_part(whole, "spark"), base),
    )


def _kafka(table: Table) -> SinkSettings:
    """Kafka as the sink of that name has it; secrets stand in the environment or in files of their own."""
    table.expect(("servers", "topic"), KAFKA_KEYS)
    servers, topic = table.text("servers"), table.text("topic")
    given: dict[str, Any] = {
        key: table.flag(key) if key == "tls" else table.text(key) for key in table.values if key in KAFKA_KEYS
    }
    if not topic or "/" in topic or "@" in servers:
        raise table.fault("servers, topic", "name no servers and their topic", "Give HOST:PORT,… and a name")
    try:
        found = filled(SinkSettings("kafka", "kafka"), {**given, "url": f"kafka://{servers}", "topic": topic}, table.file)
    except UsageError as fault:
        raise table.made(table.file, f"[kafka] {fault.message}", fault.hint) from fault
    return found


def _spark(table: Table, base: Path) -> SparkPart:
    table.expect((), ("master", "jars", "packages", "conf"))
    conf = _part(table, "conf")
    for key, value in conf.values.items():
        if not key.startswith("spark.") or isinstance(value, (list, dict)):
            raise conf.fault(key, "is no setting of Spark", 'Quote the whole name: "spark.driver.memory" = "2g"')
    normal = SparkPart()
    return SparkPart(
        table.text("master") if "master" in table.values else normal.master,
        tuple(str(base / name) for name in table.texts("jars")) if "jars" in table.values else (),
        table.texts("packages") if "packages" in table.values else normal.packages,
        {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in conf.values.items()},
    )


def _validate(table: Table) -> ValidatePart:
    table.expect(("classes",), ("future_s", "max_quarantine"))
    return ValidatePart(
        table.integer("classes", 2, 100_000),
        _number(table, "future_s", 3600.0, 0, 1e9),
        _number(table, "max_quarantine", 0.2, 0, 1),
    )


def _drift(table: Table) -> DriftPart:
    table.expect((), ("reference", "window", "alarms", "windows"))
    return DriftPart(
        _whole(table, "reference", 600, 80, 1_000_000),
        _whole(table, "window", 100, 2, 1_000_000),
        _number(table, "alarms", 0.001, 1e-6, 0.5),
        _whole(table, "windows", 2, 1, 3),
    )


def _train(table: Table, base: Path) -> TrainPart:
    table.expect(("recipe",), ("field_test", "min_samples"))
    return TrainPart(
        base / table.text("recipe"),
        _number(table, "field_test", 0.3, 0.05, 0.95),
        _whole(table, "min_samples", 100, 1, _LARGE),
    )


def _explain(table: Table) -> ExplainPart:
    table.expect((), ("samples", "seed", "features"))
    features = table.texts("features") if "features" in table.values else ()
    return ExplainPart(_whole(table, "samples", 2, 0, 1000), _whole(table, "seed", 0, 0, _LARGE), features)


def _card(table: Table) -> CardPart:
    keys = ("use", "licence", "limits")
    table.expect((), keys)
    return CardPart(*(table.text(key) if key in table.values else "" for key in keys))


def _registry(table: Table) -> RegistryPart:
    table.expect((), ("uri",))
    return RegistryPart(table.text("uri") if "uri" in table.values else "")


def _compile(table: Table) -> CompilePart:
    table.expect(("targets",), ("precision",))
    names = table.texts("targets")
    if not names:
        raise table.fault("targets", "is empty", "Name what the fleet's devices are")
    for name in names:
        load_target(name)
    return CompilePart(names, table.choice("precision", ("int8", "int16x8")) if "precision" in table.values else "int8")


def _gate(table: Table) -> GatePart:
    shares = ("max_loss", "min_gain", "max_slice_loss", "max_gap", "max_quantization_loss", "max_label_doubt")
    whole = ("slice_samples", "max_ram_bytes", "max_flash_bytes")
    table.expect((), (*shares, *whole, "max_latency_ms", "approval"))
    given = table.values
    found: dict[str, object] = {key: table.number(key, 0, 1) for key in shares if key in given}
    found |= {key: table.integer(key, 0, _LARGE) for key in whole if key in given}
    if "max_latency_ms" in given:
        found["max_latency_ms"] = table.number("max_latency_ms", 0, 1e9)
    if "approval" in given:
        found["approval"] = table.flag("approval")
    return replace(GatePart(), **cast("dict[str, Any]", found))


def _rollout(table: Table, base: Path) -> RolloutPart:
    table.expect((), ("stages", "inferences", "max_failures", "max_confidence_loss", "max_latency", "update_key"))
    normal = RolloutPart()
    stages = normal.stages
    if "stages" in table.values:
        stages = tuple(int(part) for part in table.numbers("stages", tuple(range(1, 20))))
        if list(stages) != sorted(set(stages)) or stages[-1] != 100 or stages[0] < 1:
            raise table.fault("stages", f"is {list(stages)}", "Give rising percentages, the last one 100")
    return RolloutPart(
        stages,
        _whole(table, "inferences", normal.inferences, 1, _LARGE),
        _number(table, "max_failures", normal.max_failures, 0, 1),
        _number(table, "max_confidence_loss", normal.max_confidence_loss, 0, 1),
        _number(table, "max_latency", normal.max_latency, 1, 1e6),
        (base / table.text("update_key")).resolve() if "update_key" in table.values else None,
    )


def _simulation(table: Table, base: Path) -> SimulationPart:
    table.expect(("data", "devices", "segments", "begins"), ("inferences", "corrections", "seed", "always", "change"))
    segments = table.texts("segments")
    changes: list[Change] = []
    for each in table.tables("change") if "change" in table.values else ():
        each.expect(("segment",), ("gain", "noise", "rotation", "classes"))
        noise, turned = _number(each, "noise", 0.0, 0, 10), _number(each, "rotation", 0.0, -360, 360)
        new = tuple(int(one) for one in each.numbers("classes", tuple(range(1, 20)))) if "classes" in each.values else ()
        changes.append(Change(each.choice("segment", segments), _number(each, "gain", 1.0, 0, 100), noise, turned, new))
    return SimulationPart(
        data=resolved(table.text("data"), base),
        devices=table.integer("devices", 1, 1_000_000),
        segments=segments,
        inferences=_whole(table, "inferences", 5, 1, 100_000),
        corrections=_number(table, "corrections", 0.2, 0, 1),
        begins=table.integer("begins", 0, _LARGE),
        seed=_whole(table, "seed", 0, 0, _LARGE),
        always=_number(table, "always", 0.02, 0, 10),
        changes=tuple(changes),
    )
