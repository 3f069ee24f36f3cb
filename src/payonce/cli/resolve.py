"""``payonce resolve``: an operator's recorded decision."""

import sys
from typing import Annotated, Literal, NamedTuple

from cyclopts import Parameter

from payonce.bootstrap import App, open_app
from payonce.config import Settings
from payonce.core.errors import Refused
from payonce.core.money import display
from payonce.core.operations import decision_on, resolution
from payonce.core.payment import Payment
from payonce.shown.standing import decided_since, money, operation_told
from payonce.shown.story import tell

from . import OK, REFUSED, USAGE
from .app import wait_for
from .options import HERE, Exit, Json, Where
from .output import put, put_json, say
from .reading import found, history, require_store
from .views import payment_view
from .who import operator_here

Decision = Literal["charged", "not-charged", "reversed", "done", "not-done"]
OF_OPERATIONS = ("done", "not-done")


def resolve(
    payment: str,
    /,
    *,
    decision: Annotated[Decision, Parameter(name="--as")],
    reason: str,
    operation: str = "",
    provider_ref: str = "",
    amount: int | None = None,
    accept_amount: bool = False,
    yes: bool = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Record your decision on a payment that is IN_DOUBT or needs attention, or on one of its operations. It sends nothing to
    any provider.

    What a provider proves later still counts: a charge that turns up after `not-charged` is given back.

    Parameters
    ----------
    payment
        Its id, reference, provider reference or idempotency key.
    decision
        What you found at the provider: charged, not-charged, or reversed (taken and given back). With --operation: done or
        not-done.
    reason
        Why, for the record; with your name or ticket.
    operation
        The capture, void or refund in doubt that the decision is about (op_...); `payonce show` names it.
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
    if (decision in OF_OPERATIONS) != bool(operation):
        raise Exit(USAGE, "payonce: --operation and --as done|not-done belong together. Nothing was recorded.")
    said = Said(decision, reason, operation, provider_ref, amount, accept_amount)
    return wait_for(_resolve(where.settings(), payment, said, ask=not yes, as_json=json))


class Said(NamedTuple):
    """What the operator says."""

    decision: Decision
    reason: str
    operation: str
    provider_ref: str
    amount_minor: int | None
    accept_amount: bool


async def _resolve(settings: Settings, name: str, said: Said, *, ask: bool, as_json: bool) -> int:
    require_store(settings)
    async with open_app(settings) as app:  # nothing is advanced here, so nothing is sent
        p = await found(app, name)
        _check(p, said)
        if ask:
            _confirm(p, said)
        await _print(app, await _record(app, p, said), as_json=as_json)
    return OK


async def _record(app: App, p: Payment, said: Said) -> Payment:
    match said.decision:
        case "done" | "not-done" as decision:
            return await app.engine.decide(app.scope, p.id, said.operation, decision, reason=said.reason, actor=operator_here())
        case decision:
            return await app.engine.resolve(
                app.scope,
                p.id,
                decision,
                reason=said.reason,
                actor=operator_here(),
                provider_ref=said.provider_ref,
                amount_minor=said.amount_minor,
                accept_amount=said.accept_amount,
            )


def _check(p: Payment, said: Said) -> None:
    """Refuse before anybody is asked, in the words of the command line."""
    try:
        match said.decision:
            case "done" | "not-done" as decision:
                decision_on(p, said.operation, decision, said.reason)
            case decision:
                resolution(p, decision, said.reason, said.provider_ref, said.amount_minor, accept_amount=said.accept_amount)
    except Refused as error:
        if error.code != "resolution_incomplete" or any(f.field == "provider_ref" and "hold" in f.rule for f in error.errors):
            raise
        names = {"provider_ref": "--provider-ref", "amount": "--amount", "reason": "--reason"}
        if missing := [names[f.field] for f in error.errors if f.rule == "is required"]:
            needs = f"--as {said.decision} needs {' and '.join(missing)}."
        else:
            needs = f"--{error.detail} Add --accept-amount for that."
        raise Refused(error.code, needs, error.errors) from None


def _confirm(p: Payment, said: Said) -> None:
    if not sys.stdin.isatty():
        raise Exit(USAGE, "payonce: add --yes to decide without being asked. Nothing was recorded.")
    say(f"{p.id}: {p.status} {p.reason}, {display(p.amount_minor, p.currency)}")
    say(f"  now      {money(p)[0]}")
    for o in p.operations:
        if o.id == said.operation:
            say(f"  about    {operation_told(p, o)}")
    say(f"  becomes  {said.decision}, on the record, not to be taken back")
    if input("Record it? Type yes: ").strip().lower() != "yes":
        raise Exit(REFUSED, "payonce: not recorded.")


async def _print(app: App, p: Payment, *, as_json: bool) -> None:
    if as_json:
        put_json(payment_view(p, await app.engine.details(p)))
        return
    text, then = money(p, None, decided_since(tell(await history(app, p.id))[1]))
    put(f"{p.id}: {p.status}. {text}")
    say(f"Next: {then}")
