"""A loop's file: the example is read, every fault is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.telemetry.kafka_client import Brokers
from toolchain.errors import StropError
from toolchain.loop.settings import load_loop

LOOP = Path(__file__).parents[2] / "examples" / "loop" / "loop.toml"


def test_the_example_is_read() -> None:
    found = load_loop(LOOP)
    assert found.compile.targets == ("rp2040_pico", "mps2_an386")
    assert found.gate.min_gain == 0.1 and found.gate.slice_samples == 20 and not found.gate.approval
    assert found.simulation is not None
    assert [change.segment for change in found.simulation.changes] == ["street", "yard"]
    assert found.folder == LOOP.parents[2] / "build" / "loop"


def test_kafka_and_spark_are_read_and_secrets_come_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = """
[ingest]
engine = "spark"
format = "delta"

[kafka]
servers = "a:1,b:2"
topic = "events"
username = "strop"
tls = true

[spark]
jars = ["jars", "/more/one.jar"]
conf = { "spark.driver.memory" = "2g", "spark.ui.enabled" = true }
"""
    monkeypatch.setenv("STROP_TELEMETRY_KAFKA_PASSWORD", "pa55")
    (tmp_path / "loop.toml").write_text(LOOP.read_text() + more)
    found = load_loop(tmp_path / "loop.toml").ingest
    assert found.kafka is not None and (found.engine, found.format) == ("spark", "delta")
    assert (found.kafka.url, found.kafka.topic, found.kafka.password) == ("kafka://a:1,b:2", "events", "pa55")
    assert Brokers(found.kafka).protocol == "SASL_SSL"
    assert found.spark.jars == (str(tmp_path / "jars"), "/more/one.jar")
    assert found.spark.conf == {"spark.driver.memory": "2g", "spark.ui.enabled": "true"}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("[gate]", "[gate]\nmin_gian = 1", "E210 loop.toml: key 'gate.min_gian' is unknown. Did you mean 'min_gain'"),
        ("min_gain = 0.1", "min_gain = 2", "E210 loop.toml: key 'gate.min_gain' is 2"),
        ("stages = [5, 25, 100]", "stages = [5, 25]", "E210 loop.toml: key 'rollout.stages' is [5, 25]"),
        ("stages = [5, 25, 100]", "stages = [25, 5, 100]", "E210 loop.toml: key 'rollout.stages' is [25, 5, 100]"),
        ("classes = 10", "classes = 1", "E210 loop.toml: key 'validate.classes' is 1"),
        ('"rp2040_pico", ', '"rp2040_pica", ', "E303"),
        ('segment = "yard"', 'segment = "roof"', "E210 loop.toml: key 'simulation.change[1].segment' is 'roof'"),
        ("[gate]", '[ingest]\nengine = "spork"\n[gate]', "E210 loop.toml: key 'ingest.engine' is 'spork'"),
        ("[gate]", '[ingest]\nengine = "spark"\n[gate]', "E210 loop.toml: key 'ingest.engine' is 'spark', which reads Kafka"),
        ("[gate]", '[ingest]\nformat = "delta"\n[gate]', "E210 loop.toml: key 'ingest.format' is 'delta', which the engine"),
        ("[gate]", '[kafka]\nservers = "a:1"\n[gate]', "E210 loop.toml: key 'kafka.topic' is missing"),
        ("[gate]", '[kafka]\nservers = "a:1"\ntopic = "t"\npassword = "p"\n[gate]', "E210 loop.toml: key 'kafka.password'"),
        (
            "[gate]",
            '[kafka]\nservers = "a:1"\ntopic = "t"\npassword_file = "/none"\n[gate]',
            "E210 loop.toml: [kafka] password_file = '/none'",
        ),
        ("[gate]", '[spark.conf]\nmemory = "2g"\n[gate]', "E210 loop.toml: key 'spark.conf.memory' is no setting of Spark"),
        ("[fleet]", "[fleet", "E210 loop.toml: it is not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, old: str, new: str, fault: str) -> None:
    text = LOOP.read_text()
    assert text.count(old) == 1
    (tmp_path / "loop.toml").write_text(text.replace(old, new))
    with pytest.raises(StropError) as caught:
        load_loop(tmp_path / "loop.toml")
    assert str(caught.value).startswith(fault)
