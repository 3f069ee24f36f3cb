"""Stripe as the sandbox plays it, request by request: parameters, keys, lists, what the customer does, and events."""

import base64
import json
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from payonce.sandbox.faults import TOKENS, Profile
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.simulator import Reply, Request
from payonce.sandbox.stripe import ROLL_FORWARD_S, SIMULATOR, TEST_METHODS, StripeVendor

SECOND_US: Final = 1_000_000
INTENTS: Final = "/v1/payment_intents"
NEW: Final = {"amount": "1050", "currency": "inr", "payment_method_types[]": "card", "metadata[reference]": "r1"}
NEVER: Final = {"automatic_payment_methods[enabled]": "true", "automatic_payment_methods[allow_redirects]": "never"}
BACK: Final = {"return_url": "https://shop.example/back"}


class Stripe:
    """A vendor with books of its own and a clock that is turned by hand."""

    def __init__(self, vendor: StripeVendor = SIMULATOR) -> None:
        self.vendor, self.ledger, self.now_us, self.faults = vendor, Ledger(":memory:"), 1_800_000_000_000_000, Profile()
        self.headers = {"authorization": "Bearer sk_test_1"}

    def ask(self, method: str, path: str, params: dict[str, str] | None = None, **more: Any) -> Reply:
        headers = self.headers | {name.replace("_", "-"): value for name, value in more.items() if name != "resumed"}
        reads = method == "GET"
        request = Request(
            method=method,
            path=path,
            query=(params or {}) if reads else {},
            headers=headers,
            body=b"" if reads else urlencode(params or {}).encode(),
            resumed=bool(more.get("resumed")),
        )
        with self.ledger.transaction():
            self.vendor.settle(self.ledger, self.now_us)
            return self.vendor.simulate(request, self.ledger, self.faults, self.now_us)

    def get(self, path: str, **params: str) -> Any:
        return body(self.ask("GET", path, {name.replace("__", "[") + "]" * name.count("__"): v for name, v in params.items()}))

    def created(self, **more: str) -> str:
        return str(body(self.ask("POST", INTENTS, NEW | more))["id"])

    def confirmed(self, token: str, **more: str) -> str:
        """A PaymentIntent that was confirmed with a token."""
        id = self.created(**more)
        self.ask("POST", f"{INTENTS}/{id}/confirm", {"payment_method": token})
        return id

    def status(self, id: str) -> str:
        return str(self.get(f"{INTENTS}/{id}")["status"])

    def books(self) -> list[tuple[str, int]]:
        with self.ledger.transaction():
            self.vendor.settle(self.ledger, self.now_us)
        return [(m.kind, m.amount) for m in self.ledger.movements()]

    def events(self) -> list[str]:
        return [event["type"] for event in reversed(self.get("/v1/events", limit="100")["data"])]


def body(reply: Reply) -> Any:
    return json.loads(reply.body)


def said(reply: Reply) -> tuple[int, str | None, str | None]:
    """The status, and the code and parameter of its error."""
    error = body(reply)["error"]
    return reply.status, error.get("code"), error.get("param")


@pytest.fixture
def stripe() -> Stripe:
    return Stripe()


# --- who asks, and what -------------------------------------------------------------------------------------------------


def test_the_key_may_come_in_two_ways(stripe: Stripe) -> None:
    """As a bearer, or as the user of basic authentication; without one, or with one of live mode, 401."""
    basic = "Basic " + base64.b64encode(b"sk_test_1:").decode()
    for value, status in ((basic, 200), ("Bearer rk_test_1", 200), ("", 401), ("Bearer sk_live_1", 401), ("Basic %%", 401)):
        stripe.headers = {"authorization": value}
        assert stripe.ask("GET", INTENTS).status == status, value
    stripe.vendor = StripeVendor(frozenset({"sk_test_mine"}))
    stripe.headers = {"authorization": "Bearer sk_test_1"}
    assert stripe.ask("GET", INTENTS).status == 401


