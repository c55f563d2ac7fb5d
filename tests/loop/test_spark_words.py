"""What Spark is told, and what its workers make of lines, without Spark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.telemetry.event import EventMaker
from benchmarks.telemetry.settings import SinkSettings
from tests.support.events import inference, origin
from toolchain.errors import RunError
from toolchain.loop.lake import spark
from toolchain.loop.workers import parsed_batches, worker_schema

pyarrow = pytest.importorskip("pyarrow")


def test_workers_say_where_each_line_lies() -> None:
    maker = EventMaker(origin())
    lines = [inference(maker).line, b"{", None, inference(maker).line]
    batch = pyarrow.record_batch(
        {
            "value": pyarrow.array(lines, pyarrow.binary()),
            "arrived": np.full(4, 4e9),
            "partition": pyarrow.array([0, 0, 1, 1], pyarrow.int32()),
            "offset": pyarrow.array([7, 8, 3, 4], pyarrow.int64()),
        }
    )
    table = pyarrow.Table.from_batches(list(parsed_batches([batch, batch.slice(1, 1)], 60.0)), worker_schema())
    events = table.filter(table["reason"].is_null()).select(("id", "late", "partition", "offset")).to_pylist()
    assert [tuple(row.values()) for row in events] == [("s-0", True, 0, 7), ("s-1", True, 1, 4)]
    refused = table.filter(table["id"].is_null()).select(("line", "partition", "offset")).to_pylist()
    assert [tuple(row.values()) for row in refused] == [(b"{", 0, 8), (b"", 1, 3), (b"{", 0, 8)]


def test_kafka_in_sparks_words(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).write_text(name)
    settings = SinkSettings(
        "kafka",
        "kafka",
        url="kafka://a:1,b:2",
        topic="t",
        username='na"me',
        password="pa\\ss;",
        sasl="SCRAM-SHA-512",
        ca_file="/ca.pem",
        client_cert=str(tmp_path / "cert"),
        client_key=str(tmp_path / "key"),
    )
    found = spark._kafka_options(settings, 500, 2)
    assert found["kafka.bootstrap.servers"] == "a:1,b:2" and found["kafka.security.protocol"] == "SASL_SSL"
    login = 'org.apache.kafka.common.security.scram.ScramLoginModule required username="na\\"me" password="pa\\\\ss;";'
    assert found["kafka.sasl.jaas.config"] == login
    assert (found["kafka.ssl.keystore.certificate.chain"], found["kafka.ssl.keystore.key"]) == ("cert", "key")
    assert found["maxOffsetsPerTrigger"] == "500" and found["subscribe"] == "t"


def test_files_of_a_batch_are_those_of_its_transaction(tmp_path: Path) -> None:
    log = tmp_path / "_delta_log"
    log.mkdir()
    for number, query in enumerate(("one", "two", "one")):
        name = f"a%20{number}.parquet"
        actions = [
            {"txn": {"appId": query, "version": 5 + number}},
            {"add": {"path": name, "stats": json.dumps({"numRecords": 9})}},
        ]
        (log / f"{number:020d}.json").write_text("\n".join(json.dumps(one) for one in [{"commitInfo": {}}, *actions]))
    assert spark._added(tmp_path, "one", 7) == [("a 2.parquet", 9)]
    with pytest.raises(RunError) as fault:
        spark._added(tmp_path, "one", 6)
    assert fault.value.code == "E527"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("stack\norg.apache.kafka.common.errors.SaslAuthenticationException: Invalid username", "E522"),
        ("x\norg.apache.kafka.common.errors.SslAuthenticationException: SSL handshake failed", "E523"),
        ("x\norg.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment.", "E521"),
        ("x\nCaused by: java.lang.OutOfMemoryError: Java heap space", "E527"),
    ],
)
def test_faults_have_codes(text: str, code: str) -> None:
    fault = spark._coded(SinkSettings("kafka", "kafka", url="kafka://a:1"), RuntimeError(text))
    assert fault.code == code
    assert text.rpartition(": ")[2].rstrip(".") in str(fault)
