"""Samples for boards that have no sensor of their own: files in a board's folder are run on it, one sample after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from benchmarks.telemetry.event import EventMaker, Failure, Inference
from benchmarks.telemetry.figures import input_figures, top_and_confidence
from benchmarks.telemetry.sinks import Sink
from firmware.serial.board import Board, Hello
from runtimes.onboard.bundle import BoardBundle, read_board_bundle
from runtimes.onboard.network import Array, InputError, Tensor, stored_inputs
from runtimes.onboard.results import result_line, whole_file
from runtimes.onboard.samples import Sample, read_samples, results_of, waiting
from runtimes.qemu_clock import ticks_between
from toolchain.errors import DataError, RunError, StropError

RUN_S = 60.0


class Feed:
    """The folder of one board. What lies there as .npy, .npz or .jsonl is run once; results lie beside it, as `strop agent`'s.

    A file that was begun on one firmware is ended on the next one; one that a fault cut off is run again from its begin.
    """

    def __init__(self, folder: Path, sink: Sink) -> None:
        self.ran, self.failed = 0, 0
        self._folder, self._sink = folder, sink
        self._seen: dict[Path, tuple[int, int]] = {}
        self._talk: Talk | None = None
        self._work: Iterator[None] = iter(())

    def meet(self, talk: Talk | None) -> None:
        """Samples go to this board and firmware from now on; None where nobody knows what it runs, and files wait."""
        self._talk = talk

    def step(self) -> bool:
        """Run one sample; False where none waits. Raises RunError E502, E506, E507, DataError E205 for the folder."""
        if self._talk is None:
            return False
        for _ in range(2):
            for _ in self._work:
                return True
            self._work = self._files(self._talk.bundle)
        return False

    def _files(self, bundle: BoardBundle) -> Iterator[None]:
        if not self._folder.is_dir():
            return
        fresh = waiting(self._folder, self._folder)
        ready = [path for path, state in fresh.items() if self._seen.get(path) == state]
        self._seen = fresh
        for path in ready:
            with whole_file(results_of(path, self._folder)) as out:
                try:
                    for sample in read_samples(str(path), bundle.inputs):
                        self._one(sample, out)
                        yield
                except DataError as fault:
                    self._refuse(Sample(None, str(path)), fault, out)

    def _one(self, sample: Sample, out: IO[str]) -> None:
        assert self._talk is not None
        try:
            if sample.fault is not None:
                raise sample.fault
            line, told = self._talk.inference(sample)
        except (InputError, DataError, Unfit) as fault:
            self._refuse(sample, fault, out)
            return
        out.write(line)
        self._sink.send(self._talk.maker.inferences([told]))
        self.ran += 1

    def _refuse(self, sample: Sample, fault: InputError | StropError, out: IO[str]) -> None:
        assert self._talk is not None
        if isinstance(fault, InputError):
            fault = DataError(fault.number, f"{sample.source} sample {sample.name}", str(fault), "See the bundle's README.md")
        self.failed += 1
        out.write(json.dumps({"id": sample.name, **fault.as_json()}) + "\n")
        self._sink.send(self._talk.maker.failure(Failure(fault.code, str(fault))))


class Unfit(RunError):
    """A board's network told a fault of its own; the board goes on."""


def described(bundle: str, sha256: str) -> BoardBundle | None:
    """The description of the bundle that a board runs, None where it is not here."""
    if not bundle:
        return None
    try:
        opened = read_board_bundle(Path(bundle))
    except RunError:
        return None
    return opened if opened.sha256 == sha256 else None


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation with the board's first model, which is of this bundle."""

    board: Board
    hello: Hello
    maker: EventMaker
    bundle: BoardBundle

    def inference(self, sample: Sample) -> tuple[str, Inference]:
        """Run a sample: the line of its outputs, and what is told of it.

        Raises InputError, Unfit E502 for what the network told, RunError E502, E506, E507 for the board.
        """
        stored = stored_inputs(self.bundle.inputs, sample.inputs)
        given = [array.tobytes() for array in stored]
        for index, data in enumerate(given):
            self.board.write(index, data, self.hello.payload_bytes)
        ran = self.board.run(given, RUN_S)
        if ran.status or ran.guard:
            what = f"model 0 returned {ran.status}, guard {ran.guard}"
            raise Unfit(503 if ran.guard else 502, self.board.name, what, "Report this with the bundle")
        real = [tensor.real(self._read(index, tensor)) for index, tensor in enumerate(self.bundle.outputs)]
        top, confidence = top_and_confidence(real[0])
        ticks = ticks_between(ran.moments, counts_instructions=self.hello.poll_instructions == 0)
        latency_us = ticks * 1e6 / self.hello.clock_hz if self.hello.clock_hz else 0.0
        names = [json.dumps(tensor.name) for tensor in self.bundle.outputs]
        told = Inference(latency_us, input_figures(self.bundle.inputs, stored), top, confidence)
        return result_line(sample.name, names, real, top, confidence), told

    def _read(self, index: int, tensor: Tensor) -> Array:
        size = int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
        return np.frombuffer(self.board.read(index, size, self.hello.payload_bytes), tensor.dtype).reshape(tensor.shape)