def test_a_version_that_is_none_is_refused(stripe: Stripe) -> None:
    """The header is optional; what is no version is refused."""
    assert stripe.ask("GET", INTENTS, stripe_version="2026-10-28.endive").headers["stripe-version"] == "2026-10-28.endive"
    assert stripe.ask("GET", INTENTS, stripe_version="newest").status == 400


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"metadata[a][b]": "c"}, None, "metadata"),
        ({"automatic_payment_methods[colour]": "red"}, "parameter_unknown", "automatic_payment_methods[colour]"),
        ({"amount[a]": "1"}, "parameter_unknown", "amount[a]"),
        ({"[a]": "1"}, "parameter_unknown", "[a]"),
        ({"capture_method": "later"}, None, "capture_method"),
        ({"capture_method": ""}, "parameter_invalid_empty", "capture_method"),
        ({"amount": "10.50"}, "parameter_invalid_integer", "amount"),
        ({"amount": "-1"}, "parameter_invalid_integer", "amount"),
        ({"amount": "99999999999999"}, "amount_too_large", "amount"),
        ({"currency": "lyd"}, None, "currency"),
        ({"currency": "isk"}, "invalid_charge_amount", "amount"),
        ({"currency": "jod", "amount": "1051"}, "invalid_charge_amount", "amount"),
        ({"metadata[a]": "x" * 501}, None, "metadata"),
        ({"payment_method_types": "card"}, "parameter_unknown", "payment_method_types"),
        ({"automatic_payment_methods[enabled]": "true"}, "parameters_exclusive", None),
    ],
)
def test_parameters_are_checked(stripe: Stripe, params: dict[str, str], code: str | None, param: str | None) -> None:
    """What the method does not take is refused before anything is made, naming the parameter."""
    assert said(stripe.ask("POST", INTENTS, NEW | params)) == (400, code, param)
    assert stripe.ledger.counts()["answers"] == 0
    assert stripe.get(INTENTS)["data"] == []


def test_nested_names_are_read_in_each_way(stripe: Stripe) -> None:
    """Lists by number or without, maps by name; metadata that is empty is none."""
    params = {"payment_method_types[1]": "ideal", "payment_method_types[0]": "card", "metadata[a b]": "c", "metadata[d]": ""}
    made = body(stripe.ask("POST", INTENTS, {"amount": "1", "currency": "EUR"} | params))
    assert made["payment_method_types"] == ["card", "ideal"]
    assert (made["metadata"], made["currency"]) == ({"a b": "c"}, "eur")


def test_only_what_can_be_expanded_is(stripe: Stripe) -> None:
    """A charge is an id until it is asked for; other names are refused, with the right prefix in lists."""
    id = stripe.confirmed("tok_ok")
    plain, whole = stripe.get(f"{INTENTS}/{id}"), stripe.get(f"{INTENTS}/{id}", expand__0="latest_charge")
    assert whole["latest_charge"]["id"] == plain["latest_charge"]
    assert stripe.get(INTENTS, expand__0="data.latest_charge")["data"][0]["latest_charge"]["captured"] is True
    assert stripe.get(INTENTS, expand__0="latest_charge")["error"]["message"].startswith("This property cannot be expanded")
    assert stripe.get(f"{INTENTS}/{id}", expand__0="moon")["error"]["type"] == "invalid_request_error"


# --- keys ---------------------------------------------------------------------------------------------------------------


def test_what_was_not_executed_is_not_saved(stripe: Stripe) -> None:
    """Refused parameters, a missing object and a rate limit leave the key unused: the corrected request goes through."""
    assert stripe.ask("POST", INTENTS, NEW | {"colour": "red"}, idempotency_key="k").status == 400
    assert stripe.ask("POST", f"{INTENTS}/pi_1/confirm", {}, idempotency_key="k").status == 404
    limited = stripe.created()
    confirm = (f"{INTENTS}/{limited}/confirm", {"payment_method": "tok_rate_limited"})
    assert said(stripe.ask("POST", *confirm, idempotency_key="k")) == (429, "rate_limit", None)
    assert stripe.ask("POST", INTENTS, NEW, idempotency_key="k").status == 200


