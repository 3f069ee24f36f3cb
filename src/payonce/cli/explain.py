"""``payonce explain``: what a code means."""

import shutil
import textwrap
from collections.abc import Iterable

from payonce.core.errors import DECLINES, PROBLEMS, REASONS
from payonce.core.errors import explain as meaning

from . import NOT_FOUND, OK
from .options import Exit, Json, closest
from .output import is_terminal, paint, put, put_json, table

WIDTH_MAX = 100


def explain(code: str | None = None, /, *, json: Json = False) -> int:
    """What a problem, decline or reason code means, what state the money is in, and what to do.

    Parameters
    ----------
    code
        The code; without it all codes are listed.
    """
    known = [*PROBLEMS, *DECLINES, *REASONS]
    if code is None:
        rows = [(name, kind, meaning(name) or "") for kind, codes in _KINDS.items() for name in codes]
        if json:
            put_json([{"code": name, "kind": kind, "means": text} for name, kind, text in rows])
        elif is_terminal():
            _readable(rows)
        else:
            table(("CODE", "KIND", "MEANS"), rows)
        return OK
    text = meaning(code)
    if text is None:
        raise Exit(
            NOT_FOUND, f"payonce: there is no code {code[:80]!r}.{closest(code, known)} `payonce explain` lists them all."
        )
    kind = next(kind for kind, codes in _KINDS.items() if code in set(codes))
    if json:
        put_json({"code": code, "kind": kind, "means": text})
    else:
        put(f"{code} ({kind}): {text}")
    return OK


def _readable(rows: list[tuple[str, str, str]]) -> None:
    """For a person: kind by kind, each meaning wrapped under its code."""
    width = min(shutil.get_terminal_size().columns, WIDTH_MAX)
    last = ""
    for code, kind, means in rows:
        if kind != last:
            put(paint(f"{chr(10) if last else ''}{kind}s", "bold"))
            last = kind
        put(f"  {code}")
        put(textwrap.fill(means, width, initial_indent="      ", subsequent_indent="      "))


_KINDS: dict[str, Iterable[str]] = {"problem": PROBLEMS, "decline": DECLINES, "reason": REASONS}
