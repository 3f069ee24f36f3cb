"""Sockets that listen, their addresses, and how many connections a process may hold."""

import socket

from payonce.core.errors import ConfigError
from payonce.openfiles import LEAST, may_open
from payonce.telemetry import get_logger

log = get_logger("httpd")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ConfigError naming the fix."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle on
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(2048)  # now, so that of two servers on one port the second one fails here
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Stop what uses it or choose another --port."
        ) from error
    return sock


def address_of(sock: socket.socket) -> str:
    """The URL at which a browser on this machine finds what listens there."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  that is no address to go to
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def connections_of(wanted: int, outbound: int = 0) -> int:
    """As many connections as wanted, and no more than the process may open files, ``outbound`` of which are for others: one
    without any left can neither answer nor write."""
    room = max(LEAST, may_open(wanted + outbound) - outbound)
    if room < wanted:
        log.warning(
            "this process may not open as many files as it may hold connections", asked=wanted, calls=outbound, most=room
        )
    return min(wanted, room)