def test_what_was_executed_is_saved(stripe: Stripe) -> None:
    """A refusal for the state it is in, repeated, is the same answer and says so; other parameters are an error of their
    own."""
    id = stripe.confirmed("tok_ok")
    again = (f"{INTENTS}/{id}/confirm", {"payment_method": "tok_ok"})
    first = stripe.ask("POST", *again, idempotency_key="k")
    assert said(first) == (400, "payment_intent_unexpected_state", None)
    assert body(first)["error"]["payment_intent"]["status"] == "succeeded"
    second = stripe.ask("POST", *again, idempotency_key="k")
    assert (second.body, second.headers["idempotent-replayed"]) == (first.body, "true")
    assert second.headers["request-id"] == stripe.ask("POST", *again, idempotency_key="k").headers["request-id"]
    other = stripe.ask("POST", INTENTS, NEW, idempotency_key="k")
    assert (other.status, body(other)["error"]["type"]) == (400, "idempotency_error")
    assert stripe.ask("POST", INTENTS, NEW, idempotency_key="x" * 256).status == 400


def test_two_kinds_of_500(stripe: Stripe) -> None:
    """One that came before anything was executed is not saved. One that came after the charge is repeated, says that asking
    again is no use, and is put right later."""
    early, late = stripe.created(), stripe.created(**{"metadata[reference]": "r2"})
    first = (f"{INTENTS}/{early}/confirm", {"payment_method": "tok_500_then_ok"})
    assert [stripe.ask("POST", *first, idempotency_key="a").status for _ in range(3)] == [500, 200, 200]
    second = (f"{INTENTS}/{late}/confirm", {"payment_method": "tok_500_after_charge"})
    replies = [stripe.ask("POST", *second, idempotency_key="b") for _ in range(2)]
    assert [r.status for r in replies] == [500, 500]
    assert replies[0].headers["stripe-should-retry"] == "false"
    assert stripe.books() == [("charge", 1050), ("charge", 1050)]
    stripe.now_us += ROLL_FORWARD_S * SECOND_US
    right = stripe.ask("POST", *second, idempotency_key="b")
    assert (right.status, body(right)["status"]) == (200, "succeeded")
    assert "x-saved-at" not in right.headers
    assert stripe.books() == [("charge", 1050), ("charge", 1050)]


def test_one_request_at_a_time(stripe: Stripe) -> None:
    """While a confirmation is worked on its key is in use, and the PaymentIntent is locked for every other request."""
    id = stripe.created()
    confirm = (f"{INTENTS}/{id}/confirm", {"payment_method": "tok_slow_5s"})
    assert stripe.ask("POST", *confirm, idempotency_key="a").resume
    busy = stripe.ask("POST", *confirm, idempotency_key="a")
    assert (said(busy)[:2], busy.headers["stripe-should-retry"]) == ((409, "idempotency_key_in_use"), "true")
    for below, key in (("confirm", "b"), ("cancel", "c")):
        params = confirm[1] if below == "confirm" else {}
        assert said(stripe.ask("POST", f"{INTENTS}/{id}/{below}", params, idempotency_key=key))[:2] == (429, "lock_timeout")
    stripe.now_us += 5 * SECOND_US
    assert stripe.ask("POST", *confirm, idempotency_key="a", resumed=True).status == 200
    assert stripe.ask("POST", *confirm, idempotency_key="a").headers["idempotent-replayed"] == "true"
    assert stripe.books() == [("charge", 1050)]


# --- confirmations ------------------------------------------------------------------------------------------------------


# What does not end in money, of one PaymentIntent that is confirmed three times and then left alone for a minute.
UNPAID: Final = {
    **dict.fromkeys([token for token in TOKENS if token.startswith("tok_decline")], "requires_payment_method"),
    **dict.fromkeys(["tok_technical_then_ok", "tok_not_enabled_then_ok", "tok_action_decline"], "requires_payment_method"),
    "tok_never_resolves": "processing",
    "tok_action": "requires_action",
}
UNPAID.pop("tok_decline_send_then_ok")


