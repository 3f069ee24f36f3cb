"""What must hold of what merchants are told. Witnesses: what receivers got and answered, the states of endpoints as they were
written, when each change was decided and committed, and the histories. An event is owed to an endpoint when it counts for it,
and was decided after everybody could know of the endpoint, or before the end of a recovery that is about it."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from payonce.core import news
from payonce.core.errors import WebhookRefused
from payonce.core.events import Entry, unseal
from payonce.core.news import News
from payonce.intake import details_of
from payonce.mail import Delivery
from payonce.outbound import signing
from payonce.outbound.endpoints import CACHE_US, Endpoint
from payonce.outbound.schedule import GONE, SPAN_S, TRIES_MAX
from payonce.ports import Fed, Scope
from payonce.shown.news import TEST_TYPE, payload

from .options import HOUR_S, S
from .receivers import TIMEOUT_MS, Got
from .subscribers import KEY, SCOPES, State, Told

if TYPE_CHECKING:
    from .world import World

ENTRIES_MAX: Final = 5_000
PAGE: Final = 3
KNOWN_US: Final = CACHE_US + S // 10  # after a change of an endpoint: every process knows of it
SIGNED_US: Final = 60 * S  # from the look at the secrets to the first byte, where no process stood still
KEPT_US: Final = 29 * 24 * HOUR_S * S  # deliveries that are done with are removed after thirty days


class Public(Struct, frozen=True):
    """A public event as it is in the history, with what is sent of it."""

    news: News
    entry: Entry
    payload: bytes

    @property
    def scope(self) -> Scope:
        return Scope(self.news.payment.merchant_id, self.news.payment.mode)


async def judge_tidings(world: "World", *, whole: bool = True) -> None:
    """Every webhook, every delivery and every place of the feed. ``whole``: nothing is on its way any more."""
    if not world.subscribers.there:
        return
    told = {each.news.id: each async for each in _public(world)}
    rows = [row for scope in SCOPES async for row in _rows(world, scope)]
    for got in world.subscribers.got:
        _judge_got(world, got, told)
    by_place = {(row.endpoint_id, row.event_id): row for row in rows}
    if len(by_place) != len(rows):
        world.violate("an event has two deliveries to one endpoint")
    taken = {(got.url, got.event_id) for got in world.subscribers.got if got.taken}
    for row in rows:
        _judge_row(world, row, whole=whole)
    for id, states in world.subscribers.states.items():
        if (endpoint := states[-1].endpoint) is not None:
            _judge_given_up(world, states, rows)
            for each in told.values():
                if _owed(world, endpoint, states, each):
                    _judge_owed(world, endpoint, by_place.get((id, each.news.id)), taken, each)
    for poller in world.subscribers.pollers:
        await _judge_feed(world, poller, told)
    world.counts["news"] = len(told)
    world.counts["news told again"] = len(world.subscribers.got) - len({(g.url, g.event_id) for g in world.subscribers.got})


async def _public(world: "World") -> Any:
    for payment_id in dict.fromkeys([*world.known_ids(), *(f.payment_id for t in world.subscribers.pollers for f in t.seen)]):
        entries = [unseal(e.raw, e.hash) for e in await world.reader().history(payment_id, 0, ENTRIES_MAX)]
        ids = set[str]()
        for each in news.of_history(entries):
            if each.id in ids:
                world.violate(f"two public events are {each.id}", payment_id)
            ids.add(each.id)
            yield Public(each, entries[each.seq - 1], payload(each, await details_of(world.reader(), each.payment)))


async def _rows(world: "World", scope: Scope) -> Any:
    cursor = None
    while True:
        page = await world.reader().outbox.list(scope, PAGE, cursor=cursor)
        for row in page.deliveries:
            yield row
        if (cursor := page.next) is None:
            return


def _clocks_differ(world: "World") -> bool:
    return bool(world.options.skew_s or world.options.jumps)


# --- what a receiver got ------------------------------------------------------------------------------------------------


def _endpoints_at(world: "World", url: str) -> list[State]:
    """The states of the endpoint that had this URL."""
    return next((s for s in world.subscribers.states.values() if any(e.endpoint and e.endpoint.url == url for e in s)), [])


def _judge_got(world: "World", got: Got, told: Mapping[str, Public]) -> None:
    states = _endpoints_at(world, got.url)
    if not states:
        world.violate(f"a webhook went to {got.url}, where nobody wants one")
        return
    one: Endpoint = next(s.endpoint for s in states if s.endpoint is not None)
    if f'"type":"{TEST_TYPE}"'.encode() not in got.body:
        event = told.get(got.event_id)
        place = news.place_of(got.event_id)
        if event is None and not world.counts["restored"]:
            world.violate(f"{got.url} was told {got.event_id}, which nobody knows", place[0] if place else "")
        elif event is not None:
            pid = event.news.payment.id
            if event.scope != one.scope:
                world.violate(f"{got.url} of {one.scope} was told of a payment of {event.scope}", pid)
            if not one.wants(event.news.type):
                world.violate(f"{got.url} was told {event.news.type}, and wants {one.types}", pid)
            if got.body != event.payload and not world.counts["restored"]:
                world.violate(f"{got.url} got other bytes of {got.event_id} than its history tells", pid)
        now = next((s for s in reversed(states) if s.at_us <= got.at_us), states[0])
        off = now.endpoint is None or now.endpoint.state == "disabled"
        if off and got.at_us > now.at_us + SIGNED_US and not got.process.frozen_until_us and not _clocks_differ(world):
            world.violate(f"{got.url} was told {got.event_id} though it is disabled or removed")
    _judge_signature(world, got, states)
    world.counts["webhook to a merchant"] += 1
    world.counts["webhook to a merchant taken"] += got.taken


def _judge_signature(world: "World", got: Got, states: list[State]) -> None:
    """With a secret that was valid when it was signed; and with the one before, in the overlap of a rotation."""
    process, signed_us = got.process, int(got.headers[signing.TIMESTAMP]) * S
    slow = process.frozen_until_us > 0 or _clocks_differ(world)
    if not slow and abs(signed_us - got.at_us) > SIGNED_US:
        world.violate(f"a webhook to {got.url} left {abs(got.at_us - signed_us) / S:.0f} s after it was signed")
    since_us = 0 if slow else signed_us - SIGNED_US
    known = [
        s.endpoint for s, later in zip(states, [*states[1:], None], strict=True) if s.endpoint and _until(later) >= since_us
    ]
    known = [e for s in states for e in (s.endpoint,) if e is not None and s.at_us <= got.at_us and e in known]
    good = [{n for n in (e.secret_n, e.secret_n - (e.old_until_us > since_us)) if n > 0} for e in known]
    by = {n for n in set[int]().union(*good) if _signed(got, states, n)}
    if not by:
        world.violate(f"a webhook to {got.url} is signed with no secret that was valid then")
    elif len(known) == 1 and not slow and known[0].secret_n > 1 and known[0].old_until_us > signed_us + S and len(by) < 2:
        world.violate(f"a webhook to {got.url} is not signed with the secret before, which is good for a while yet")


def _until(later: State | None) -> int:
    return later.at_us if later else 2**62


def _signed(got: Got, states: list[State], generation: int) -> bool:
    id = next(s.endpoint.id for s in states if s.endpoint)
    now_us = int(got.headers[signing.TIMESTAMP]) * S
    try:
        return signing.verify(got.headers, got.body, [signing.derived(KEY, id, generation)], now_us) == got.event_id
    except WebhookRefused:
        return False


# --- what is owed -------------------------------------------------------------------------------------------------------


def _owed(world: "World", endpoint: Endpoint, states: list[State], each: Public) -> bool:
    """See the module docstring. To one that is disabled nothing is owed."""
    if endpoint.state != "enabled" or each.scope != endpoint.scope or not endpoint.wants(each.news.type):
        return False
    on_us, previous = states[0].at_us, states[0].endpoint
    recovered: list[tuple[int, int]] = []  # (since, when it was over)
    for state in states[1:]:
        now = state.endpoint
        if now is not None and previous is not None:
            if previous.state == "disabled" and now.state == "enabled":
                on_us, recovered = state.at_us, []
            if previous.recovery is not None and now.recovery is None and now.state == "enabled":
                recovered.append((previous.recovery.since_us, state.at_us))
        previous = now
    hash, at_us = each.entry.hash, each.news.at_us
    decided_us, committed_us = (t.get(hash, 0) for t in (world.subscribers.decided_us, world.subscribers.committed_us))
    if at_us >= endpoint.active_us and decided_us >= on_us + KNOWN_US:
        return True
    return any(since <= at_us and committed_us <= over_us for since, over_us in recovered) and not _clocks_differ(world)


def _judge_owed(world: "World", e: Endpoint, row: Delivery | None, taken: set[tuple[str, str]], each: Public) -> None:
    world.counts["news owed"] += 1
    event_id, pid = each.news.id, each.news.payment.id
    if row is None:
        if world.now_us() - each.news.at_us < KEPT_US:
            world.violate(f"{e.id} is owed {each.news.type} {event_id}, and has no delivery of it", pid)
    elif row.state == "canceled":
        world.violate(f"{e.id} is owed {event_id}, and its delivery was canceled: {row.said}", pid)
    elif row.state == "delivered" and (e.url, event_id) not in taken:
        world.violate(f"{e.id} is owed {event_id}, which is said to be delivered, and it never took it", pid)


def _judge_row(world: "World", row: Delivery, *, whole: bool) -> None:
    """A delivery's state is explained by what the receiver knows."""
    world.counts[f"delivery {row.state}"] += 1
    states = world.subscribers.states.get(row.endpoint_id, [])
    ever = next((s.endpoint for s in states if s.endpoint), None)
    if ever is None or ever.scope != Scope(row.merchant_id, row.mode):
        world.violate(f"the delivery {row.id} is to an endpoint of somebody else", row.payment_id)
        return
    got = [g for g in world.subscribers.got if (g.url, g.event_id) == (ever.url, row.event_id)]
    if row.state == "pending" and whole:
        world.violate(f"the delivery {row.id} never ended: {row.said}", row.payment_id)
    if row.state == "delivered" and not any(g.taken and g.heard for g in got):
        world.violate(f"the delivery {row.id} is said to be done, and nobody took it", row.payment_id)
    if row.state == "failed" and row.type != TEST_TYPE and row.status != GONE:
        vain = sum(not (g.taken and g.heard) for g in got)
        dropped = world.fate.counts["tell", "error_before"] + world.fate.counts["tell", "crash_before"]
        if row.tries < TRIES_MAX or vain + dropped < TRIES_MAX:
            world.violate(f"the delivery {row.id} was given up after {row.tries} tries, {vain} in vain", row.payment_id)
    if row.status == GONE and not any(g.status == GONE for g in got):
        world.violate(f"the delivery {row.id} was answered 410 by nobody", row.payment_id)
    off = any(s.endpoint is None or s.endpoint.state == "disabled" for s in states)
    if row.state == "canceled" and not off:
        world.violate(f"the delivery {row.id} was canceled: {row.said}, which never was so", row.payment_id)


