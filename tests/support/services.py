"""Test support: real Kafka and Elasticsearch of this machine alone, started where `.ci/services` put them, ended by their pid."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import authority, signed

ROOT = Path(__file__).parents[2]
SERVICES = Path(os.environ.get("STROP_SERVICES", ROOT / "build" / "services"))
START_S = 180.0
NOBODY = 65534
# The users of a secured Elasticsearch and what `elasticsearch-users` made of the password; it takes half a minute each time.
PASSWORD = "pa55-w0rd"
USERS = """admin:$2a$10$nktr6fZ0c7oG9I8eaWCxr.ZRIu13GVDm/f3Hnep4/hJo50WrXsXXq
reader:$2a$10$zqfYbGQnaUBa02xjolzJ5.SzkoGPuRxpSGpeVoay33eu98j5s0ud6
writer:$2a$10$5u2Qq5wwqBhX8KS0FVa06u.7Wh2dMwaDSNICxIjnBMicv7xJF3OfK
"""

needs_kafka = pytest.mark.skipif(
    shutil.which("java") is None or not list(SERVICES.glob("kafka/kafka_*.jar")), reason="there is no Kafka (.ci/services)"
)
needs_elasticsearch = pytest.mark.skipif(
    shutil.which("java") is None or not (SERVICES / "elasticsearch" / "bin").is_dir(),
    reason="there is no Elasticsearch (.ci/services)",
)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


class Server:
    """A process with an open port, which can be killed and started again with what it kept on disk."""

    def __init__(
        self, command: Sequence[str], port: int, log: Path, environment: Mapping[str, str], user: int | None = None
    ) -> None:
        self._command, self.port, self._log, self._environment, self._user = command, port, log, environment, user
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                user=self._user,
                group=self._user,
                start_new_session=True,
                preexec_fn=_ends_with_parent,  # noqa: PLW1509 it only sets a flag of the new process
            )
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.2)
        self.kill()
        raise RuntimeError(f"{self._command[0]} did not start: {self._log.read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        """As a power failure would, but for what the kernel keeps."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Kafka(Server):
    """A broker that is its own controller."""

    def __init__(self, folder: Path, lines: Sequence[str] = (), listener: str = "PLAINTEXT") -> None:
        port, controller = free_port(), free_port()
        properties = folder / "server.properties"
        given = [
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.voters=1@127.0.0.1:{controller}",
            f"listeners={listener}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            f"advertised.listeners={listener}://127.0.0.1:{port}",
            f"inter.broker.listener.name={listener}",
            "controller.listener.names=CONTROLLER",
            f"listener.security.protocol.map=CONTROLLER:PLAINTEXT,{listener}:{listener}",
            f"log.dirs={folder / 'logs'}",
            "offsets.topic.replication.factor=1",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "num.partitions=1",
            "message.max.bytes=2000000",
            "group.initial.rebalance.delay.ms=0",
            *lines,
        ]
        properties.write_text("\n".join(given) + "\n")
        java = ["java", "-Xmx512m", "-Xms256m", "-cp", f"{SERVICES / 'kafka'}/*"]
        # Not one that begins with a dash, which would be taken for an option.
        identity = base64.urlsafe_b64encode(bytes([os.urandom(1)[0] & 127]) + os.urandom(15)).decode().rstrip("=")
        format_ = [*java, "kafka.tools.StorageTool", "format", "-t", identity, "-c", str(properties)]
        subprocess.run(format_, check=True, capture_output=True)
        super().__init__([*java, "kafka.Kafka", str(properties)], port, folder / "log.txt", {})

    @property
    def url(self) -> str:
        return f"kafka://127.0.0.1:{self.port}"


