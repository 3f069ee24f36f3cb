"""What the contract cannot say about the Razorpay adapter in general."""

import base64
import json
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.adapter import (
    READS_MAX,
    Absent,
    Authorized,
    Created,
    Declined,
    Found,
    HttpRequest,
    Intent,
    Refunded,
    RefundFailed,
    Refunding,
    Rejected,
    Response,
    Succeeded,
    Unknown,
    Unreadable,
)
from payonce.core.errors import ConfigError
from payonce.core.ids import reference
from payonce.core.money import AMOUNT_MINOR_MAX, EXPONENTS
from payonce.providers.razorpay import ADAPTER
from payonce.providers.razorpay.building import HOLD_MINUTES
from payonce.providers.razorpay.vendor import CURRENCIES, DECLINES, FLIPS_S, GUARDS, ORDERS_MAX, PROVISIONAL, REFUSALS

REFERENCE = reference("pay_06ex4k2m9p7q8r5s3t01", 1, 0)
ORDER, PAY, AT = "order_PpQ1aZx8vM2kLt", "pay_PpQ2bYw7uN3jKs", 1_795_000_000
READ = Intent(kind="read", mode="test", amount_minor=1050, currency="INR", reference=REFERENCE, container=ORDER)
FIRE = replace(READ, kind="fire", key="k" * 10, payment_method="token_1")


def answer(doc: Any, status: int = 200) -> Response:
    return Response(status=status, headers={}, body=json.dumps(doc).encode())


def listed(*items: dict[str, Any]) -> dict[str, Any]:
    return {"entity": "collection", "count": len(items), "items": list(items)}


def order(**more: Any) -> dict[str, Any]:
    named = {"id": ORDER, "status": "attempted", "amount": 1050, "currency": "INR", "receipt": REFERENCE, "created_at": AT}
    return named | more


def payment(number: int = 0, **more: Any) -> dict[str, Any]:
    money = {"amount": 1050, "currency": "INR", "status": "authorized", "amount_refunded": 0, "captured": False}
    return {"id": f"{PAY[:-1]}{number}", "order_id": ORDER, "created_at": AT, "error_reason": None, **money, **more}


def read(*answers: Any, intent: Intent = READ) -> Any:
    """What a read concludes from these answers, or asks after the last of them."""
    seen: tuple[Response, ...] = ()
    for each in answers:
        said = ADAPTER.parse_read(replace(intent, seen=seen), answer(each))
        seen = (*seen, answer(each))
    return said


def test_terms_are_those_of_an_order_that_we_capture() -> None:
    """A container that cannot be closed and is captured by us, whole; a hold cannot be voided; nothing is ever replayed;
    watched for five days."""
    terms = ADAPTER.CAPABILITIES.terms
    assert (terms.voidable, terms.hold_s, ADAPTER.CAPABILITIES.partial_capture) == (False, HOLD_MINUTES * 60, False)
    assert (terms.container, terms.closable, terms.own_capture, terms.readable, terms.keyed) == (True, False, True, True, False)
    assert (terms.replay_span_s, terms.refund_replay_span_s, terms.watch_s) == (0, 0, 5 * 86_400)


def test_a_hold_outlives_its_attempt_and_lapses_while_it_is_watched() -> None:
    """What we may still capture must be there; what we left must be gone before we stop looking."""
    terms = ADAPTER.CAPABILITIES.terms
    assert terms.horizon_s + 3600 <= HOLD_MINUTES * 60 <= 7200 * 60
    assert max(HOLD_MINUTES * 60, FLIPS_S) + 86_400 <= terms.watch_s


def test_a_step_it_does_not_have_is_a_bug_of_the_caller() -> None:
    """``build`` refuses what CAPABILITIES do not declare: a hold lapses, it is not voided."""
    for kind in ("void", "close", "replay"):
        with pytest.raises(ValueError, match=kind):
            ADAPTER.build(replace(FIRE, kind=kind))
        assert kind not in ADAPTER.CAPABILITIES.steps


