"""Requests that may change something: what each is checked for, and what it does."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from payonce.sandbox.faults import TOKENS, Plan, Profile, Refunds, decide
from payonce.sandbox.keys import KeyedCall
from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.simulator import Reply, Request, reply_json

from .errors import Refused, error_reply, failed, limited, locked, missing, unexpected_state
from .forms import Nested, amount_of, checked, currency_of, nested
from .intents import Intents
from .views import NAME, SECOND_US, Doc, id_of, intent_view, number_of, refund_view

BUSY_MARGIN_US: Final = 5 * SECOND_US
# What the vendor itself offers for tests, as one of our tokens; the decline codes are its own.
TEST_METHODS: Final[dict[str, str]] = {
    "pm_card_visa": "tok_ok",
    "pm_card_mastercard": "tok_ok",
    "pm_card_refundFail": "tok_ok",  # the refund is shown as done, and fails later
    "pm_card_pendingRefund": "tok_ok",  # the refund is pending at first
    "pm_card_visa_chargeDeclinedInsufficientFunds": "tok_decline_insufficient_funds",
    "pm_card_visa_chargeDeclinedStolenCard": "tok_decline_stolen_card",
    "pm_card_chargeDeclinedExpiredCard": "tok_decline_expired_card",
    "pm_card_chargeDeclinedProcessingError": "tok_decline_processing_error",
    "pm_card_authenticationRequired": "tok_action",
}
REFUNDS: Final[dict[str, Refunds]] = {"pm_card_refundFail": "fail_later", "pm_card_pendingRefund": "pending"}
DECLINED: Final[dict[str, Plan]] = {
    "pm_card_visa_chargeDeclined": Plan(does="decline", code="generic"),
    "pm_card_chargeDeclined": Plan(does="decline", code="generic"),
    "pm_card_visa_chargeDeclinedLostCard": Plan(does="decline", code="lost_card"),
}
STUCK: Final = "pm_card_saved500"  # ours: a 500 that is saved though nothing was done, and is never put right
ACTION: Final = TOKENS["tok_action"][0]  # of a redirect flow, which has no token
CONFIRMABLE: Final = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE: Final = (*CONFIRMABLE, "requires_capture")
EXPANSIONS: Final = frozenset({"latest_charge", "payment_intent", "charge"})


class Call:
    """One request. ``executed`` tells that its answer stands for every repeat under its key."""

    def __init__(self, request: Request, ledger: Ledger, faults: Profile, now_us: int, keyed: KeyedCall | None = None) -> None:
        self.request, self.ledger, self.faults, self.now_us, self.keyed = request, ledger, faults, now_us, keyed
        self.intents = Intents(ledger, now_us, request.headers.get("stripe-version", ""))
        self.executed = False

    def answer(self) -> Reply:
        doc = nested(self.request.body)
        match self.request.path.strip("/").split("/"):
            case ["v1", "payment_intents"]:
                return self._create(checked("create", doc, ("amount", "currency")))
            case ["v1", "payment_intents", id, "confirm"]:
                return self._confirm(self._free(id), checked("confirm", doc))
            case ["v1", "payment_intents", id, "capture"]:
                return self._capture(self._free(id), checked("capture", doc))
            case ["v1", "payment_intents", id, "cancel"]:
                return self._cancel(self._free(id), checked("cancel", doc))
            case ["v1", "refunds"]:
                return self._refund(checked("refund", doc))
        raise unknown_url(self.request)

    def settled(self, intent: Thing, expand: Sequence[str] = ()) -> Reply:
        """What a confirmation of this PaymentIntent is answered, as it stands now."""
        error = intent.doc["error"]
        view = intent_view(intent, intent.doc, self.ledger, expand)
        if intent.doc["status"] == "requires_payment_method" and error:
            more = {name: value for name, value in error.items() if name not in ("message", "code", "type")}
            return error_reply(402, error["message"], error["code"], error["type"], **more, payment_intent=view)
        return reply_json(200, view)

    # --- PaymentIntents -----------------------------------------------------------------------------------------------

    def _create(self, asked: Nested) -> Reply:
        currency = currency_of(asked["currency"])
        automatic = asked.get("automatic_payment_methods")
        types = [name for name in ("payment_method_types", "allowed_payment_method_types") if name in asked]
        if len(types) + (automatic is not None) > 1:
            raise Refused(
                400, "You may only specify one of these parameters: automatic_payment_methods.", "parameters_exclusive"
            )
        if automatic is not None and "enabled" not in automatic:
            raise Refused(400, "Missing required param: automatic_payment_methods[enabled].", "parameter_missing")
        on = automatic is not None and automatic["enabled"] == "true"
        redirects = (automatic or {}).get("allow_redirects", "always")
        doc = {
            "status": "requires_payment_method",
            "amount": amount_of(asked["amount"], currency),
            "currency": currency,
            "capture_method": asked.get("capture_method", "automatic_async"),
            "metadata": metadata_of(asked),
            "description": asked.get("description"),
            "automatic": {"allow_redirects": redirects, "enabled": True} if on else None,
            "types": (asked[types[0]] if types else []) or ["card"],
            "method": None,
            "return_url": asked.get("return_url"),
            "charges": [],
            "error": None,
            "action": None,
            "act": "",
            "due": "",
            "busy": 0,
            "hold_s": self.faults.hold_s,
            "capturable": 0,
            "received": 0,
            "canceled_at": None,
            "reason": None,
            "since": self.now_us,
        }
        reference = doc["metadata"].get("reference", "")
        made = self.ledger.add(NAME, "intent", reference, doc, at_us=self.now_us)
        self.executed = True
        self.intents.tell("payment_intent.created", intent_view(made, doc, self.ledger))
        if asked.get("confirm") == "true":
            confirmation = ("payment_method", "payment_method_data", "return_url", "expand")
            return self._confirm(made, {name: asked[name] for name in confirmation if name in asked})
        if "payment_method" in asked:
            made = self.intents.become(made, status="requires_confirmation", method=asked["payment_method"])
        return reply_json(200, intent_view(made, made.doc, self.ledger, expansions(asked)))

    def _confirm(self, intent: Thing, asked: Nested) -> Reply:
        expand, view = expansions(asked), intent_view(intent, intent.doc, self.ledger)
        token = asked.get("payment_method") or intent.doc["method"] or ""
        data = asked.get("payment_method_data")
        intent = self._may_redirect(intent, asked)
        if intent.doc["status"] not in CONFIRMABLE:
            raise unexpected_state(f"This PaymentIntent's status is {intent.doc['status']}: it cannot be confirmed.", view)
        if data is None and not token:
            raise unexpected_state("You cannot confirm this PaymentIntent because it's missing a payment method.", view)
        plan = self._plan(intent, token, data)
        self.executed = True
        if token == STUCK:
            return failed()
        if plan.does == "nothing":
            return self._nothing(plan)
        if plan.before_s and not self.request.resumed:
            busy = self.now_us + int(plan.before_s * SECOND_US) + BUSY_MARGIN_US
            self.ledger.change(intent, intent.doc | {"busy": busy})
            self.executed = False
            return self.keyed.work_for(plan.before_s) if self.keyed else Reply(hold_s=plan.before_s, resume=True)
        method = token or f"pm_{data and data['type']}"
        answer = self.settled(self.intents.carry_out(intent, plan, method, self.faults.hold_s), expand)
        if plan.answers == "error":
            return failed()
        if plan.answers == "garbage":
            return msgspec.structs.replace(answer, body=answer.body[: len(answer.body) // 2])
        return msgspec.structs.replace(answer, drop=plan.answers == "never")

    def _may_redirect(self, intent: Thing, asked: Nested) -> Thing:
        """Where the customer comes back to; needed where the method is not settled and may redirect."""
        back = asked.get("return_url") or intent.doc["return_url"]
        automatic, data = intent.doc["automatic"], asked.get("payment_method_data")
        if automatic and automatic["allow_redirects"] == "always" and not back:
            raise Refused(400, "You must provide a `return_url`, or set automatic_payment_methods[allow_redirects] to never.")
        kind = data["type"] if data is not None and "type" in data else ""
        if data is not None and kind in ("", "card"):
            param = "payment_method_data[card]" if kind else "payment_method_data[type]"
            raise Refused(400, f"Missing required param: {param}.", "parameter_missing", param=param)
        if kind and (automatic["allow_redirects"] == "never" if automatic else kind not in intent.doc["types"]):
            message = f"The payment method type {kind[:40]} cannot be used with this PaymentIntent."
            raise Refused(400, message, "payment_intent_incompatible_payment_method")
        if kind and not back:
            raise Refused(400, "Missing required param: return_url.", "parameter_missing", param="return_url")
        return msgspec.structs.replace(intent, doc=intent.doc | {"return_url": back}) if back else intent

    def _plan(self, intent: Thing, token: str, data: Nested | None) -> Plan:
        forced = intent.doc["metadata"].get("forceFail") == "true"
        if token in DECLINED and not forced:
            return DECLINED[token]
        if data is not None and not token and not forced:
            return ACTION
        who = intent.reference or id_of(intent)
        return decide(self.ledger, TEST_METHODS.get(token, token), who, force_fail=forced, resumed=self.request.resumed)

    def _nothing(self, plan: Plan) -> Reply:
        """It breaks before anything was executed."""
        self.executed = False
        if plan.answers == "limited":
            return limited()
        if plan.answers == "error":
            return failed()
        return Reply(drop=True, hold_s=plan.before_s)

    def _capture(self, intent: Thing, asked: Nested) -> Reply:
        if intent.doc["status"] != "requires_capture":
            message = f"This PaymentIntent could not be captured because it has a status of {intent.doc['status']}."
            raise unexpected_state(message, intent_view(intent, intent.doc, self.ledger))
        amount = amount_of(
            asked.get("amount_to_capture", intent.doc["capturable"]), intent.doc["currency"], "amount_to_capture"
        )
        if amount > intent.doc["capturable"]:
            message = "The amount to capture is greater than the amount you can capture."
            raise Refused(400, message, "amount_too_large", param="amount_to_capture")
        self.executed = True
        intent = self.intents.capture(intent, amount)
        return reply_json(200, intent_view(intent, intent.doc, self.ledger, expansions(asked)))

    def _cancel(self, intent: Thing, asked: Nested) -> Reply:
        if intent.doc["status"] not in CANCELABLE:
            message = f"You cannot cancel this PaymentIntent because it has a status of {intent.doc['status']}."
            raise unexpected_state(message, intent_view(intent, intent.doc, self.ledger))
        self.executed = True
        intent = self.intents.cancel(intent, asked.get("cancellation_reason"))
        return reply_json(200, intent_view(intent, intent.doc, self.ledger, expansions(asked)))

    def _free(self, id: str) -> Thing:
        """The PaymentIntent, which nothing else must be working on."""
        intent = intent_named(self.ledger, id)
        if intent.doc["busy"] > self.now_us and not self.request.resumed:
            raise locked()
        return intent

    # --- refunds ------------------------------------------------------------------------------------------------------

    def _refund(self, asked: Nested) -> Reply:
        if ("payment_intent" in asked) == ("charge" in asked):
            raise Refused(400, "One of the following params must be provided: payment_intent or charge.", "parameter_missing")
        if "charge" in asked:
            intent, _ = charge_named(self.ledger, asked["charge"])
        else:
            intent = intent_named(self.ledger, asked["payment_intent"], "payment_intent")
        if intent.doc["status"] != "succeeded":
            raise Refused(400, "This PaymentIntent does not have a successful charge to refund.", saved=True)
        left = self.intents.refundable(intent)
        if not left:
            raise Refused(400, "The charge has already been refunded.", "charge_already_refunded", saved=True)
        amount = amount_of(asked.get("amount", left), intent.doc["currency"])
        if amount > left:
            message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
            raise Refused(400, message, param="amount", saved=True)
        self.executed = True
        expansions(asked)
        fate = self.faults.refunds if self.faults.refunds != "plain" else REFUNDS.get(intent.doc["method"], "plain")
        refund = self.intents.refund(intent, amount, metadata_of(asked), asked.get("reason"), fate)
        return reply_json(200, refund_view(refund, refund.doc))


def intent_named(ledger: Ledger, id: str, param: str = "intent") -> Thing:
    found = ledger.thing(NAME, "intent", number_of("intent", id))
    if found is None:
        raise missing("payment_intent", id, param)
    return found


def charge_named(ledger: Ledger, id: str) -> tuple[Thing, int]:
    """The PaymentIntent that has the charge, and its place in it."""
    digits = id.removeprefix("ch_3")
    good = id.startswith("ch_3") and digits.isascii() and digits.isdigit() and len(digits) == 23
    intent = ledger.thing(NAME, "intent", int(digits[:-3])) if good and int(digits[:-3]) < 2**62 else None
    if intent is None or not 1 <= int(digits[-3:]) <= len(intent.doc["charges"]):
        raise missing("charge", id, "charge")
    return intent, int(digits[-3:])


def metadata_of(asked: Nested) -> Doc:
    """As the vendor limits it: 50 keys of 40 characters, values of 500. An empty value takes a key away."""
    given: dict[str, Any] = {name: value for name, value in asked.get("metadata", {}).items() if value}
    if len(given) > 50 or any(len(name) > 40 or len(value) > 500 for name, value in given.items()):
        raise Refused(400, "Metadata can have up to 50 keys of 40 characters, with values of 500.", param="metadata")
    return given


def expansions(asked: Nested, prefix: str = "") -> list[str]:
    """What is to be shown whole. Raises Refused for what cannot be."""
    wanted = [name.removeprefix(prefix) for name in asked.get("expand", []) if name.startswith(prefix)]
    odd = [name for name in asked.get("expand", []) if not name.startswith(prefix)]
    odd += [name for name in wanted if name.partition(".")[0] not in EXPANSIONS]
    if odd:
        raise Refused(400, f"This property cannot be expanded ({odd[0][:80]}).")
    return wanted


def unknown_url(request: Request) -> Refused:
    return Refused(404, f"Unrecognized request URL ({request.method}: {request.path[:120]}).")
