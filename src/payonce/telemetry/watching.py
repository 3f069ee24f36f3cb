"""Around the engine, without a part in what it does: a store that counts what was committed, a transport that times calls, and
what both write: a line for each answered call, figures, spans.

Watching never fails what it watches. What goes wrong in here is counted, and said once a minute.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, cast
from urllib.parse import urlsplit

import structlog
from msgspec import Struct

from payonce.core.events import Accepted, Asked, Observed, Planned, Resolved
from payonce.core.operations import part_of
from payonce.core.payment import FINAL, Attempt, Operation, Payment, StoredRequest
from payonce.core.redact import mask
from payonce.figures import counted, declines_of
from payonce.ports import Change, Clock, Committed, Conflict, Lost, Response, Store, Transport, Unclear
from payonce.telemetry import canonical, get_logger, logs

from . import conventions as c
from . import names as n
from .meter import Meter
from .tracing import NO_TRACING, NOTHING, Span, Tracing

ORIGINS_MAX: Final = (
    20_000  # payments whose acceptance is remembered: by then they are settled, or their line lacks its request
)
SAID_EVERY_US: Final = 60_000_000
KEY_CHARS: Final = 16  # of the hash of an idempotency key: enough to compare, and nobody's key
COMMIT: Final = "commit"
COLLECTION: Final = "payments"
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

log = get_logger("telemetry")
statuses = get_logger("engine")


class Origin(Struct, frozen=True):
    """Who produced a payment's newest request: for the lines and spans of what is done for it."""

    request_id: str = ""
    trace_id: str = ""
    link: object = None


class _Calling(Struct, frozen=True):
    """The step that this task has put on record and is about to send."""

    payment_id: str = ""
    kind: str = "unknown"


NOBODY: Final = Origin()
_NO_SPAN: Final[AbstractContextManager[Span]] = nullcontext(NOTHING)
_CALLING: Final[ContextVar[_Calling]] = ContextVar("payonce_calling", default=_Calling())  # noqa: B039 - it is frozen


