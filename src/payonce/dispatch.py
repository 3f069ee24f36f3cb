"""From a planned call to an outcome: what exactly is sent where, and what the answer means.

The engine decides whether and when (its claim is the conditional write); here is only the how. A request is built once;
every later send of the same step takes the stored bytes (R2).
"""

from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from .adapter import READS_MAX, Acts, Adapter, HttpRequest, Intent, Moves, Opens, Signs
from .core import ids
from .core.attempts import why_this_account
from .core.due import Call, Facts
from .core.errors import InvariantViolated
from .core.events import Asked, Opened, digest
from .core.idempotency import Details
from .core.operations import operation, refund_ref, taken
from .core.outcome import AnyOutcome, Created, Found, NotSent, RequiresAction, Unknown, Unreadable
from .core.payment import Attempt, Mode, Operation, Payment, StepKind, StoredRequest, Terms
from .core.redact import heard
from .core.retry import SECOND_US
from .core.verdict import acting_until_us, charge_ref
from .ports import Lost, Ref, Response, Store, Transport
from .telemetry import get_logger

NAMES: Final = ("ref", "container", "container_id")  # of an outcome: the provider's ids in it
# Whose key and bytes a step uses. Everything else uses its own kind's.
SENT_AS: Final[Mapping[StepKind, StepKind]] = {"replay": "fire"}

log = get_logger("dispatch")


class Account(Struct, frozen=True, kw_only=True):
    """A provider account: rules, attempts and breakers use its name."""

    name: str
    adapter: Adapter
    mode: Mode
    base_url: str
    credential_id: str
    credentials: Any
    terms: Terms
    merchants: frozenset[str] | None = None  # whose new payments it takes; None = everybody's
    calls_max: int = 0  # of one process at a time; 0 = no limit

    def serves(self, merchant_id: str, mode: Mode) -> bool:
        """It may take a new payment of this merchant in this mode."""
        return mode == self.mode and (self.merchants is None or merchant_id in self.merchants)

    def __repr__(self) -> str:
        return f"Account({self.name!r}, adapter={self.adapter.name!r}, mode={self.mode!r}, credential={self.credential_id!r})"


class Prepared(Struct, frozen=True):
    """What will be sent. ``body`` None: it was erased since the first send, so nothing can be sent again."""

    request: StoredRequest
    body: bytes | None


def opened(p: Payment, call: Call, account: Account, facts: Facts, now_us: int) -> tuple[Call, Opened | None]:
    """The head of the attempt that this call opens, if it opens one: the account's facts of today are frozen into it, and
    until when a customer may act in it. Raises InvariantViolated for an account that does not serve the payment's merchant
    and mode."""
    if not call.opens:
        return call, None
    kind: StepKind = "create" if account.terms.container else "fire"
    if call.kind == "read":
        kind = "read"  # a look at what was found: see Facts.found_at
    elif not account.serves(p.merchant_id, p.mode):  # routes and facts never lead here
        raise InvariantViolated(f"{account.name} takes no payment of this merchant and mode: no attempt was begun for {p.id}")
    head = Opened(
        n=call.attempt,
        account=account.name,
        adapter=account.adapter.name,
        base_url=account.base_url,
        credential_id=account.credential_id,
        reference=ids.reference(p.id, 1, call.attempt),
        terms=account.terms,
        why=why_this_account(p, account.name, facts),
        manual=p.capture_method == "manual",
        action_expires_us=now_us + p.action_s * SECOND_US if p.action_s else 0,
    )
    return replace(call, kind=kind), head


def intent(p: Payment, call: Call, details: Details, head: Opened | None = None, return_to: str = "") -> Intent:
    """All that an adapter may know about the step. ``head`` is that of the attempt which the call opens. ``return_to``: where
    customers come back to us, in front of the reference; without it they go straight to the merchant."""
    o = operation(p, call.operation) if call.operation else None
    a = p.attempts[call.attempt] if call.attempt < len(p.attempts) else None
    kind, reference = SENT_AS.get(call.kind, call.kind), a.reference if a else ids.reference(p.id, 1, call.attempt)
    giving = o is not None and o.kind in ("refund", "reversal")
    return Intent(
        kind=call.kind,
        mode=p.mode,
        amount_minor=p.amount_minor,
        currency=p.currency,
        reference=reference,
        manual=p.capture_method == "manual",
        key="" if call.kind == "read" else ids.step_key(p.id, o.n if o else 1, call.attempt, kind),
        container=a.container if a else "",
        provider_ref=_named(p, a, o) if a else "",
        refund_reference=o.reference if o and giving else "",
        refund_minor=o.amount_minor if o and giving else 0,
        refund_ref=refund_ref(p, o) if o and giving else "",
        capture_minor=(o.amount_minor if o else p.amount_minor) if call.kind == "capture" else 0,
        return_url=f"{return_to}{reference}" if return_to and details.return_url else details.return_url,
        action_expires_us=head.action_expires_us if head else a.action_expires_us if a else 0,
        action_s=p.action_s,
        acting=a is not None and acting_until_us(a) is not None,
        payment_method=details.payment_method,
        payment_method_type=details.payment_method_type,
        description=details.description,
        metadata=details.metadata,
    )


