"""The adapter at the Razorpay of the sandbox, beyond what every adapter is asked: merchants' captures, customers who act,
refunds that end later, lists and webhooks. Each is held against the ledger."""

from typing import Any, get_args

import pytest
from msgspec.structs import replace

from payonce.adapter import (
    Authorized,
    Captured,
    Created,
    Declined,
    Found,
    HttpRequest,
    Intent,
    Listing,
    NextAction,
    Processing,
    Refunded,
    RefundFailed,
    Refunding,
    Rejected,
    RequiresAction,
    Response,
    StepKind,
    Succeeded,
    Unknown,
    Window,
)
from payonce.providers.razorpay import ADAPTER
from payonce.providers.razorpay.building import HOLD_MINUTES
from payonce.sandbox.faults import REFUND_LATE_S, Profile, Refunds

from .razorpay_by_hand import NOW, PAYMENT, RECEIPT, S, Vendor

MONEY = (("INR", 4200), ("JPY", 999_999_999_999), ("KWD", 999_999_999_990))
START = Intent(kind="create", mode="test", amount_minor=4200, currency="INR", reference=RECEIPT, key="5f0d2c1e-6f0b-5a53")


class Shop:
    """One payment, from its intent on."""

    def __init__(self, **more: Any) -> None:
        self.v, self.intent = Vendor(), replace(START, **more)

    def ask(self, kind: StepKind, **more: Any) -> Any:
        """A step as the engine sends it; a read with all its requests."""
        intent = replace(self.intent, kind=kind, **({"key": ""} if kind == "read" else {}), **more)
        built = ADAPTER.build(intent)
        while True:
            answer = self.answer(built)
            if kind != "read":
                self.last = intent, answer
                return ADAPTER.parse(intent, answer)
            said = ADAPTER.parse_read(intent, answer)
            if not isinstance(said, HttpRequest):
                return said
            intent, built = replace(intent, seen=(*intent.seen, answer)), said

    def answer(self, built: HttpRequest) -> Response:
        headers: dict[str, Any] = {name.replace("-", "_"): value for name, value in built.headers}
        reply = self.v.ask(built.method, built.path, built.body, **headers)
        return Response(status=reply.status, headers=reply.headers, body=reply.body)

    def fire(self) -> Any:
        """Create and fire."""
        created = self.ask("create")
        assert isinstance(created, Created)
        self.intent = replace(self.intent, container=created.container)
        return self.ask("fire")

    def tried(self) -> Any:
        """The one try that a read shows."""
        found = self.ask("read")
        assert isinstance(found, Found)
        (tried,) = found.tries
        return tried

    def capture(self) -> Any:
        self.intent = replace(self.intent, provider_ref=self.tried().ref)
        return self.ask("capture", capture_minor=self.intent.amount_minor)

    def action(self) -> NextAction | None:
        return ADAPTER.next_action(*self.last)

    def act(self, *, approve: bool) -> None:
        number = int(self.tried().ref.removeprefix("pay_"))
        with self.v.ledger.transaction():
            self.v.vendor.act(self.v.ledger, number, self.v.now, approve=approve)

    def refund(self, number: int, minor: int) -> Any:
        return self.ask("refund", key=f"{number:010d}", refund_reference=f"{PAYMENT}0{number}00", refund_minor=minor)

    def refunds(self, **more: Any) -> list[type]:
        found = self.ask("read", **more)
        assert isinstance(found, Found)
        return [type(each) for each in found.refunds]


