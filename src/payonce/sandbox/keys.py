"""Saved answers under an idempotency key, as several vendors keep them: the first executed request is answered once, and
every repeat gets that answer; the same key with another request is something else, and a repeat while the first one is
being worked on has to wait. What each of these looks like on the wire is the vendor's."""

import hashlib
from typing import Final, Literal

from .faults import Profile
from .ledger import Ledger, Saved
from .simulator import Reply, Request

BUSY_MARGIN_S: Final = 5.0  # a request of a process that died is not waited for longer than this


class KeyedCall:
    """One request under a key of one vendor."""

    def __init__(self, provider: str, key: str, request: Request, ledger: Ledger, *, faults: Profile, now_us: int) -> None:
        self.provider, self.key, self.request = provider, key, request
        self.ledger, self.faults, self.now_us = ledger, faults, now_us
        self.fingerprint = hashlib.sha256(f"{request.method} {request.path}\n".encode() + request.body).hexdigest()

    def standing(self) -> Saved | Literal["fresh", "other", "busy"]:
        """``Saved`` has the answer to repeat. ``fresh``: execute it. ``other``: the key belongs to another request.
        ``busy``: the first one is being worked on."""
        saved = self.ledger.saved(self.provider, self.key, self.now_us, self.faults.key_window_s)
        if saved is None:
            return "fresh"
        if saved.fingerprint != self.fingerprint:
            return "other"
        if saved.status:
            return saved
        return "busy" if saved.busy_until_us > self.now_us and not self.request.resumed else "fresh"

    def work_for(self, seconds: float) -> Reply:
        """Note that it is being worked on; the server simulates it again after that time, with ``resumed``."""
        busy_until_us = self.now_us + int((seconds + BUSY_MARGIN_S) * 1_000_000)
        self.ledger.save(self.provider, self.key, self.fingerprint, self.now_us, busy_until_us=busy_until_us)
        return Reply(hold_s=seconds, resume=True)

    def save(self, answer: Reply) -> None:
        """Keep the answer for every repeat."""
        self.ledger.save(
            self.provider,
            self.key,
            self.fingerprint,
            self.now_us,
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
        )
