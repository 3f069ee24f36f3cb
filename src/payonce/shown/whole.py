"""The whole story of a payment, for its page and ``GET /payments/{id}/story``; ``payonce show`` tells the same lines. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from payonce.core.actors import for_merchants
from payonce.core.due import Block, Next, held_back
from payonce.core.idempotency import Details
from payonce.core.payment import Payment
from payonce.core.redact import mask
from payonce.mail import Delivery, Webhook

from .actions import Asking, actions_of
from .bars import WEBHOOK_ID, Heard, bars_of, hints
from .bodies import RouteEntry
from .calls import Beside, calls_of
from .standing import decided_since, money
from .story import Line
from .story_bodies import Story, StoryCall, StoryDelivery, StoryLine, StoryRoute, StoryWebhook
from .upcoming import chosen_by, upcoming
from .views import Action, payment_body, stamp

DELIVERIES_MAX: Final = 100  # of one story, the newest


class Standing(Struct, frozen=True, kw_only=True):
    """How a payment stands, beside its history: what is due, as the due index and a plan with the accounts of today have it;
    what the customer has to do; what lies beside the chain; whom it was told, and who told of it."""

    now_us: int
    details: Details
    next_: Next
    due_us: int | None
    missing: Sequence[str] = ()
    blocked: Mapping[str, Block] = {}
    action: Action | None = None
    beside: Beside = Beside()
    webhooks: Mapping[str, Webhook] = {}
    deliveries: Sequence[Delivery] = ()
    held: bool = False  # nothing is fired until a reconcile: `serve --hold`
    operators_named: bool = False  # to who runs payonce; else an operator is just that


def story(p: Payment, lines: Sequence[Line], given: Standing, asking: Asking) -> Story:
    """All of it. ``lines``: as ``tell`` makes them of the whole history, which folds to ``p``. ``asking``: the rules for a new
    operation."""
    text, then = standing_of(p, lines, given)
    due = due_of(p, given)
    found = heard(lines, given.webhooks)
    return Story(
        payment=payment_body(p, given.details, given.action),
        money=text,
        next=then,
        due=mask(due) or None,
        due_at=None if given.due_us is None else stamp(given.due_us),
        actions=actions_of(p, asking),
        route=StoryRoute(by=chosen_by(p), candidates=[RouteEntry(c.account, c.taken, c.why) for c in p.route]),
        lines=story_lines(p, lines, given),
        bars=bars_of(p, lines, given.now_us, due=mask(due), next_=given.next_, heard=found, deliveries=given.deliveries),
        webhooks=[_webhook(each) for each in found],
        deliveries=[_delivery(d) for d in sorted(given.deliveries, key=lambda d: (d.created_us, d.id))],
    )


def standing_of(p: Payment, lines: Sequence[Line], given: Standing) -> tuple[str, str]:
    """The state of the money in a sentence, and what to do; with all that the history and the house tell."""
    text, then = money(p, given.action, decided_since(lines))
    if given.held and given.due_us is not None and held_back(given.next_.do):
        return text, "payonce reconcile: until it has run, nothing is sent."
    return text, then


def due_of(p: Payment, given: Standing) -> str:
    """What is due next, when and why; empty when nothing is owed any more."""
    return upcoming(given.due_us, given.next_, p, given.now_us, missing=given.missing, blocked=given.blocked, held=given.held)


def story_lines(p: Payment, lines: Sequence[Line], given: Standing) -> list[StoryLine]:
    """The lines with their calls."""
    calls = calls_of(p, given.beside, given.now_us)
    return [_line(p, line, calls.get(line.seq), named=given.operators_named) for line in lines]


def named_webhooks(lines: Sequence[Line]) -> list[str]:
    """Ids of the webhooks that hints name."""
    return list(dict.fromkeys(h.ref for h in hints(lines) if h.ref.startswith(WEBHOOK_ID)))


def heard(lines: Sequence[Line], webhooks: Mapping[str, Webhook]) -> list[Heard]:
    """The webhooks that led to a look, each with its row of the inbox where that is known."""
    return [Heard(seq=h.seq, at_us=h.at_us, account=h.account, ref=h.ref, webhook=webhooks.get(h.ref)) for h in hints(lines)]


def _line(p: Payment, line: Line, call: StoryCall | None, *, named: bool) -> StoryLine:
    env = line.entry.envelope
    return StoryLine(
        seq=line.seq,
        at=stamp(line.at_us),
        after_ms=max(0, line.at_us - p.created_us) // 1000,
        actor=line.actor if named else for_merchants(line.actor),
        request_id=env.request_id,
        kind=line.kind,
        where=line.where,
        text=mask(line.text),
        status=line.status,
        changed=line.changed,
        waited=line.waited,
        waited_ms=line.waited_us // 1000,
        hash=line.entry.hash,
        note=line.note,
        call=call,
    )


def _webhook(h: Heard) -> StoryWebhook:
    w = h.webhook
    return StoryWebhook(
        id=w.id if w else None,
        account=h.account,
        kind=mask(w.kind) if w else "",
        received_at=stamp(w.received_us if w else h.at_us),
        state=w.state if w else "matched",
        deliveries=w.deliveries if w else 1,
    )


def _delivery(d: Delivery) -> StoryDelivery:
    return StoryDelivery(
        id=d.id,
        endpoint_id=d.endpoint_id,
        type=d.type,
        event_id=d.event_id,
        state=d.state,
        tries=d.tries,
        status=d.status or None,
        said=mask(d.said),
        created_at=stamp(d.created_us),
        last_at=stamp(d.last_us) if d.last_us else None,
    )