def _named(p: Payment, a: Attempt, o: Operation | None) -> str:
    """The provider's id of what a step works on. What a merchant's capture took may have another one than the hold."""
    money = taken(p, a) if o and o.kind == "refund" else None
    return money.ref if money else p.provider_ref if o and o.kind == "refund" else charge_ref(a)


async def opening(store: Store, p: Payment, call: Call) -> str:
    """What opens the container of the attempt, for the step that needs it."""
    sha256 = p.attempts[call.attempt].handle_sha256 if call.kind == "fire" and call.attempt < len(p.attempts) else ""
    return (await store.bodies([(p.id, sha256)])).get((p.id, sha256), b"").decode() if sha256 else ""


async def prepare(store: Store, p: Payment, call: Call, account: Account, about: Intent) -> Prepared:
    """The stored request of an earlier send of the same step, or a new one. Raises InvariantViolated when it must not be sent:
    see ``forbidden``."""
    kind = SENT_AS.get(call.kind, call.kind)
    steps = operation(p, call.operation).steps if call.operation else ()
    if not call.operation and call.attempt < len(p.attempts):
        steps = p.attempts[call.attempt].steps
    earlier = next((s.request for s in steps if s.kind == kind and s.request), None)
    if earlier is not None:
        place = (p.id, earlier.body_sha256)
        prepared = Prepared(earlier, (await store.bodies([place])).get(place) if earlier.body_sha256 else b"")
    else:
        built = account.adapter.build(about)
        prepared = Prepared(stored(account, built), built.body)
    if why := forbidden(account, prepared.request, about):
        raise InvariantViolated(f"{why}: nothing was recorded or sent for {p.id}")
    return prepared


def forbidden(account: Account, request: StoredRequest, about: Intent) -> str:
    """Why a request must not leave, empty when it may: a payment of one mode never reaches an account, a key or a host of the
    other one, nor an account that the request was not made for."""
    modes = {"payment": about.mode, "request": request.mode, "account": account.mode}
    modes["key"] = getattr(account.credentials, "mode", account.mode)
    if len(set(modes.values())) > 1:
        return f"modes differ at {account.name} ({', '.join(f'{what}: {mode}' for what, mode in modes.items())})"
    if request.account != account.name:
        return f"the request on record is one for {request.account}, not for {account.name}"
    if host := host_of_other_mode(account.adapter, account.mode, request.base_url):
        return f"{host} is a host of the other mode than {account.name}"
    return ""


def host_of_other_mode(adapter: Adapter, mode: Mode, url: str) -> str:
    """The host of the URL, if the adapter declares it to be one of the other mode; else empty."""
    hosts: frozenset[str] = getattr(adapter, "TEST_HOSTS" if mode == "live" else "LIVE_HOSTS", frozenset())
    try:
        host = (urlsplit(url).hostname or "").rstrip(".") if hosts else ""
    except ValueError:  # no URL: nothing gets there
        return ""
    return host if host in hosts else ""


def stored(account: Account, built: HttpRequest) -> StoredRequest:
    """What goes on record of a request: where it goes and what it says, without secrets, the body as its digest."""
    base_url = account.base_url
    if hasattr(account.adapter, "base_url_of"):
        base_url = cast("Moves", account.adapter).base_url_of(base_url, built.path)
    return StoredRequest(
        account=account.name,
        mode=account.mode,
        credential_id=account.credential_id,
        base_url=base_url,
        api_version=account.adapter.CAPABILITIES.api_version,
        method=built.method,
        path=built.path,
        headers=built.headers,
        body_sha256=digest(built.body) if built.body else "",
    )


def refs(part: Attempt | Operation, outcome: AnyOutcome) -> tuple[Ref, ...]:
    """The provider's names in an outcome, under which the payment can be found."""
    seen = [getattr(o, name, "") for o in (outcome, *getattr(outcome, "tries", ())) for name in NAMES]
    account = part.account if isinstance(part, Attempt) else "refund"
    return tuple(Ref(account, "provider_ref", v) for v in dict.fromkeys(seen) if v not in ("", "none", "open", "closed"))


def operation_ref(asked: Asked) -> Ref:
    """Our own name of an operation, under which its payment can be found."""
    return Ref("operation", "operation_id", asked.operation_id)


