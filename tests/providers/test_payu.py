"""PayU by its recorded cases, and what those cannot say in general."""

import hashlib
import json
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from msgspec.structs import replace

from payonce.adapter import (
    Found,
    HttpRequest,
    Intent,
    NextAction,
    Processing,
    Rejected,
    RequiresAction,
    Response,
    Succeeded,
    Unknown,
    Unreadable,
    WebhookRefused,
    Window,
)
from payonce.core.errors import ConfigError
from payonce.core.ids import reference
from payonce.core.money import AMOUNT_MINOR_MAX
from payonce.providers.payu import ADAPTER
from payonce.providers.payu.words import reference_of, time_text, time_us, token_of
from payonce.testing.provider_cases import Subject
from payonce.testing.provider_contract import ProviderContract

FIXTURES = Path(__file__).parents[1] / "fixtures" / "providers" / "payu"
PAYMENT = "pay_06ex4k2m9p7q8r5s3t01"
REFERENCE = reference(PAYMENT, 1, 0)
MIHPAYID = "403993715521889530"
FIRE = Intent(kind="fire", mode="test", amount_minor=4200, currency="INR", reference=REFERENCE, payment_method="cardtoken1")
CREDENTIALS = ADAPTER.credentials_of({"key": "thekey", "salt": "thesalt", "salt_old": "theoldsalt"})


class TestRecorded(ProviderContract):
    """The contract of every provider."""

    @pytest.fixture
    def subject(self) -> Subject:
        return Subject.load(ADAPTER, FIXTURES)