class Watcher:
    """One for each process: ``store`` and ``transport`` wrap, ``meter`` holds the figures."""

    def __init__(
        self, clock: Clock, meter: Meter | None = None, tracing: Tracing = NO_TRACING, *, system: str = "sqlite"
    ) -> None:
        """``system``: the kind of the store, as OpenTelemetry names it."""
        self.clock, self.meter, self.tracing, self.system = clock, meter or Meter(), tracing, system
        self.started_us = clock.now_us()
        self._origins: OrderedDict[str, Origin] = OrderedDict()
        self._said_us: int | None = None
        self._unharmed = _Unharmed(self._failed)

    def store(self, store: Store) -> Store:
        """The store, watched; it looks like the one it wraps."""
        return cast("Store", WatchedStore(store, self))

    def transport(self, transport: Transport) -> Transport:
        """The transport, watched; it looks like the one it wraps."""
        return cast("Transport", WatchedTransport(transport, self))

    # --- what is heard from elsewhere ---------------------------------------------------------------------------------

    def heard(self, account: str, result: str) -> None:
        """A webhook of a provider was heard, or looked up."""
        with self.unharmed():
            self.meter.add(n.HEARD, account, result)

    def delivered(self, means: str) -> None:
        """A webhook to a merchant was tried."""
        with self.unharmed():
            self.meter.add(n.DELIVERIES, means)

    @contextmanager
    def working(self, id: str) -> Iterator[None]:
        """While what is due for an id is done: its lines carry the request that asked for it, and its span is linked to that
        one's, where this process knows."""
        origin, bound, process = NOBODY, dict[str, str](), _NO_SPAN
        with self.unharmed():
            origin = self._origins.get(id, NOBODY)
            bound = {k: v for k, v in (("request_id", origin.request_id), ("trace_id", origin.trace_id)) if v}
            process = self._process(id, origin)
        with structlog.contextvars.bound_contextvars(**bound), Safely(self, process):
            yield

    def unharmed(self) -> "_Unharmed":
        """What goes wrong in the block is counted, and said now and then."""
        return self._unharmed

    # --- what is committed --------------------------------------------------------------------------------------------

    def planned(self, change: Change) -> None:
        """Before a write: what this task is about to call, if it says so."""
        last = change.entries[-1].envelope.data if change.entries else None
        _CALLING.set(_Calling(change.payment.id, last.step.kind) if isinstance(last, Planned) else _Calling())

    def committed(self, change: Change, link: object = None) -> None:
        """A write that holds; ``link`` is the span of who asked for it."""
        p = change.payment
        for tally in counted(change):
            if tally.what == "accepted":
                self.meter.add(n.ACCEPTED, tally.currency, p.mode, n=tally.n)
            elif tally.what == "settled":
                self.meter.add(n.SETTLED, tally.which, tally.account or n.NOBODY, tally.currency, n=tally.n)
                if tally.which != "IN_DOUBT":
                    self.meter.observe(n.SETTLE_S, (tally.at_us - p.created_us) / 1_000_000)
            elif tally.what == "call":
                kind, _, outcome = tally.which.partition(":")
                self.meter.add(n.CALLS, tally.account, kind, outcome, n=tally.n)
            elif tally.what == "declined":
                code = tally.which if tally.which in n.DECLINE_CODES else n.OTHER
                self.meter.add(n.DECLINED, tally.account, code, n=tally.n)
        for entry in change.entries:
            event = entry.envelope.data
            if isinstance(event, Accepted | Asked):
                self._remember(p.id, entry.envelope.request_id, link)
            elif isinstance(event, Observed):
                self._line(p, event, entry.envelope.at_us)
            elif isinstance(event, Resolved) and change.was != p.status:  # the engine says the others
                statuses.info("status", payment_id=p.id, before=change.was, after=p.status, reason=p.reason)
        if p.status in FINAL and change.due_us is None:
            self._origins.pop(p.id, None)

    def _remember(self, id: str, request_id: str, link: object = None) -> None:
        bound = structlog.contextvars.get_contextvars()
        trace_id = self.tracing.trace_id() or bound.get("trace_id", "")
        self._origins[id] = Origin(request_id, trace_id, link)
        self._origins.move_to_end(id)
        while len(self._origins) > ORIGINS_MAX:
            self._origins.popitem(last=False)

    def _line(self, p: Payment, event: Observed, at_us: int) -> None:
        """The one line of an answered call."""
        owner = part_of(p, event.about) if logs("attempt") else None
        if owner is None:
            return
        part, step = owner
        attempt = p.attempts[part.attempt] if isinstance(part, Operation) else part
        origin = self._origins.get(p.id, NOBODY)
        facts = {
            "payment_id": p.id,
            "account": attempt.account,
            "attempt": attempt.n,
            "operation": part.id if isinstance(part, Operation) else "",
            "step": step.kind,
            "outcome": type(event.outcome).__name__,
            "decline_code": next(iter(declines_of(event.outcome)), "") if isinstance(part, Attempt) else "",
            "ms": (at_us - step.at_us) // 1000,
            "key_hash": key_hash(p.idempotency_key),
            "request_id": origin.request_id,
            "trace_id": origin.trace_id or self.tracing.trace_id(),
        }
        canonical("attempt", logging.INFO, facts)

    # --- what is called -----------------------------------------------------------------------------------------------

    def called(self, request: StoredRequest, answer: Response | Lost, took_us: int, span: Span) -> None:
        """A provider answered, or did not."""
        self.meter.observe(n.CALL_S, took_us / 1_000_000, request.account, _CALLING.get().kind)
        said = f"{answer.status // 100}xx" if isinstance(answer, Response) else "lost" if answer.sent else "unsent"
        self.meter.add(n.EXCHANGES, request.account, _host_class(request.base_url), said)
        if isinstance(answer, Response):
            span.set(c.STATUS, answer.status)
            if answer.status >= 400:
                span.fail(str(answer.status))
        else:
            span.fail(said)

    def client(self, request: StoredRequest) -> AbstractContextManager[Span]:
        """The span of a call."""
        if not self.tracing.on:
            return _NO_SPAN
        calling, url = _CALLING.get(), urlsplit(request.base_url)
        facts: dict[str, str | int] = {
            c.METHOD: request.method,
            c.URL: mask(f"{request.base_url}{request.path.partition('?')[0]}"),
            c.SERVER: url.hostname or "",
            c.PORT: url.port or (443 if url.scheme == "https" else 80),
            c.PROVIDER: request.account,
            c.STEP: calling.kind,
        }
        if calling.payment_id:
            facts[c.PAYMENT] = calling.payment_id
        return self.tracing.span("client", request.method, facts)

    def database(self, payment_id: str) -> AbstractContextManager[Span]:
        """The span of a write."""
        if not self.tracing.on:
            return _NO_SPAN
        facts = {
            c.DB_SYSTEM: self.system,
            c.DB_OPERATION: COMMIT,
            c.DB_COLLECTION: COLLECTION,
            c.DB_SUMMARY: f"{COMMIT} {COLLECTION}",
            c.PAYMENT: payment_id,
        }
        return self.tracing.span("client", f"{COMMIT} {COLLECTION}", facts)

    def _process(self, id: str, origin: Origin) -> AbstractContextManager[Span]:
        if not self.tracing.on:
            return _NO_SPAN
        facts = {
            c.QUEUE_SYSTEM: "payonce",
            c.QUEUE_DESTINATION: COLLECTION,
            c.QUEUE_OPERATION: "process",
            c.QUEUE_OPERATION_TYPE: "process",
            c.QUEUE_MESSAGE: id,
        }
        if id.startswith("pay_"):
            facts[c.PAYMENT] = id
        return self.tracing.span("consumer", f"process {COLLECTION}", facts, link=origin.link)

    def _failed(self, error: Exception) -> None:
        try:
            self.meter.add(n.FAILURES)
            now = self.clock.monotonic_us()
            if self._said_us is None or now - self._said_us >= SAID_EVERY_US:
                self._said_us = now
                log.warning("watching failed; payments go on, and some figures are too low", error=type(error).__name__)
        except Exception:  # noqa: BLE001, S110 - the meter itself is broken: there is nobody left to tell
            pass


