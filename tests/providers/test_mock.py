"""What the contract cannot say about the mock adapter in general."""

import json
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from payonce.adapter import (
    Captured,
    Found,
    Intent,
    Listing,
    NextAction,
    Processing,
    Rejected,
    Response,
    Succeeded,
    Unknown,
    Unreadable,
    Voided,
    WebhookEvent,
    WebhookRefused,
    Window,
)
from payonce.core.errors import ConfigError
from payonce.core.ids import reference
from payonce.providers.mock import ADAPTER
from payonce.sandbox.faults import Profile
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.mock import LISTED_MAX, SIMULATOR, WEBHOOK_SECRET
from payonce.sandbox.simulator import Request

REFERENCE = reference("pay_06ex4k2m9p7q8r5s3t01", 1, 0)
FIRE = Intent(kind="fire", mode="test", amount_minor=1050, currency="INR", reference=REFERENCE, key="k")
CHARGE: dict[str, Any] = {
    "id": "ch_1",
    "status": "succeeded",
    "amount": 1050,
    "captured": 1050,
    "currency": "INR",
    "reference": REFERENCE,
    "mode": "test",
    "refunded": 0,
    "refunds": [],
}


def answer(body: Any) -> Response:
    return Response(status=200, headers={}, body=json.dumps(body).encode())


def waiting(kind: str, url: str) -> dict[str, Any]:
    """A charge whose customer has to act."""
    return {**CHARGE, "status": "requires_action", "captured": 0, "expires_at": 1, "action": {"type": kind, "url": url}}


def test_terms_are_those_of_a_keyed_vendor() -> None:
    """Keyed, readable, two hours of replay out of the vendor's 24; holds can be voided and captured in part."""
    terms = ADAPTER.CAPABILITIES.terms
    assert (terms.keyed, terms.readable, terms.container, terms.own_capture) == (True, True, False, False)
    assert (terms.replay_span_s, terms.refund_replay_span_s) == (7200, 7200)
    assert (terms.voidable, terms.hold_s, ADAPTER.CAPABILITIES.partial_capture) == (True, 7 * 86_400, True)


def test_a_step_it_does_not_have_is_a_bug_of_the_caller() -> None:
    """``build`` refuses what CAPABILITIES do not declare."""
    with pytest.raises(ValueError, match="close"):
        ADAPTER.build(Intent(kind="close", mode="test", amount_minor=1, currency="INR", reference=REFERENCE))


def test_a_replay_builds_what_the_fire_built() -> None:
    """The engine sends the stored bytes; if it built them again they would be the same."""
    replay = Intent(kind="replay", mode="test", amount_minor=1050, currency="INR", reference=REFERENCE, key="k")
    assert ADAPTER.build(replay) == ADAPTER.build(FIRE)


def test_a_reference_cannot_break_out_of_the_path() -> None:
    """The reference is escaped in the query."""
    read = Intent(kind="read", mode="test", amount_minor=1, currency="INR", reference="a&b=/?#ü")
    assert ADAPTER.build(read).path == "/charges?reference=a%26b%3D%2F%3F%23%C3%BC"


def test_empty_secret_is_refused() -> None:
    """An empty secret would be sent as no secret at all."""
    with pytest.raises(ConfigError, match="secret"):
        ADAPTER.credentials_of({"secret": ""})


def test_credentials_of_another_adapter_are_refused() -> None:
    """``authenticate`` never sends what it does not know."""
    with pytest.raises(TypeError):
        ADAPTER.authenticate(ADAPTER.build(FIRE), "sk_live_of_somebody_else")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_by_something_in_between_proves_nothing(status: int) -> None:
    """Only the vendor's own words reject; a proxy's page does not."""
    own = json.dumps({"error": {"type": "authentication_error", "code": "invalid_secret"}}).encode()
    assert isinstance(ADAPTER.parse(FIRE, Response(status=status, headers={}, body=own)), Rejected)
    assert isinstance(ADAPTER.parse(FIRE, Response(status=status, headers={}, body=b"<html>denied</html>")), Unknown)


def test_processing_is_open_with_200_too() -> None:
    """The status word counts, not the number."""
    body = {"id": "ch_1", "status": "processing", "amount": 1050, "currency": "INR", "reference": REFERENCE, "mode": "test"}
    raw = json.dumps(body | {"refunded": 0, "refunds": []}).encode()
    outcome = ADAPTER.parse(FIRE, Response(status=200, headers={}, body=raw))
    assert outcome == Processing(ref="ch_1", reference=REFERENCE)