def fields(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def sent(intent: Intent) -> dict[str, str]:
    return fields(ADAPTER.authenticate_body(ADAPTER.build(intent), CREDENTIALS))


def said(doc: object, status: int = 200) -> Response:
    return Response(status=status, headers={}, body=json.dumps(doc).encode())


# --- terms and currencies ---------------------------------------------------------------------------------------------


def test_terms_are_those_of_a_reference_that_protects_nothing() -> None:
    """No container, no key, no replay of anything; readable by our reference, and holds can be given back."""
    terms = ADAPTER.CAPABILITIES.terms
    assert (terms.container, terms.keyed, terms.own_capture, terms.readable, terms.voidable) == (
        False,
        False,
        False,
        True,
        True,
    )
    assert (terms.replay_span_s, terms.refund_replay_span_s) == (0, 0)
    assert ADAPTER.CAPABILITIES.steps == {"fire", "read", "capture", "void", "refund"}


@pytest.mark.parametrize("currency", ["JPY", "KWD", "USD"])
def test_other_currencies_are_refused_by_declaration(currency: str) -> None:
    """Rupees only: an account is no candidate for the rest, and nothing is ever built for it."""
    assert ADAPTER.CAPABILITIES.currencies == frozenset({"INR"})
    with pytest.raises(ValueError, match="INR"):
        ADAPTER.build(replace(FIRE, currency=currency))


@pytest.mark.parametrize("minor", [1, 99, 100, 2**31, 2**31 + 1, 2**53 // 10_000 + 7, AMOUNT_MINOR_MAX])
def test_amounts_are_exact_to_the_paisa(minor: int) -> None:
    """What is asked comes back as the same number of paise, far above 2^31."""
    amount = sent(replace(FIRE, amount_minor=minor))["amount"]
    assert amount == f"{minor // 100}.{minor % 100:02d}"
    result = {"mihpayid": MIHPAYID, "status": "success", "unmappedstatus": "captured", "txnid": REFERENCE, "amount": amount}
    outcome = ADAPTER.parse(replace(FIRE, amount_minor=minor), said({"result": result}))
    assert isinstance(outcome, Succeeded)
    assert outcome.amount_minor == minor


@pytest.mark.parametrize("amount", ["42", "42.0", "42.00", 42, 42.0])
def test_an_amount_may_be_written_shorter(amount: object) -> None:
    """PayU's samples write the same amount in several ways."""
    result = {"mihpayid": MIHPAYID, "status": "success", "unmappedstatus": "captured", "txnid": REFERENCE, "amount": amount}
    outcome = ADAPTER.parse(FIRE, said({"result": result}))
    assert isinstance(outcome, Succeeded)
    assert outcome.amount_minor == 4200


@pytest.mark.parametrize("amount", ["42.001", 42.001, "4e1", 1e20, "", None, True])
def test_an_amount_that_is_no_amount_is_no_success(amount: object) -> None:
    """Too many places, another notation, or nothing: unknown."""
    result = {"mihpayid": MIHPAYID, "status": "success", "unmappedstatus": "captured", "txnid": REFERENCE, "amount": amount}
    assert isinstance(ADAPTER.parse(FIRE, said({"result": result})), Unknown)


# --- what is signed ---------------------------------------------------------------------------------------------------


def test_the_hash_is_over_the_texts_as_sent() -> None:
    """key, nine fields, five empty ones, salt; with the user's key in front of the customer."""
    form = sent(replace(FIRE, description="Two mugs", metadata={"customerName": "Åsa", "customerId": "c1", "forceFail": True}))
    line = f"thekey|{REFERENCE}|42.00|Two mugs|Åsa|customer@payonce.invalid|c1||||forceFail||||||thesalt"
    assert form["hash"] == hashlib.sha512(line.encode()).hexdigest()
    assert (form["key"], form["user_credentials"]) == ("thekey", "thekey:c1")


def test_the_stored_body_has_neither_key_nor_hash() -> None:
    """Both are added when it is sent; the headers have no secret at all."""
    built = ADAPTER.build(FIRE)
    assert {"key", "hash"}.isdisjoint(fields(built.body))
    assert ADAPTER.authenticate(built, CREDENTIALS) == {}


def test_a_command_is_signed_with_its_first_value_only() -> None:
    """sha512(key|command|var1|salt), whatever else is asked."""
    built = HttpRequest(method="POST", path="/", body=b"command=check_action_status&var1=403&var2=payuid")
    form = fields(ADAPTER.authenticate_body(built, CREDENTIALS))
    assert form["hash"] == hashlib.sha512(b"thekey|check_action_status|403|thesalt").hexdigest()


def test_what_is_sent_is_otherwise_what_is_stored() -> None:
    """Odd texts survive: spaces, ampersands, plus signs, letters of every language, empty fields."""
    odd = "a b&c=d+e%20é₹\n|x"
    built = ADAPTER.build(replace(FIRE, description=odd, return_url="https://shop.example/?a=1&b=2"))
    form = fields(ADAPTER.authenticate_body(built, CREDENTIALS))
    assert form["productinfo"] == "a b&c=d+e%20é₹  x"
    assert {n: v for n, v in form.items() if n not in ("key", "hash", "user_credentials")} == fields(built.body)


def test_credentials_of_another_adapter_are_refused() -> None:
    """Nothing is signed with what it does not know."""
    for method in (ADAPTER.authenticate, ADAPTER.authenticate_body):
        with pytest.raises(TypeError):
            method(ADAPTER.build(FIRE), "salt")


def test_empty_credentials_are_refused() -> None:
    """An empty salt would sign nothing."""
    with pytest.raises(ConfigError, match="salt"):
        ADAPTER.credentials_of({"key": "k", "salt": ""})


# --- where it goes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("configured", ["https://secure.payu.in", "https://info.payu.in/", "https://SECURE.payu.in"])
def test_live_requests_go_to_the_host_of_their_path(configured: str) -> None:
    """Payments and commands have a host each, whichever of both is configured."""
    read = replace(FIRE, kind="read")
    assert ADAPTER.base_url_of(configured, ADAPTER.build(FIRE).path) == "https://secure.payu.in"
    assert ADAPTER.base_url_of(configured, ADAPTER.build(read).path) == "https://info.payu.in"


@pytest.mark.parametrize("configured", ["https://test.payu.in", "http://127.0.0.1:8080/payu", "https://secure.payu.in.example"])
def test_every_other_host_takes_both(configured: str) -> None:
    """Test mode, the sandbox, and what only looks like PayU."""
    assert ADAPTER.base_url_of(configured, "/_payment") == configured
    assert ADAPTER.base_url_of(configured, "/merchant/postservice.php?form=2") == configured


def test_hosts_tell_the_mode() -> None:
    """No host is of both modes."""
    assert {"test.payu.in"} == ADAPTER.TEST_HOSTS
    assert {"secure.payu.in", "info.payu.in"} == ADAPTER.LIVE_HOSTS


# --- methods and tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "token", "wanted"),
    [
        ("", "t", {"pg": "CC", "bankcode": "CC", "store_card_token": "t"}),
        ("card", "t", {"pg": "CC", "bankcode": "CC", "store_card_token": "t"}),
        ("upi", "ana@bank", {"pg": "UPI", "bankcode": "UPI", "vpa": "ana@bank"}),
        ("upi", "", {"pg": "UPI", "bankcode": "INTENT"}),
        ("netbanking", "HDFB", {"pg": "NB", "bankcode": "HDFB"}),
    ],
)
def test_each_method_goes_its_way(kind: str, token: str, wanted: dict[str, str]) -> None:
    """Stored card, UPI address, UPI intent, bank."""
    form = fields(ADAPTER.build(replace(FIRE, payment_method_type=kind, payment_method=token)).body)
    assert {n: v for n, v in form.items() if n in ("pg", "bankcode", "vpa", "store_card_token")} == wanted


def test_tokens_fit_and_come_back() -> None:
    """23 characters at most; every refund of an attempt keeps its own, and its reference is restored from it."""
    references = [reference(PAYMENT, n, a) for n in range(2, 100) for a in (0, 7, 42, 99)]
    tokens = {token_of(each) for each in references}
    assert {len(t) for t in tokens} == {23}
    for number in range(2, 100):
        for attempt in (0, 7, 42, 99):
            ours = reference(PAYMENT, number, attempt)
            assert reference_of(token_of(ours), reference(PAYMENT, 1, attempt)) == ours
    assert reference_of("dashboard-7", REFERENCE) == "dashboard-7"


def test_capture_void_and_refund_have_tokens_of_their_own() -> None:
    """A token counts once at PayU: none of the three may take another's."""
    refund = reference(PAYMENT, 2, 0)
    tokens = set()
    for kind, key in (("capture", "1" * 8 + "-aaaa"), ("void", "2" * 8 + "-bbbb"), ("refund", "3" * 8 + "-cccc")):
        about = replace(FIRE, kind=kind, key=key * 2, provider_ref=MIHPAYID, refund_reference=refund, refund_minor=5)
        tokens.add(fields(ADAPTER.build(about).body)["var2"])
    assert len(tokens) == 3
    assert all(len(t) <= 23 for t in tokens)


def test_a_void_gives_the_whole_hold_back() -> None:
    """PayU cancels in full only."""
    form = fields(ADAPTER.build(replace(FIRE, kind="void", provider_ref=MIHPAYID, key="k")).body)
    assert (form["command"], form["var1"], form["var3"]) == ("cancel_refund_transaction", MIHPAYID, "42.00")


def test_a_step_it_does_not_have_is_a_bug_of_the_caller() -> None:
    """There is nothing to create, close or replay."""
    for kind in ("create", "close", "replay"):
        with pytest.raises(ValueError, match=kind):
            ADAPTER.build(replace(FIRE, kind=kind))


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_page_without_a_form_is_no_place_to_go() -> None:
    """Neither a script nor an address that is none of the web is opened."""
    for page in ("", "@@", "PGh0bWw+", "PGZvcm0gYWN0aW9uPSJqYXZhc2NyaXB0OmFsZXJ0KDEpIj48L2Zvcm0+"):
        doc = {"metaData": {"txnId": REFERENCE, "unmappedStatus": "pending"}, "result": {"acsTemplate": page}}
        assert ADAPTER.next_action(FIRE, said(doc)) is None
        assert isinstance(ADAPTER.parse(FIRE, said(doc)), RequiresAction if page else Processing)


def test_a_collect_request_opens_nothing() -> None:
    """The customer's app asks, whatever else the answer has."""
    about = replace(FIRE, payment_method_type="upi", payment_method="ana@bank")
    assert ADAPTER.next_action(about, said({"result": {"acsTemplate": "PGh0bWw+"}})) == NextAction(type="upi_collect")


def test_a_hash_that_is_wrong_is_refused_only_where_nothing_is_named() -> None:
    """An answer about a payment that merely mentions a hash is no refusal."""
    assert isinstance(ADAPTER.parse(FIRE, said({"status": 0, "msg": "Hash mismatch"})), Rejected)
    about = {"metaData": {"txnId": REFERENCE, "message": "invalid hash", "unmappedStatus": "failed"}, "result": None}
    assert isinstance(ADAPTER.parse(FIRE, said(about)), Unknown)


def looked_at(amount: str, captured: str, *, charges: str = "0.00", manual: bool = False) -> int:
    """What a read says was taken, of a payment of ``amount`` with a capture of ``captured``."""
    entry = {"mihpayid": MIHPAYID, "status": "success", "unmappedstatus": "captured", "txnid": REFERENCE, "amt": amount}
    first = said({"status": 1, "transaction_details": {REFERENCE: entry | {"additional_charges": charges}}})
    action = {"mihpayid": MIHPAYID, "request_id": "1", "amt": captured, "action": "capture", "status": "success", "token": ""}
    second = said({"status": 1, "transaction_details": {MIHPAYID: {"1": action}}})
    found = ADAPTER.parse_read(replace(FIRE, kind="read", manual=manual, seen=(first,)), second)
    assert isinstance(found, Found)
    (charge,) = found.tries
    assert isinstance(charge, Succeeded)
    return charge.amount_minor


def test_what_was_taken_counts() -> None:
    """A part of a hold is what was captured; additional charges are the customer's; else the amount that is not ours."""
    assert looked_at("42.00", "42.00") == 4200
    assert looked_at("42.00", "43.50", charges="1.50") == 4200
    assert looked_at("42.00", "43.50") == 4350
    assert looked_at("99.00", "42.00") == 9900
    assert looked_at("42.00", "30.00", manual=True) == 3000
    assert looked_at("99.00", "42.00", manual=True) == 4200


def test_expose_shows_no_customer() -> None:
    """People are shown PayU's own fields of requests and answers, not who paid nor with what."""
    metadata = {"customerName": "Ana", "customerEmail": "ana@shop.example"}
    shown = json.loads(ADAPTER.expose(ADAPTER.build(replace(FIRE, metadata=metadata)).body))
    assert shown == {"txnid": REFERENCE, "amount": "42.00", "pg": "CC", "bankcode": "CC", "txn_s2s_flow": "4"}
    entry = {"amt": "42.00", "firstname": "Ana", "card_no": "512345XXXXXX2346", "status": "success"}
    answer = json.dumps({"transaction_details": {REFERENCE: entry}}).encode()
    shown = json.loads(ADAPTER.expose(answer))
    assert shown == {"transaction_details": {REFERENCE: {"amt": "42.00", "status": "success"}}}


# --- webhooks ---------------------------------------------------------------------------------------------------------


def webhook(name: str) -> bytes:
    """The recorded delivery."""
    case = next(c for c in Subject.load(ADAPTER, FIXTURES).webhooks if c.name == name)
    return case.webhook.content()


SALT = json.loads((FIXTURES / "credentials.json").read_text())["salt"]


def verify(body: bytes, *secrets: str) -> None:
    ADAPTER.verify_webhook({}, body, secrets or (SALT,), 0)


def test_a_webhook_may_be_json() -> None:
    """Then its fields are signed in the same way."""
    form = {**fields(webhook("webhook_captured")), "phone": 9999999999, "nothing": None}
    body = json.dumps(form).encode()
    verify(body)
    assert ADAPTER.parse_webhook({}, body) == ADAPTER.parse_webhook({}, webhook("webhook_captured"))
    with pytest.raises(WebhookRefused):
        verify(json.dumps(form | {"amount": "43.00"}).encode())


@pytest.mark.parametrize("field", ["status", "txnid", "amount", "email", "firstname", "productinfo", "key", "udf1", "hash"])
def test_no_signed_field_can_be_changed(field: str) -> None:
    """Each of them is in the hash, and so is the hash."""
    tampered = webhook("webhook_captured").replace(f"{field}=".encode(), f"{field}=x".encode(), 1)
    with pytest.raises(WebhookRefused, match="not signed with"):
        verify(tampered)


def test_a_refund_callback_is_refused_with_the_reason() -> None:
    """PayU does not sign it, whatever it says."""
    with pytest.raises(WebhookRefused, match="does not sign refund"):
        verify(webhook("webhook_refund_unsigned"))


def test_a_webhook_that_names_a_field_twice_is_refused() -> None:
    """One value would be checked and the other believed."""
    with pytest.raises(WebhookRefused, match="twice"):
        verify(webhook("webhook_captured") + b"&txnid=" + REFERENCE.encode())


def test_without_secrets_nothing_is_genuine() -> None:
    """No salt, no webhook; nor with an odd body."""
    with pytest.raises(WebhookRefused):
        ADAPTER.verify_webhook({}, webhook("webhook_captured"), (), 0)
    for body in (b"", b"\xff\xfe", b"{", b"a=b&" * 500, b'{"hash": 1, "status": {}}'):
        with pytest.raises(WebhookRefused):
            verify(body)
        with pytest.raises(WebhookRefused):
            ADAPTER.parse_webhook({}, body)


def test_both_salts_are_good_while_one_is_replaced() -> None:
    """Newest first; the old one only while it is configured."""
    assert ADAPTER.webhook_secrets(CREDENTIALS) == ("thesalt", "theoldsalt")
    assert ADAPTER.webhook_secrets(ADAPTER.credentials_of({"key": "k", "salt": "s"})) == ("s",)


# --- listing ----------------------------------------------------------------------------------------------------------


def test_a_long_window_is_walked_day_by_day() -> None:
    """No moment is left out, and the last page ends the walk."""
    window, asked = Window(from_us=1_800_000_000_000_000, before_us=1_800_000_000_000_000 + 200_000_000_000), []
    while True:
        form = fields(ADAPTER.build_listing(window).body)
        asked.append((form["var1"], form["var2"]))
        page = ADAPTER.parse_listing(window, said({"status": 1, "Transaction_details": []}), "test")
        assert not isinstance(page, Unreadable)
        if not page.next:
            break
        window = replace(window, cursor=page.next)
    assert len(asked) == 3
    assert [a[1] for a in asked[:-1]] == [a[0] for a in asked[1:]]
    assert asked[0][0] == time_text(window.from_us)
    assert asked[-1][1] == time_text(window.before_us)


@pytest.mark.parametrize("text", ["", "2026-02-30 00:00:00", "2026-11-26", "soon", "2026-11-26 14:12:13Z"])
def test_times_that_are_none(text: str) -> None:
    """Only what India's clocks can show is a time."""
    assert time_us(text) is None
    assert time_us("2026-11-26 14:12:13") == 1_795_682_533_000_000
