"""Test support: a server of S3's API on 127.0.0.1, with a bucket, and the environment of a client that may use it."""

from __future__ import annotations

import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest


class Bucket:
    """A bucket `fleet`. options: for a source's file, as TOML."""

    def __init__(self, endpoint: str) -> None:
        import boto3

        self.endpoint = endpoint
        self.client: Any = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        self.client.create_bucket(Bucket="fleet")
        self.options = f'options = {{endpoint_url = "{endpoint}"}}'

    def put(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket="fleet", Key=name, Body=content)

    def drop(self, name: str) -> None:
        self.client.delete_object(Bucket="fleet", Key=name)


@contextmanager
def bucket(monkeypatch: pytest.MonkeyPatch) -> Generator[Bucket]:
    """A server that ends with the block; skips the test without the packages."""
    pytest.importorskip("s3fs")
    servers = pytest.importorskip("moto.server")
    environment = {"ACCESS_KEY_ID": "us3r", "SECRET_ACCESS_KEY": "pa55", "EC2_METADATA_DISABLED": "true", "MAX_ATTEMPTS": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    server = servers.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    try:
        # All servers of a process have the same buckets.
        urllib.request.urlopen(f"{endpoint}/moto-api/reset", b"").close()
        yield Bucket(endpoint)
    finally:
        server.stop()
