"""What people can do about a payment: each a page that says what will happen, and a form. The API decides; what it refuses is
told on the form, with what was typed. A form that is sent twice is done once: it carries its idempotency key."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from payonce.core.money import display, to_decimal
from payonce.dashboard.asking import Reply, Turned, needed, segment
from payonce.dashboard.promises import MEANINGS, REASON_CHARS_MAX, minor, places_said, promise
from payonce.dashboard.visit import Handler, Redirect, Screen, View, Visit

from .payment import NEEDS

Kind = Literal["capture", "void", "refund", "check", "resolve"]
KINDS: Final[tuple[Kind, ...]] = ("capture", "void", "refund", "check", "resolve")
AMOUNTS: Final = ("capture", "refund")
PATHS: Final[Mapping[Kind, str]] = {"refund": "refunds"}
# what the API calls a field -> what the form calls it
FIELDS: Final[Mapping[str, str]] = {"note": "reason", "provider_ref": "providerRef", "accept_amount": "acceptAmount"}


class Asking(Struct, frozen=True, kw_only=True):
    """One action on one payment as it is now."""

    kind: Kind
    story: Mapping[str, Any]
    about: Mapping[str, Any]  # what the story says of the action

    @property
    def payment(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.story["payment"]
        return found

    @property
    def path(self) -> str:
        return f"/payments/{segment(self.payment['transactionId'])}"


async def _asked(visit: Visit, kind: Kind) -> Asking:
    story = await visit.ask.need(f"/payments/{segment(visit.path['id'])}/story")
    return Asking(kind=kind, story=story, about=next(each for each in story["actions"] if each["action"] == kind))


def _page(visit: Visit, asking: Asking, errors: Mapping[str, str] = {}, refused: Turned | None = None) -> View:
    """The form, with what was typed, else with what is usual. ``refused``: what the API said to it."""
    p, most = asking.payment, asking.about["maxAmount"]
    typed = dict(visit.form)
    code = refused.code if refused else ""
    if code == "card_number_refused":
        typed["reason"] = ""  # it is kept nowhere, here neither
    if code == "idempotency_key_reused":
        typed["key"] = ""  # it is spent: what the form asks for now is another operation
    given = {
        "amount": to_decimal(most, p["currency"]) if most and asking.kind in AMOUNTS else "",
        "reason": "",
        "decision": "",
        "providerRef": "",
        "acceptAmount": "",
        "sure": "",
        **typed,
    }
    shown = {
        "p": p,
        "story": asking.story,
        "kind": asking.kind,
        "about": asking.about,
        "promise": promise(asking.kind, p, most),
        "given": given,
        "key": typed.get("key") or visit.fresh_key(),
        "errors": errors,
        "refused": refused,
        "detail": _detail(refused, asking) if refused else "",
        "path": f"{asking.path}/{asking.kind}",
        "back": asking.path,
        "most": display(most, p["currency"]) if most else "",
        "has_amount": asking.kind in AMOUNTS,
        "places": places_said(p["currency"]),
        "decisions": _decisions(asking),
        "needs_ref": any("providerRef" in each["needs"] for each in asking.about["decisions"]),
        "reason_max": REASON_CHARS_MAX,
    }
    return View("act.html", shown, refused.status if refused else 422 if errors else 200)


def _detail(refused: Turned, asking: Asking) -> str:
    """What the API said, in the words of a form: amounts as people write them, and what a key is."""
    p, most = asking.payment, asking.about["maxAmount"]
    if refused.code == "amount_exceeds_available" and most:
        return f"It asks for more than the {display(most, p['currency'])} that there are."
    if refused.code == "idempotency_key_reused":
        return (
            f"This form was sent before, with something else in it, and that {asking.kind} was accepted. Nothing was done now. "
            f"Look at the payment first: to send this form again asks for one more {asking.kind}."
        )
    return refused.detail


def _decisions(asking: Asking) -> list[dict[str, Any]]:
    """What may be decided, each with what it means and, of an operation, which one."""
    known = {o["operationId"]: o for o in asking.payment["operations"]}
    found = []
    for each in asking.about["decisions"]:
        o = known.get(each["operationId"])
        of = f"the {o['kind']} of {display(o['amount'], o['currency'])} ({o['operationId']})" if o else ""
        value = f"{each['decision']}:{each['operationId'] or ''}"
        found.append(
            {"value": value, "name": each["decision"], "of": of, "means": MEANINGS[each["decision"]], "needs": each["needs"]}
        )
    return found


def _body(visit: Visit, asking: Asking) -> tuple[dict[str, Any], dict[str, str]]:
    """The form as the API takes it, and what is wrong in it: field -> why. With anything wrong nothing is asked."""
    form = visit.form
    errors: dict[str, str] = {}
    reason = form.get("reason", "").strip()
    if not reason:
        errors["reason"] = "Say why: it is kept on the record."
    elif len(reason) > REASON_CHARS_MAX:
        errors["reason"] = f"At most {REASON_CHARS_MAX} characters."
    body: dict[str, Any] = {"reason" if asking.kind == "resolve" else "note": reason}
    if asking.kind in AMOUNTS:
        _amount(body, errors, form.get("amount", ""), asking.payment["currency"])
    if asking.kind == "resolve":
        _decided(body, errors, form, asking)
    return body, errors


def _amount(body: dict[str, Any], errors: dict[str, str], text: str, currency: str) -> None:
    """Only how it is written is looked at here. Whether there is as much, the API says: it alone knows a form that was sent
    before, after which less is left than it asks for."""
    try:
        body["amount"] = minor(text, currency)
    except ValueError as error:
        errors["amount"] = str(error)


def _decided(body: dict[str, Any], errors: dict[str, str], form: Mapping[str, str], asking: Asking) -> None:
    chosen = next((d for d in _decisions(asking) if d["value"] == form.get("decision")), None)
    if chosen is None:
        errors["decision"] = "Choose what you found at the provider."
        return
    body["decision"] = chosen["name"]
    if operation := chosen["value"].partition(":")[2]:
        body["operationId"] = operation
    if "providerRef" in chosen["needs"]:
        body["providerRef"] = form.get("providerRef", "").strip()
        if not body["providerRef"]:
            errors["providerRef"] = "Is needed: the provider's id of the charge."
    if "amount" in chosen["needs"]:
        _amount(body, errors, form.get("amount", ""), asking.payment["currency"])
        if form.get("acceptAmount"):
            body["acceptAmount"] = True
    if not form.get("sure"):
        errors["sure"] = "Confirm that you have looked at the provider."


async def _do(visit: Visit, kind: Kind) -> View | Redirect:
    asking = await _asked(visit, kind)
    body, errors = _body(visit, asking)
    if errors:
        return _page(visit, asking, errors)
    keyed = kind in ("capture", "void", "refund")
    key = visit.form.get("key", "") if keyed else ""
    if keyed and not key:  # a form of ours has one: without it, a second send could be a second operation
        return _page(visit, asking, {"form": "The form was not whole. Nothing was asked: send it again."})
    reply = await visit.ask.post(f"{asking.path}/{PATHS.get(kind, kind)}", body, key=key)
    if reply.ok:
        return Redirect(asking.path, notice=_notice(kind, asking, body, reply))
    try:
        needed(reply)
    except Turned as refused:
        return _page(visit, asking, _field_errors(refused, asking), refused)
    raise AssertionError("unreachable")


def _field_errors(refused: Turned, asking: Asking) -> dict[str, str]:
    most = asking.about["maxAmount"]
    if refused.code == "amount_exceeds_available" and most:
        return {"amount": f"Is more than the {display(most, asking.payment['currency'])} that there are."}
    return {FIELDS.get(each["field"], each["field"]): f"It {each['rule']}." for each in refused.fields}


def _notice(kind: Kind, asking: Asking, body: Mapping[str, Any], reply: Reply) -> str:
    """What became of it, once more in words: that it is accepted is not that it is done."""
    p = asking.payment
    again = reply.headers.get("idempotent-replayed") == "true"
    match kind:
        case "capture" | "refund":
            what = f"{kind.capitalize()} of {display(body['amount'], p['currency'])}"
            state = "had been accepted before: it is one, not two" if again else "accepted. It is on the record and worked on"
            return f"{what} {state}. {reply.body['operationId']}"
        case "void":
            state = "had been asked before: it is one, not two" if again else "accepted. It is on the record and worked on"
            return f"Void {state}. {reply.body['operationId']}"
        case "check":
            return f"{p['provider'] or 'The provider'} is being asked. The answer appears below as soon as it is there."
        case _:
            return f"Recorded: {body['decision']}. The payment is {reply.body['status']} now."


def _screens() -> tuple[Screen, ...]:
    def asks(kind: Kind) -> Handler:
        async def ask(visit: Visit) -> View:
            return _page(visit, await _asked(visit, kind))

        return ask

    def does(kind: Kind) -> Handler:
        async def do(visit: Visit) -> View | Redirect:
            return await _do(visit, kind)

        return do

    return tuple(
        Screen(f"/payments/{{id}}/{kind}", asks(kind), nav="payments", POST=does(kind), needs=NEEDS[kind]) for kind in KINDS
    )


PAGES: Final = _screens()
