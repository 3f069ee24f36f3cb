"""A live conformance suite: one account's adapter against its vendor's test mode, over the real transport, step by step.

It asks as the engine does (``dispatch.exchange``), without store and engine, so every conclusion is the adapter's alone. A
step passes when what was learned is what the adapter's declared terms promise; a vendor that does something else, or an
adapter that reads it wrongly, makes it fail (AssertionError) with the two things that do not fit. ``payonce providers check``
runs it.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, Literal, NoReturn

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from payonce.adapter import (
    Absent,
    AnyOutcome,
    Authorized,
    Captured,
    Created,
    Found,
    HttpRequest,
    Intent,
    Listing,
    NextAction,
    Processing,
    RequiresAction,
    Response,
    StepKind,
    Succeeded,
    Unknown,
    Unreadable,
    Window,
    display,
)
from payonce.core import ids
from payonce.core.payment import StoredRequest
from payonce.core.redact import mask
from payonce.dispatch import Account, Heard, Prepared, exchange, stored
from payonce.ports import Clock, Lost, Transport

State = Literal["pass", "fail", "skipped"]
SECOND_US: Final = 1_000_000
SEND_WITHIN_US: Final = 10 * SECOND_US
PAUSES_S: Final = (1, 2, 3, 5, 5, 8, 10)  # between looks; the last one repeats
ACTION_S: Final = 1800  # how long the customer may act
PAGES_MAX: Final = 20  # of a listing
OPEN: Final = (Unknown, Unreadable, Absent, Processing, RequiresAction)
TAKEN: Final = (Succeeded, Captured)


class Webhook(Struct, frozen=True, kw_only=True):
    """A webhook as it came in, and when."""

    headers: Mapping[str, str]  # names in lower case
    body: bytes
    at_us: int


class Wanted(Struct, frozen=True, kw_only=True):
    """What is tried, and with what."""

    amount_minor: int
    currency: str
    token: str = ""  # a payment method that succeeds
    decline_token: str = ""  # one that is declined
    method: str = ""  # card, upi, ...
    return_url: str = ""
    metadata: Mapping[str, str] = {}
    webhook: Webhook | None = None
    wait_s: int = 60  # how long something that is not final is looked at


class Finding(Struct, frozen=True, kw_only=True):
    """One step: what was asked, and what was concluded (of one that was skipped: why)."""

    step: str
    state: State
    concluded: str
    asked: tuple[str, ...] = ()


class Charge(Struct, frozen=True):
    """Money that was taken in a test: ``intent`` is its fire's."""

    intent: Intent
    ref: str


def fail(text: str) -> NoReturn:
    """What was learned is not what the terms promise: the text says both."""
    raise AssertionError(text)


