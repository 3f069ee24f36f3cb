"""``payonce pay``: accept one payment, straight into the store or over HTTP."""

import contextlib
import json as jsonlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from payonce.adapter import NextAction
from payonce.bootstrap import App, open_app
from payonce.config import Settings
from payonce.core.idempotency import normalise, parse_key
from payonce.core.money import display, is_currency
from payonce.core.payment import FINAL, Payment
from payonce.shown.standing import money, waits_for

from . import FAILURE, OK, REFUSED, UNAVAILABLE, USAGE
from .app import wait_for
from .operations import named
from .options import HERE, Exit, Json, Where, start_logging
from .output import clean, put, put_json, say, status
from .reading import named_by
from .remote import POLL_S, There, View, asking, checked, watched
from .views import payment_view
from .who import cli_here


def pay(
    *,
    amount: int,
    currency: str,
    method: str = "",
    provider: str = "",
    client: str = "",
    description: str = "",
    key: str | None = None,
    metadata: Annotated[list[str] | None, Parameter(name="--metadata")] = None,
    capture_method: Literal["automatic", "manual"] | None = None,
    return_url: str = "",
    action_expires_in: int | None = None,
    wait: float = 0.0,
    url: str | None = None,
    api_key: str | None = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Accept a payment. Exit codes with --wait: 0 charged (--capture-method manual: held), 5 declined, 1 in doubt, 6 not yet.

    Without --url it is written straight into the store, where any worker settles it; with --wait this command does, too.

    Parameters
    ----------
    amount
        Minor units, such as 1050 for 10.50 INR.
    currency
        ISO 4217 code.
    method
        A provider's token; sandbox: tok_ok, tok_decline_then_ok, tok_lost_response, ...
    provider
        The account that must take it (default: by the rules).
    client
        A label (clientId).
    description
        Free text.
    key
        Idempotency key (default: a fresh one, printed): the same key never pays twice.
    metadata
        name=value; may be repeated. Values are taken as JSON where they are JSON.
    capture_method
        automatic takes the money at once (the default); manual holds it for `payonce capture` or `payonce void`.
    return_url
        Where the customer's browser goes after acting at the provider.
    action_expires_in
        Seconds that the customer has for it, 60 to 86400 (default: payments.action_expires_s).
    wait
        Seconds to wait for the end; a customer who has to act is waited for, too.
    url
        A running payonce, such as http://127.0.0.1:8080.
    api_key
        With --url: the API key (default: PAYONCE_API_KEY, where others on this machine do not see it).
    """
    fields: dict[str, Any] = {"amount": amount, "currency": currency, "paymentMethod": method, "provider": provider}
    fields |= {"clientId": client, "description": description, "metadata": metadata_of(metadata or [])}
    fields |= {"captureMethod": capture_method, "returnUrl": return_url, "actionExpiresIn": action_expires_in}
    key = named("--key", key) or f"cli-{secrets.token_hex(10)}"
    return _accept(fields, key, wait, There(named("--url", url), api_key), where, as_json=json)


def _accept(fields: dict[str, Any], key: str, wait_s: float, there: There, where: Where, *, as_json: bool) -> int:
    body = {name: value for name, value in fields.items() if value not in ("", {}, None)}
    if there.url is not None:
        return _over_http(there, body, key, wait_s, as_json=as_json)
    settings = where.settings()
    start_logging(settings, least="warning")
    return wait_for(_into_store(settings, body, key, wait_s, as_json=as_json))


def metadata_of(pairs: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise Exit(USAGE, f"payonce: --metadata takes name=value, not {pair[:80]!r}. Nothing was accepted.")
        found[name] = text
        with contextlib.suppress(ValueError):
            value = jsonlib.loads(text)
            if value is None or isinstance(value, bool | int | float):
                found[name] = value
    return found


async def _into_store(settings: Settings, body: dict[str, Any], key: str, wait_s: float, *, as_json: bool) -> int:
    request, key = normalise(body), parse_key(key, None)
    async with open_app(settings) as app:
        receipt = await app.engine.submit(app.scope, request, key, actor=cli_here())
        p = receipt.payment
        if not as_json:
            _accepted(p.id, key, replayed=receipt.replayed)
        if wait_s > 0:
            p = await settle(app, p.id, wait_s, None if as_json else _teller(app))
        action = await app.engine.action(p)
        if as_json:
            put_json(payment_view(p, await app.engine.details(p), action))
        else:
            text, then = money(p, action)
            put(f"{p.id}  {display(p.amount_minor, p.currency)}  {status(p.status)}  {text}")
            if wait_s > 0 or p.status != "PENDING":
                say(f"Next: {then}")
            say(f"Its story: payonce show {p.id}{named_by(settings)}")
    return outcome(p.status, waited=wait_s > 0)


Seen = Callable[[Payment], Awaitable[None]]


async def settle(app: App, payment_id: str, wait_s: float, seen: Seen | None = None) -> Payment:
    """Work on one payment beside whatever worker there is, until it is settled or held, or the time is over. ``seen`` is told
    of every state on the way."""
    deadline = app.clock.monotonic_us() + round(wait_s * 1_000_000)
    while True:
        p = await app.engine.find(app.scope, payment_id)
        if p.status in FINAL or p.status in ("IN_DOUBT", "AUTHORIZED") or app.clock.monotonic_us() >= deadline:
            return p
        if seen is not None:
            await seen(p)
        await app.engine.advance(payment_id)
        await app.clock.sleep(POLL_S)


def _teller(app: App) -> Seen:
    """Says where to send the customer as soon as that is known, and not while nobody can act any more."""
    told: set[str] = set()

    async def seen(p: Payment) -> None:
        if action := await app.engine.action(p):
            _tell(waits_for(action), told)

    return seen


def _tell(text: str, told: set[str]) -> None:
    if text not in told:
        told.add(text)
        say(clean(text))


def _us(stamped: str | None) -> int:
    """Microseconds of a time in an answer; 0 for none."""
    return round(datetime.fromisoformat(stamped).timestamp() * 1_000_000) if stamped else 0


def _accepted(payment_id: str, key: str, *, replayed: bool) -> None:
    say(f"{'Known already' if replayed else 'Accepted'}: {payment_id} (key {clean(key)})")


def outcome(said: str, *, waited: bool) -> int:
    """The exit code of a payment's status."""
    match said:
        case "SUCCESS" | "AUTHORIZED":
            return OK
        case "FAILED" | "CANCELED":
            return REFUSED
        case "IN_DOUBT":
            return FAILURE
        case _:
            return UNAVAILABLE if waited else OK


def _over_http(there: There, body: dict[str, Any], key: str, wait_s: float, *, as_json: bool) -> int:
    told: set[str] = set()

    def ended(view: View) -> bool:
        todo = view.get("nextAction")
        if todo and not as_json:
            shown = NextAction(type=todo["type"], url=todo["url"] or "", method=todo["method"], fields=todo["fields"])
            _tell(waits_for((shown, _us(todo["expiresAt"]))), told)
        return view["status"] not in ("PENDING", "REQUIRES_ACTION")

    with asking(there, key, "payment") as client:
        answer = client.post("/payments", json=body, headers={"Idempotency-Key": key})
        view = checked(answer, "transactionId")
        if not as_json:
            _accepted(view["transactionId"], key, replayed=answer.headers.get("idempotent-replayed") == "true")
        place = f"/payments/{view['transactionId']}"
        view = watched(lambda: checked(client.get(place), "transactionId"), view, ended, wait_s)
    if as_json:
        put_json(view)
    else:
        amount = view["amount"], view["currency"]
        shown = display(*amount) if is_currency(amount[1]) else f"{amount[0]} {amount[1]}"
        put(f"{view['transactionId']}  {shown}  {status(view['status'])}")
        say(f"Its story: {there.root}/payments/{view['transactionId']}/history")
    return outcome(view["status"], waited=wait_s > 0)