@pytest.mark.parametrize(("currency", "amount"), MONEY)
def test_a_merchants_hold_is_captured_and_given_back(currency: str, amount: int) -> None:
    """Held, captured whole, given back in two parts: every outcome names the sum that the ledger has."""
    shop = Shop(currency=currency, amount_minor=amount, manual=True)
    assert isinstance(shop.fire(), Processing)
    held = shop.tried()
    assert isinstance(held, Authorized)
    assert (held.amount_minor, held.currency, held.reference) == (amount, currency, RECEIPT)
    assert shop.capture() == Captured(ref=held.ref, reference=RECEIPT, amount_minor=amount, currency=currency, mode="test")
    parts = (amount // 2 // 10 * 10, amount - amount // 2 // 10 * 10)
    refunds = [shop.refund(n, part) for n, part in enumerate(parts, 2)]
    assert [(type(r), r.amount_minor, r.currency) for r in refunds] == [(Refunded, part, currency) for part in parts]
    taken = shop.tried()
    assert isinstance(taken, Succeeded)
    assert (taken.amount_minor, taken.refunded_minor) == (amount, amount)
    assert shop.v.moves() == [("authorize", amount), ("capture", amount), *(("refund", part) for part in parts)]
    assert isinstance(shop.refund(4, 10), Rejected)


def test_a_part_of_the_hold_cannot_be_captured() -> None:
    """It is refused and looked up: the hold is still there, and the whole of it is taken afterwards."""
    shop = Shop(manual=True)
    shop.fire()
    held = shop.tried()
    assert isinstance(shop.ask("capture", provider_ref=held.ref, capture_minor=4199), Unknown)
    assert shop.tried() == held
    assert isinstance(shop.capture(), Captured)
    assert shop.v.moves() == [("authorize", 4200), ("capture", 4200)]


def test_a_hold_that_nobody_captured_lapses() -> None:
    """After the time that our order named it is gone, is never shown as a hold again, and cannot be captured."""
    shop = Shop(manual=True)
    shop.fire()
    held = shop.tried()
    shop.v.now += HOLD_MINUTES * 60 * S
    lapsed = shop.tried()
    assert isinstance(lapsed, Declined)
    assert (lapsed.code, lapsed.hard, lapsed.scope, lapsed.ref) == ("hold_lapsed", False, "provider_technical", held.ref)
    assert isinstance(shop.ask("capture", provider_ref=held.ref, capture_minor=4200), Unknown)
    assert shop.v.moves() == [("authorize", 4200), ("void", 4200)]


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"payment_method": "tok_action"}, "redirect"),
        ({"payment_method_type": "upi"}, "upi_intent"),
        ({"payment_method_type": "upi", "payment_method": "ana@exampleupi"}, "upi_collect"),
        ({"payment_method_type": "upi", "payment_method": "tok_action"}, "upi_collect"),
        ({"payment_method_type": "netbanking", "payment_method": "HDFC"}, "redirect"),
        ({"payment_method_type": "wallet", "payment_method": "tok_action"}, "redirect"),
    ],
)
@pytest.mark.parametrize("approve", [True, False])
def test_the_customer_acts(more: dict[str, Any], kind: str, approve: bool) -> None:
    """Sent to the page, an app, or asked there; approved it is held and can be captured, declined it is over."""
    shop = Shop(return_url="https://shop.example/back", **more)
    asked = shop.fire()
    assert isinstance(asked, RequiresAction)
    action = shop.action()
    assert action is not None
    assert (action.type, bool(action.url)) == (kind, kind != "upi_collect")
    assert isinstance(shop.tried(), Processing)
    number = int(asked.ref.removeprefix("pay_"))
    standing = shop.v.vendor.standing(shop.v.ledger, number)
    assert standing is not None
    assert (standing.return_url, standing.reference) == ("https://shop.example/back", RECEIPT)
    shop.act(approve=approve)
    decided = shop.tried()
    assert decided.ref == asked.ref
    if approve:
        assert isinstance(decided, Authorized)
        assert isinstance(shop.capture(), Captured)
    else:
        assert isinstance(decided, Declined)
        assert (decided.code, decided.flips_until_us) == ("authentication_failed", None)
    assert shop.v.moves() == ([("authorize", 4200), ("capture", 4200)] if approve else [])