@pytest.mark.parametrize("capture", ["automatic", "manual"])
@pytest.mark.parametrize("token", TOKENS)
def test_every_token(stripe: Stripe, token: str, capture: str) -> None:
    """Confirmed often enough, each token comes to what it says: at most one success, and books that show it."""
    id = stripe.created(capture_method=capture)
    slow = token == "tok_slow_5s"
    for _ in range(3):
        stripe.ask("POST", f"{INTENTS}/{id}/confirm", {"payment_method": token}, resumed=slow)
    stripe.now_us += 60 * SECOND_US
    stripe.books()
    paid = "requires_capture" if capture == "manual" else "succeeded"
    assert stripe.status(id) == UNPAID.get(token, paid)
    moved = [] if token in UNPAID else [("authorize" if capture == "manual" else "charge", 1150 if "wrong" in token else 1050)]
    assert stripe.books() == moved


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "lost_card"),
        ("pm_of_nobody", "incorrect_number"),
    ],
)
def test_the_vendors_own_methods_for_tests(stripe: Stripe, method: str, code: str) -> None:
    """They are declined as the vendor says, in a 402 that has the PaymentIntent in it; forceFail declines any."""
    id = stripe.created()
    declined = stripe.ask("POST", f"{INTENTS}/{id}/confirm", {"payment_method": method})
    error = body(declined)["error"]
    assert (declined.status, error["type"], error["decline_code"]) == (402, "card_error", code)
    assert error["payment_intent"]["last_payment_error"]["decline_code"] == code
    forced = stripe.created(**{"metadata[forceFail]": "true"})
    reply = stripe.ask("POST", f"{INTENTS}/{forced}/confirm", {"payment_method": next(iter(TEST_METHODS))})
    assert body(reply)["error"]["decline_code"] == "forced_failure"


@pytest.mark.parametrize(
    ("new", "confirm", "code"),
    [
        ({}, {}, "payment_intent_unexpected_state"),
        ({}, {"payment_method_data[type]": "card"}, "parameter_missing"),
        ({}, {"payment_method_data[type]": "ideal"} | BACK, "payment_intent_incompatible_payment_method"),
        ({"payment_method_types[0]": "ideal"}, {"payment_method_data[type]": "ideal"}, "parameter_missing"),
        ({"automatic_payment_methods[enabled]": "true"}, {"payment_method": "tok_ok"}, None),
        (NEVER, {"payment_method_data[type]": "ideal"}, "payment_intent_incompatible_payment_method"),
    ],
    ids=["nothing", "card without a token", "type not allowed", "nowhere to return", "may redirect", "may not redirect"],
)
def test_what_cannot_be_confirmed(stripe: Stripe, new: dict[str, str], confirm: dict[str, str], code: str | None) -> None:
    """A confirmation that the vendor cannot begin is refused, and the PaymentIntent stays as it was."""
    plain = {name: value for name, value in NEW.items() if "[]" not in name} if new else NEW
    id = body(stripe.ask("POST", INTENTS, plain | new))["id"]
    assert said(stripe.ask("POST", f"{INTENTS}/{id}/confirm", confirm))[:2] == (400, code)
    assert stripe.status(id) == "requires_payment_method"


def test_a_redirect_is_decided_once(stripe: Stripe) -> None:
    """The page shows an open payment; once decided, another click changes nothing."""
    params = {"payment_method_types[0]": "ideal", "currency": "eur", "amount": "7"}
    id = body(stripe.ask("POST", INTENTS, params))["id"]
    data = {"payment_method_data[type]": "ideal", "payment_method_data[billing_details][name]": "Ana"}
    waiting = body(stripe.ask("POST", f"{INTENTS}/{id}/confirm", data | BACK))
    action = waiting["next_action"]["redirect_to_url"]
    assert action["return_url"] == BACK["return_url"]
    number = int(action["url"].rpartition("/")[2])
    for approve in (True, False):
        SIMULATOR.act(stripe.ledger, number, stripe.now_us, approve=approve)
    standing = SIMULATOR.standing(stripe.ledger, number)
    assert standing is not None
    assert (standing.open, standing.says, standing.return_url) == (False, "succeeded", BACK["return_url"])
    assert SIMULATOR.standing(stripe.ledger, 999) is None
    assert stripe.books() == [("charge", 7)]


