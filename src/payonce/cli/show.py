"""``payonce show``: the story of one payment, and what state the money is in."""

from collections.abc import Sequence

from payonce.config import Settings
from payonce.core.money import display
from payonce.core.payment import Payment
from payonce.shown.calls import Beside, requests_of
from payonce.shown.standing import operation_told
from payonce.shown.story import Line, tell
from payonce.shown.upcoming import missing, routed
from payonce.shown.whole import Standing, due_of, standing_of, story_lines

from . import OK
from .app import wait_for
from .options import HERE, Json, Where
from .output import STATUS_COLOURS, clean, paint, put, put_json, relative, span, stamp, status
from .reading import Books, books, found, history
from .views import history_entry, payment_view


def show(payment: str, /, *, where: Where = HERE, json: Json = False) -> int:
    """Tell what happened to a payment and why, what state the money is in, and what to do next.

    Parameters
    ----------
    payment
        Its id, reference, provider reference or idempotency key.
    """
    return wait_for(_show(where.settings(), payment, as_json=json))


async def _show(settings: Settings, name: str, *, as_json: bool) -> int:
    async with books(settings) as book:
        p = await found(book, name)
        entries = await history(book, p.id)
        told, lines = tell(entries)
        p = told or p
        given = await _standing(book, p)
        text, then = standing_of(p, lines, given)
        due = due_of(p, given)
        if as_json:
            put_json(
                {
                    "payment": payment_view(p, given.details, given.action),
                    "history": [history_entry(p.id, entry) for entry in entries],
                    "timeline": story_lines(p, lines, given),
                    "money": text,
                    "next": then,
                    "due": due or None,
                }
            )
            return OK
        _print(p, lines, given.now_us)
        put("")
        for n, o in enumerate(p.operations[1:]):
            put(f"{'' if n else 'Asked':<5}  {clean(operation_told(p, o))}")
        put(f"Money  {paint(text, STATUS_COLOURS.get(p.status, 'bold'))}")
        if due:
            put(f"Due    {clean(due)}")
        put(f"Do     {clean(then)}")
    return OK


async def _standing(book: Books, p: Payment) -> Standing:
    """What the story needs beside the history, from a store that is only read: no secret is known here."""
    details, accounts = await book.details(p), book.outside.accounts
    next_ = book.next(p, details=details)
    kept = await book.store.bodies([(p.id, sha256) for sha256 in requests_of(p)])
    return Standing(
        now_us=book.clock.now_us(),
        details=details,
        next_=next_,
        due_us=await book.store.due_of(p.id),
        missing=missing(p, next_, accounts, lambda a: book.outside.lost(p, a)),
        blocked=book.blocked,
        action=await book.action(p),
        beside=Beside(
            bodies={sha256: raw for (_, sha256), raw in kept.items()},
            adapters={a.account: accounts[a.account].adapter for a in p.attempts if a.account in accounts},
            secrets=(details.payment_method,),
        ),
        held=book.held,
        operators_named=True,
    )


def _print(p: Payment, lines: Sequence[Line], now: int) -> None:
    reason = f" ({p.reason})" if p.reason else ""
    eyes = paint(f"  needs eyes: {p.attention}", "yellow") if p.attention else ""
    put(f"{p.id}  {display(p.amount_minor, p.currency)}  {status(p.status)}{reason}{eyes}")
    put(f"key {clean(p.idempotency_key)}, accepted {stamp(p.created_us)} ({relative(p.created_us, now)})")
    for n, text in enumerate(routed(p)):
        put(f"{'' if n else 'Route':<5}  {clean(text)}")
    put("")
    for line in lines:
        if line.waited:
            put(paint(f"{'':>9}  ... {line.waited}", "dim"))
        change = f"  -> {status(line.status)}" if line.changed else ""
        where = f"[{line.where}] " if line.where else ""
        after = f"+{span(line.at_us - p.created_us)}"
        put(f"{after:>9}  {stamp(line.at_us)[11:-1]}  {line.actor:<8}  {clean(where + line.text)}{change}")
