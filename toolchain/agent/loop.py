"""The agent's loop: a sample, its inference, its outputs, its event."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from benchmarks.telemetry.event import EventMaker, Failure, Inference, Origin
from benchmarks.telemetry.figures import input_figures, top_and_confidence
from benchmarks.telemetry.sinks import Sink
from runtimes.onboard.bundle import Opened
from runtimes.onboard.network import InputError, LibraryError, stored_inputs
from runtimes.onboard.results import result_line, whole_file
from runtimes.onboard.samples import Sample, read_samples, results_of, watch
from toolchain.agent.follow import Follower
from toolchain.errors import DataError, RunError, StropError

# So many of the last inferences are looked at for quantiles.
KEPT = 10_000


@dataclass
class Tally:
    """What has been run. Microseconds of the last inferences: of the network, and of the agent around it."""

    samples: int = 0
    failed: int = 0
    latency_us: array[float] = field(default_factory=lambda: array("d"))
    overhead_us: array[float] = field(default_factory=lambda: array("d"))

    def add(self, latency_us: float, overhead_us: float) -> None:
        """Count an inference."""
        for values, value in ((self.latency_us, latency_us), (self.overhead_us, overhead_us)):
            if len(values) < KEPT:
                values.append(value)
            else:
                values[self.samples % KEPT] = value
        self.samples += 1


def quantiles(values: array[float]) -> dict[str, float] | None:
    """50th, 95th and 99th percentile, None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return {f"p{share}": round(ordered[min(len(ordered) * share // 100, len(ordered) - 1)], 3) for share in (50, 95, 99)}


class Agent:
    """Runs samples through an opened bundle; outputs go where each call says, events to a sink."""

    def __init__(
        self,
        opened: Opened,
        sink: Sink | None,
        batch: int,
        version: str,
        *,
        raw: bool = False,
        follower: Follower | None = None,
    ) -> None:
        """batch: inferences told of by one event. version: of Strop. raw: events hold the inputs themselves, too.

        follower: changes the bundle while samples are run, None where it stays.
        """
        self.tally = Tally()
        self._version, self._follower = version, follower
        self._sink, self._batch, self._pending, self._raw = sink, batch, list[Inference](), raw
        self._last_fault: StropError | None = None
        self.use(opened)

    def use(self, opened: Opened) -> None:
        """Run this bundle from now on."""
        bundle, machine = opened.bundle, platform.uname()
        self.opened, self.inputs = opened, bundle.inputs
        self._network, self._outputs = opened.network, bundle.outputs
        self._names = [json.dumps(tensor.name) for tensor in bundle.outputs]
        self._events = EventMaker(
            Origin(
                service=bundle.name,
                sha256=bundle.sha256,
                target=bundle.target,
                precision=bundle.precision,
                engine=opened.engine,
                hostname=machine.node if self._follower is None else self._follower.device,
                architecture=machine.machine,
                agent_version=self._version,
            )
        )

    def turn(self) -> None:
        """Between samples: another bundle may be there."""
        if self._follower is None:
            return
        other = self._follower.turn(self._tell)
        if other is not None:
            self.flush()
            self.use(other)

    def _tell(self, phase: str, facts: Mapping[str, str], ok: bool) -> None:
        """Tell of a deployment."""
        if self._sink is None:
            return
        self.flush()
        self._sink.send(self._events.report("deployment", {"phase": phase, **facts}, ok=ok))
        if not ok:
            reason = facts["reason"]
            self._sink.send(self._events.failure(Failure(reason[:4], reason)))

    def run(self, samples: Iterator[Sample], out: IO[str]) -> None:
        """Run every sample and write its outputs as a line of JSON. Samples that cannot be run are told of, and passed over."""
        for sample in samples:
            self.turn()
            begun = time.perf_counter_ns()
            try:
                if sample.fault is not None:
                    raise sample.fault
                spent = self._one(sample, out)
            except (InputError, DataError) as fault:
                self.refuse(sample, fault, out)
            except LibraryError as fault:
                told = RunError(502, sample.source, str(fault), "Report this with the bundle")
                if self._follower is None or not self._follower.failed():
                    raise told from fault
                self.refuse(sample, told, out)
            else:
                whole = time.perf_counter_ns() - begun
                self.tally.add(spent / 1000, (whole - spent) / 1000)

    def flush(self) -> None:
        """Send the event of inferences that no event has told of yet."""
        if self._pending and self._sink is not None:
            self._sink.send(self._events.inferences(self._pending))
        self._pending.clear()

    def fault(self) -> StropError | None:
        """What became of the samples that could not be run, None where all could be."""
        last = self._last_fault
        if last is None:
            return None
        failed, tried = self.tally.failed, self.tally.samples + self.tally.failed
        what = f"{failed:,} of {tried:,} samples were not run, the last because: {last.message}"
        return type(last)(last.number, last.place, what, last.hint)

    def _one(self, sample: Sample, out: IO[str]) -> int:
        """Run a sample; the nanoseconds that the network took."""
        stored = stored_inputs(self.inputs, sample.inputs)
        begun = time.perf_counter_ns()
        outputs = self._network.run_stored(stored)
        spent = time.perf_counter_ns() - begun
        real = [tensor.real(output) for tensor, output in zip(self._outputs, outputs)]
        top, confidence = top_and_confidence(real[0])
        if self._follower is not None:
            self._follower.ran(spent / 1000, confidence)
        out.write(result_line(sample.name, self._names, real, top, confidence))
        if self._sink is not None:
            figures = input_figures(self.inputs, stored, raw=self._raw)
            self._pending.append(Inference(spent / 1000, figures, top, confidence))
            if len(self._pending) >= self._batch:
                self.flush()
        return spent

    def refuse(self, sample: Sample, fault: InputError | StropError, out: IO[str]) -> None:
        """Tell why a sample could not be run, where its outputs would stand and in an event."""
        if isinstance(fault, InputError):
            fault = DataError(fault.number, f"{sample.source} sample {sample.name}", str(fault), "See the bundle's README.md")
        self.tally.failed += 1
        self._last_fault = fault
        out.write(json.dumps({"id": sample.name, **fault.as_json()}) + "\n")
        if self._sink is not None:
            self.flush()
            self._sink.send(self._events.failure(Failure(fault.code, str(fault))))


def serve(agent: Agent, place: str, output: str, poll_s: float | None) -> None:
    """Run what is at a place: a file, a folder (poll_s: seconds between two looks for new files, None for one look), or `-`.

    output: a file or `-`; of a folder, the folder for results. Ends by itself, or at SIGINT and SIGTERM.
    Raises DataError E201, E205 for a file, RunError E502, E505.
    """
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if place != "-" and Path(place).is_dir():
            _serve_folder(agent, Path(place), Path(output), poll_s or 0)
        elif output == "-":
            with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1) as file:
                agent.run(read_samples(place, agent.inputs), file)
        else:
            # Who waits for samples to come may wait for their outputs, too.
            with open(output, "w", encoding="utf-8", buffering=1 if place == "-" else -1) as file:
                agent.run(read_samples(place, agent.inputs), file)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as fault:
        raise RunError(505, output, f"it cannot be written: {fault.strerror}", "Name another place with -o") from fault
    finally:
        signal.signal(signal.SIGTERM, previous)
        agent.flush()


def _serve_folder(agent: Agent, folder: Path, results: Path, poll_s: float) -> None:
    """Run every file of a folder that has no results. A file that cannot be read has the fault as its result."""
    results.mkdir(parents=True, exist_ok=True)
    for path in watch(folder, results, poll_s, agent.turn):
        with whole_file(results_of(path, results)) as file:
            try:
                agent.run(read_samples(str(path), agent.inputs), file)
            except DataError as fault:
                agent.refuse(Sample(None, str(path)), fault, file)
        agent.flush()
