"""Connections to AWS: made, kept while they are fresh, and used for one exchange at a time, by any number of threads."""

import select
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from msgspec import Struct

from payonce.ports import Clock

from .signing import Address
from .wire import Whole, Wire

__all__ = ["CONNECT_S", "IDLE_S", "READ_S", "Broken", "Exchange", "Lines", "Whole"]

CONNECT_S: Final = 2.0  # for TCP and TLS, each
READ_S: Final = 5.0  # without a byte of the answer; a long poll adds its own wait
# By either clock: the monotonic one may stand still while Lambda freezes us. How long AWS keeps a resting connection is not
# published; NAT gateways forget one after 350 s (docs.aws.amazon.com, VPC user guide, "NAT gateways", read 2026-11), and what
# they forget swallows a request without a word.
IDLE_S: Final = 20.0


class Broken(Struct, frozen=True):
    """No whole answer. ``sent``: bytes of the request may have left."""

    reason: str
    sent: bool


class Line(Struct):
    """One connection, and when it was last of use (wall and monotonic, in microseconds)."""

    http: Wire
    used_us: tuple[int, int]


class Exchange:
    """One request and its answer, in a thread of its own. ``give_up`` ends it from outside: what has not begun to be sent
    then never is, and a wait for an answer ends at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: Wire | None = None
        self._given_up = False

    def begin(self, line: Wire) -> bool:
        """The last moment before the first byte. False: it was given up, and is not to be sent."""
        with self._lock:
            self._line = None if self._given_up else line
            return not self._given_up

    def end(self) -> None:
        with self._lock:
            self._line = None

    def give_up(self) -> None:
        with self._lock:
            self._given_up = True
            if self._line is not None and self._line.sock is not None:
                with suppress(OSError):
                    socket.socket.shutdown(self._line.sock, socket.SHUT_RDWR)  # under TLS too: no farewell, it might block


class Lines:
    """The connections of one client. ``ca_file``: whom to trust instead of the system's authorities."""

    def __init__(self, clock: Clock, ca_file: str | None = None) -> None:
        self._clock, self._ca_file = clock, ca_file
        self._lock = threading.Lock()
        self._resting: dict[Address, list[Line]] = {}
        self._tls: ssl.SSLContext | None = None

    def post(
        self, address: Address, headers: Mapping[str, str], body: bytes, exchange: Exchange, wait_s: float
    ) -> Whole | Broken:
        """One request over a connection of its own, resting or new; ``wait_s`` is added to READ_S."""
        line = resting = self._resting_line(address)
        if line is None:
            try:
                line = self._connected(address)
            except (OSError, ValueError) as error:  # certificates and their files too
                return Broken(f"{_name(error)} while connecting", sent=False)
        if not exchange.begin(line):
            line.close()
            return Broken("given up before it was sent", sent=False)
        try:
            answer = line.post(address.path, headers, body, READ_S + wait_s)
        except (OSError, ValueError) as error:
            answer = f"{_name(error)} while waiting for the answer"
        finally:
            exchange.end()
        if isinstance(answer, str):
            line.close()
            if resting is not None:
                self.drop()  # they are as old as this one
            return Broken(answer, sent=True)
        if line.sock is not None:  # the server does not close it
            with self._lock:
                self._resting.setdefault(address, []).append(Line(line, self._now()))
        return answer

    def drop(self) -> None:
        """Close what rests. Exchanges under way are not disturbed."""
        with self._lock:
            gone, self._resting = self._resting, {}
        for line in (line for some in gone.values() for line in some):
            line.http.close()

    def _resting_line(self, address: Address) -> Wire | None:
        """The one that was used last, if it can still be trusted: then those below it are not looked at."""
        while True:
            with self._lock:
                resting = self._resting.get(address)
                if not resting:
                    return None
                line = resting.pop()
            aged_us = max(now - then for now, then in zip(self._now(), line.used_us, strict=True))
            if 0 <= aged_us < IDLE_S * 1_000_000 and not _spoke(line.http.sock):
                return line.http
            line.http.close()

    def _connected(self, address: Address) -> Wire:
        return Wire(address, CONNECT_S, self._context() if address.https else None)

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = ssl.create_default_context(cafile=self._ca_file)
            return self._tls

    def _now(self) -> tuple[int, int]:
        return self._clock.now_us(), self._clock.monotonic_us()


def _spoke(sock: socket.socket | None) -> bool:
    """A server says nothing on a resting connection but that it ends."""
    if sock is None:
        return True
    look = select.poll()
    look.register(sock, select.POLLIN)
    return bool(look.poll(0))


def _name(error: Exception) -> str:
    return "timeout" if isinstance(error, TimeoutError) else type(error).__name__
