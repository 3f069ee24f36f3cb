"""The adapter for Stripe at its simulator, with a clock that is turned by hand and no network between."""

from typing import Any, Final
from urllib.parse import parse_qsl

from msgspec.structs import replace

from payonce.adapter import AnyOutcome, Created, Found, HttpRequest, Intent, Response, Succeeded, Try
from payonce.providers.stripe import ADAPTER
from payonce.sandbox.faults import Profile
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.simulator import Reply, Request
from payonce.sandbox.stripe import SIMULATOR

SECOND_US: Final = 1_000_000
INTENT: Final = Intent(
    kind="fire", mode="test", amount_minor=1050, currency="INR", reference="06ex4k2m9p7q8r5s3t010100", payment_method="tok_ok"
)


class Vendor:
    """See the module docstring. ``None`` for an answer is a lost one."""

    def __init__(self) -> None:
        self.ledger, self.now_us, self.faults, self.key = (
            Ledger(":memory:"),
            1_800_000_000_000_000,
            Profile(),
            "sk_test_sandbox",
        )
        self.last, self.asked = Reply(), 0

    @property
    def answer(self) -> Response:
        return Response(status=self.last.status, headers=dict(self.last.headers), body=self.last.body)

    def ask(self, intent: Intent) -> AnyOutcome | None:
        """One step: build, send, parse."""
        if not intent.key:
            intent = replace(intent, key=f"{intent.reference} {intent.kind} {intent.refund_reference}")
        reply = self._send(ADAPTER.build(intent))
        return None if reply.drop else ADAPTER.parse(intent, self.answer)

    def read(self, intent: Intent) -> AnyOutcome:
        """A read, with all its requests."""
        intent, self.asked = replace(intent, kind="read", key=""), 0
        request: HttpRequest | None = ADAPTER.build(intent)
        while request is not None:
            self._send(request)
            self.asked += 1
            said = ADAPTER.parse_read(intent, self.answer)
            if not isinstance(said, HttpRequest):
                return said
            request, intent = said, replace(intent, seen=(*intent.seen, self.answer))
        raise AssertionError("unreachable")

    def tried(self, intent: Intent) -> Try | None:
        """The one try that a read shows."""
        shown = self.read(intent)
        assert isinstance(shown, Found), shown
        assert len(shown.tries) <= 1
        return shown.tries[0] if shown.tries else None

    def created(self, **more: Any) -> Intent:
        """A PaymentIntent of the vendor's: the intent with its container."""
        intent = replace(INTENT, **more)
        made = self.ask(replace(intent, kind="create"))
        assert isinstance(made, Created), made
        return replace(intent, key="", container=made.container)

    def fire(self, intent: Intent) -> AnyOutcome | None:
        return self.ask(replace(intent, kind="fire"))

    def paid(self, method: str = "tok_ok") -> Intent:
        """A PaymentIntent that succeeded."""
        pi = self.created(payment_method=method)
        assert isinstance(self.fire(pi), Succeeded)
        return pi

    def refund(self, pi: Intent, number: int, minor: int) -> Intent:
        reference = f"{pi.reference[:-4]}{number:02d}00"
        return replace(pi, kind="refund", provider_ref=pi.container, refund_reference=reference, refund_minor=minor)

    def begin(self, pi: Intent) -> Reply:
        """A confirmation that the vendor goes on working on."""
        self.fire(pi)
        return self.last

    def resume(self, pi: Intent) -> None:
        """It comes to its end."""
        fire = replace(pi, kind="fire", key=f"{pi.reference} fire ")
        self._send(ADAPTER.build(fire), resumed=True)

    def act(self, url: str, *, approve: bool) -> None:
        """The customer decides on the page."""
        vendor, number = url.rsplit("/", 2)[1:]
        assert vendor == "stripe"
        with self.ledger.transaction():
            SIMULATOR.act(self.ledger, int(number), self.now_us, approve=approve)

    def pass_s(self, seconds: float) -> None:
        self.now_us += int(seconds * SECOND_US)

    def told(self, outcome: AnyOutcome | None) -> tuple[int, str]:
        """The status of the last answer, and what was made of it."""
        return self.last.status, type(outcome).__name__

    def books(self) -> list[tuple[str, int]]:
        with self.ledger.transaction():
            SIMULATOR.settle(self.ledger, self.now_us)
        return [(m.kind, m.amount) for m in self.ledger.movements()]

    def _send(self, built: HttpRequest, *, resumed: bool = False) -> Reply:
        path, _, query = built.path.partition("?")
        credentials = ADAPTER.credentials_of({"api_key": self.key})
        headers = {**dict(built.headers), **ADAPTER.authenticate(built, credentials)}
        request = Request(
            method=built.method, path=path, query=dict(parse_qsl(query)), headers=headers, body=built.body, resumed=resumed
        )
        with self.ledger.transaction():
            SIMULATOR.settle(self.ledger, self.now_us)
            self.last = SIMULATOR.simulate(request, self.ledger, self.faults, self.now_us)
        return self.last
