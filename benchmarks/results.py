"""What a run found, as data: rows of repeated measurements, the machine, notes. Kept as JSON."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from .machine import Machine

COMMITTED: Final = Path(__file__).parent / "results"  # a JSON per run that docs may be made of, named by its day


class Row(Struct, kw_only=True):
    """One figure of one contender, measured ``len(values)`` times: ``section`` accept, ``case`` "64 connections", ``subject``
    "payonce", ``metric`` rate, ``unit`` "/s"."""

    section: str
    case: str
    subject: str
    metric: str
    unit: str
    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """From the lowest to the highest value, as a part of the median; 0 for one value."""
        return (max(self.values) - min(self.values)) / abs(self.median) if self.median else 0.0

    @property
    def place(self) -> tuple[str, str, str, str]:
        return self.section, self.case, self.subject, self.metric


class Note(Struct, kw_only=True):
    """What a reader has to know of a section: why a contender is missing, how one was set up."""

    section: str
    text: str


class Ran(Struct, kw_only=True):
    """How a section was measured: what of, when (ISO 8601, UTC), in how many seconds, at scale quick, normal or long."""

    commit: str
    started: str
    seconds: float
    scale: str


class Result(Ran, kw_only=True):
    """A whole run: the latest one, and in ``ran`` each section's own, since some may be kept of earlier runs. ``stacks`` has of
    each case of the flame graphs how often a stack was seen."""

    machine: Machine
    versions: dict[str, str]
    ran: dict[str, Ran] = {}
    rows: list[Row] = []
    notes: list[Note] = []
    stacks: dict[str, dict[str, int]] = {}

    def row(self, section: str, case: str, subject: str, metric: str) -> Row | None:
        """That figure, or None: it was not measured."""
        wanted = (section, case, subject, metric)
        return next((row for row in self.rows if row.place == wanted), None)

    def of(self, section: str, metric: str = "", case: str = "") -> Iterator[Row]:
        """The rows of a section, in their order; of one metric or one case where it is named."""
        for row in self.rows:
            if row.section == section and metric in ("", row.metric) and case in ("", row.case):
                yield row

    def notes_of(self, section: str) -> list[str]:
        return [note.text for note in self.notes if note.section == section]


def save(result: Result, path: Path) -> None:
    """As JSON for people, numbers to six digits after the point."""
    for row in result.rows:
        row.values = [round(value, 6) for value in row.values]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def load(path: Path) -> Result:
    """Raises msgspec.ValidationError for a file of another shape. A file that is older than ``ran`` was one run as a whole."""
    result = msgspec.json.decode(path.read_bytes(), type=Result)
    whole = Ran(commit=result.commit, started=result.started, seconds=result.seconds, scale=result.scale)
    result.ran = result.ran or {row.section: whole for row in result.rows}
    return result


def newest() -> Path | None:
    """The committed result of the latest day."""
    return max(COMMITTED.glob("20??-??-??.json"), default=None)
