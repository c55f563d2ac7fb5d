"""Ingest by Spark: Structured Streaming from Kafka to Parquet or Delta, one step taking what is there.

Spark's checkpoint says which offsets a batch has, and a batch that was cut off is done again with the same ones.
What makes it once is the state's transaction, as with the local engine: it names the batch's files, its ids and its number.
Files of a batch that was cut off are named by nobody, whoever finishes writing them; Delta's own log takes a batch's number
but once.
"""

from __future__ import annotations

import functools
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from benchmarks.telemetry.kafka_client import Brokers
from benchmarks.telemetry.settings import SinkSettings
from toolchain.errors import EnvironmentFault, RunError, StropError
from toolchain.loop.extras import need
from toolchain.loop.lake.tables import EVENTS, FOLDER, Ingested, Part, fresh_rows, keep_commit, last_commit, refused_part
from toolchain.loop.rows import row_schema
from toolchain.loop.settings import IngestPart, SparkPart
from toolchain.loop.store import Store
from toolchain.loop.workers import LINE, OFFSET, PARTITION, REASON, parsed_batches, worker_schema

DELTA = "delta"
_PLACE = "spark"
_ROOT = Path(__file__).parents[3]
_REASON = re.compile(r"[\w.]+(?:Error|Exception|Fault): \S[^\n]*")

Frame = Any
"""A pyspark DataFrame."""


def ingest_by_spark(store: Store, settings: IngestPart) -> Ingested:
    """Take what the topic holds and the checkpoint does not.

    Raises RunError E521 to E523 for Kafka, E527 for the rest of Spark, EnvironmentFault E404 without pyspark or Java.
    """
    assert settings.kafka is not None
    place = store.folder / _PLACE
    checkpoint = place / f"checkpoint-{settings.kafka.topic}"
    session = spark_session(settings.spark, place, delta=settings.format == DELTA)
    batches = _Batches(session, store.folder, checkpoint, settings)
    try:
        given = _kafka_options(settings.kafka, settings.batch, int(session.sparkContext.defaultParallelism))
        lines = session.readStream.format("kafka").options(**given).load()
        writer = lines.writeStream.foreachBatch(batches.take).option("checkpointLocation", str(checkpoint))
        writer.trigger(availableNow=True).start().awaitTermination()
    except Exception as fault:
        if batches.fault is not None:
            raise batches.fault from fault
        if "UnknownTopicOrPartition" in str(fault):
            return batches.found
        raise _coded(settings.kafka, fault) from fault
    return batches.found


def spark_session(settings: SparkPart, place: Path, *, delta: bool) -> Any:
    """Spark's session of this process, made where there is none. place: for what Spark keeps meanwhile.

    Raises EnvironmentFault E404 without pyspark or Java, RunError E527 when Spark does not begin.
    """
    sql = need("pyspark.sql", "spark")
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        raise EnvironmentFault(404, "strop loop", "Spark needs Java 17 or later, and there is no java", "Install one")
    scratch = place / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    conf = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.local.dir": str(scratch),
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={scratch}",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if settings.master.startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        python = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        conf |= {
            "spark.executorEnv.PYTHONPATH": python,
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.shuffle.partitions": "4",
        }
    if delta:
        conf["spark.sql.extensions"] = "io.delta.sql.DeltaSparkSessionExtension"
        conf["spark.sql.catalog.spark_catalog"] = "org.apache.spark.sql.delta.catalog.DeltaCatalog"
    if settings.jars:
        conf["spark.jars"] = ",".join(_jars(settings.jars))
    elif settings.packages:
        conf["spark.jars.packages"] = ",".join(settings.packages)
    builder = sql.SparkSession.builder.appName("strop").master(settings.master)
    for key, value in {**conf, **settings.conf}.items():
        builder = builder.config(key, value)
    try:
        session = builder.getOrCreate()
    except Exception as fault:
        raise RunError(527, f"Spark at {settings.master}", f"it does not begin: {_short(fault)}", "Read its log") from fault
    session.sparkContext.setLogLevel("OFF")
    return session


