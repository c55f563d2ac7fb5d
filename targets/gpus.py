"""The part of a target file that describes an NVIDIA GPU: `[gpu]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from targets.table import Table

EngineBuild = Literal["here", "there"]
_CAPABILITY = re.compile(r"([0-9]{1,2})\.([0-9])")
_MAX_MEMORY_BYTES = 1 << 44


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that runs TensorRT engines.

    capability: CUDA's compute capability, (8, 6) for SM 86. memory_bytes: its own, or what it shares with the processor.
    engine: built `here` by TensorRT-RTX when the model is compiled, without such a GPU, or `there`, on the machine that has it.
    """

    capability: tuple[int, int]
    memory_bytes: int
    engine: EngineBuild

    @property
    def sm(self) -> int:
        """The number of the streaming multiprocessor's version, 86 for SM 86."""
        return 10 * self.capability[0] + self.capability[1]


def read_gpu(table: Table) -> Gpu:
    """The GPU that a table describes. Raises TargetError 304."""
    table.expect(("compute_capability", "memory_bytes", "engine"))
    text = table.text("compute_capability")
    match = _CAPABILITY.fullmatch(text)
    if match is None:
        raise table.fault("compute_capability", f"is '{text}'", "Write it as CUDA does, for example '8.6'")
    memory_bytes = table.integer("memory_bytes", 1, _MAX_MEMORY_BYTES)
    engine = cast("EngineBuild", table.choice("engine", get_args(EngineBuild)))
    return Gpu((int(match[1]), int(match[2])), memory_bytes, engine)
