"""Times as people type them: lengths (``90d``, ``24h``, ``30m``, ``45s``) and moments (RFC 3339)."""

import re
from datetime import UTC, datetime
from typing import Final

from . import USAGE
from .options import Exit

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_FORM: Final = re.compile(r"([0-9]{1,9})([smhd])")


def duration(flag: str, text: str, *, least_s: int, most_s: int) -> int:
    """Seconds. Raises Exit for what is no number with a unit, and for what is out of bounds."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise Exit(USAGE, f"payonce: {flag} is a number with its unit, such as 90d, 24h, 30m or 45s. Nothing was changed.")
    seconds = int(match[1]) * SECONDS[match[2]]
    if not least_s <= seconds <= most_s:
        raise Exit(USAGE, f"payonce: {flag} is {written(least_s)} to {written(most_s)}. Nothing was changed.")
    return seconds


def written(seconds: int) -> str:
    """In the largest unit without a rest."""
    unit = next((u for u in ("d", "h", "m") if seconds and seconds % SECONDS[u] == 0), "s")
    return f"{seconds // SECONDS[unit]}{unit}"


def moment(flag: str, text: str) -> int:
    """Microseconds; without an offset it is UTC. Raises Exit for what is no time."""
    try:
        at = datetime.fromisoformat(text.strip())
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        raise Exit(USAGE, f"payonce: {flag} is a time such as 2026-11-24 or 2026-11-24T10:00:00Z.") from None
