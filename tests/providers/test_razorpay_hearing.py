"""What Razorpay tells by itself and in lists: webhooks, the list of payments, and the SDK's own mocks of both."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from payonce.adapter import (
    Captured,
    Created,
    Declined,
    Found,
    Intent,
    Listing,
    Mode,
    Processing,
    Refunded,
    Rejected,
    Response,
    Succeeded,
    Unknown,
    Unreadable,
    WebhookEvent,
    WebhookRefused,
    Window,
)
from payonce.core.errors import ConfigError
from payonce.providers.razorpay import ADAPTER
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.razorpay import SIMULATOR
from payonce.sandbox.razorpay.telling import tell

MOCKS = Path(__file__).parents[3] / "shared" / "specs" / "razorpay" / "mocks"
NOW = 1_795_000_000_000_000
NEW, OLD = "made_up_secret_new", "made_up_secret_old"
REF, REFUND_REF = "06ex4k2m9p7q8r5s3t010100", "06ex4k2m9p7q8r5s3t010200"
needs_mocks = pytest.mark.skipif(not MOCKS.is_dir(), reason="the SDK's mocks are not beside this repository")


def body_of(**payload: Any) -> bytes:
    entities = {name: {"entity": each} for name, each in payload.items()}
    return json.dumps({"entity": "event", "event": "e", "contains": [*payload], "payload": entities, "created_at": 7}).encode()


def signed(body: bytes, secret: str, event_id: str = "PpQ9aaaaaaaa01") -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"x-razorpay-signature": digest, "x-razorpay-event-id": event_id}


def mock(name: str) -> bytes:
    return (MOCKS / f"{name}.json").read_bytes()


def answer(body: bytes, status: int = 200) -> Response:
    return Response(status=status, headers={}, body=body)


# --- webhooks -------------------------------------------------------------------------------------------------------------


def test_both_secrets_are_good_while_one_is_changed() -> None:
    """The new one first; what is not set is none, and so are empty ones: an empty secret is everybody's."""
    known = {"key_id": "rzp_test_1", "key_secret": "s"}
    both = ADAPTER.credentials_of(known | {"webhook_secret": NEW, "webhook_secret_old": OLD})
    assert ADAPTER.webhook_secrets(both) == (NEW, OLD)
    assert ADAPTER.webhook_secrets(ADAPTER.credentials_of(known)) == ()
    assert (NEW in repr(both), OLD in str(both), NEW in str(both.__rich_repr__())) == (False, False, False)
    with pytest.raises(TypeError):
        ADAPTER.webhook_secrets(known)
    with pytest.raises(ConfigError):
        ADAPTER.credentials_of({"webhook_secret": NEW})
    body = body_of(payment={"id": "pay_1"})
    for secret in (NEW, OLD):
        ADAPTER.verify_webhook(signed(body, secret), body, (NEW, OLD), NOW)
    with pytest.raises(WebhookRefused):
        ADAPTER.verify_webhook(signed(body, ""), body, ("",), NOW)


@pytest.mark.parametrize("odd", ["", "00", "é", "\x00", "A" * 64, "a" * 64])
def test_an_odd_signature_is_refused(odd: str) -> None:
    """Whatever stands there, and nothing at all: refused, without a word of the body or of a secret."""
    body = body_of(payment={"id": "pay_VerySecret01"})
    for headers in ({"x-razorpay-signature": odd}, {}):
        with pytest.raises(WebhookRefused) as refused:
            ADAPTER.verify_webhook(headers, body, (NEW, OLD), NOW)
        assert not any(word in str(refused.value) for word in ("VerySecret", NEW, OLD))


def test_a_signature_in_upper_case_is_another_one() -> None:
    """Their digests are in lower case; nothing is made equal before it is compared."""
    body = body_of(payment={"id": "pay_1"})
    shouted = {k: v.upper() for k, v in signed(body, NEW).items()}
    with pytest.raises(WebhookRefused):
        ADAPTER.verify_webhook(shouted, body, (NEW,), NOW)