class _Unharmed:
    """A block whose errors are told, and go no further: watching must not fail what it watches. Several may be open at once."""

    __slots__ = ("_tell",)

    def __init__(self, tell: Callable[[Exception], None]) -> None:
        self._tell = tell

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        self._tell(error)
        return True


class Safely:
    """A span whose own trouble stays in here: what it surrounds is done in any case."""

    def __init__(self, watcher: Watcher, span: AbstractContextManager[Span]) -> None:
        self._watcher, self._span = watcher, span

    def __enter__(self) -> Span:
        with self._watcher.unharmed():
            return self._span.__enter__()
        self._span = nullcontext(NOTHING)  # it could not be opened
        return NOTHING

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        with self._watcher.unharmed():
            self._span.__exit__(kind, error, where)


class WatchedStore:
    """A store whose commits are seen. All else goes straight to the real one, whose class it says it has."""

    def __init__(self, store: Store, watcher: Watcher) -> None:
        self._store, self._watcher = store, watcher

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._store)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        """See ``ports.Store.commit``. What it raises passes through."""
        watcher = self._watcher
        span, link = _NO_SPAN, None
        with watcher.unharmed():
            watcher.planned(change)
            if watcher.tracing.on:
                link = watcher.tracing.here()
                span = Safely(watcher, watcher.database(change.payment.id))
        with span as opened:
            done = await self._store.commit(change, expected_version)
            with watcher.unharmed():
                if isinstance(done, Committed):
                    watcher.committed(change, link)
                elif isinstance(done, Unclear):
                    opened.fail("unclear")
        return done


class WatchedTransport:
    """A transport whose calls are timed. All else goes straight to the real one."""

    def __init__(self, transport: Transport, watcher: Watcher) -> None:
        self._transport, self._watcher = transport, watcher

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._transport)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        """See ``ports.Transport.send``."""
        watcher = self._watcher
        span: AbstractContextManager[Span] = _NO_SPAN
        with watcher.unharmed():
            span = watcher.client(request)
        with Safely(watcher, span) as opened:
            began_us = watcher.clock.monotonic_us()
            answer = await self._transport.send(request, body, secret_headers, send_by_us=send_by_us, timeout_ms=timeout_ms)
            with watcher.unharmed():
                watcher.called(request, answer, watcher.clock.monotonic_us() - began_us, opened)
        return answer


def key_hash(key: str) -> str:
    """An idempotency key as a log may show it: to be compared, not to be used."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:KEY_CHARS] if key else ""


def _host_class(base_url: str) -> str:
    """Whether a simulated provider was asked, or a real one."""
    host = urlsplit(base_url).hostname or ""
    return "sandbox" if host.endswith(".invalid") or host in LOOPBACK else "vendor"