def test_expose_shows_no_metadata() -> None:
    """People are shown the vendor's own fields, not the merchant's free text."""
    body = ADAPTER.build(Intent(**{f: getattr(FIRE, f) for f in FIRE.__struct_fields__} | {"metadata": {"name": "Ana"}})).body
    assert b"Ana" in body
    assert json.loads(ADAPTER.expose(body)) == {"amount": 1050, "currency": "INR", "reference": REFERENCE}


def test_expose_hides_where_the_customer_acts() -> None:
    """Whoever has the address can approve: it is shown in no answer, not in a list either."""
    charge = waiting("redirect", "https://bank.example/secret")
    for body in (charge, {"data": [charge]}):
        shown = ADAPTER.expose(json.dumps(body).encode())
        assert b"secret" not in shown
        assert b"requires_action" in shown


# --- holds ----------------------------------------------------------------------------------------------------------------

HELD = msgspec.structs.replace(FIRE, manual=True, provider_ref="ch_1")


def test_captures_and_voids_name_their_charge_in_the_path() -> None:
    """An id cannot break out of it; the amount is what is captured, not the payment's."""
    odd = msgspec.structs.replace(HELD, provider_ref="ch/../x?y", capture_minor=7)
    capture = ADAPTER.build(msgspec.structs.replace(odd, kind="capture"))
    void = ADAPTER.build(msgspec.structs.replace(odd, kind="void"))
    assert (capture.path, capture.body) == ("/charges/ch%2F..%2Fx%3Fy/capture", b'{"amount":7}')
    assert (void.path, void.body) == ("/charges/ch%2F..%2Fx%3Fy/void", b"{}")
    assert ("idempotency-key", "k") in capture.headers


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *(("capture", {"status": word}) for word in ("authorized", "voided", "failed", "processing", "requires_action")),
        *(("void", {"status": word}) for word in ("authorized", "succeeded", "expired", "processing")),
        ("capture", {"amount": 1051}),
        ("capture", {"captured": None}),
    ],
)
def test_an_answer_that_is_not_what_was_asked_proves_nothing(kind: Any, changes: dict[str, Any]) -> None:
    """A capture is answered with what was captured of our hold, a void with a void; anything else is looked up."""
    charge = {**CHARGE, "status": "succeeded" if kind == "capture" else "voided", "captured": 5, **changes}
    asked = msgspec.structs.replace(HELD, kind=kind, capture_minor=5)
    assert isinstance(ADAPTER.parse(asked, answer(charge)), Unknown)
    good = {**CHARGE, "status": "succeeded" if kind == "capture" else "voided", "captured": 5}
    assert isinstance(ADAPTER.parse(asked, answer(good)), Captured if kind == "capture" else Voided)


@pytest.mark.parametrize("status", ["failed", "voided", "expired"])
def test_a_fire_is_never_refused_by_a_charge(status: str) -> None:
    """A refusal comes as 402; a 200 with a charge that is over contradicts itself."""
    assert isinstance(ADAPTER.parse(FIRE, answer({**CHARGE, "status": status, "decline_code": "do_not_honor"})), Unknown)


@pytest.mark.parametrize(("amount", "currency"), [(999_999_999_999, "JPY"), (2**31 + 1, "KWD"), (2**31 + 5, "CLF"), (1, "INR")])
def test_amounts_are_sent_and_read_as_they_are(amount: int, currency: str) -> None:
    """ISO minor units whatever the currency's decimals, above 2**31 too: charge, capture, refund and read."""
    intent = msgspec.structs.replace(HELD, amount_minor=amount, currency=currency, capture_minor=amount, refund_minor=amount)
    steps: tuple[Any, ...] = ("fire", "capture", "refund")
    bodies = [json.loads(ADAPTER.build(msgspec.structs.replace(intent, kind=kind)).body) for kind in steps]
    assert [body["amount"] for body in bodies] == [amount] * 3
    charge = {**CHARGE, "amount": amount, "captured": amount, "currency": currency}
    found = ADAPTER.parse_read(intent, answer({"data": [charge]}))
    assert isinstance(found, Found)
    assert [(t.amount_minor, t.currency) for t in found.tries if isinstance(t, Succeeded)] == [(amount, currency)]


# --- customers who act ----------------------------------------------------------------------------------------------------


def test_what_the_customer_needs_is_sent() -> None:
    """Return address, the time to act in whole seconds, never later than ours, and the method."""
    intent = msgspec.structs.replace(
        FIRE, return_url="https://s.example/", action_expires_us=1_999_999, payment_method_type="upi"
    )
    body = json.loads(ADAPTER.build(intent).body)
    assert (body["return_url"], body["action_expires_at"], body["method"]) == ("https://s.example/", 1, "upi")
    assert {"return_url", "action_expires_at", "method", "capture"}.isdisjoint(json.loads(ADAPTER.build(FIRE).body))


