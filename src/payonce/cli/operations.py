"""``payonce capture``, ``void``, ``refund`` and ``refunds``: what is asked of a payment later, in the store or over HTTP."""

import secrets
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from payonce.api.operations import wanted_of
from payonce.bootstrap import App, open_app
from payonce.config import Settings
from payonce.core.idempotency import parse_key
from payonce.core.money import display, is_currency, to_decimal
from payonce.core.operations import refund_ref
from payonce.core.payment import Operation, OperationState, Payment
from payonce.shown.bodies import OperationList
from payonce.shown.standing import money, operation_told

from . import FAILURE, OK, REFUSED, UNAVAILABLE, USAGE
from .app import wait_for
from .options import HERE, Exit, Json, Where, start_logging
from .output import clean, put, put_json, relative, say, stamp, table
from .reading import books, found, named_by, require_store
from .remote import POLL_S, There, asking, checked, watched
from .views import operation_entry, operation_view
from .who import cli_here

Kind = Literal["capture", "void", "refund"]
PATHS: dict[Kind, str] = {"capture": "capture", "void": "void", "refund": "refunds"}


class Wish(NamedTuple):
    """What is asked, under which key, and how long to wait for its end."""

    kind: Kind
    payment: str
    body: dict[str, Any]
    key: str
    wait_s: float