class Noted:
    """A transport that remembers what was asked: method, address and what came of it, no header and no body."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.asked: list[str] = []

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        reply = await self.inner.send(request, body, secret_headers, send_by_us=send_by_us, timeout_ms=timeout_ms)
        came = f"no answer: {reply.reason}" if isinstance(reply, Lost) else f"HTTP {reply.status}"
        self.asked.append(mask(f"{request.method} {request.base_url}{request.path}: {came}"))
        return reply

    async def close(self) -> None:
        await self.inner.close()


class Vendor:
    """An account at its vendor: intents, questions and answers. ``bits`` gives 52 random bits for each new payment;
    ``send_customer`` is told where a customer has to act."""

    def __init__(
        self, account: Account, transport: Transport, clock: Clock, wanted: Wanted, *, bits: Callable[[], int],
        send_customer: Callable[[NextAction], None],
    ) -> None:  # fmt: skip
        self.account, self.clock, self.wanted, self.bits = account, clock, wanted, bits
        self.transport, self.send_customer = Noted(transport), send_customer
        self.handle = ""  # what opens the container that was made last
        self.shown: set[str] = set()

    @property
    def steps(self) -> frozenset[StepKind]:
        return self.account.adapter.CAPABILITIES.steps

    def fresh(self, token: str = "", *, manual: bool = False) -> Intent:
        """A new payment: the intent of its fire."""
        at_us, wanted = self.clock.now_us(), self.wanted
        payment = ids.new_id("pay_", at_us, self.bits())
        return Intent(
            kind="fire",
            mode="test",
            amount_minor=wanted.amount_minor,
            currency=wanted.currency,
            reference=ids.reference(payment, 1, 0),
            manual=manual,
            key=ids.step_key(payment, 1, 0, "fire"),
            return_url=wanted.return_url,
            action_expires_us=at_us + ACTION_S * SECOND_US,
            payment_method=token,
            payment_method_type=wanted.method,
            description="payonce providers check",
            metadata=wanted.metadata,
        )

    def step(self, fire: Intent, kind: StepKind, **fields: Any) -> Intent:
        """Another step of the same payment."""
        payment, operation = f"pay_{fire.reference[:20]}", int(fields.pop("operation", 1))
        sent_as = "fire" if kind == "replay" else kind
        key = "" if kind == "read" else ids.step_key(payment, operation, 0, sent_as)
        refund = {"refund_reference": ids.reference(payment, operation, 0)} if kind == "refund" else {}
        return replace(fire, kind=kind, key=key, **{**refund, **fields})

    async def ask(self, about: Intent) -> AnyOutcome:
        """Send once; what it means. Raises AssertionError for a bug of the adapter."""
        try:
            built = self.account.adapter.build(about)
        except ValueError as error:
            raise AssertionError(f"the adapter cannot build {about.kind}: {error}") from error
        heard = await self._exchange(self.account, built, about)
        if isinstance(heard.outcome, Created | Found) and heard.outcome.handle_sha256:
            self.handle = heard.beside[heard.outcome.handle_sha256].decode()
            return heard.outcome
        action = next((msgspec.json.decode(raw, type=NextAction) for raw in heard.beside.values()), None)
        if action is not None and action.url not in self.shown:
            self.shown.add(action.url)
            self.send_customer(action)
        return heard.outcome

    async def list(self, window: Window) -> Listing | Unreadable:
        """A page of what the vendor has in a window."""
        lister = _Lister(self.account.adapter, window)
        nothing = self.step(self.fresh(), "read")
        heard = await self._exchange(replace(self.account, adapter=lister), lister.build_listing(window), nothing)
        return heard.outcome if isinstance(heard.outcome, Unreadable) else lister.page

    async def _exchange(self, account: Account, built: HttpRequest, about: Intent) -> Heard:
        prepared = Prepared(stored(account, built), built.body)
        send_by_us, timeout_ms = self.clock.now_us() + SEND_WITHIN_US, account.terms.call_timeout_ms
        heard = await exchange(self.transport, account, prepared, about, send_by_us=send_by_us, timeout_ms=timeout_ms)
        if isinstance(heard.reply, Lost) and not heard.reply.sent:
            raise ConnectionError(f"{account.base_url} cannot be reached: {heard.reply.reason}")
        return heard

    async def look(self, about: Intent, enough: Callable[[AnyOutcome], bool]) -> AnyOutcome:
        """Read until it shows enough, or the time is over."""
        until_us, read = self.clock.now_us() + self.wanted.wait_s * SECOND_US, self.step(about, "read")
        for pause_s in _pauses():
            seen = await self.ask(read)
            if enough(seen) or self.clock.now_us() + pause_s * SECOND_US > until_us:
                return seen
            await self.clock.sleep(pause_s)
        raise AssertionError("unreachable")

    async def created(self, fire: Intent) -> Intent:
        """The same with its container, where the vendor has containers. Raises AssertionError."""
        if not self.account.terms.container:
            return fire
        made = await self.ask(self.step(fire, "create"))
        if not isinstance(made, Created):
            fail(f"the container was not made: {told(made)}")
        if made.reference != fire.reference:
            fail(f"the container was made under {made.reference!r}, not under our reference {fire.reference!r}")
        return replace(fire, container=made.container, handle=self.handle)

    async def pay(self, fire: Intent) -> AnyOutcome:
        """Fire, and the last thing learned about it. What is held is taken where that is our step."""
        learned = await self.ask(fire)
        if isinstance(learned, OPEN):
            learned = tried(await self.look(fire, lambda seen: not isinstance(tried(seen), OPEN)))
        if isinstance(learned, Authorized) and self.account.terms.own_capture and not fire.manual:
            learned = await self.capture(fire, learned, learned.amount_minor)
        return learned

    async def capture(self, fire: Intent, held: Authorized, amount_minor: int) -> AnyOutcome:
        """Take the hold, or a part of it."""
        learned = await self.ask(self.step(fire, "capture", provider_ref=held.ref, capture_minor=amount_minor))
        if not isinstance(learned, OPEN):
            return learned
        return tried(await self.look(fire, lambda seen: isinstance(tried(seen), TAKEN)))


class _Lister:
    """An adapter whose read is a listing: so that it goes the way of every other request."""

    def __init__(self, adapter: Any, window: Window) -> None:
        self.adapter, self.window = adapter, window
        self.page: Listing = Listing(tries=())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapter, name)

    def parse_read(self, intent: Intent, response: Response) -> Found | Unreadable:
        page = self.adapter.parse_listing(self.window, response, intent.mode)
        if isinstance(page, Unreadable):
            return page
        self.page = page
        return Found()


def tried(seen: AnyOutcome) -> AnyOutcome:
    """What a read shows of the one try, or what was learned otherwise. Of several, one that took money."""
    if not isinstance(seen, Found):
        return seen
    money = [t for t in seen.tries if isinstance(t, Succeeded | Authorized)]
    return money[-1] if money else seen.tries[-1] if seen.tries else Absent()


def told(outcome: AnyOutcome) -> str:
    """An outcome in one line, without the parts that say nothing."""
    fields = ((name, getattr(outcome, name)) for name in outcome.__struct_fields__ if name not in ("action_sha256", "mode"))
    shown = ", ".join(f"{name} {value}" for name, value in fields if value not in ("", None, ()))
    return f"{type(outcome).__name__}" + (f" ({shown})" if shown else "")


def require_money(outcome: Any, about: Intent, amount_minor: int) -> None:
    """The outcome names this amount and currency, our reference and test mode. Raises AssertionError."""
    must = {"amount_minor": amount_minor, "currency": about.currency, "reference": about.reference, "mode": "test"}
    said = {name: getattr(outcome, name) for name in must}
    if said != must:
        wrong = (f"{name} is {said[name]!r}, not {value!r}" for name, value in must.items() if said[name] != value)
        fail(f"{type(outcome).__name__}, but " + "; ".join(wrong))


def _pauses() -> Iterator[int]:
    yield from PAUSES_S
    while True:
        yield PAUSES_S[-1]


Step = Callable[[], Awaitable[str]]  # what was concluded; raises AssertionError


class Planned(Struct, frozen=True):
    """A step, why it would be skipped (empty when not), and how it is made."""

    name: str
    skipped: str
    run: Step


async def conform(vendor: Vendor, plan: Callable[[], Iterator[Planned]], tell: Callable[[Finding], None]) -> list[Finding]:
    """Run the steps of a plan one after the other; each is told when it is over. Raises ConnectionError when the very first
    request cannot be sent: nothing was learned then."""
    findings: list[Finding] = []
    for planned in plan():
        vendor.transport.asked.clear()
        state: State = "pass"
        try:
            concluded = planned.skipped or await planned.run()
            state = "skipped" if planned.skipped else "pass"
        except AssertionError as failed:
            state, concluded = "fail", str(failed)
        except ConnectionError as error:
            if not findings:
                raise
            state, concluded = "fail", str(error)
        finding = Finding(step=planned.name, state=state, concluded=mask(concluded), asked=tuple(vendor.transport.asked))
        findings.append(finding)
        tell(finding)
    return findings


def amount(about: Intent, minor: int | None = None) -> str:
    """For people."""
    return display(about.amount_minor if minor is None else minor, about.currency)