def test_names_cannot_break_out_of_the_path() -> None:
    """Ids and references are escaped, wherever they stand."""
    odd = "a/../b?c&d=#ü"
    for kind, given in (("read", {"container": odd}), ("capture", {"provider_ref": odd}), ("refund", {"provider_ref": odd})):
        assert "/a%2F..%2Fb%3Fc%26d%3D%23%C3%BC" in ADAPTER.build(replace(FIRE, kind=kind, **given)).path
    assert "receipt=a%2F..%2Fb%3Fc%26d%3D%23%C3%BC&count=100" in ADAPTER.build(replace(READ, reference=odd, container="")).path
    after = read(order(id=odd), intent=replace(READ, container=odd))
    assert after == HttpRequest(method="GET", path="/orders/a%2F..%2Fb%3Fc%26d%3D%23%C3%BC/payments")


@pytest.mark.parametrize("key_id", ["", "rzp_", "sk_test_1", "acc_1", "RZP_TEST_1"])
def test_a_key_of_no_mode_is_refused(key_id: str) -> None:
    """The prefix of the key is the only thing that tells the mode."""
    with pytest.raises(ConfigError, match="key_id"):
        ADAPTER.credentials_of({"key_id": key_id, "key_secret": "s"})


def test_the_key_tells_the_mode_and_travels_as_basic() -> None:
    """Credentials know their mode; they go out as Basic key_id:key_secret and as nothing else."""
    live = ADAPTER.credentials_of({"key_id": "rzp_live_1", "key_secret": "s:ü"})
    assert (live.mode, ADAPTER.credentials_of(ADAPTER.SANDBOX_CREDENTIALS).mode) == ("live", "test")
    headers = ADAPTER.authenticate(ADAPTER.build(FIRE), live)
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode() == "rzp_live_1:s:ü"
    with pytest.raises(TypeError):
        ADAPTER.authenticate(ADAPTER.build(FIRE), "rzp_live_of_somebody_else")


@pytest.mark.parametrize(("currency", "amount"), [("JPY", AMOUNT_MINOR_MAX), ("KWD", 99_990), ("INR", 2**31 + 2)])
def test_minor_units_are_those_of_iso(currency: str, amount: int) -> None:
    """Zero- and three-decimal currencies, and sums above 2^31, go out as they are, in every step."""
    assert ADAPTER.CAPABILITIES.exponents == {}
    asked = replace(FIRE, amount_minor=amount, currency=currency, provider_ref=PAY, refund_reference="r", refund_minor=amount)
    for kind in ("create", "fire", "capture", "refund"):
        body = json.loads(ADAPTER.build(replace(asked, kind=kind)).body)
        assert (body["amount"], body.get("currency", currency)) == (amount, currency)


def test_a_currency_of_three_places_ends_in_zero() -> None:
    """Each that Razorpay takes is declared to be taken in tens; others in any amount. All are of ISO 4217."""
    three = {code for code in CURRENCIES if EXPONENTS[code] == 3}
    assert ADAPTER.CAPABILITIES.multiples == dict.fromkeys(three, 10)
    assert {"INR", "JPY", "KWD", "USD"} <= CURRENCIES <= EXPONENTS.keys()
    assert ADAPTER.CAPABILITIES.currencies == CURRENCIES


def test_the_merchants_capture_takes_what_it_says() -> None:
    """The amount of the capture where there is one, else all that was asked for."""
    capture = replace(FIRE, kind="capture", provider_ref=PAY)
    assert json.loads(ADAPTER.build(capture).body) == {"amount": 1050, "currency": "INR"}
    assert json.loads(ADAPTER.build(replace(capture, manual=True, capture_minor=1000)).body)["amount"] == 1000
    order_of_both = [ADAPTER.build(replace(FIRE, kind="create", manual=manual)) for manual in (False, True)]
    assert order_of_both[0] == order_of_both[1]


def test_only_text_about_the_customer_is_sent_and_only_true_fails() -> None:
    """Numbers and blanks under the customer's names are left out; forceFail is true or nothing."""
    odd = replace(FIRE, metadata={"customerEmail": 7, "customerPhone": "", "customerId": None, "forceFail": "true"})
    assert json.loads(ADAPTER.build(odd).body) == json.loads(ADAPTER.build(FIRE).body)


def test_the_tables_do_not_contradict_each_other() -> None:
    """A guard is never a decline or a refusal; what is provisional is a decline."""
    assert not GUARDS & {*DECLINES, *REFUSALS}
    assert set(DECLINES) >= PROVISIONAL