class Heard(Struct, frozen=True):
    """What a call taught: its outcome, the last reply behind it (None when a bug of ours came between), and what lies beside
    the chain because the customer alone may see it: by the digest that the outcome names."""

    outcome: AnyOutcome
    reply: Response | Lost | None = None
    beside: Mapping[str, bytes] = {}


async def exchange(
    transport: Transport, account: Account, prepared: Prepared, about: Intent, *, send_by_us: int, timeout_ms: int
) -> Heard:
    """Send once; what the answer, or its absence, means. Never raises for what networks and vendors can do. The last look at
    modes is here: what would go to the other one is not sent, and that is its outcome."""
    read, reply = about.kind == "read", None
    if why := forbidden(account, prepared.request, about):
        log.error("not sent", account=account.name, step=about.kind, reason=why)
        return Heard(Unreadable(reason=why) if read else NotSent(reason=why))
    if prepared.body is None:
        return Heard(NotSent(reason="the stored body was erased"))
    try:
        if read:
            return await _read(transport, account, prepared, about, send_by_us=send_by_us, timeout_ms=timeout_ms)
        reply = await _send(transport, account, prepared.request, prepared.body, send_by_us=send_by_us, timeout_ms=timeout_ms)
        if isinstance(reply, Lost):
            return Heard(Unknown(reason=reply.reason) if reply.sent else NotSent(reason=reply.reason), reply)
        return _beside(account.adapter, about, heard(account.adapter.parse(about, reply), *_ours(account, about)), reply)
    except Exception as error:  # a bug of an adapter must not lose the fact that we sent
        log.exception("adapter failed", account=account.name, step=about.kind)
        reason = f"adapter bug: {type(error).__name__}"
        return Heard(Unreadable(reason=reason) if read else Unknown(reason=reason), reply)


async def _read(
    transport: Transport, account: Account, prepared: Prepared, about: Intent, *, send_by_us: int, timeout_ms: int
) -> Heard:
    """A read may take several requests, one after the other: the adapter says which."""
    request, body = prepared.request, prepared.body or b""
    for _ in range(READS_MAX):
        reply = await _send(transport, account, request, body, send_by_us=send_by_us, timeout_ms=timeout_ms)
        if isinstance(reply, Lost):
            return Heard(Unreadable(reason=reply.reason), reply)
        said = account.adapter.parse_read(about, reply)
        if not isinstance(said, HttpRequest):
            return _beside(account.adapter, about, heard(said, *_ours(account, about)), reply)
        about = replace(about, seen=(*about.seen, reply))
        request, body = stored(account, said), said.body
        send_by_us += timeout_ms * 1000  # the next one may begin when this one may have ended
    raise ValueError(f"a read of {account.adapter.name} asks for more than {READS_MAX} requests")


def _ours(account: Account, about: Intent) -> tuple[object, ...]:
    """What a provider may repeat in its words, and the record must not hold."""
    return account.credentials, about.payment_method, about.handle, about.description, list(about.metadata.values())


def _beside(adapter: Adapter, about: Intent, outcome: AnyOutcome, reply: Response) -> Heard:
    """What does not belong into the chain stands beside the outcome, which names it by its digest: where the customer has
    to act, and what opens a container."""
    if isinstance(outcome, Created | Found) and not about.container and hasattr(adapter, "handle_of"):
        handle = cast("Opens", adapter).handle_of(about, reply).encode()
        if handle:
            return Heard(replace(outcome, handle_sha256=digest(handle)), reply, {digest(handle): handle})
    tries = outcome.tries if isinstance(outcome, Found) else (outcome,)
    asked = next((t for t in tries if isinstance(t, RequiresAction)), None)
    if asked is None or not hasattr(adapter, "next_action"):
        return Heard(outcome, reply)
    action = cast("Acts", adapter).next_action(about, reply)
    if action is None:
        return Heard(outcome, reply)
    raw = msgspec.json.encode(action)
    named = replace(asked, action_sha256=digest(raw))
    told = replace(outcome, tries=tuple(named if t is asked else t for t in tries)) if isinstance(outcome, Found) else named
    return Heard(told, reply, {named.action_sha256: raw})


async def _send(
    transport: Transport, account: Account, request: StoredRequest, body: bytes, *, send_by_us: int, timeout_ms: int
) -> Response | Lost:
    plain = HttpRequest(method=request.method, path=request.path, headers=request.headers, body=body)
    secret = account.adapter.authenticate(plain, account.credentials)
    if hasattr(account.adapter, "authenticate_body"):
        body = cast("Signs", account.adapter).authenticate_body(plain, account.credentials)
    return await transport.send(request, body, secret, send_by_us=send_by_us, timeout_ms=timeout_ms)