def test_no_time_is_signed_so_none_is_too_old() -> None:
    """An event is sent again for a day, and by hand later; only its identity tells that it was there before."""
    body = body_of(payment={"id": "pay_1"})
    for now_us in (0, NOW, NOW * 2):
        ADAPTER.verify_webhook(signed(body, NEW), body, (NEW,), now_us)


def test_what_it_is_about_is_named_once() -> None:
    """References of attempt and refund, and every id: payment, order and refund, each once and in that order."""
    payment = {"id": "pay_1", "order_id": "order_1", "notes": {"reference": REF}}
    order = {"id": "order_1", "receipt": REF, "notes": {"reference": REF}}
    refund = {"id": "rfnd_1", "payment_id": "pay_1", "receipt": REFUND_REF, "notes": []}
    body = body_of(refund=refund, payment=payment, order=order)
    event = ADAPTER.parse_webhook(signed(body, NEW), body)
    assert event.refs == ("pay_1", "order_1", "rfnd_1")
    assert event.references == (REF, REFUND_REF)


@pytest.mark.parametrize("named", ["", "x" * 101, "two words", "é", "\n"])
def test_an_event_without_a_good_id_gets_one_of_what_it_says(named: str) -> None:
    """The same for every delivery, another one for another event, entity or time."""
    body = body_of(refund={"id": "rfnd_1", "payment_id": "pay_1"}, payment={"id": "pay_1"})
    assert ADAPTER.parse_webhook({"x-razorpay-event-id": named}, body).id == "e/rfnd_1/7"
    assert ADAPTER.parse_webhook({}, body_of(payment={"id": "pay_1"})).id == "e/pay_1/7"


@pytest.mark.parametrize(
    "payload",
    [{}, {"payment": None}, {"payment": []}, {"payment": {"entity": None}}, {"payment": {"entity": {"id": 7, "notes": "x"}}}],
)
def test_an_event_about_nothing_of_ours_is_an_event(payload: Any) -> None:
    """It names nothing; what is odd in it is left out."""
    doc = {"entity": "event", "event": "payment.downtime.started", "payload": payload, "created_at": 7}
    event = ADAPTER.parse_webhook({"x-razorpay-event-id": "e1"}, json.dumps(doc).encode())
    assert event == WebhookEvent(id="e1", kind="payment.downtime.started")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"entity":"event","event":"","payload":{}}', b"[" * 5000, b"\xff"])
def test_what_is_no_event_is_refused(body: bytes) -> None:
    """Signed or not."""
    with pytest.raises(WebhookRefused):
        ADAPTER.parse_webhook(signed(body, NEW), body)


def test_the_sandbox_signs_as_the_adapter_verifies(tmp_path: Path) -> None:
    """What the simulator announces is heard with the sandbox's credentials, under the event's own id."""
    ledger = Ledger(tmp_path / "ledger.db")
    with ledger.transaction():
        tell(ledger, "payment.failed", NOW, payment={"id": "pay_1", "notes": {"reference": REF}})
    (announced,) = ledger.deliveries.events(0, 10)
    headers = SIMULATOR.sign_webhook(announced.body, NOW)
    secrets = ADAPTER.webhook_secrets(ADAPTER.credentials_of(ADAPTER.SANDBOX_CREDENTIALS))
    ADAPTER.verify_webhook(headers, announced.body, secrets, NOW)
    event = ADAPTER.parse_webhook(headers, announced.body)
    assert event == WebhookEvent(id=announced.event_id, kind="payment.failed", references=(REF,), refs=("pay_1",))
    with pytest.raises(WebhookRefused):
        ADAPTER.verify_webhook(headers, announced.body + b" ", secrets, NOW)
    ledger.close()


# --- the list of payments -------------------------------------------------------------------------------------------------


def page(*payments: dict[str, Any]) -> Response:
    return answer(json.dumps({"entity": "collection", "count": len(payments), "items": payments}).encode())