@pytest.mark.parametrize("reason", sorted(PROVISIONAL))
def test_a_decline_that_may_flip_is_never_final(reason: str) -> None:
    """In the answer to a POST it is unknown; a read says until when it may flip: three days from the payment's creation."""
    error = {"code": "BAD_REQUEST_ERROR", "reason": reason, "metadata": {"payment_id": PAY, "order_id": ORDER}}
    assert isinstance(ADAPTER.parse(FIRE, answer({"error": error}, 400)), Unknown)
    found = read(order(), listed(payment(status="failed", error_reason=reason)))
    assert isinstance(found, Found)
    (tried,) = found.tries
    assert isinstance(tried, Declined)
    assert tried.flips_until_us == (AT + 3 * 86_400) * 1_000_000


def test_money_is_shown_whatever_lies_beside_it() -> None:
    """A try that nobody can read hides neither a charge nor a hold; alone it makes the read unreadable."""
    odd = payment(1, status="failed", error_reason="never_heard_of")
    taken = read(order(status="paid"), listed(payment(status="captured", captured=True), odd), listed())
    held = read(order(), listed(odd, payment()))
    assert [type(t) for t in taken.tries] == [Succeeded, Unknown]
    assert [type(t) for t in held.tries] == [Unknown, Authorized]
    assert isinstance(read(order(), listed(odd)), Unreadable)


@pytest.mark.parametrize(
    "odd",
    [
        {"status": "refunded", "captured": None, "amount_refunded": 1050},
        {"status": "refunded", "captured": False, "amount_refunded": 1049},
        {"status": "captured", "captured": False},
    ],
)
def test_a_payment_that_contradicts_itself_is_not_read(odd: dict[str, Any]) -> None:
    """Whether a refunded payment was ever taken must be said, and a captured one must be captured."""
    assert isinstance(read(order(), listed(payment(**odd)), listed()), Unreadable)


def test_an_order_of_somebody_else_shows_nothing() -> None:
    """Another order than was asked for is none; one with another receipt names that receipt."""
    assert read(order(id="order_SomebodyElses"), listed()) == Absent()
    assert read(order(receipt="theirs"), listed(payment())).reference == "theirs"
    assert read(order(receipt=None), listed(payment())).reference == ""


@pytest.mark.parametrize("other", [{"amount": 1049}, {"currency": "USD"}, {"status": "paid"}])
def test_an_order_that_was_not_asked_for_is_no_container(other: dict[str, Any]) -> None:
    """A new order has our money and was never tried; any other one is not fired."""
    create = replace(READ, kind="create", container="")
    assert ADAPTER.parse(create, answer(order(status="created"))) == Created(container=ORDER, reference=REFERENCE)
    assert isinstance(ADAPTER.parse(create, answer(order(**{"status": "created", **other}))), Unknown)


def test_every_order_of_a_receipt_is_read() -> None:
    """Tries of all of them count, whichever is the newest: the first that was tried is the container."""
    named = [f"order_{n}" for n in range(3)]  # listed newest first

    def one(n: int, *tries: dict[str, Any]) -> dict[str, Any]:
        return order(id=named[n], created_at=AT + n, payments=listed(*tries))

    for tried in range(3):
        orders = [one(n, *([payment(order_id=named[n])] if n == tried else [])) for n in (2, 1, 0)]
        found = read(listed(*orders), intent=replace(READ, container=""))
        assert ([type(t) for t in found.tries], found.container_id) == ([Authorized], named[tried])


def test_only_the_order_can_be_missing() -> None:
    """An unknown order shows nothing; where they deny what they have just shown, the read failed, and no charge is hidden."""
    gone = answer({"error": {"code": "BAD_REQUEST_ERROR", "description": "The id provided does not exist"}}, 400)
    assert ADAPTER.parse_read(READ, gone) == Absent()
    charged = (answer(order(status="paid")), answer(listed(payment(status="captured", captured=True))))
    for seen in (charged[:1], charged):
        assert isinstance(ADAPTER.parse_read(replace(READ, seen=seen), gone), Unreadable)


