"""The load: a process of its own that posts over plain sockets and times the answers.

    echo '{"port": 8080, "connections": 16, "seconds": 5}' | python -m benchmarks.load

Closed loop (``rate`` 0): each connection sends its next request when the last one is answered. Open loop: requests are
planned by chance (a Poisson process) at ``rate`` a second, whatever the server does, and a latency counts from the planned
time: a server that stalls does not stop the clock of those who wait. Timers of event loops know milliseconds, so that open
loop latencies hold up to one or two milliseconds of our own (``late_p99_ms`` says how much).

With ``window`` a closed loop posts only while fewer than that many payments wait to be charged: the provider at
``progress_port`` is asked every 20 ms how many it has charged (``GET /count``, which costs it some 50 microseconds). So the
work under way stays the same however long it goes on.

Each answer is looked at: its status is one of ``expected``, and its body holds ``holds``. Each request has an idempotency key
of its own, but for ``repeat_share`` of them, which repeat one that was answered, and must get the same transactionId.
"""

import subprocess
import sys
from typing import Final

import msgspec
from msgspec import Struct

from .procs import ROOT, Broken, Proc, end, guard

BODY: Final = (
    '{"amount": 1050, "currency": "INR", "clientId": "shop-17", "paymentMethod": "tok_ok", "metadata": {"order": "A-NUMBER"}}'
)
NUMBER: Final = "NUMBER"  # in a body: where the number of the request goes, ten digits
SPENT: Final = 0.9  # of a core: from there on the figures may be the load's own


class Spec(Struct, kw_only=True):
    """What to send, and how. ``warm_s`` comes before ``seconds`` and is not counted. ``watch`` are processes whose CPU over the
    counted seconds is measured, with their children. ``accepted`` is a file that gets a line "KEY ID" for each answer, also
    of the warm-up. ``salt`` begins every key; empty = by chance. ``slice_s`` > 0: p99 of each slice of so many seconds, too."""

    port: int
    seconds: float
    host: str = "127.0.0.1"
    method: str = "POST"
    path: str = "/payments"
    body: str = BODY
    headers: dict[str, str] = {}
    connections: int = 16
    rate: float = 0.0
    warm_s: float = 0.0
    expected: tuple[int, ...] = (200, 201, 202)
    holds: str = '"transactionId"'
    repeat_share: float = 0.0
    accepted: str = ""
    salt: str = ""
    seed: int = 1
    watch: tuple[int, ...] = ()
    window: int = 0
    progress_port: int = 0
    slice_s: float = 0.0


class Load(Struct, kw_only=True):
    """``sent`` in the counted seconds (open loop: planned then); of these ``ok`` got the answer that they should,
    ``refused`` a 429 or 503, and ``errors`` another one, a wrong id or none. ``rate`` is good answers a second within the
    counted seconds, of which ``per_second`` has each. ``accepted`` counts good answers of the whole life, warm-up and grace
    included, to new keys. ``cpu_s`` is ours; ``watched_s`` the watched processes' CPU in the counted seconds, and ``each_s``
    that of each. ``from_us`` is when these began, by the wall clock."""

    sent: int
    ok: int
    refused: int
    errors: int
    seconds: float
    rate: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    per_second: list[int]
    cpu_s: float
    accepted: int
    watched_s: float
    each_s: list[float]
    from_us: int
    late_p99_ms: float  # open loop: how much later than planned requests left because our own timer was late
    said: str = ""  # by the first answer that was no good one
    p99_of_slices_ms: list[float] = []

    @property
    def busy(self) -> float:
        """The part of a core that the load itself took. Near 1 it was the bottleneck, not the server."""
        return self.cpu_s / self.seconds

    @property
    def was_bottleneck(self) -> bool:
        return self.busy > SPENT

    @property
    def cpu_us(self) -> float:
        """CPU of the watched processes per good answer, in microseconds; 0 without any."""
        return self.watched_s / (self.rate * self.seconds) * 1e6 if self.rate else 0.0

    def require_good(self, who: str, share: float = 0.0) -> None:
        """Raises Broken when more than ``share`` of the requests got no good answer, or none did."""
        bad = self.refused + self.errors
        if not self.ok or bad > share * self.sent:
            raise Broken(f"{who}: {bad} of {self.sent} requests had no good answer; the first: {self.said or 'nothing'}")


class Running:
    """A load under way."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen

    def wait(self) -> Load:
        """Until it is over. Raises Broken when it failed."""
        try:
            told, _ = self._popen.communicate()
        finally:
            code = end(self._popen)
        if code:
            raise Broken(f"the load ended with {code}")
        return msgspec.json.decode(told, type=Load)


def start(spec: Spec) -> Running:
    """Begin in a process of its own."""
    argv, pipe = [sys.executable, "-m", "benchmarks.load"], subprocess.PIPE
    popen = subprocess.Popen(argv, stdin=pipe, stdout=pipe, cwd=ROOT, start_new_session=True)
    guard(popen)
    assert popen.stdin is not None
    popen.stdin.write(msgspec.json.encode(spec))
    popen.stdin.close()
    popen.stdin = None  # communicate() would close it again
    return Running(popen)


def run(spec: Spec, *servers: Proc) -> Load:
    """Begin, and wait until it is over. Raises Broken when the load itself failed, or when one of ``servers`` has ended; a
    server that refused is in the figures."""
    try:
        return start(spec).wait()
    finally:
        for server in servers:
            server.require_alive()


if __name__ == "__main__":
    from .sending import main

    main()
