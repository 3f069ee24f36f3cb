"""Endpoints: where a merchant wants to hear of its payments. Records of the registry, one each; every change is on the journal
before it is done. What a process knows of them is at most CACHE_US old, and an endpoint begins to count a little later than
that after it was made, so that none that counts is overlooked anywhere.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from payonce.core import ids, news
from payonce.core.errors import FieldError, InvariantViolated, NewerSchema, Refused, StoreUnavailable
from payonce.core.payment import Mode
from payonce.core.redact import has_card_number
from payonce.merchants.journal import Journal
from payonce.ports import Clock, Entropy, Record, Registry, Scope
from payonce.shown.endpoints import is_line

from . import guard, signing
from .guard import Allowed
from .signing_key import SigningKey

KIND: Final = "endpoint"  # of their records in the registry
PREFIX: Final = "whe_"
ENDPOINTS_MAX: Final = 20  # of one merchant and mode
CACHE_US: Final = 2_000_000
REFRESH_US: Final = 1_000_000  # what is younger is not read again
ACTIVE_AFTER_US: Final = 5_000_000  # from its making to its first event: CACHE_US, and 3 s for clocks that differ
OVERLAP_S_MAX: Final = 7 * 86_400  # how long a replaced secret may go on signing
DESCRIPTION_CHARS_MAX: Final = 200
REASON_CHARS_MAX: Final = 200
GROUPS: Final = ("payment.*", "refund.*")
RACES_MAX: Final = 20
SCHEMA: Final = 1

Look = Callable[[str], Awaitable[tuple[str, ...]]]  # a host's addresses; empty when it has none now
State = Literal["enabled", "disabled"]


class Recovery(Struct, frozen=True, kw_only=True):
    """A recovery under way: deliveries for all news from ``since_us`` on, made page by page. ``cursor`` is where it goes on in
    the feed ("" = at the beginning), at ``due_us``; it ends with a page that was read after ``until_us``: what happened before
    then is in the feed, what happens later the endpoint hears of anyway."""

    since_us: int
    until_us: int
    due_us: int
    cursor: str = ""


class Endpoint(Struct, frozen=True, kw_only=True):
    """``types`` () = all. Events from ``active_us`` on are for it. ``secret_n`` is the generation of its secret; until
    ``old_until_us`` the one before signs too. ``failing_since_us`` > 0: nothing got through since then. ``key_id`` names the
    signing key that its secret is derived from."""

    id: str
    merchant_id: str
    mode: Mode
    url: str
    types: tuple[str, ...] = ()
    description: str = ""
    state: State = "enabled"
    reason: str = ""  # why it is disabled
    created_us: int
    active_us: int
    secret_n: int = 1
    old_until_us: int = 0
    failing_since_us: int = 0
    key_id: str = ""
    recovery: Recovery | None = None
    v: int = SCHEMA

    @property
    def scope(self) -> Scope:
        return Scope(self.merchant_id, self.mode)

    def wants(self, type: str) -> bool:
        return not self.types or type in self.types or f"{type.partition('.')[0]}.*" in self.types


class _Version(Struct):
    v: int = 0


class Endpoints:
    """See the module docstring. Methods that change one name who does it, for the journal. They raise Refused (``not_found``
    for an id that is unknown or of another merchant or mode) and StoreUnavailable."""

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        entropy: Entropy,
        journal: Journal,
        key: SigningKey,
        *,
        allowed: Allowed = Allowed(),  # noqa: B008  frozen
        look: Look | None = None,
    ) -> None:
        """``look`` finds the addresses of a host when an endpoint is registered; they are looked at again at each delivery."""
        self._registry, self._clock, self._entropy, self._journal = registry, clock, entropy, journal
        self._key, self._allowed, self._look = key, allowed, look
        self._known: Mapping[str, Endpoint] = {}
        self._listening: frozenset[tuple[str, str]] = frozenset()
        self._read_at: tuple[int, int] | None = None  # by both clocks: in a freeze the monotonic one may stand

    # --- what a process knows ---------------------------------------------------------------------------------------

    def any(self, merchant_id: str, mode: Mode) -> bool:
        """See ``intake.Listeners``."""
        return not self._younger(CACHE_US) or (merchant_id, mode) in self._listening

    async def refresh(self) -> None:
        """Read them again, unless that was a moment ago. Whoever writes payments calls it now and then: while it is not called
        every payment's news is noted down, wanted or not. Raises StoreUnavailable, NewerSchema."""
        if not self._younger(REFRESH_US):
            await self._read()

    async def known(self, *, fresh: bool = False) -> Mapping[str, Endpoint]:
        """Id -> endpoint, every merchant's; at most CACHE_US old, or read now. Raises StoreUnavailable, NewerSchema."""
        if fresh or not self._younger(CACHE_US):
            await self._read()
        return self._known

    async def _read(self) -> None:
        now = (self._clock.now_us(), self._clock.monotonic_us())
        found = [_endpoint(record) for record in await self._registry.all(KIND)]
        self._known = {each.id: each for each in found}
        self._listening = frozenset((e.merchant_id, e.mode) for e in found if e.state == "enabled")
        self._read_at = now

    def _younger(self, limit_us: int) -> bool:
        if self._read_at is None:
            return False
        now = (self._clock.now_us(), self._clock.monotonic_us())
        return all(0 <= at - then < limit_us for at, then in zip(now, self._read_at, strict=True))

    # --- for merchants ----------------------------------------------------------------------------------------------

    async def all(self, scope: Scope) -> tuple[Endpoint, ...]:
        """Those of a merchant and mode, the oldest first, read now."""
        found = [_endpoint(record) for record in await self._registry.all(KIND)]
        return tuple(sorted((e for e in found if e.scope == scope), key=lambda e: (e.created_us, e.id)))

    async def get(self, scope: Scope, id: str) -> Endpoint | None:
        return next((e for e in await self.all(scope) if e.id == id), None)

    def secrets(self, endpoint: Endpoint) -> tuple[str, ...]:
        """What signs its messages now, the newest first; "whsec_…". Raises Refused ``webhooks_unavailable``: the key that they
        are derived from is not there, or is another one than the endpoint's secret was made with."""
        key = self._key()
        if endpoint.key_id != signing.fingerprint(key):
            raise Refused(
                "webhooks_unavailable",
                f"The signing key is not the one that {endpoint.id}'s secret was made with. Restore it, or give the endpoint a "
                "new secret: rotate it.",
            )
        old = endpoint.secret_n > 1 and self._clock.now_us() < endpoint.old_until_us
        generations = (endpoint.secret_n, endpoint.secret_n - 1)[: 1 + old]
        return tuple(signing.derived(key, endpoint.id, n) for n in generations)

    async def create(
        self, scope: Scope, url: str, types: tuple[str, ...] = (), description: str = "", *, actor: str, request_id: str = ""
    ) -> Endpoint:
        """Register one; events from ``active_us`` on are delivered to it. Raises Refused ``endpoint_refused``,
        ``endpoints_too_many``, ``validation_failed``, ``card_number_refused``, ``webhooks_unavailable``."""
        await self._check(url, types, description)
        if len(await self.all(scope)) >= ENDPOINTS_MAX:
            raise _too_many()
        key_id, now = signing.fingerprint(self._key()), self._clock.now_us()
        endpoint = Endpoint(
            id=ids.new_id(PREFIX, now, self._entropy.bits(ids.RANDOM_BITS)),
            merchant_id=scope.merchant_id,
            mode=scope.mode,
            url=url,
            types=types,
            description=description,
            created_us=now,
            active_us=now + ACTIVE_AFTER_US,
            key_id=key_id,
        )
        said = {"url": guard.without_query(url), "types": _said(types)}
        await self._write("created", endpoint, actor, request_id, said)
        endpoint = replace(endpoint, active_us=self._clock.now_us() + ACTIVE_AFTER_US)  # that may have taken a while
        if not await self._registry.put(KIND, endpoint.id, msgspec.json.encode(endpoint), 0):
            raise StoreUnavailable("The new endpoint's id is taken, which cannot be by chance. Nothing was written; try again.")
        self._read_at = None
        if endpoint not in (await self.all(scope))[:ENDPOINTS_MAX]:  # others were registered at the same moment
            await self._registry.put(KIND, endpoint.id, None, 1)
            raise _too_many()
        return endpoint

    async def change(
        self,
        scope: Scope,
        id: str,
        *,
        url: str | None = None,
        types: tuple[str, ...] | None = None,
        description: str | None = None,
        actor: str,
        request_id: str = "",
    ) -> Endpoint:
        """Change what is given. Deliveries that wait go to the new URL. Raises Refused as ``create``."""
        await self._require(scope, id)
        await self._check(url, types or (), description or "")
        given = {"url": url, "types": types, "description": description}
        changes: dict[str, object] = {name: value for name, value in given.items() if value is not None}
        said: dict[str, str | int] = {} if types is None else {"types": _said(types)}
        said |= {} if description is None else {"description": description}
        if url is not None:
            said["url"], changes["failing_since_us"] = guard.without_query(url), 0

        def edited(e: Endpoint) -> Endpoint:
            return msgspec.structs.replace(e, **changes)

        return await self._change(scope, id, "changed", edited, actor=actor, request_id=request_id, said=said)

    async def enable(self, scope: Scope, id: str, *, reason: str = "", actor: str, request_id: str = "") -> Endpoint:
        """Deliver to it again, what happens from a few seconds later on; ``Courier.recover`` brings what happened meanwhile. A
        no-op when it is enabled."""

        def enabled(e: Endpoint) -> Endpoint:
            if e.state == "enabled":
                return e
            active = self._clock.now_us() + ACTIVE_AFTER_US
            return replace(e, state="enabled", reason="", active_us=active, failing_since_us=0)

        return await self._change(
            scope, id, "enabled", enabled, actor=actor, request_id=request_id, said={"reason": reason[:REASON_CHARS_MAX]}
        )

    async def disable(self, scope: Scope, id: str, *, reason: str = "", actor: str, request_id: str = "") -> Endpoint:
        """Deliver nothing to it; what waits is canceled. A no-op when it is disabled."""
        why = reason[:REASON_CHARS_MAX]

        def disabled(e: Endpoint) -> Endpoint:
            return e if e.state == "disabled" else replace(e, state="disabled", reason=why, recovery=None)

        return await self._change(scope, id, "disabled", disabled, actor=actor, request_id=request_id, said={"reason": why})

    async def remove(self, scope: Scope, id: str, *, actor: str, request_id: str = "") -> None:
        """Forget it; what waits is canceled."""
        await self._change(scope, id, "removed", lambda _: None, actor=actor, request_id=request_id)

    async def rotate(self, scope: Scope, id: str, *, overlap_s: int = 0, actor: str, request_id: str = "") -> Endpoint:
        """Give it a new secret; for ``overlap_s`` seconds (0 to OVERLAP_S_MAX) the one before signs too, and one that was
        replaced earlier does not any more. A secret of another signing key than today's does not go on."""
        if not 0 <= overlap_s <= OVERLAP_S_MAX:
            raise _invalid("overlap", f"must be 0 to {OVERLAP_S_MAX} seconds")
        key_id, now = signing.fingerprint(self._key()), self._clock.now_us()

        def rotated(e: Endpoint) -> Endpoint:
            until = now + overlap_s * 1_000_000 if e.key_id == key_id else 0
            return replace(e, secret_n=e.secret_n + 1, old_until_us=until, key_id=key_id)

        return await self._change(
            scope, id, "secret_rotated", rotated, actor=actor, request_id=request_id, said={"overlap_s": overlap_s}
        )

    # --- for the courier --------------------------------------------------------------------------------------------

    async def recovering(self, scope: Scope, id: str, recovery: Recovery, *, actor: str, request_id: str) -> Endpoint:
        """Begin a recovery. Raises Refused ``endpoint_refused`` for an endpoint that is disabled."""
        if (await self._require(scope, id)).state == "disabled":
            raise Refused("endpoint_refused", "The endpoint is disabled: enable it first.")

        def begun(e: Endpoint) -> Endpoint:
            if e.state == "disabled":  # since we looked: it would be due for ever
                raise Refused("endpoint_refused", "The endpoint is disabled: enable it first.")
            since = min(e.recovery.since_us, recovery.since_us) if e.recovery else recovery.since_us
            return replace(e, recovery=replace(recovery, since_us=since))

        return await self._change(
            scope, id, "recovered", begun, actor=actor, request_id=request_id, said={"since_us": recovery.since_us}
        )

    async def note(self, endpoint: Endpoint, **changes: object) -> bool:
        """Write what was found out about an endpoint (failing_since_us, recovery), if what is changed is still as it was in
        ``endpoint``. It is nobody's act, so the journal does not have it. False: it is not so any more."""
        for _ in range(RACES_MAX):
            record = await self._record(endpoint.id)
            now = _endpoint(record) if record else None
            if record is None or now is None or any(getattr(now, each) != getattr(endpoint, each) for each in changes):
                return False
            changed = msgspec.structs.replace(now, **changes)
            if await self._registry.put(KIND, endpoint.id, msgspec.json.encode(changed), record.version):
                self._read_at = None
                return True
        return False

    # --- within -----------------------------------------------------------------------------------------------------

    async def _record(self, id: str) -> Record | None:
        return next((r for r in await self._registry.all(KIND) if r.name == id), None)

    async def _require(self, scope: Scope, id: str) -> Endpoint:
        found = await self.get(scope, id)
        if found is None:
            raise Refused("not_found", f"There is no webhook endpoint {id[:40]} in {scope.mode} mode.")
        return found

    async def _change(
        self,
        scope: Scope,
        id: str,
        what: str,
        edit: Callable[[Endpoint], Endpoint | None],
        *,
        actor: str,
        request_id: str,
        said: Mapping[str, str | int] = {},
    ) -> Endpoint:
        """Put the change on the journal, then make it; None removes. What changes nothing is not put on record."""
        before = await self._require(scope, id)
        if edit(before) == before:
            return before
        await self._write(what, before, actor, request_id, said)
        for _ in range(RACES_MAX):
            record = await self._record(id)
            if record is None:
                raise Refused("not_found", f"There is no webhook endpoint {id[:40]} in {scope.mode} mode.")
            was = _endpoint(record)
            after = edit(was)
            value = None if after is None else msgspec.json.encode(after)
            if after == was or await self._registry.put(KIND, id, value, record.version):
                self._read_at = None
                return after or was
        raise StoreUnavailable(f"{id} is being changed by others all the time. Nothing was changed; try again.")

    async def _write(self, what: str, e: Endpoint, actor: str, request_id: str, said: Mapping[str, str | int]) -> None:
        merchant, mode = e.merchant_id, e.mode
        await self._journal.write(
            f"endpoint.{what}", e.id, actor=actor, merchant_id=merchant, mode=mode, request_id=request_id, data=said
        )

    async def _check(self, url: str | None, types: tuple[str, ...], description: str) -> None:
        """Raises Refused for what no endpoint may have."""
        for name in types:
            if name not in (*news.TYPES, *GROUPS):
                raise _invalid("types", f"{name[:40]!r} is no event type; there are {', '.join((*news.TYPES, *GROUPS))}")
        if len(set(types)) != len(types):
            raise _invalid("types", "must not name one twice")
        if not is_line(description, DESCRIPTION_CHARS_MAX):
            raise _invalid(
                "description", f"has at most {DESCRIPTION_CHARS_MAX} characters on one line, and no control characters"
            )
        if has_card_number([url or "", description]):
            raise Refused("card_number_refused", "The endpoint's URL or description looks like it holds a card number.")
        if url is None:
            return
        to = guard.target(url, self._allowed)
        if self._look and not to.address:
            found = await self._look(to.host)
            if guard.any_forbidden(to.host, found, self._allowed):
                raise Refused("endpoint_refused", "The host has an address that is not public.")


def _too_many() -> Refused:
    return Refused("endpoints_too_many", f"A merchant has at most {ENDPOINTS_MAX} endpoints in a mode.")


def _endpoint(record: Record) -> Endpoint:
    """Raises NewerSchema for one that a newer version wrote."""
    try:
        if msgspec.json.decode(record.value, type=_Version).v > SCHEMA:
            raise NewerSchema(f"The endpoint {record.name} was written by a newer payonce. Nothing was touched.")
        return msgspec.json.decode(record.value, type=Endpoint)
    except msgspec.MsgspecError as error:
        raise InvariantViolated(f"the endpoint {record.name} cannot be read: {error}") from error


def _said(types: tuple[str, ...]) -> str:
    return ",".join(types) or "all"


def _invalid(field: str, rule: str) -> Refused:
    return Refused("validation_failed", f"{field} {rule}.", (FieldError(field, rule),))
