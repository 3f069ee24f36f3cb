"""The provider in the storm; and one that honours no idempotency keys, as PayU and others do, with what payonce is told of it.

    python -m benchmarks.peers.vendor --port 9000
    python -m benchmarks.peers.vendor --port 9000 --keyless

Tokens behave badly at the first request of a payment only. One more of them: ``tok_slow`` charges after LATE_S, when nobody
waits for the answer any more, and everybody has looked already. ``--keyless``: each request to charge is a charge of its own.
"""

import asyncio
import sys
from typing import Final

import msgspec
from msgspec.structs import replace

from benchmarks import provider
from benchmarks.provider import LATE_S, Provider, Send, Wanted
from payonce.providers.mock import CAPABILITIES, Mock

SLOW: Final = "tok_slow"
KEYLESS: Final = "--keyless"
ALWAYS: Final = "tok_decline"  # the only one that says the same each time


class Keyless(Mock):
    """payonce's adapter for it: the mock's, with another row of capabilities. Nothing may be sent twice; all can be read."""

    name = "keyless"
    CAPABILITIES = replace(
        CAPABILITIES,
        terms=replace(CAPABILITIES.terms, keyed=False, replay_span_s=0, refund_replay_span_s=0),
        steps=CAPABILITIES.steps - {"replay"},
    )


ADAPTER: Final = Keyless()


class Vendor(Provider):
    """Honours keys, but for ``keyless``."""

    keyless = False

    def __init__(self, latency_s: float = 0.0) -> None:
        super().__init__(latency_s)
        self.numbered = 0
        self.known: set[str] = set()

    async def charge(self, key: str, body: bytes, began_us: int, send: Send) -> None:
        wanted = msgspec.json.decode(body, type=Wanted)
        first = wanted.reference not in self.known
        self.known.add(wanted.reference)
        self.numbered += 1
        if first and wanted.source == SLOW:
            await asyncio.sleep(LATE_S)
        if self.keyless:
            key = f"{key} {self.numbered}"
            if wanted.source != ALWAYS and not first:
                body = msgspec.json.encode(replace(wanted, source="tok_ok"))
        await super().charge(key, body, began_us, send)


if __name__ == "__main__":
    if KEYLESS in sys.argv:
        sys.argv.remove(KEYLESS)
        Vendor.keyless = True
    provider.Provider = Vendor  # type: ignore[misc]  # what main() serves
    provider.main()
