"""``payonce reconcile``: ask the providers about every payment whose money is not certain."""

import asyncio
from collections.abc import AsyncIterator

from msgspec import Struct

from payonce.bootstrap import App, open_app
from payonce.config import Settings
from payonce.core.due import Call
from payonce.core.payment import Payment, PaymentStatus
from payonce.core.verdict import verdict
from payonce.ports import Filters
from payonce.restore import blind, find_lost
from payonce.shown.standing import lifting, money

from . import OK, UNAVAILABLE
from .app import wait_for
from .options import HERE, Json, Where, start_logging
from .output import counted, put, put_json, say
from .reading import require_store
from .who import operator_here

PAGE = 100
AT_ONCE = 32  # providers' limits are per account; a silent one must not hold up the others
LOOK_AGAIN_S = 0.1
UNSETTLED: tuple[PaymentStatus, ...] = ("PENDING", "REQUIRES_ACTION", "AUTHORIZED", "IN_DOUBT")


class Compared(Struct, frozen=True, rename="camel"):
    """One payment, before and after its provider was asked. ``answered`` False: a read is still owed."""

    payment: str
    before: str
    after: str
    answered: bool
    money: str


def reconcile(
    *, once: bool = False, timeout: float = 60.0, release: bool = False, where: Where = HERE, json: Json = False
) -> int:
    """Compare every payment that is not certain with its provider: it is read, nothing is fired.

    Works beside a running server. Under a hold (`serve --hold`, after a restore) every account is asked as well for
    attempts that the backup does not have. When every provider has answered, the hold is lifted and every process of this
    mode on the store begins to fire; the hold of the other mode stays, as its payments were not compared. Exit code 6 when
    some did not answer.

    Parameters
    ----------
    once
        Ask each provider once instead of again and again until it answers.
    timeout
        Seconds for each payment.
    release
        Lift the hold of this mode even though some provider did not answer.
    json
        One line of JSON per payment (NDJSON).
    """
    settings = where.settings()
    start_logging(settings, least="warning")
    return wait_for(_reconcile(settings, once=once, timeout_s=timeout, release=release, as_json=json))


async def _reconcile(settings: Settings, *, once: bool, timeout_s: float, release: bool, as_json: bool) -> int:
    require_store(settings)
    count = silent = 0
    async with open_app(settings, hold=True) as app:  # this process fires nothing, whatever it finds
        turn, restored = asyncio.Semaphore(AT_ONCE), await app.hold.on()

        async def one(p: Payment) -> Compared:
            async with turn:
                return await compare(app, p, timeout_s=timeout_s, once=once, restored=restored)

        for each in asyncio.as_completed([one(p) async for p in unresolved(app)]):
            result = await each
            count, silent = count + 1, silent + (not result.answered)
            if as_json:
                put_json(result, indent=False)
            else:
                note = "" if result.answered else "  NO ANSWER, ask again"
                put(f"{result.payment}  {result.before} -> {result.after}{note}  {result.money}")
        if lifted := restored and (release or not silent):
            await app.journal.write("hold.lifted", "store", actor=operator_here(), mode=settings.mode, data={"silent": silent})
            await app.hold.lift()
        others = [mode for mode in await app.hold.modes() if mode != settings.mode]
        if restored and (names := blind(app.engine)):
            say(f"Cannot be asked by our reference: {', '.join(names)}. Compare what was lost with its own records.")
    say(f"{counted(count, 'payment')} compared, {silent} without an answer.")
    if lifted:
        say("The hold is lifted.")
    elif silent:
        say("The hold stays. Run it again, or lift it with --release." if restored else "Run it again.")
    for mode in others:
        say(f"The hold of {mode} mode stays: run {lifting(mode, settings.mode)}.")
    return UNAVAILABLE if silent else OK


async def unresolved(app: App) -> AsyncIterator[Payment]:
    """Payments that are not settled, or need eyes. Also those without an attempt: after a restore it may be missing."""
    seen: set[str] = set()
    for filters in (*(Filters(status=status) for status in UNSETTLED), Filters(attention=True)):
        cursor: str | None = None
        while True:
            page = await app.store.list(app.scope, filters, PAGE, cursor)
            for p in page.payments:
                if p.id not in seen:
                    seen.add(p.id)
                    yield p
            if (cursor := page.next) is None:
                break


async def owes_read(app: App, p: Payment) -> bool:
    """A read that was asked for has not been answered, or an attempt is to be looked at before its first send."""
    due = (await app.engine.next(p)).do
    first_look = isinstance(due, Call) and due.kind == "read" and all(verdict(a) == "IDLE" for a in p.attempts)
    return first_look or any(a.hint is not None and verdict(a) != "YES" for a in p.attempts)


async def compare(app: App, p: Payment, *, timeout_s: float, once: bool, restored: bool) -> Compared:
    """Ask about one payment until the provider answered, or the time is over. ``restored``: also for attempts that are not
    on record, at every account."""
    began = app.clock.monotonic_us()
    answered = await read_again(app, p.id, began + round(timeout_s * 1_000_000), once=once)
    if answered and (restored or "restored_elsewhere" in (p.reason, p.attention)):
        left_s = timeout_s - (app.clock.monotonic_us() - began) / 1_000_000
        answered = await find_lost(app.engine, p.id, timeout_s=left_s, once=once)
    after = await app.store.get(p.id) or p
    return Compared(payment=p.id, before=p.status, after=after.status, answered=answered, money=money(after)[0])


async def read_again(app: App, payment_id: str, deadline_us: int, *, once: bool) -> bool:
    """Read every attempt on record that carried money forward. False when one was not answered."""
    await app.engine.ingest(payment_id, actor=operator_here())
    asked = False
    while (p := await app.store.get(payment_id)) is not None and await owes_read(app, p):
        if (once and asked) or app.clock.monotonic_us() >= deadline_us:
            return False
        await app.engine.advance(payment_id)
        asked = True
        await app.clock.sleep(LOOK_AGAIN_S)
    return p is not None