def paid(number: int, at_s: int = 1_795_000_000, **more: Any) -> dict[str, Any]:
    made = {"id": f"pay_{number}", "status": "captured", "captured": True, "amount": 1050, "currency": "INR"}
    return made | {"created_at": at_s, "notes": {"reference": f"r{number}"}, **more}


def test_pages_follow_until_one_is_not_full() -> None:
    """A full page names where the next begins; a window that ends with a full page ends with an empty one."""
    window, skips, seen = Window(from_us=NOW, before_us=NOW + 86_400_000_000), [], []
    while True:
        path = ADAPTER.build_listing(window).path
        skips.append(path.rpartition("=")[2])
        left = 200 - int(skips[-1])
        got = ADAPTER.parse_listing(window, page(*(paid(n) for n in range(left, max(left - 100, 0), -1))), "live")
        assert isinstance(got, Listing)
        seen += [t.reference for t in got.tries if isinstance(t, Succeeded) and t.mode == "live"]
        if not got.next:
            break
        window = Window(from_us=window.from_us, before_us=window.before_us, cursor=got.next)
    assert (skips, len(set(seen))) == (["0", "100", "200"], 200)


@pytest.mark.parametrize(
    ("from_us", "before_us", "asked"),
    [(NOW, NOW + 1, "from=1795000000&to=1795000000"), (NOW - 1, NOW + 2_000_000, "from=1794999999&to=1795000001")],
)
def test_a_window_is_asked_for_in_whole_seconds(from_us: int, before_us: int, asked: str) -> None:
    """Every second that the window touches, and none that it does not."""
    assert asked in ADAPTER.build_listing(Window(from_us=from_us, before_us=before_us)).path


def test_a_page_that_cannot_be_read_is_none() -> None:
    """An error, another shape, or one odd entry: unreadable, so that nothing looks as if it were not there."""
    window = Window(from_us=NOW, before_us=NOW + 1)
    for odd in (answer(b"{}"), answer(b""), page(paid(1), {"id": "pay_2"}), answer(b'{"items": []}', 500), answer(b"", 401)):
        assert isinstance(ADAPTER.parse_listing(window, odd, "test"), Unreadable)


def test_an_unmapped_word_in_a_list_is_unknown() -> None:
    """It is there, and says nothing."""
    window = Window(from_us=NOW, before_us=NOW + 1)
    got = ADAPTER.parse_listing(window, page(paid(1, status="never_heard_of"), paid(2)), "test")
    assert isinstance(got, Listing)
    assert [type(t) for t in got.tries] == [Unknown, Succeeded]


# --- the SDK's own mocks --------------------------------------------------------------------------------------------------


@needs_mocks
def test_the_sdks_webhook_is_heard() -> None:
    """Its bytes as they are, blanks included: verified, and about its payment and order. (The entity says captured: the
    mock is older than the rule that it shows the time of the event.)"""
    body = mock("fake_payment_authorized_webhook")
    ADAPTER.verify_webhook(signed(body, NEW), body, (NEW,), NOW)
    event = ADAPTER.parse_webhook(signed(body, NEW, "mock01"), body)
    assert event == WebhookEvent(id="mock01", kind="payment.authorized", refs=("pay_6koWN7bvxujzxM", "order_100000000order"))
    assert ADAPTER.parse_webhook({}, body).id == "payment.authorized/pay_6koWN7bvxujzxM/1400826760"


