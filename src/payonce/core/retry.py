"""When to try or look again. The core has no randomness: jitter comes from a hash of (payment id, version)."""

import hashlib

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
BACKOFF_BASE_US = 1 * SECOND_US
BACKOFF_CAP_US = 900 * SECOND_US
RETRY_AFTER_MAX_S = 900  # Retry-After is honoured within 1 s .. 15 min


def fraction(payment_id: str, version: int) -> float:
    """0 <= fraction < 1, the same for the same row."""
    return int.from_bytes(hashlib.sha256(f"{payment_id}/{version}".encode()).digest()[:4], "big") / 2**32


def backoff_us(payment_id: str, version: int, tries: int) -> int:
    """Full jitter over a capped exponential: tries = 1 waits up to 1 s, 2 up to 2 s, 3 up to 4 s, ..."""
    ceiling = min(BACKOFF_CAP_US, BACKOFF_BASE_US << max(0, min(tries - 1, 20)))
    return int(ceiling * fraction(payment_id, version))


def schedule_us(schedule_s: tuple[int, ...], done: int) -> int:
    """The wait before read number ``done`` + 1; the last entry repeats."""
    return schedule_s[min(done, len(schedule_s) - 1)] * SECOND_US


def retry_after_us(outcome: object) -> int:
    """What the provider asked us to wait, clamped; 0 when it asked nothing."""
    asked = getattr(outcome, "retry_after_s", None)
    return 0 if asked is None else max(1, min(RETRY_AFTER_MAX_S, asked)) * SECOND_US
