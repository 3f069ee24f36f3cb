"""Any number of lines in order of their keys, with bounded memory: sorted runs go to unnamed temporary files and are merged.
They need about as much space there (TMPDIR) as what comes out."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from heapq import merge
from typing import IO, Final, Self

RUN_BYTES: Final = 16 * 1024 * 1024  # held in memory before a run is written
RUNS_MAX: Final = 64  # files that are open at once


class Sorter:
    """A context manager: what is in its files is gone afterwards. Neither keys nor lines hold line ends, keys hold no tab."""

    def __init__(self, run_bytes: int = RUN_BYTES, runs_max: int = RUNS_MAX) -> None:
        self._run_bytes, self._runs_max = run_bytes, runs_max
        self._held: list[bytes] = []
        self._size = 0
        self._runs: list[IO[bytes]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def put(self, key: str, line: bytes) -> None:
        """Raises OSError when the disk is full."""
        row = key.encode() + b"\t" + line + b"\n"
        self._held.append(row)
        self._size += len(row)
        if self._size >= self._run_bytes:
            self._held.sort()
            self._write(iter(self._held))
            self._held, self._size = [], 0
            if len(self._runs) >= self._runs_max:
                self._merge_all()

    def lines(self) -> Iterator[bytes]:
        """All that was put, in order, without keys and line ends."""
        self._held.sort()
        for row in merge(*self._rewound(), self._held):
            yield row.rstrip(b"\n").split(b"\t", 1)[1]

    def _merge_all(self) -> None:
        runs, self._runs = self._rewound(), []
        self._write(merge(*runs))
        for run in runs:
            run.close()

    def _rewound(self) -> list[IO[bytes]]:
        for run in self._runs:
            run.seek(0)
        return self._runs

    def _write(self, rows: Iterator[bytes]) -> None:
        run = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed with the stack
        run.writelines(rows)
        run.flush()
        self._runs.append(run)