@pytest.mark.parametrize(
    ("kind", "url", "told"),
    [
        ("redirect", "https://bank.example/3ds", True),
        ("redirect", "http://127.0.0.1/pay", True),
        ("upi_intent", "upi://pay?pa=x", True),
        ("redirect", "javascript:alert(1)", False),
        ("redirect", "upi://pay", False),
        ("upi_intent", "https://bank.example", False),
        ("something", "https://bank.example", False),
    ],
)
def test_where_the_customer_goes(kind: str, url: str, told: bool) -> None:
    """From the answer to the fire and from a read; an address of another kind than it says is not given to anybody."""
    found = {"data": [{**CHARGE, "reference": "other"}, waiting(kind, url)]}
    for body in (waiting(kind, url), found):
        action = ADAPTER.next_action(FIRE, answer(body))
        assert action == (NextAction(type=kind, url=url) if told else None)  # type: ignore[arg-type]


def test_nobody_is_sent_anywhere_for_another_charge() -> None:
    """Not for a charge of another reference, nor for one that waits no longer, nor from a broken answer."""
    there = waiting("redirect", "https://bank.example/3ds")
    others: tuple[dict[str, Any], ...] = ({**there, "reference": "other"}, {**there, "status": "succeeded"}, {}, {"data": []})
    for body in others:
        assert ADAPTER.next_action(FIRE, answer(body)) is None


# --- webhooks -------------------------------------------------------------------------------------------------------------

NOW_US = 1_800_000_000_000_000
BODY = b'{"id":"evt_1","type":"refund.failed","data":{"id":"re_2","charge":"ch_1","reference":"r","charge_reference":"c"}}'


def signed(body: bytes = BODY, at_us: int = NOW_US) -> dict[str, str]:
    return dict(SIMULATOR.sign_webhook(body, at_us))


def refused(
    headers: dict[str, str], body: bytes = BODY, secrets: tuple[str, ...] = (WEBHOOK_SECRET,), now_us: int = NOW_US
) -> str:
    """Why it is refused; empty when it is taken."""
    try:
        ADAPTER.verify_webhook(headers, body, secrets, now_us)
    except WebhookRefused as error:
        why = str(error)
        return why if body.decode("latin-1") not in why else "it quotes the body"
    return ""


def test_what_the_vendor_signed_is_taken() -> None:
    """With the secret of the sandbox, which the adapter knows; also as one of several secrets or of several digests."""
    credentials = ADAPTER.credentials_of(ADAPTER.SANDBOX_CREDENTIALS)
    assert ADAPTER.webhook_secrets(credentials) == (WEBHOOK_SECRET,)
    good = signed()["x-mock-signature"]
    assert refused(signed()) == ""
    assert refused(signed(), secrets=("new", WEBHOOK_SECRET)) == ""
    assert refused({"x-mock-signature": f"{good},v1=00"}) == ""
    assert refused({"x-mock-signature": good.replace("v1=", "v1=00, v1=")}) == ""


def test_what_was_tampered_with_is_refused() -> None:
    """A changed body, time or digest, another secret or none, a header of another form."""
    good = signed()["x-mock-signature"]
    assert "signed it" in refused(signed(), body=BODY.replace(b"failed", b"succeeded"))
    assert "signed it" in refused({"x-mock-signature": good.replace("t=18", "t=19")})
    assert "signed it" in refused({"x-mock-signature": good[:-1] + ("0" if good[-1] != "0" else "1")})
    assert "signed it" in refused(signed(), secrets=("other",))
    assert "signed it" in refused(signed(), secrets=())
    digest = good.partition(",")[2]
    for header in (
        "",
        "t=1",
        digest,
        f"t=,{digest}",
        f"t=x,{digest}",
        f"t=-1,{digest}",
        f"t=1,t=1,{digest}",
        "t=1,v1=é",
        f"t=²,{digest}",
    ):
        assert refused({"x-mock-signature": header}) != "", header
    assert refused({}) != ""


@pytest.mark.parametrize(
    ("off_us", "taken"), [(300_000_000, True), (300_000_001, False), (-300_000_000, True), (-300_000_001, False)]
)
def test_a_stale_signature_is_refused(off_us: int, taken: bool) -> None:
    """Five minutes in both directions, exactly: what was recorded cannot be played again later."""
    assert (refused(signed(), now_us=NOW_US + off_us) == "") is taken


