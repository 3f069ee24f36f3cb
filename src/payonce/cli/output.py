"""What is printed: data to standard output, messages to standard error, colour only where a person sees it."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from payonce.core.redact import mask
from payonce.shown import wording
from payonce.shown.wording import clean, span, stamp

__all__ = [
    "STATUS_COLOURS",
    "clean",
    "coloured",
    "counted",
    "is_terminal",
    "lost",
    "paint",
    "put",
    "put_json",
    "relative",
    "say",
    "span",
    "stamp",
    "status",
    "table",
    "unread",
]


def say(message: str = "", *, secret: bool = False) -> None:
    """A message for a person: standard error. Card numbers and secrets are masked, unless one is what the message is for
    (``secret``: a new key, shown once). One that cannot be written is left out: exit codes tell too."""
    with suppress(OSError, ValueError):
        print(message if secret else mask(message), file=sys.stderr, flush=True)


def put(text: str) -> None:
    """Data: standard output, to the letter. What is put comes masked from ``shown/views.py``, ``clean`` and ``table``."""
    print(text, flush=True)


@contextmanager
def unread() -> Iterator[None]:
    """Around what a server says of itself when it starts: that nobody can read it is no reason not to serve."""
    try:
        yield
    except OSError as error:
        lost(error)
        say("Everything else goes on.")


def lost(error: OSError) -> None:
    """Standard output takes nothing any more. What waits there is dropped, or Python would fail again when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    say(f"payonce: standard output cannot be written ({error.strerror}); the rest of what it says is lost.")


def put_json(value: Any, *, indent: bool = True) -> None:
    """One JSON document, or one line of NDJSON without ``indent``."""
    raw = msgspec.json.encode(value)
    put((msgspec.json.format(raw, indent=2) if indent else raw).decode())


def is_terminal(*, err: bool = False) -> bool:
    """A person looks at it."""
    return (sys.stderr if err else sys.stdout).isatty()


def coloured() -> bool:
    """Colour on standard output: only on a terminal, and never with NO_COLOR (no-color.org)."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


_COLOURS = {"green": "32", "red": "31", "yellow": "33", "dim": "2", "bold": "1"}
STATUS_COLOURS = {"SUCCESS": "green", "FAILED": "red", "CANCELED": "red", "IN_DOUBT": "yellow"}


def paint(text: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colour and coloured() else text


def status(word: str) -> str:
    """A payment's status in its colour."""
    return paint(word, STATUS_COLOURS.get(word, "bold"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned for people, tab-separated when piped. Colours the cells that are a payment status."""
    rows = [[clean(cell) for cell in row] for row in rows]
    if not is_terminal():
        for row in [list(head), *rows]:
            put("\t".join(row))
        return
    widths = [max(len(row[i]) for row in [list(head), *rows]) for i in range(len(head))]
    put(paint("  ".join(h.ljust(w) for h, w in zip(head, widths, strict=True)).rstrip(), "bold"))
    for row in rows:
        cells = (paint(c.ljust(w), STATUS_COLOURS.get(c, "")) for c, w in zip(row, widths, strict=True))
        put("  ".join(cells).rstrip())


def counted(n: int, noun: str) -> str:
    """``1 payment``, ``2 payments``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def relative(at_us: int, now_us: int | None = None) -> str:
    """``in 3 s`` or ``5 min ago``."""
    return wording.relative(at_us, time.time_ns() // 1000 if now_us is None else now_us)
