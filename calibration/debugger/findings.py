"""What the debugger found, as plain data; `toolchain.bundle.codec.encode` makes the JSON of it."""

from __future__ import annotations

from dataclasses import dataclass

from calibration.coverage import Coverage


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram of one value in float and as stored: bar i counts elements from low + i * width on, in real units.

    The first and the last bar also count what lies beyond. range_low, range_high: ends of what can be stored.
    """

    low: float
    width: float
    real: tuple[int, ...]
    quantized: tuple[int, ...]
    range_low: float
    range_high: float


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change of one layer that was tried in the quantized network, and the network's mean loss before and after it.

    kind: `range` (of its output), `rounding` (of its weights), `int16` (its output in 16 bits) or `float` (the layer and its
    output in float). setting: of the kind, such as the range method. gain: share (to 1) of the loss that it takes away, negative
    where it makes it worse. sure: the gain is more than twice its standard error. advice: what a user does to have it.
    """

    kind: str
    setting: str
    before: float
    after: float
    gain: float
    sure: bool
    advice: str


@dataclass(frozen=True, slots=True)
class LayerFinding:
    """What one layer costs.

    loss: of the float network when the error that this layer itself makes is added to its output. share: of the sum of these
    over all layers (0 to 1). sqnr_db: of its output in the quantized network; own_sqnr_db: with its own error alone, made on
    the float network's values as they are stored. None where there is no noise or no signal.
    saturated_low, saturated_high: share of stored elements at an end of the type, an end that is zero not counted.
    clipped_low, clipped_high: share of float elements that the range cannot hold. used: share of the type's steps between the
    smallest and largest stored element. low, high: smallest and largest float element. worst: indices of the samples with most
    noise for their signal, worst first. remedies: that were tried, best first; cure: the one to take, None where none helps
    or none was tried.
    """

    name: str
    op: str
    loss: float
    share: float
    sqnr_db: float | None
    own_sqnr_db: float | None
    saturated_low: float
    saturated_high: float
    clipped_low: float
    clipped_high: float
    used: float
    low: float
    high: float
    worst: tuple[int, ...]
    histogram: Bars
    remedies: tuple[Remedy, ...] = ()
    cure: Remedy | None = None

    @property
    def saturated(self) -> float:
        """Share of stored elements at either end."""
        return self.saturated_low + self.saturated_high

    @property
    def clipped(self) -> float:
        """Share of float elements beyond either end."""
        return self.clipped_low + self.clipped_high


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Layers of a quantized network, most costly first.

    samples: that figures of layers are over; measured: that losses and remedies are over. loss: the quantized network's mean.
    loss_unit: what losses are in. worst: indices of the samples of most loss among those measured. coverage: of layers'
    outputs, where the bundle tells what calibration saw.
    """

    samples: int
    measured: int
    loss: float
    loss_unit: str
    worst: tuple[int, ...]
    layers: tuple[LayerFinding, ...]
    coverage: tuple[Coverage, ...] = ()
