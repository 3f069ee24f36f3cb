"""``payonce resolve``: an operator's recorded decision."""

import sys
from typing import Annotated, Literal, NamedTuple

from cyclopts import Parameter

from payonce.bootstrap import App, open_app
from payonce.config import Settings
from payonce.core.errors import Refused
from payonce.core.money import display
from payonce.core.operations import resolution
from payonce.core.payment import Payment

from . import OK, REFUSED, USAGE
from .app import wait_for
from .options import HERE, Exit, Json, Where
from .output import put, put_json, say
from .reading import found, require_store
from .timeline import money
from .views import payment_view

Decision = Literal["charged", "not-charged", "reversed"]


def resolve(
    payment: str,
    /,
    *,
    decision: Annotated[Decision, Parameter(name="--as")],
    reason: str,
    provider_ref: str = "",
    amount: int | None = None,
    accept_amount: bool = False,
    yes: bool = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Record your decision on a payment that is IN_DOUBT or needs attention. It sends nothing to any provider.

    What a provider proves later still counts: a charge that turns up after `not-charged` is given back.

    Parameters
    ----------
    payment
        Its id, reference, provider reference or idempotency key.
    decision
        What you found at the provider: charged, not-charged, or reversed (taken and given back).
    reason
        Why, for the record; with your name or ticket.
    provider_ref
        Required with --as charged: the provider's id of the charge.
    amount
        Required with --as charged: what was taken, in minor units.
    accept_amount
        With --as charged: keep a charge with an amount that differs from the payment's.
    yes
        Do not ask.
    """
    if decision != "charged" and (provider_ref or amount is not None or accept_amount):
        raise Exit(
            USAGE,
            "payonce: --provider-ref, --amount and --accept-amount belong to --as charged only. Nothing was recorded.",
        )
    said = Said(decision, reason, provider_ref, amount, accept_amount)
    return wait_for(_resolve(where.settings(), payment, said, ask=not yes, as_json=json))


class Said(NamedTuple):
    """What the operator says."""

    decision: Decision
    reason: str
    provider_ref: str
    amount_minor: int | None
    accept_amount: bool


async def _resolve(settings: Settings, name: str, said: Said, *, ask: bool, as_json: bool) -> int:
    require_store(settings)
    async with open_app(settings) as app:  # nothing is advanced here, so nothing is sent
        p = await found(app, name)
        _check(p, said)
        if ask:
            _confirm(p, said.decision)
        after = await app.engine.resolve(
            app.scope,
            p.id,
            said.decision,
            reason=said.reason,
            actor="operator:cli",
            provider_ref=said.provider_ref,
            amount_minor=said.amount_minor,
            accept_amount=said.accept_amount,
        )
        await _print(app, after, as_json=as_json)
    return OK


def _check(p: Payment, said: Said) -> None:
    """Refuse before anybody is asked, in the words of the command line."""
    try:
        resolution(p, said.decision, said.reason, said.provider_ref, said.amount_minor, accept_amount=said.accept_amount)
    except Refused as error:
        if error.code != "resolution_incomplete" or any(f.field == "provider_ref" and "hold" in f.rule for f in error.errors):
            raise
        names = {"provider_ref": "--provider-ref", "amount": "--amount", "reason": "--reason"}
        if missing := [names[f.field] for f in error.errors if f.rule == "is required"]:
            needs = f"--as {said.decision} needs {' and '.join(missing)}."
        else:
            needs = f"--{error.detail} Add --accept-amount for that."
        raise Refused(error.code, needs, error.errors) from None


def _confirm(p: Payment, decision: Decision) -> None:
    if not sys.stdin.isatty():
        raise Exit(USAGE, "payonce: add --yes to decide without being asked. Nothing was recorded.")
    say(f"{p.id}: {p.status} {p.reason}, {display(p.amount_minor, p.currency)}")
    say(f"  now      {money(p)[0]}")
    say(f"  becomes  {decision}, on the record, not to be taken back")
    if input("Record it? Type yes: ").strip().lower() != "yes":
        raise Exit(REFUSED, "payonce: not recorded.")


async def _print(app: App, p: Payment, *, as_json: bool) -> None:
    if as_json:
        put_json(payment_view(p, await app.engine.details(p)))
        return
    text, then = money(p)
    put(f"{p.id}: {p.status}. {text}")
    say(f"Next: {then}")