def capture(
    payment: str,
    /,
    *,
    amount: int | None = None,
    key: str | None = None,
    note: str | None = None,
    wait: float = 0.0,
    url: str | None = None,
    api_key: str | None = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Take the money that is held. With --wait the exit code tells how it ended: 0 taken, 5 failed, 1 in doubt, 6 not yet.

    Parameters
    ----------
    payment
        Its id, reference, provider reference or idempotency key; with --url its id.
    amount
        Minor units; default: all that is held. Less where the account takes parts; the rest is given free.
    key
        Idempotency key (default: a fresh one, printed): the same key never captures twice.
    note
        Why, for the record: at most 200 characters.
    wait
        Seconds to wait for the end.
    url
        A running payonce, such as http://127.0.0.1:8080.
    api_key
        With --url: the API key (default: PAYONCE_API_KEY, where others on this machine do not see it).
    """
    return _run(wished("capture", payment, amount, key, wait, note=note), There(url, api_key), where, as_json=json)


def void(
    payment: str,
    /,
    *,
    key: str | None = None,
    note: str | None = None,
    wait: float = 0.0,
    url: str | None = None,
    api_key: str | None = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Give a hold back, or cancel a payment that has not ended. Exit codes with --wait as of capture.

    Parameters
    ----------
    payment
        Its id, reference, provider reference or idempotency key; with --url its id.
    key
        Idempotency key (default: a fresh one, printed).
    note
        Why, for the record: at most 200 characters.
    wait
        Seconds to wait for the end.
    url
        A running payonce, such as http://127.0.0.1:8080.
    api_key
        With --url: the API key (default: PAYONCE_API_KEY, where others on this machine do not see it).
    """
    return _run(wished("void", payment, None, key, wait, note=note), There(url, api_key), where, as_json=json)


def refund(
    payment: str,
    /,
    *,
    amount: int | None = None,
    key: str | None = None,
    note: str | None = None,
    wait: float = 0.0,
    url: str | None = None,
    api_key: str | None = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Give money back. With --wait the exit code tells how it ended: 0 given back, 5 failed, 1 in doubt, 6 not yet.

    Parameters
    ----------
    payment
        Its id, reference, provider reference or idempotency key; with --url its id.
    amount
        Minor units; default: all that was captured and not yet given back.
    key
        Idempotency key (default: a fresh one, printed): the same key never refunds twice.
    note
        Why, for the record: at most 200 characters.
    wait
        Seconds to wait for the end; some providers take days.
    url
        A running payonce, such as http://127.0.0.1:8080.
    api_key
        With --url: the API key (default: PAYONCE_API_KEY, where others on this machine do not see it).
    """
    return _run(wished("refund", payment, amount, key, wait, note=note), There(url, api_key), where, as_json=json)


def refunds(payment: str, /, *, where: Where = HERE, json: Json = False) -> int:
    """List the refunds of a payment, the newest last. Tab-separated when it is not a terminal.

    Parameters
    ----------
    payment
        Its id, reference, provider reference or idempotency key.
    """
    return wait_for(_refunds(where.settings(), payment, as_json=json))


def named(option: str, given: str | None) -> str | None:
    """What an option names. Ends the command for an empty one: an unset variable of the shell more often than a wish."""
    if given is not None and not given.strip():
        thing = "a server" if option == "--url" else "a key"
        raise Exit(
            USAGE, f"payonce: {option} is empty (an unset variable?). Nothing was accepted. Name {thing}, or drop the option."
        )
    return given


def wished(kind: Kind, payment: str, amount: int | None, key: str | None, wait_s: float, *, note: str | None = None) -> Wish:
    """What was typed; a key that was not is made. Ends the command for an empty key."""
    body = {name: value for name, value in (("amount", amount), ("note", note)) if value is not None}
    return Wish(kind, payment, body, named("--key", key) or f"cli-{secrets.token_hex(10)}", wait_s)


def _run(wish: Wish, there: There, where: Where, *, as_json: bool) -> int:
    if named("--url", there.url) is not None:
        return _over_http(there, wish, as_json=as_json)
    settings = where.settings()
    start_logging(settings, least="warning")
    return wait_for(_into_store(settings, wish, as_json=as_json))


async def _into_store(settings: Settings, wish: Wish, *, as_json: bool) -> int:
    require_store(settings)
    key = parse_key(wish.key, None)
    async with open_app(settings) as app:
        p = await found(app, wish.payment)
        request, note = wanted_of(wish.kind, p.id, wish.body)
        receipt = await app.engine.submit(app.scope, request, key, actor=cli_here(), note=note)
        p, o = receipt.payment, receipt.operation
        if not as_json:
            _accepted(wish.kind, o.id, key, replayed=receipt.replayed)
        if wish.wait_s > 0:
            p, o = await _settle(app, p.id, o.id, wish.wait_s)
        if as_json:
            put_json(operation_view(p, o, await app.engine.details(p), await app.engine.action(p)))
        else:
            put(operation_told(p, o))
            text, then = money(p)
            say(f"Money  {text}")
            if wish.wait_s > 0 or o.state != "PENDING":
                say(f"Next: {then}")
            say(f"Its story: payonce show {p.id}{named_by(settings)}")
    return outcome(o.state, waited=wish.wait_s > 0)


async def _settle(app: App, payment_id: str, operation_id: str, wait_s: float) -> tuple[Payment, Operation]:
    """Work on the payment beside whatever worker there is, until the operation is settled or the time is over."""
    deadline = app.clock.monotonic_us() + round(wait_s * 1_000_000)
    while True:
        p = await app.engine.find(app.scope, payment_id)
        o = next(o for o in p.operations if o.id == operation_id)
        if o.state != "PENDING" or app.clock.monotonic_us() >= deadline:
            return p, o
        await app.engine.advance(payment_id)
        await app.clock.sleep(POLL_S)


def _accepted(kind: Kind, operation_id: str, key: str, *, replayed: bool) -> None:
    say(f"{'Known already' if replayed else 'Accepted'}: {kind} {operation_id} (key {clean(key)})")


def outcome(said: OperationState | str, *, waited: bool) -> int:
    """The exit code of an operation's state."""
    codes = {"SUCCEEDED": OK, "FAILED": REFUSED, "IN_DOUBT": FAILURE}
    return codes.get(said, UNAVAILABLE if waited else OK)


def _over_http(there: There, wish: Wish, *, as_json: bool) -> int:
    with asking(there, wish.key, wish.kind) as client:
        path = f"/payments/{quote(wish.payment, safe='')}/{PATHS[wish.kind]}"
        answer = client.post(path, json=wish.body, headers={"Idempotency-Key": wish.key})
        view = checked(answer, "operationId")
        if not as_json:
            _accepted(wish.kind, view["operationId"], wish.key, replayed=answer.headers.get("idempotent-replayed") == "true")
        place = f"/payments/{view['transactionId']}/operations/{view['operationId']}"
        view = watched(lambda: checked(client.get(place), "operationId"), view, lambda v: v["status"] != "PENDING", wish.wait_s)
    if as_json:
        put_json(view)
    else:
        amount = view["amount"], view["currency"]
        shown = display(*amount) if is_currency(amount[1]) else f"{amount[0]} {amount[1]}"
        why = f" ({clean(view['reason'])})" if view["reason"] else ""
        put(f"{view['kind']} {view['operationId']}  {shown}  {view['status']}{why}")
        say(f"Its story: {there.root}/payments/{view['transactionId']}/history")
    return outcome(view["status"], waited=wish.wait_s > 0)


async def _refunds(settings: Settings, name: str, *, as_json: bool) -> int:
    async with books(settings) as book:
        p = await found(book, name)
        given = [o for o in p.operations if o.kind == "refund"]
        if as_json:
            put_json(OperationList([operation_entry(p, o) for o in given]))
            return OK
        now = book.clock.now_us()
        head = ("OPERATION", "STATUS", "AMOUNT", "CURRENCY", "REASON", "PROVIDER_REF", "ACCEPTED", "AGE")
        rows = [
            (
                o.id,
                o.state,
                to_decimal(o.amount_minor, p.currency),
                p.currency,
                o.reason,
                refund_ref(p, o),
                stamp(o.at_us),
                relative(o.at_us, now),
            )
            for o in given
        ]
        table(head, rows)
        if not given:
            say(f"{p.id} has no refund.")
    return OK