def test_an_order_with_other_money_is_not_read() -> None:
    """We asked for another order than this one: it is neither adopted nor called idle."""
    assert isinstance(read(order(status="created", amount=1), listed()), Unreadable)
    lost = replace(READ, container="")
    assert isinstance(read(listed(order(status="created", currency="EUR")), intent=lost), Unreadable)


def test_a_read_never_asks_for_too_much() -> None:
    """However many payments gave something back, a read ends after READS_MAX requests."""
    given = listed(*(payment(n, status="captured", captured=True, amount_refunded=50) for n in range(5)))
    answers: list[Any] = [order(status="paid"), given]
    while isinstance(said := read(*answers), HttpRequest):
        assert said.path == f"/payments/{PAY[:-1]}{len(answers) - 2}/refunds?count=100"
        answers.append(listed())
    assert len(answers) == READS_MAX
    assert len(said.tries) == 5


def refund(number: int, **more: Any) -> dict[str, Any]:
    made = {"id": f"rfnd_{number}", "amount": 300, "currency": "INR", "payment_id": f"{PAY[:-1]}0", "receipt": f"r{number}"}
    return made | {"status": "processed", **more}


def test_what_was_given_back_is_what_the_list_says() -> None:
    """Processed refunds of this payment count; others, and the payment's own number, do not, unless the list is not whole."""
    charge = payment(status="captured", captured=True, amount_refunded=900)
    beside = [refund(n, status=word) for n, word in enumerate(("failed", "pending", "never_heard_of"), 2)]
    beside += [refund(5, payment_id="pay_other"), {"id": "rfnd_6"}]
    found = read(order(status="paid"), listed(charge), listed(refund(1), *beside))
    assert [(type(t), t.refunded_minor) for t in found.tries] == [(Succeeded, 300)]
    assert [(type(r), r.reference) for r in found.refunds] == [(Refunded, "r1"), (RefundFailed, "r2"), (Refunding, "r3")]
    full = read(order(status="paid"), listed(charge), listed(*[refund(1, status="failed")] * 100))
    assert [t.refunded_minor for t in full.tries] == [900]


def test_a_failed_refund_is_seen_although_no_sum_has_it() -> None:
    """A charge of which nothing shows as given back is asked for its refunds all the same."""
    charge = payment(status="captured", captured=True, amount_refunded=0)
    found = read(order(status="paid"), listed(charge), listed(refund(1, status="failed")))
    assert [type(r) for r in found.refunds] == [RefundFailed]
    assert [t.refunded_minor for t in found.tries] == [0]


def test_the_charge_of_the_refund_is_asked_first() -> None:
    """Of several charges the one that the refund is of comes first, so that a read has room for it."""
    charges = listed(*(payment(n, status="captured", captured=True) for n in range(4)))
    asked = read(order(status="paid"), charges, intent=replace(READ, provider_ref=f"{PAY[:-1]}3", refund_reference="r1"))
    assert asked.path == f"/payments/{PAY[:-1]}3/refunds?count=100"


@pytest.mark.parametrize(("receipt", "notes", "ours"), [("r1", [], True), (None, {"reference": "r1"}, True), (None, [], False)])
def test_a_refund_is_ours_by_receipt_or_note(receipt: str | None, notes: Any, ours: bool) -> None:
    """The receipt counts; where the answer has none, the note; an answer that names neither is about another refund."""
    asked = replace(FIRE, kind="refund", provider_ref=f"{PAY[:-1]}0", refund_reference="r1", refund_minor=300)
    assert isinstance(ADAPTER.parse(asked, answer(refund(1, receipt=receipt, notes=notes))), Refunded) is ours
    edited = refund(1, notes={"reference": "theirs"})
    assert isinstance(ADAPTER.parse(asked, answer(edited)), Refunded)  # notes can be changed, receipts cannot


@pytest.mark.parametrize(
    ("status", "means"),
    [("processed", Refunded), ("pending", Refunding), ("failed", RefundFailed), ("never_heard_of", Unknown)],
)
def test_the_answer_to_a_refund_is_its_status(status: str, means: type) -> None:
    """Each under our reference for the refund, with the sum that it names."""
    asked = replace(FIRE, kind="refund", provider_ref=f"{PAY[:-1]}0", refund_reference="r1", refund_minor=300)
    said = ADAPTER.parse(asked, answer(refund(1, status=status)))
    assert isinstance(said, means)
    if not isinstance(said, Unknown):
        assert isinstance(said, Refunded | Refunding | RefundFailed)
        assert (said.ref, said.reference, said.amount_minor, said.currency) == ("rfnd_1", "r1", 300, "INR")