def _judge_given_up(world: "World", states: list[State], rows: list[Delivery]) -> None:
    """An endpoint is disabled by its merchant, or for a reason that its receiver knows."""
    for before, state in pairwise(states):
        e = state.endpoint
        if e is None or e.state != "disabled" or before.endpoint is None or before.endpoint.state == "disabled":
            continue
        if "410" in e.reason and not any(g.url == e.url and g.status == GONE for g in world.subscribers.got):
            world.violate(f"{e.id} was disabled, and never said that it is gone")
        if "three days" in e.reason and not _clocks_differ(world):
            from_us = state.at_us - SPAN_S * S
            mine = [r for r in rows if r.endpoint_id == e.id and r.state == "delivered"]
            if any(from_us + TIMEOUT_MS * 1000 < r.last_us < state.at_us - HOUR_S * S for r in mine):
                world.violate(f"{e.id} was disabled, and took something in the three days before")
        world.counts["endpoint given up"] += bool(e.reason)


# --- the feed -----------------------------------------------------------------------------------------------------------


async def _judge_feed(world: "World", poller: Told, told: Mapping[str, Public]) -> None:
    """From where its last page ended there is the rest; together it is all, and nothing of anybody else."""
    if poller.restored != world.counts["restored"]:
        poller.cursor, poller.seen = None, set()
    reader = world.cloud.later() if world.cloud is not None else world.reader()
    more = True
    while more:
        page = await reader.feed(poller.scope, PAGE, poller.cursor)
        poller.seen |= set(page.entries)
        poller.cursor, more = page.next, page.more
    wanted = {Fed(each.news.payment.id, each.news.seq) for each in told.values() if each.scope == poller.scope}
    for fed in _sorted(poller.seen - wanted):
        if not world.counts["restored"] or await world.payment(fed.payment_id) is not None:
            world.violate(f"the feed of {poller.scope} has event {fed.seq}, which is nothing for it", fed.payment_id)
    late = world.cloud is not None and _clocks_differ(world)  # by more than that store allows
    for fed in _sorted(wanted - poller.seen) if not late else ():
        world.violate(f"who reads the feed of {poller.scope} by its cursor never saw event {fed.seq}", fed.payment_id)
    world.counts["event read from the feed"] += len(poller.seen)


def _sorted(places: set[Fed]) -> Iterator[Fed]:
    yield from sorted(places, key=lambda fed: (fed.payment_id, fed.seq))