# --- lists --------------------------------------------------------------------------------------------------------------


def test_lists_are_newest_first_and_in_pages(stripe: Stripe) -> None:
    """``limit``, ``starting_after``, ``ending_before`` and ``created`` do what the vendor says they do."""
    ids = list[str]()
    for _ in range(5):
        ids.insert(0, stripe.created())
        stripe.now_us += SECOND_US
    page = stripe.get(INTENTS, limit="2")
    assert ([p["id"] for p in page["data"]], page["has_more"]) == (ids[:2], True)
    page = stripe.get(INTENTS, limit="3", starting_after=ids[1])
    assert ([p["id"] for p in page["data"]], page["has_more"]) == (ids[2:], False)
    page = stripe.get(INTENTS, limit="1", ending_before=ids[2])
    assert ([p["id"] for p in page["data"]], page["has_more"]) == ([ids[1]], True)
    at = 1_800_000_000
    assert [p["id"] for p in stripe.get(INTENTS, created__gte=str(at + 1), created__lt=str(at + 3))["data"]] == ids[2:4]
    assert [p["id"] for p in stripe.get(INTENTS, created__gt=str(at + 3), created__lte=str(at + 4))["data"]] == ids[:1]
    assert stripe.get(INTENTS, limit="101")["error"]["param"] == "limit"
    assert stripe.get(INTENTS, starting_after="pi_1")["error"]["code"] == "resource_missing"


def test_what_is_young_is_not_seen_when_lookups_lag(stripe: Stripe) -> None:
    """A lagging read shows what was, or nothing; writes are not held up."""
    id = stripe.created()
    stripe.now_us += 10 * SECOND_US
    stripe.ask("POST", f"{INTENTS}/{id}/confirm", {"payment_method": "tok_ok"})
    stripe.faults = Profile(lookup_lag_ms=5_000)
    was = stripe.get(f"{INTENTS}/{id}")
    assert (was["status"], was["latest_charge"], was["amount_received"]) == ("requires_payment_method", None, 0)
    young = stripe.created()
    assert said(stripe.ask("GET", f"{INTENTS}/{young}"))[:2] == (404, "resource_missing")
    assert [p["id"] for p in stripe.get(INTENTS)["data"]] == [id]
    stripe.now_us += 5 * SECOND_US
    assert stripe.status(id) == "succeeded"


# --- refunds and events -------------------------------------------------------------------------------------------------


def test_refunds_are_refused_beyond_what_was_taken(stripe: Stripe) -> None:
    """Of nothing, of more than is left, of all twice, of two things at once."""
    unpaid, id = stripe.created(), stripe.confirmed("tok_ok")
    for params, code in (
        ({"payment_intent": unpaid}, None),
        ({"payment_intent": "pi_1"}, "resource_missing"),
        ({"charge": "ch_1"}, "resource_missing"),
        ({}, "parameter_missing"),
        ({"payment_intent": id, "charge": "ch_1"}, "parameter_missing"),
        ({"payment_intent": id, "amount": "1051"}, None),
        ({"payment_intent": id, "amount": "0"}, "amount_too_small"),
    ):
        reply = stripe.ask("POST", "/v1/refunds", params)
        assert (reply.status in (400, 404), body(reply)["error"].get("code")) == (True, code), params
    whole = stripe.ask("POST", "/v1/refunds", {"payment_intent": id, "reason": "requested_by_customer"})
    assert body(whole)["amount"] == 1050
    assert said(stripe.ask("POST", "/v1/refunds", {"payment_intent": id}))[:2] == (400, "charge_already_refunded")
    assert stripe.books() == [("charge", 1050), ("refund", 1050)]