@pytest.mark.parametrize("reason", [*sorted({*REFUSALS, *GUARDS, *DECLINES}), "payment_pending", "NA", None])
def test_a_refused_capture_is_looked_up(reason: str | None) -> None:
    """It may be captured already, whatever words say so; only who may not ask at all is rejected."""
    capture = replace(FIRE, kind="capture", provider_ref=PAY)
    for more in ({}, {"field": "amount"}, {"metadata": {"payment_id": PAY, "order_id": ORDER}}):
        error = {"error": {"code": "BAD_REQUEST_ERROR", "reason": reason, **more}}
        assert isinstance(ADAPTER.parse(capture, answer(error, 400)), Unknown)
        assert isinstance(ADAPTER.parse(capture, answer(error, 401)), Rejected)


@pytest.mark.parametrize(
    ("reason", "field", "means"),
    [
        *((reason, "order_id", Unknown) for reason in ("payment_pending", "duplicate_rrn_found", "mandate_creation_timeout")),
        *((reason, "x", Unknown) for reason in ("never_heard_of", "card_declined", "deemed_transaction")),
        ("input_validation_failed", None, Rejected),
        *((none, "contact", Rejected) for none in (None, "", "NA")),
        *((none, field, Unknown) for none in (None, "NA") for field in (None, "", "NA", "order_id")),
    ],
)
def test_a_fire_is_refused_by_known_words_only(reason: str | None, field: str | None, means: type) -> None:
    """A known refusal, or a field and no reason; a field of the order may say that the order was paid."""
    error: dict[str, Any] = {"code": "BAD_REQUEST_ERROR", "reason": reason, "field": field, "metadata": {}}
    assert isinstance(ADAPTER.parse(FIRE, answer({"error": error}, 400)), means)


def test_too_many_orders_of_a_receipt_are_not_guessed_at() -> None:
    """A full page may not be all: which order is the oldest is not known then."""
    lost = replace(READ, container="")
    orders = [order(status="created", id=f"order_{n}") for n in range(ORDERS_MAX)]
    assert isinstance(read(listed(*orders), intent=lost), Unreadable)
    assert read(listed(*orders[1:]), intent=lost).container_id == f"order_{ORDERS_MAX - 1}"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_by_something_in_between_proves_nothing(status: int) -> None:
    """Only the vendor's own words reject; a proxy's page does not."""
    own = {"error": {"code": "BAD_REQUEST_ERROR", "description": "The api key provided is invalid"}}
    assert isinstance(ADAPTER.parse(FIRE, answer(own, status)), Rejected)
    assert isinstance(ADAPTER.parse(FIRE, Response(status=status, headers={}, body=b"<html>denied</html>")), Unknown)


def test_expose_shows_nothing_of_the_customer() -> None:
    """People are shown the vendor's own fields, however deep; no contact, token, card or free text."""
    asked = ADAPTER.build(replace(FIRE, description="Ana", metadata={"customerEmail": "ana@shop.example", "customerId": "Ana"}))
    assert b"Ana" in asked.body
    shown = json.loads(ADAPTER.expose(asked.body))
    assert shown == {"amount": 1050, "currency": "INR", "order_id": ORDER, "method": "card"}
    private: dict[str, Any] = {
        "email": "Ana",
        "contact": "Ana",
        "vpa": "Ana",
        "card": {"name": "Ana"},
        "notes": {"reference": "Ana"},
    }
    body = answer(listed(order(payments=listed(payment(**private)), notes={"name": "Ana"}))).body
    text = ADAPTER.expose(body)
    assert b"Ana" not in text
    assert json.loads(text)["items"][0]["payments"]["items"][0]["status"] == "authorized"
    assert json.loads(ADAPTER.expose(b'{"items":' + b"[" * 200 + b"]" * 200 + b"}"))["items"] is not None
