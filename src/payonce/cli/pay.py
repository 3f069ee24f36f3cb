"""``payonce pay``: accept one payment, straight into the store or over HTTP."""

import contextlib
import json as jsonlib
import secrets
import time
from typing import Annotated, Any

import httpx2
import msgspec
from cyclopts import Parameter

from payonce.bootstrap import App, open_app
from payonce.config import Settings
from payonce.core.errors import PROBLEMS
from payonce.core.idempotency import normalise, parse_key
from payonce.core.money import display, is_currency
from payonce.core.payment import FINAL, Payment

from . import FAILURE, NOT_FOUND, OK, REFUSED, UNAVAILABLE, USAGE
from .app import MISUSE, wait_for
from .options import HERE, Exit, Json, Where, start_logging
from .output import clean, put, put_json, say, status
from .timeline import money
from .views import payment_view

POLL_S = 0.1
HTTP_TIMEOUT_S = 15.0


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
    wait: float = 0.0,
    url: str | None = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Accept a payment. With --wait the exit code tells how it ended: 0 charged, 5 declined, 1 in doubt, 6 not settled yet.

    Without --url it is written straight into the store; whatever worker runs on the data folder settles it, and with
    --wait this command works on it too.

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
    wait
        Seconds to wait for the end.
    url
        A running payonce, such as http://127.0.0.1:8080.
    """
    fields: dict[str, Any] = {"amount": amount, "currency": currency, "paymentMethod": method, "provider": provider}
    fields |= {"clientId": client, "description": description, "metadata": metadata_of(metadata or [])}
    body = {name: value for name, value in fields.items() if value not in ("", {})}
    if key is not None and not key.strip():
        raise Exit(USAGE, "payonce: --key is empty (an unset variable?). Nothing was accepted. Name a key, or drop the option.")
    if url is not None and not url.strip():
        raise Exit(
            USAGE, "payonce: --url is empty (an unset variable?). Nothing was accepted. Name a server, or drop the option."
        )
    key = f"cli-{secrets.token_hex(10)}" if key is None else key
    if url:
        return _over_http(url.rstrip("/"), body, key, wait, as_json=json)
    settings = where.settings()
    start_logging(settings, least="warning")
    return wait_for(_into_store(settings, body, key, wait, as_json=json))


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
        receipt = await app.engine.submit(app.scope, request, key, actor="cli")
        p = receipt.payment
        if not as_json:
            _accepted(p.id, key, replayed=receipt.replayed)
        if wait_s > 0:
            p = await settle(app, p.id, wait_s)
        if as_json:
            put_json(payment_view(p, await app.engine.details(p)))
        else:
            text, then = money(p)
            put(f"{p.id}  {display(p.amount_minor, p.currency)}  {status(p.status)}  {text}")
            if wait_s > 0 or p.status != "PENDING":
                say(f"Next: {then}")
            say(f"Its story: payonce show {p.id} --data-dir {settings.data_dir}")
    return outcome(p.status, waited=wait_s > 0)


async def settle(app: App, payment_id: str, wait_s: float) -> Payment:
    """Work on one payment beside whatever worker there is, until it is settled or the time is over."""
    deadline = app.clock.monotonic_us() + round(wait_s * 1_000_000)
    while True:
        p = await app.engine.find(app.scope, payment_id)
        if p.status in FINAL or p.status == "IN_DOUBT" or app.clock.monotonic_us() >= deadline:
            return p
        await app.engine.advance(payment_id)
        await app.clock.sleep(POLL_S)


def _accepted(payment_id: str, key: str, *, replayed: bool) -> None:
    say(f"{'Known already' if replayed else 'Accepted'}: {payment_id} (key {clean(key)})")


def outcome(said: str, *, waited: bool) -> int:
    """The exit code of a payment's status."""
    match said:
        case "SUCCESS":
            return OK
        case "FAILED" | "CANCELED":
            return REFUSED
        case "IN_DOUBT":
            return FAILURE
        case _:
            return UNAVAILABLE if waited else OK


def _over_http(url: str, body: dict[str, Any], key: str, wait_s: float, *, as_json: bool) -> int:
    deadline = time.monotonic() + wait_s
    with httpx2.Client(base_url=url, timeout=HTTP_TIMEOUT_S, trust_env=False) as client:
        try:
            answer = client.post("/payments", json=body, headers={"Idempotency-Key": key})
            view = _checked(answer)
            if not as_json:
                _accepted(view["transactionId"], key, replayed=answer.headers.get("idempotent-replayed") == "true")
            while view["status"] in ("PENDING", "REQUIRES_ACTION") and time.monotonic() < deadline:
                time.sleep(POLL_S)
                view = _checked(client.get(f"/payments/{view['transactionId']}"))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise Exit(
                UNAVAILABLE,
                f"payonce: no whole answer from {clean(url)}: {clean(str(error)) or type(error).__name__}.\n"
                "The payment may or may not have been accepted; it can only exist once for its key.\n"
                f"Run the same command again with --key {clean(key)}.",
            ) from error
    if as_json:
        put_json(view)
    else:
        amount = view["amount"], view["currency"]
        shown = display(*amount) if is_currency(amount[1]) else f"{amount[0]} {amount[1]}"
        put(f"{view['transactionId']}  {shown}  {status(view['status'])}")
        say(f"Its story: {url}/payments/{view['transactionId']}/history")
    return outcome(view["status"], waited=wait_s > 0)


def _checked(answer: httpx2.Response) -> dict[str, Any]:
    """The payment in a good answer; ends the command for any other."""
    try:
        view = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        view = None
    if isinstance(view, dict) and answer.is_success and "transactionId" in view:
        return view
    code = str(view.get("code", "")) if isinstance(view, dict) else ""
    detail = str(view.get("detail", "")) if isinstance(view, dict) else "no payonce answer"
    problem = PROBLEMS.get(code)
    by_status = {404: NOT_FOUND, 503: UNAVAILABLE, 429: UNAVAILABLE}
    exit_code = by_status.get(answer.status_code, FAILURE if answer.status_code >= 500 else REFUSED)
    if code in MISUSE:
        exit_code = USAGE
    means = f"\n{problem.money}\n{problem.next}" if problem else ""
    raise Exit(exit_code, f"payonce: {answer.status_code} {clean(detail)} ({clean(code)}){means}")