def _jars(named: Sequence[str]) -> list[str]:
    """Files, and those of folders that Spark does not bring along itself."""
    own = {_artifact(path) for path in (Path(need("pyspark", "spark").__file__).parent / "jars").glob("*.jar")}
    found: list[str] = []
    for name in named:
        place = Path(name)
        jars = [path for path in sorted(place.glob("*.jar")) if _artifact(path) not in own] if place.is_dir() else [place]
        if not jars or not all(path.is_file() for path in jars):
            raise EnvironmentFault(404, str(place), "there are no jars", "Mend [spark] jars")
        found += map(str, jars)
    return found


def _artifact(jar: Path) -> str:
    """A jar's name without its version."""
    return jar.stem.rpartition("-")[0]


class _Batches:
    """Takes the batches of one query. found: what all did. fault: why one was not taken."""

    def __init__(self, session: Any, folder: Path, checkpoint: Path, settings: IngestPart) -> None:
        self._session, self._folder, self._checkpoint, self._settings = session, folder, checkpoint, settings
        self.found = Ingested()
        self.fault: StropError | None = None

    def take(self, lines: Frame, number: int) -> None:
        """Take a batch, unless the state has it; called by Spark from a thread of its own."""
        store = Store(self._folder)
        try:
            # A checkpoint that was begun anew has another name, so its numbers do not count for the old one's.
            query = str(json.loads((self._checkpoint / "metadata").read_text())["id"])
            done = store.fact(f"spark/{query}")
            if done is None or number > int(done):
                self.found += self._taken(store, lines, f"spark/{query}", number)
        except StropError as fault:
            self.fault = fault
            raise
        finally:
            store.close()

    def _taken(self, store: Store, lines: Frame, query: str, number: int) -> Ingested:
        types = need("pyspark.sql.pandas.types", "spark")
        late_s = self._settings.late_s
        read = lines.selectExpr("value", "cast(timestamp as double) as arrived", PARTITION, OFFSET)
        parsed = read.mapInArrow(
            functools.partial(parsed_batches, late_s=late_s), types.from_arrow_schema(worker_schema())
        ).persist()
        try:
            told = parsed.select("id", "late", REASON, LINE, PARTITION, OFFSET).toArrow()
            refused = told.filter(told[REASON].is_valid())
            events = told.filter(told[REASON].is_null())
            fresh, doubled = fresh_rows(store, events)
            rows = parsed.where(f"{REASON} is null")
            if doubled:
                rows = rows.join(self._places(events, fresh), [PARTITION, OFFSET], "left_anti")
            commit = last_commit(store) + 1
            parts = self._write(rows.select(*row_schema().names), query, number) if len(fresh) else []
            assert sum(part.rows for part in parts) == len(fresh)
            lines_refused = zip(refused[REASON].to_pylist(), refused[LINE].to_pylist(), strict=True)
            parts += refused_part(store, commit, list(lines_refused))
            keep_commit(store, commit, parts, fresh["id"].to_pylist(), facts={query: json.dumps(number)})
            return Ingested(len(fresh), doubled, len(refused), sum(fresh["late"].to_pylist()), 1)
        finally:
            parsed.unpersist()

    def _places(self, events: Any, fresh: Any) -> Frame:
        """Where rows lie that the lake has, to be broadcast: rows that stay keep their order then."""
        kept = set(zip(fresh[PARTITION].to_pylist(), fresh[OFFSET].to_pylist(), strict=True))
        every = zip(events[PARTITION].to_pylist(), events[OFFSET].to_pylist(), strict=True)
        gone = [place for place in every if place not in kept]
        arrow = need("pyarrow", "spark")
        partitions = arrow.array([partition for partition, _ in gone], arrow.int32())
        offsets = arrow.array([offset for _, offset in gone], arrow.int64())
        table = arrow.table({PARTITION: partitions, OFFSET: offsets})
        return need("pyspark.sql.functions", "spark").broadcast(self._session.createDataFrame(table))

    def _write(self, rows: Frame, query: str, number: int) -> list[Part]:
        """Write a batch's rows; the files."""
        lake = self._folder / FOLDER
        if self._settings.format == DELTA:
            table = lake / f"{EVENTS}-{DELTA}"
            options = {"txnAppId": query, "txnVersion": str(number)}
            rows.write.format(DELTA).mode("append").options(**options).save(str(table))
            return [
                Part((table / name).relative_to(lake).as_posix(), EVENTS, count) for name, count in _added(table, query, number)
            ]
        # What was cut off may still be writing: nothing is written twice to one place.
        place = lake / EVENTS / f"batch-{number:06d}-{secrets.token_hex(4)}"
        rows.write.parquet(str(place))
        count = need("pyarrow.parquet", "spark").read_metadata
        files = [(path, count(path).num_rows) for path in sorted(place.glob("*.parquet"))]
        return [Part(path.relative_to(lake).as_posix(), EVENTS, rows) for path, rows in files if rows]


