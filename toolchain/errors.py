"""Every error a user can meet: one class per family, one table of codes, one way to print them.

Boards import this module, so it keeps to Python 3.9. The text is `E<number> <place>: <what, with the numbers>. <what to do>.`
and the process exits with the family's status.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One row of the table in docs/errors.md: what kind of fault a number names."""

    number: int
    title: str


CODES: dict[int, Code] = {
    code.number: code
    for code in (
        Code(101, "the file cannot be read"),
        Code(102, "the file is of no known model format"),
        Code(103, "the model file is damaged or contradicts itself"),
        Code(104, "an operator is not supported"),
        Code(105, "a dimension is unknown"),
        Code(106, "a weight is not a finite number"),
        Code(107, "a tensor is larger than any target can hold"),
        Code(108, "the graph is malformed"),
        Code(109, "the model refers to data outside its own folder"),
        Code(110, "the file could run code when opened"),
        Code(111, "quantization parameters are missing or not allowed"),
        Code(201, "a sample has the wrong shape"),
        Code(202, "a sample has the wrong data type"),
        Code(203, "there are no samples"),
        Code(204, "a sample is not a finite number"),
        Code(205, "the data cannot be read"),
        Code(206, "labels are missing or do not fit the samples"),
        Code(207, "a metric does not fit the outputs or the labels"),
        Code(208, "a recipe is wrong"),
        Code(209, "training came to numbers that are not finite"),
        Code(210, "a loop's file is wrong"),
        Code(211, "a file of sources is wrong"),
        Code(212, "a source cannot be reached or does not give what was asked for"),
        Code(213, "what a source gave is not what was expected"),
        Code(214, "an archive is damaged or not safe to unpack"),
        Code(215, "feature settings are wrong"),
        Code(216, "the network does not take the features"),
        Code(301, "the activations do not fit the target's RAM"),
        Code(302, "the program does not fit the target's flash"),
        Code(303, "there is no such target"),
        Code(304, "a target file is wrong"),
        Code(305, "the target cannot run an operator"),
        Code(306, "the target does not take the format"),
        Code(307, "no plan keeps the limits that were asked for"),
        Code(308, "the target has no clock, so no latency can be predicted"),
        Code(401, "no C compiler was found"),
        Code(402, "the C compiler failed"),
        Code(403, "no emulator, engine or GPU was found"),
        Code(404, "an optional package is not installed"),
        Code(405, "an outside tool failed"),
        Code(406, "a tool that writes to boards was not found"),
        Code(501, "the program ran too long"),
        Code(502, "the program faulted"),
        Code(503, "the program wrote outside its arena"),
        Code(504, "the bundle is damaged or of another version"),
        Code(505, "the output place cannot be written"),
        Code(506, "the board does not answer"),
        Code(507, "the board answers something else than it was asked"),
        Code(508, "the board runs another firmware"),
        Code(515, "a power meter does not answer, or measured too little"),
        Code(509, "the board was not written"),
        Code(510, "no board was found, or more than one"),
        Code(513, "the chip is another one than the target's"),
        Code(511, "an update is damaged or for another board"),
        Code(512, "the board did not take the update"),
        Code(521, "a service for telemetry cannot be reached"),
        Code(522, "a service for telemetry refuses the credentials"),
        Code(523, "a service for telemetry is not trusted, or its TLS files are wrong"),
        Code(524, "the user of a service for telemetry may not write"),
        Code(525, "events were not taken"),
        Code(526, "events were dropped"),
        Code(527, "Spark failed"),
        Code(601, "outputs differ from the reference"),
        Code(602, "a measurement became worse than allowed"),
        Code(603, "a decision's record does not hold"),
        Code(901, "the command line is wrong"),
        Code(902, "Strop itself failed"),
        Code(903, "a settings file is wrong"),
    )
}


class StropError(Exception):
    """A fault that the user can mend. `number` is a key of CODES; `str()` is the full printed text."""

    def __init__(self, number: int, place: str, message: str, hint: str = "") -> None:
        super().__init__(number, place, message, hint)
        self.number = number
        self.place = place
        self.message = message.rstrip(".")
        self.hint = hint.rstrip(".")

    @property
    def code(self) -> str:
        """The code as printed, for example `E301`."""
        return f"E{self.number}"

    @property
    def exit_status(self) -> int:
        """Process exit status, 11 to 19: ten plus the code's family (statuses end at 255, codes do not)."""
        return 10 + self.number // 100

    def __str__(self) -> str:
        text = f"{self.code} {self.place}: {self.message}."
        return f"{text} {self.hint}." if self.hint else text

    def as_json(self) -> dict[str, object]:
        """The object printed under `--json`."""
        return {"error": {"code": self.code, "place": self.place, "message": self.message, "hint": self.hint}}


class ModelError(StropError):
    """E1xx: the model file or the graph in it."""


class DataError(StropError):
    """E2xx: calibration or test data."""


class TargetError(StropError):
    """E3xx: the target, or what the model needs of it."""


class EnvironmentFault(StropError):
    """E4xx: what this machine lacks, or an outside tool that failed."""


class RunError(StropError):
    """E5xx: running a bundle."""


class VerificationError(StropError):
    """E6xx: a result that is not the expected one."""


class UsageError(StropError):
    """E9xx: the command line, or a defect of Strop."""
