"""What one commit takes from a source."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Batch:
    """Lines of one commit. arrived: seconds since 1970 of each. sources: how far each is read when it is done."""

    lines: list[bytes] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    sources: dict[str, int] = field(default_factory=dict)