@needs_mocks
def test_the_sdks_entities_are_read() -> None:
    """Its order, payment and refund mean what their status says, as far as they name us."""
    created = Intent(kind="create", mode="test", amount_minor=500, currency="INR", reference="12121")
    order = json.loads(mock("fake_order"))
    assert isinstance(ADAPTER.parse(created, answer(mock("fake_order"))), Unknown)  # it was tried before
    fresh = json.dumps(order | {"status": "created"}).encode()
    assert ADAPTER.parse(created, answer(fresh)) == Created(container="fake_order_id", reference="12121")
    capture = Intent(
        kind="capture", mode="test", amount_minor=500, currency="INR", reference="r", provider_ref="pay_29QQoUBi66xm2f"
    )
    taken = json.dumps(json.loads(mock("fake_captured_payment")) | {"order_id": "o"}).encode()
    held = Intent(**{f: getattr(capture, f) for f in capture.__struct_fields__} | {"container": "o"})
    wanted = Captured(ref="pay_29QQoUBi66xm2f", reference="r", amount_minor=500, currency="INR", mode="test")
    assert ADAPTER.parse(held, answer(taken)) == wanted
    assert isinstance(ADAPTER.parse(held, answer(mock("fake_captured_payment"))), Unknown)  # of no order: not ours
    back = Intent(
        kind="refund",
        mode="test",
        amount_minor=500_000,
        currency="INR",
        reference="r",
        provider_ref="pay_FIKOnlyii5QGNx",
        refund_reference="#126",
        refund_minor=300_100,
    )
    refunded = Refunded(ref="rfnd_FP8DDKxqJif6ca", reference="#126", amount_minor=300_100, currency="INR")
    assert ADAPTER.parse(back, answer(mock("fake_refund"))) == refunded


@needs_mocks
def test_the_sdks_collections_are_read() -> None:
    """Payments as tries; refunds without a status, and orders without the time they were made, are not guessed at."""
    window = Window(from_us=0, before_us=NOW)
    got = ADAPTER.parse_listing(window, answer(mock("payment_collection")), "test")
    assert got == Listing(tries=tuple(Processing(ref=f"pay_{n}", reference="") for n in ("29QQoUBi66xm2f", "19btGlBig6xZ2f")))
    one = ADAPTER.parse_listing(window, answer(mock("payment_collection_with_one_payment")), "test")
    assert isinstance(one, Listing)
    assert len(one.tries) == 1
    order = {"id": "o", "status": "paid", "amount": 500, "currency": "INR", "receipt": "r", "created_at": 1_400_826_750}
    charge = json.loads(mock("fake_captured_payment")) | {"order_id": "o", "id": "fake_payment_id"}
    asked = Intent(kind="read", mode="test", amount_minor=500, currency="INR", reference="r", container="o")
    seen = (answer(json.dumps(order).encode()), answer(json.dumps({"items": [charge]}).encode()))
    read = Intent(**{f: getattr(asked, f) for f in asked.__struct_fields__} | {"seen": seen})
    found = ADAPTER.parse_read(read, answer(mock("refund_collection")))
    assert isinstance(found, Found)
    assert ([type(t) for t in found.tries], found.refunds) == ([Succeeded], ())


@needs_mocks
@pytest.mark.parametrize("kind", ["create", "fire", "capture", "refund"])
def test_the_sdks_error_is_a_refusal(kind: Any) -> None:
    """A field without a reason: not executed, but for a capture, which is looked up."""
    intent = Intent(kind=kind, mode="test", amount_minor=500, currency="INR", reference="r", container="o", provider_ref="p")
    means = Unknown if kind == "capture" else Rejected
    assert isinstance(ADAPTER.parse(intent, answer(mock("bad_request_error"), 400)), means)


@needs_mocks
def test_no_mock_of_the_sdk_is_taken_for_money() -> None:
    """Every file of it as an answer to every step, and as a webhook: nothing raises, and only what names our object counts."""
    mode: Mode = "test"
    kinds: tuple[Any, ...] = ("create", "fire", "capture", "refund", "read")
    for file in sorted(MOCKS.glob("*.json")):
        for kind in kinds:
            for status in (200, 400):
                intent = Intent(kind=kind, mode=mode, amount_minor=7, currency="INR", reference="ours", container="order_ours")
                said: Any = (ADAPTER.parse_read if kind == "read" else ADAPTER.parse)(intent, answer(file.read_bytes(), status))
                assert not isinstance(said, Succeeded | Captured | Refunded | Declined), f"{file.name}, {kind}: {said}"
        try:
            event = ADAPTER.parse_webhook({}, file.read_bytes())
        except WebhookRefused:
            continue
        assert (file.stem, event.kind) == ("fake_payment_authorized_webhook", "payment.authorized")