def _added(table: Path, query: str, number: int) -> list[tuple[str, int]]:
    """The files of a transaction in Delta's log, and how many rows each has."""
    for log in sorted((table / "_delta_log").glob("*.json"), reverse=True):
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        if any(one.get("txn", {}).get("appId") == query and one["txn"]["version"] == number for one in actions):
            added = [one["add"] for one in actions if "add" in one]
            return sorted((unquote(one["path"]), int(json.loads(one["stats"])["numRecords"])) for one in added)
    raise RunError(527, str(table), f"its log does not have batch {number}", "Keep Delta's log for a month")


def _kafka_options(settings: SinkSettings, batch: int, parallel: int) -> dict[str, str]:
    """Kafka in Spark's words. Files are PEM, as the other clients take them."""
    words = Brokers(settings)
    given = {
        "kafka.bootstrap.servers": words.servers,
        "kafka.security.protocol": words.protocol,
        "subscribe": settings.topic,
        "startingOffsets": "earliest",
        "maxOffsetsPerTrigger": str(batch),
        "minPartitions": str(parallel),
    }
    if settings.username:
        module = "plain.PlainLoginModule" if settings.sasl == "PLAIN" else "scram.ScramLoginModule"
        name, password = (json.dumps(text, ensure_ascii=False) for text in (settings.username, settings.password))
        login = f"org.apache.kafka.common.security.{module} required username={name} password={password};"
        given |= {"kafka.sasl.mechanism": settings.sasl, "kafka.sasl.jaas.config": login}
    if settings.ca_file:
        given |= {"kafka.ssl.truststore.type": "PEM", "kafka.ssl.truststore.location": settings.ca_file}
    if settings.client_cert:
        chain, key = (Path(name).read_text() for name in (settings.client_cert, settings.client_key))
        given |= {"kafka.ssl.keystore.type": "PEM", "kafka.ssl.keystore.certificate.chain": chain, "kafka.ssl.keystore.key": key}
    return given


def _coded(settings: SinkSettings, fault: Exception) -> StropError:
    """The fault that Spark's exception stands for."""
    text = str(fault)
    if any(word in text for word in ("SaslAuthentication", "SslAuthentication", "SSLHandshake", "TopicAuthorization")):
        name = next(word for word in ("SaslAuthentication", "Ssl", "SSL", "TopicAuthorization") if word in text)
        return Brokers(settings).fault_for(name, _short(fault))
    if "org.apache.kafka" in text and any(word in text for word in ("Timeout", "Disconnect", "Timed out")):
        return Brokers(settings).unreachable(_short(fault))
    return RunError(527, "Spark", _short(fault), "Read its log")


def _short(fault: Exception) -> str:
    """The innermost reason, which Spark and Java write last, below their stacks."""
    reasons = _REASON.findall(str(fault))
    return " ".join((reasons[-1] if reasons else str(fault)).split())[:300]
