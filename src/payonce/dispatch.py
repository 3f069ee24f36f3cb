"""From a planned call to an outcome: what exactly is sent where, and what the answer means.

The engine decides whether and when (its claim is the conditional write); here is only the how. A request is built once;
every later send of the same step takes the stored bytes (R2).
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from .adapter import Adapter, HttpRequest, Intent
from .core import ids
from .core.due import Call
from .core.events import Opened, digest
from .core.idempotency import Details
from .core.operations import operation
from .core.outcome import AnyOutcome, NotSent, Unknown, Unreadable
from .core.payment import Mode, Payment, StepKind, StoredRequest, Terms
from .core.verdict import charge_ref
from .ports import Lost, Store, Transport
from .telemetry import get_logger

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

    def __repr__(self) -> str:
        return f"Account({self.name!r}, adapter={self.adapter.name!r}, mode={self.mode!r}, credential={self.credential_id!r})"


class Prepared(Struct, frozen=True):
    """What will be sent. ``body`` None: it was erased since the first send, so nothing can be sent again."""

    request: StoredRequest
    body: bytes | None


def opened(p: Payment, call: Call, account: Account) -> tuple[Call, Opened | None]:
    """The head of the attempt that this call opens, if it opens one: the account's facts of today are frozen into it."""
    if not call.opens:
        return call, None
    kind: StepKind = "create" if account.terms.container else "fire"
    if call.kind == "read":
        kind = "read"  # look first: see Facts.look_first
    head = Opened(
        n=call.attempt,
        account=account.name,
        adapter=account.adapter.name,
        base_url=account.base_url,
        credential_id=account.credential_id,
        reference=ids.reference(p.id, 1, call.attempt),
        terms=account.terms,
    )
    return replace(call, kind=kind), head


def intent(p: Payment, call: Call, details: Details) -> Intent:
    """All that an adapter may know about the step."""
    o = operation(p, call.operation) if call.operation else None
    a = p.attempts[call.attempt] if call.attempt < len(p.attempts) else None
    kind = SENT_AS.get(call.kind, call.kind)
    return Intent(
        kind=call.kind,
        mode=p.mode,
        amount_minor=p.amount_minor,
        currency=p.currency,
        reference=a.reference if a else ids.reference(p.id, 1, call.attempt),
        key="" if call.kind == "read" else ids.step_key(p.id, o.n if o else 1, call.attempt, kind),
        container=a.container if a else "",
        provider_ref=charge_ref(a) if a else "",
        refund_reference=o.reference if o else "",
        refund_minor=o.amount_minor if o else 0,
        payment_method=details.payment_method,
        description=details.description,
        metadata=details.metadata,
    )


async def prepare(store: Store, p: Payment, call: Call, account: Account, about: Intent) -> Prepared:
    """The stored request of an earlier send of the same step, or a new one."""
    kind = SENT_AS.get(call.kind, call.kind)
    steps = operation(p, call.operation).steps if call.operation else ()
    if not call.operation and call.attempt < len(p.attempts):
        steps = p.attempts[call.attempt].steps
    earlier = next((s.request for s in steps if s.kind == kind and s.request), None)
    if earlier is not None:
        place = (p.id, earlier.body_sha256)
        return Prepared(earlier, (await store.bodies([place])).get(place) if earlier.body_sha256 else b"")
    built = account.adapter.build(about)
    return Prepared(stored(account, built), built.body)


def stored(account: Account, built: HttpRequest) -> StoredRequest:
    """What goes on record of a request: where it goes and what it says, without secrets, the body as its digest."""
    return StoredRequest(
        account=account.name,
        mode=account.mode,
        credential_id=account.credential_id,
        base_url=account.base_url,
        api_version=account.adapter.CAPABILITIES.api_version,
        method=built.method,
        path=built.path,
        headers=built.headers,
        body_sha256=digest(built.body) if built.body else "",
    )


async def exchange(
    transport: Transport, account: Account, prepared: Prepared, about: Intent, *, send_by_us: int, timeout_ms: int
) -> AnyOutcome:
    """Send once; what the answer, or its absence, means. Never raises for what networks and vendors can do."""
    request, body, read = prepared.request, prepared.body, about.kind == "read"
    if body is None:
        return NotSent(reason="the stored body was erased")
    try:
        plain = HttpRequest(method=request.method, path=request.path, headers=request.headers, body=body)
        secret = account.adapter.authenticate(plain, account.credentials)
        reply = await transport.send(request, body, secret, send_by_us=send_by_us, timeout_ms=timeout_ms)
        if isinstance(reply, Lost):
            if read:
                return Unreadable(reason=reply.reason)
            return Unknown(reason=reply.reason) if reply.sent else NotSent(reason=reply.reason)
        return account.adapter.parse_read(about, reply) if read else account.adapter.parse(about, reply)
    except Exception as error:  # a bug of an adapter must not lose the fact that we sent
        log.exception("adapter failed", account=account.name, step=about.kind)
        reason = f"adapter bug: {type(error).__name__}"
        return Unreadable(reason=reason) if read else Unknown(reason=reason)