class Elasticsearch(Server):
    """A node. A secured one has TLS and USERS with PASSWORD, and `authority` signs for it."""

    def __init__(self, folder: Path, secured: bool = False) -> None:
        port, inner = free_port(), free_port()
        self.secured, self.scheme = secured, "https" if secured else "http"
        self.authority: Path | None = None
        config, home = folder / "config", SERVICES / "elasticsearch"
        shutil.copytree(home / "config", config, dirs_exist_ok=True)
        given = [
            "discovery.type: single-node",
            "network.host: 127.0.0.1",
            f"http.port: {port}",
            f"transport.port: {inner}",
            f"path.data: {folder / 'data'}",
            f"path.logs: {folder / 'logs'}",
            "cluster.routing.allocation.disk.threshold_enabled: false",
            *(self._secured(config) if secured else ["xpack.security.enabled: false"]),
        ]
        (config / "elasticsearch.yml").write_text("\n".join(given) + "\n")
        (folder / "tmp").mkdir()
        self._owner = NOBODY if os.getuid() == 0 else None
        if self._owner is not None:
            home = Path(shutil.copytree(home, folder / "home", symlinks=True))
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(folder)], check=True)
        environment = {
            "ES_PATH_CONF": str(config),
            "ES_JAVA_OPTS": "-Xms768m -Xmx768m",
            "ES_JAVA_HOME": str(java_home()),
            "ES_TMPDIR": str(folder / "tmp"),
            "HOME": str(folder),
        }
        super().__init__([str(home / "bin" / "elasticsearch")], port, folder / "log.txt", environment, self._owner)

    def _secured(self, config: Path) -> list[str]:
        """Certificates and roles."""
        by = authority(config, "authority")
        certificate, key = signed(config, "node", by)
        self.authority = config.parent / "authority.pem"
        shutil.copy(by[0], self.authority)
        rights = {"strop_writer": "create_doc, auto_configure", "strop_reader": "read"}
        role = "{}:\n  cluster: [monitor]\n  indices:\n    - names: ['metrics-strop.*']\n      privileges: [{}]\n"
        roles = "".join(role.format(*each) for each in rights.items())
        (config / "roles.yml").write_text(roles)
        (config / "users").write_text(USERS)
        (config / "users_roles").write_text("strop_reader:reader\nstrop_writer:writer\nsuperuser:admin\n")
        return [
            "xpack.security.enabled: true",
            "xpack.security.http.ssl.enabled: true",
            f"xpack.security.http.ssl.certificate: {certificate}",
            f"xpack.security.http.ssl.key: {key}",
            "xpack.security.transport.ssl.enabled: false",
        ]

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        super().start()
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            with contextlib.suppress(urllib.error.URLError, OSError):
                if self.ask("GET", "/_cluster/health?wait_for_status=yellow&timeout=20s")["status"] != "red":
                    return
            time.sleep(0.2)
        raise RuntimeError("Elasticsearch stays red")

    def kill(self) -> None:
        """The launcher and the server that it waits for: both are in a session of their own."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer to a request."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"}, method=method)
        if self.secured:
            pair = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
            request.add_header("Authorization", f"Basic {pair}")
        context = ssl.create_default_context(cafile=str(self.authority)) if self.authority else None
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return json.loads(answer.read())


def _ends_with_parent() -> None:
    """Have Linux end this process when the one that started it is gone, however that went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def java_home() -> Path:
    return Path(os.path.realpath(str(shutil.which("java")))).parents[1]


@contextlib.contextmanager
def place() -> Generator[Path]:
    """A folder that servers under another user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="strop-service-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(server: Server) -> Generator[None]:
    server.start()
    try:
        yield
    finally:
        server.kill()


@contextlib.contextmanager
def kafka(lines: Sequence[str] = (), listener: str = "PLAINTEXT") -> Generator[Kafka]:
    """A running broker."""
    with place() as folder:
        server = Kafka(folder, lines, listener)
        with running(server):
            yield server


@contextlib.contextmanager
def elasticsearch(secured: bool = False) -> Generator[Elasticsearch]:
    """A running node, with users and TLS where it is secured."""
    with place() as folder:
        server = Elasticsearch(folder, secured)
        with running(server):
            yield server