def test_secrets_rotate() -> None:
    """The new one and the old one count, newest first; none means that no webhook is taken."""
    two = ADAPTER.credentials_of({"secret": "s", "webhook_secret": "new", "webhook_secret_old": "old"})
    assert ADAPTER.webhook_secrets(two) == ("new", "old")
    assert ADAPTER.webhook_secrets(ADAPTER.credentials_of({"secret": "s"})) == ()
    assert not any(secret in repr(two) for secret in ("new", "old"))


def test_what_a_webhook_is_about() -> None:
    """Its own id and kind, both our references and both of the vendor's ids."""
    event = ADAPTER.parse_webhook({}, BODY)
    assert event == WebhookEvent(id="evt_1", kind="refund.failed", references=("r", "c"), refs=("re_2", "ch_1"))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", BODY.replace(b"evt_1", b""), BODY.replace(b"refund.failed", b""), b"\xff"]
)
def test_what_is_no_event_is_refused(body: bytes) -> None:
    """Never anything but WebhookRefused."""
    with pytest.raises(WebhookRefused):
        ADAPTER.parse_webhook({}, body)


# --- listing --------------------------------------------------------------------------------------------------------------

WINDOW = Window(from_us=1, before_us=2)


def test_a_listing_is_asked_for_page_by_page() -> None:
    """The window in microseconds, and the cursor escaped."""
    assert ADAPTER.build_listing(WINDOW).path == "/charges?from=1&before=2"
    assert ADAPTER.build_listing(msgspec.structs.replace(WINDOW, cursor="a&b")).path == "/charges?from=1&before=2&cursor=a%26b"


def test_a_listing_shows_every_charge_or_nothing() -> None:
    """A page with a charge that cannot be read is unreadable: else it would be called missing."""
    second = {**CHARGE, "id": "ch_2", "status": "voided"}
    listing = ADAPTER.parse_listing(WINDOW, answer({"data": [CHARGE, second], "next": "ch_2"}), "test")
    assert isinstance(listing, Listing)
    assert ([type(t).__name__ for t in listing.tries], listing.next) == (["Succeeded", "Declined"], "ch_2")
    assert ADAPTER.parse_listing(WINDOW, answer({"data": []}), "test") == Listing(tries=())
    unread: tuple[dict[str, Any], ...] = ({}, {"data": [{**CHARGE, "status": "odd"}]}, {"data": [{}]})
    for body in unread:
        assert isinstance(ADAPTER.parse_listing(WINDOW, answer(body), "test"), Unreadable)
    assert isinstance(ADAPTER.parse_listing(WINDOW, Response(status=500, headers={}, body=b'{"data":[]}'), "test"), Unreadable)


def test_a_listing_of_the_vendor_is_walked_through_once() -> None:
    """The adapter and the simulator: every charge of the window, in order, and then no further page."""
    ledger = Ledger(":memory:")
    for n in range(LISTED_MAX + 3):
        doc = {"status": "succeeded", "amount": 5, "captured": 5, "currency": "INR", "decline_code": None}
        ledger.add("mock", "charge", f"r{n}", doc, at_us=1000 + n)
    window: Window | None = Window(from_us=1001, before_us=1000 + LISTED_MAX + 2)
    seen: list[str] = []
    while window is not None:
        path, _, query = ADAPTER.build_listing(window).path.partition("?")
        request = Request(method="GET", path=path, query=dict(parse_qsl(query)), headers={"authorization": "Bearer x"})
        reply = SIMULATOR.simulate(request, ledger, Profile(), NOW_US)
        listing = ADAPTER.parse_listing(window, Response(status=reply.status, headers={}, body=reply.body), "test")
        assert isinstance(listing, Listing)
        seen += [t.reference for t in listing.tries if isinstance(t, Succeeded)]
        window = msgspec.structs.replace(window, cursor=listing.next) if listing.next else None
    assert seen == [f"r{n}" for n in range(1, LISTED_MAX + 2)]


def test_an_answer_that_is_nested_too_deep_is_unreadable() -> None:
    """What no decoder can follow proves nothing, and shows nothing."""
    deep = Response(status=200, headers={}, body=b'{"a":' * 9000)
    assert isinstance(ADAPTER.parse(FIRE, deep), Unknown)
    assert isinstance(ADAPTER.parse_read(msgspec.structs.replace(FIRE, kind="read"), deep), Unreadable)
    assert (ADAPTER.next_action(FIRE, deep), ADAPTER.expose(deep.body)) == (None, b"")
