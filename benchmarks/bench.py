"""One run: what sections say, measure and note goes through it."""

import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from msgspec.structs import replace

from . import machine, results
from .machine import Machine
from .procs import Broken
from .results import Note, Ran, Result, Row

Scale = Literal["quick", "normal", "long"]
SECONDS: Final = {"quick": 0.25, "normal": 1.0, "long": 4.0}  # how much longer a phase lasts
TIMES: Final = {"quick": -2, "normal": 0, "long": 2}  # repetitions added


class Bench:
    """``folder`` is empty at first and lies on the disk that is measured; ``python`` runs whatever is measured."""

    def __init__(self, folder: Path, scale: Scale = "normal", *, out: Path | None = None, quiet: bool = False) -> None:
        self.folder, self.scale, self.out, self.quiet = folder.resolve(), scale, out, quiet
        self.python, self.section = sys.executable, ""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._began = self._section_began = time.monotonic()
        self.result = Result(
            machine=machine.machine(self.folder),
            versions=machine.versions(),
            commit=machine.commit(),
            started=_now(),
            seconds=0.0,
            scale=scale,
        )

    def begin(self, section: str) -> None:
        """What is measured from now on is of this section."""
        self.section, self._section_began = section, time.monotonic()
        self.result.ran[section] = Ran(commit=self.result.commit, started=_now(), seconds=0.0, scale=self.scale)
        self.say("begins")

    def seconds(self, normal: float) -> float:
        """How long a phase lasts that lasts ``normal`` seconds at scale normal; a second at least."""
        return max(normal * SECONDS[self.scale], 1.0)

    def times(self, normal: int = 3) -> int:
        """How often contenders take turns."""
        return max(normal + TIMES[self.scale], 1)

    def say(self, text: str) -> None:
        """One line of progress."""
        if not self.quiet:
            print(f"{time.monotonic() - self._began:7.1f}s  {self.section:<8} {text}", flush=True)

    def row(self, case: str, subject: str, metric: str, unit: str, *values: float) -> None:
        """Measured values of one contender; further ones of the same place are added to them."""
        place = (self.section, case, subject, metric)
        row = self.result.row(*place)
        if row is None:
            row = Row(section=self.section, case=case, subject=subject, metric=metric, unit=unit, values=[])
            self.result.rows.append(row)
        row.values.extend(values)

    def note(self, text: str) -> None:
        """What a reader of this section has to know; each text once."""
        if text not in self.result.notes_of(self.section):
            self.result.notes.append(Note(section=self.section, text=text))
            self.say(f"note: {text}")

    def keep(self, other: Result, again: list[str]) -> None:
        """Take over what another run found, but for the sections that are measured again now. Raises Broken for a run on
        another machine: its figures stand beside no others."""
        if apart(self.result.machine) != apart(other.machine):
            raise Broken(f"those results are of another machine: {other.machine}")
        self.result.rows = [row for row in other.rows if row.section not in again]
        self.result.notes = [note for note in other.notes if note.section not in again]
        self.result.stacks = {} if "flame" in again else other.stacks
        self.result.ran = {section: ran for section, ran in other.ran.items() if section not in again}

    def save(self) -> None:
        """What is there so far, so that a run that is broken off has not been in vain."""
        now = time.monotonic()
        self.result.seconds = round(now - self._began, 1)
        if self.section in self.result.ran:
            self.result.ran[self.section].seconds = round(now - self._section_began, 1)
        if self.out is not None:
            results.save(self.result, self.out)


def apart(found: Machine) -> Machine:
    """Without what is measured anew each time."""
    return replace(found, sync_us=0, sync_p99_us=0)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
