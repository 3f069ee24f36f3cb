"""What is known of a call that brought no answer, and the time after which none begins."""

import errno
import socket
import ssl
from typing import Final

from payonce.ports import Clock, Lost


class Deadline:
    """``send_by_us`` by two clocks, the earlier counts. The wall clock may be set while we wait for a connection; the
    monotonic one may be converted from a wall clock that was wrong at the start. Either says no: nothing is sent."""

    def __init__(self, clock: Clock, send_by_us: int) -> None:
        self.clock, self.wall_us = clock, send_by_us
        self.monotonic_us = clock.monotonic_us() + send_by_us - clock.now_us()

    def over(self) -> bool:
        return self.clock.now_us() > self.wall_us or self.clock.monotonic_us() > self.monotonic_us


def late() -> Lost:
    """The send deadline passed before the first byte."""
    return Lost(sent=False, reason="the send deadline had passed before the first byte", ours=True)


_SAID: Final = (
    (ConnectionRefusedError, "the connection was refused"),
    (ssl.SSLCertVerificationError, "its certificate is not valid"),
    (ssl.SSLError, "there is no TLS that we speak"),
    (socket.gaierror, "the host has no address"),
)


def named(error: Exception) -> str:
    """What happened, in our words: texts of others may hold addresses or headers."""
    return next((said for kind, said in _SAID if isinstance(error, kind)), type(error).__name__)


def is_ours(error: Exception) -> bool:
    """It says nothing about the provider: this process, or this machine, has no file left for a connection."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
