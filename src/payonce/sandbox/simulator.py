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
        """Do what has become due by itself: called before every request and every look at the books. When nobody asks: at the
        times that stand on the ledger's list (``Ledger.later``), and every few seconds."""


class Standing(Struct, frozen=True, kw_only=True):
    """A payment in which the customer has to act, as the sandbox's page shows it."""

    amount_minor: int
    currency: str
    reference: str
    open: bool  # the customer can still decide
    says: str  # the vendor's word for what became of it
    return_url: str = ""  # where the customer goes afterwards


class Acting(Protocol):
    """A vendor in whose payments the customer may have to act: what the page ``/sandbox/pay/{vendor}/{number}`` needs."""

    def standing(self, ledger: Ledger, number: int) -> Standing | None:
        """The payment behind the page; None when there is none."""

    def act(self, ledger: Ledger, number: int, now_us: int, *, approve: bool) -> None:
        """The customer decided. A no-op when the payment is not open any more."""


class Telling(Protocol):
    """A vendor that sends webhooks: it announces them (``outbox.announce``), the courier asks for the signature when it
    sends, as vendors sign every delivery anew."""

    def sign_webhook(self, body: bytes, now_us: int) -> Mapping[str, str]:
        """All headers of one delivery but its length, content-type among them."""


def reply_json(status: int, doc: Any, **headers: str) -> Reply:
    named = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return Reply(status=status, headers=named, body=msgspec.json.encode(doc))