@pytest.mark.parametrize(
    ("method", "fate", "shown", "moved"),
    [
        ("tok_ok", "plain", ["succeeded", "succeeded"], ["refund"]),
        ("tok_ok", "pending", ["pending", "succeeded"], ["refund"]),
        ("tok_ok", "pending_fail", ["pending", "failed"], []),
        ("tok_ok", "fail", ["failed", "failed"], []),
        ("tok_ok", "fail_later", ["succeeded", "failed"], ["refund", "refund_failed"]),
        ("pm_card_pendingRefund", "plain", ["pending", "succeeded"], ["refund"]),
        ("pm_card_refundFail", "plain", ["succeeded", "failed"], ["refund", "refund_failed"]),
    ],
)
def test_what_becomes_of_refunds(stripe: Stripe, method: str, fate: Any, shown: list[str], moved: list[str]) -> None:
    """As the fault profile or the method says: at first and in the end, in the books, and in what is left to refund."""
    id = stripe.confirmed(method)
    stripe.faults = Profile(refunds=fate)
    refund = body(stripe.ask("POST", "/v1/refunds", {"payment_intent": id, "amount": "50"}))
    stripe.now_us += 11 * SECOND_US
    assert stripe.books() == [("charge", 1050), *((kind, 50) for kind in moved)]
    ended = stripe.get(f"/v1/refunds/{refund['id']}")
    assert [refund["status"], ended["status"]] == shown
    assert ("failure_reason" in ended) is (shown[-1] == "failed")
    back = stripe.get(f"{INTENTS}/{id}", expand__0="latest_charge")["latest_charge"]["amount_refunded"]
    assert back == (50 if shown[-1] == "succeeded" else 0)


def test_a_hold_lasts_as_long_as_the_profile_says(stripe: Stripe) -> None:
    """Then it is canceled by itself, and given back."""
    stripe.faults = Profile(hold_s=60)
    id = stripe.confirmed("tok_ok", capture_method="manual")
    charge = stripe.get(f"{INTENTS}/{id}", expand__0="latest_charge")["latest_charge"]
    assert charge["payment_method_details"]["card"]["capture_before"] == stripe.now_us // SECOND_US + 60
    stripe.now_us += 60 * SECOND_US
    lapsed = stripe.get(f"{INTENTS}/{id}")
    assert (lapsed["status"], lapsed["cancellation_reason"], lapsed["amount_capturable"]) == ("canceled", "expired", 0)
    assert stripe.books() == [("authorize", 1050), ("void", 1050)]


def test_events_tell_of_everything(stripe: Stripe) -> None:
    """A declined, a held and captured, and a lapsed payment, with a refund that fails: each step has its event, in order."""
    stripe.confirmed("tok_decline_stolen_card")
    held = stripe.confirmed("pm_card_refundFail", capture_method="manual")
    stripe.ask("POST", f"{INTENTS}/{held}/capture", {"amount_to_capture": "50"})
    stripe.ask("POST", "/v1/refunds", {"payment_intent": held})
    stripe.now_us += 11 * SECOND_US
    stripe.confirmed("tok_ok", capture_method="manual", **{"metadata[reference]": "r2"})
    stripe.now_us += 8 * 86_400 * SECOND_US
    stripe.confirmed("tok_never_resolves", **{"metadata[reference]": "r3"})
    assert stripe.events() == [
        *("payment_intent.created", "charge.failed", "payment_intent.payment_failed"),
        *("payment_intent.created", "charge.succeeded", "payment_intent.amount_capturable_updated"),
        *("charge.captured", "payment_intent.succeeded", "refund.created", "charge.refunded"),
        *("refund.updated", "refund.failed"),
        *("payment_intent.created", "charge.succeeded", "payment_intent.amount_capturable_updated"),
        *("charge.expired", "payment_intent.canceled"),
        *("payment_intent.created", "payment_intent.processing"),
    ]
    event = stripe.get("/v1/events", type="charge.expired")["data"][0]
    assert stripe.get(f"/v1/events/{event['id']}") == event
    assert event["data"]["object"]["metadata"] == {"reference": "r2"}
