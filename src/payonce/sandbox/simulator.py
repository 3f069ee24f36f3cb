"""What a simulated vendor is: sans-I/O, one request in, one reply out, the ledger between. The server does the waiting.

Vendors register under the entry-point group ``payonce.simulators`` (see ``server.installed``): name -> a ``Simulator``.
The name is also the first part of its paths: ``/mock/charges``.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from .faults import Profile
from .ledger import Ledger


class Request(Struct, frozen=True, kw_only=True):
    """A whole request. ``path`` is below the vendor's prefix; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes = b""
    resumed: bool = False  # the second call for a request whose first reply said ``resume``


class Reply(Struct, frozen=True, kw_only=True):
    """What to answer, and how it goes wrong.

    ``hold_s`` waits first, until the client gives up. With ``resume`` the same request is simulated again after the
    wait, whether the client is still there or not; else ``drop`` closes the connection without an answer."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    drop: bool = False
    hold_s: float = 0.0
    resume: bool = False


class Simulator(Protocol):
    """A vendor. Called inside one transaction of the ledger; must not wait, and has no clock but ``now_us``."""

    def simulate(self, request: Request, ledger: Ledger, faults: Profile, now_us: int) -> Reply:
        """Answer one request. ``faults`` were applied already; they are there for what only a vendor can do."""

    def settle(self, ledger: Ledger, now_us: int) -> None:
        """Do what has become due by itself: called before every request and every look at the books."""


def reply_json(status: int, doc: Any, **headers: str) -> Reply:
    named = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return Reply(status=status, headers=named, body=msgspec.json.encode(doc))
