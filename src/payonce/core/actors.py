"""Who did it: the ``actor`` of every event and of every act on record, one text, ``WHO@WHERE``.

``WHO`` is ``key_ID`` (an API key), ``operator:NAME`` (a person at the command line), ``api`` (a caller without a key, which is
this machine alone), ``cli`` and ``python`` (this machine's own programs), or what works by itself: ``worker``, ``webhook``,
``return``. ``WHERE`` is the address or the machine it came from, where there is one. Earlier versions wrote ``WHO`` alone.
"""

import re
from typing import Final, Literal

from msgspec import Struct

from . import ids

CHARS_MAX: Final = 200  # of each part
UNKNOWN: Final = "unknown"
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._:\-\[\]%]+")
_KEY: Final = re.compile(rf"key_[{ids.ALPHABET}]{{{ids.ID_CHARS}}}")

Kind = Literal["key", "operator", "local", "system"]
_LOCAL: Final = ("api", "cli", "python")


class Actor(Struct, frozen=True):
    """``who`` as above, what kind that is, and ``where`` it came from ("" = not known, or from here)."""

    kind: Kind
    who: str
    where: str = ""


def actor(who: str, where: str = "") -> str:
    """The text for the record. What it must not hold is replaced, what is too long is cut, nobody is ``unknown``."""
    fit = _UNFIT.sub("_", who)[:CHARS_MAX] or UNKNOWN
    came = _UNFIT.sub("_", where)[:CHARS_MAX]
    return f"{fit}@{came}" if came else fit


def operator(name: str, where: str = "") -> str:
    """The text for a person at the command line of a machine."""
    return actor(f"operator:{name or UNKNOWN}", where)


def for_merchants(text: str) -> str:
    """A recorded actor as a merchant may see it: who operates payonce, and on which machine, is nobody else's business."""
    said = read(text)
    return {"operator": "operator", "local": said.who}.get(said.kind, text)


def read(text: str) -> Actor:
    """What a recorded actor says."""
    who, _, where = text.partition("@")
    if _KEY.fullmatch(who):
        return Actor("key", who, where)
    if who.startswith("operator:"):
        return Actor("operator", who, where)
    return Actor("local" if who in _LOCAL else "system", who, where)