def test_a_request_to_a_upi_address_runs_out() -> None:
    """Nobody approved it in time: declined as expired, and provisional, as the vendor has it."""
    shop = Shop(payment_method_type="upi", payment_method="ana@exampleupi")
    shop.fire()
    shop.v.now += 30 * 60 * S
    over = shop.tried()
    assert isinstance(over, Declined)
    assert (over.code, over.scope, over.vendor_code) == ("action_expired", "customer_input", "payment_collect_request_expired")
    assert over.flips_until_us is not None


FATES: dict[Refunds, tuple[type, type]] = {
    "plain": (Refunded, Refunded),
    "pending": (Refunding, Refunded),
    "pending_fail": (Refunding, RefundFailed),
    "fail_later": (Refunded, RefundFailed),
    "fail": (RefundFailed, RefundFailed),
}


@pytest.mark.parametrize("fate", get_args(Refunds))
def test_a_refund_ends_as_reads_show(fate: Refunds) -> None:
    """What the answer says, a read of the refund and a plain read of the charge say, too, then and later."""
    shop = Shop()
    shop.fire()
    assert isinstance(shop.capture(), Captured)
    shop.v.faults = Profile(refunds=fate)
    first, last = FATES[fate]
    said = shop.refund(2, 1200)
    assert (type(said), said.reference, said.amount_minor) == (first, PAYMENT + "0200", 1200)
    asked = {"refund_reference": said.reference, "refund_minor": 1200, "refund_ref": said.ref}
    assert shop.refunds() == shop.refunds(**asked) == [first]
    assert isinstance(shop.refund(2, 1200), first)  # the key gives the first answer again
    shop.v.now += int(REFUND_LATE_S * S)
    assert shop.refunds() == shop.refunds(**asked) == [last]
    assert shop.tried().refunded_minor == (1200 if last is Refunded else 0)
    signs = {"refund": 1, "refund_failed": -1}
    assert sum(amount * signs.get(kind, 0) for kind, amount in shop.v.moves()) == (1200 if last is Refunded else 0)


def test_what_is_listed_is_what_the_ledger_holds() -> None:
    """Every payment of the window once, with our reference; none of another time."""
    shop = Shop()
    for n in range(3):
        shop.intent = replace(START, reference=f"{PAYMENT}010{n}")
        shop.fire()
        shop.v.now += 60 * S
    for window, wanted in (((NOW, NOW + 61 * S), ["0101", "0100"]), ((NOW + 61 * S, NOW + 3600 * S), ["0102"])):
        asked = Window(from_us=window[0], before_us=window[1])
        page = ADAPTER.parse_listing(asked, shop.answer(ADAPTER.build_listing(asked)), "test")
        assert isinstance(page, Listing)
        held = [each for each in page.tries if isinstance(each, Authorized)]
        assert ([each.reference[-4:] for each in held], page.next) == (wanted, "")
        booked = {(m.provider_ref, m.reference) for m in shop.v.ledger.movements()}
        assert {(each.ref, each.reference) for each in held} <= booked


def test_every_webhook_leads_back_to_its_payment() -> None:
    """Verified under the sandbox's secret; it names our reference for the attempt or refund, and their payment."""
    shop = Shop()
    shop.fire()
    shop.capture()
    shop.refund(2, 1200)
    secrets = ADAPTER.webhook_secrets(ADAPTER.credentials_of(ADAPTER.SANDBOX_CREDENTIALS))
    events = []
    for announced in shop.v.ledger.deliveries.events(0, 100):
        headers = shop.v.vendor.sign_webhook(announced.body, shop.v.now)
        ADAPTER.verify_webhook(headers, announced.body, secrets, shop.v.now)
        events.append(ADAPTER.parse_webhook(headers, announced.body))
        assert events[-1].id == announced.event_id
    assert [e.kind for e in events] == shop.v.told()
    assert all(RECEIPT in e.references and shop.intent.provider_ref in e.refs for e in events)
    assert [e.kind for e in events if PAYMENT + "0200" in e.references] == ["refund.created", "refund.processed"]
    assert all(shop.intent.container in e.refs for e in events)
