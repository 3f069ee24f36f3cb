"""The PayU adapter at the PayU of the sandbox: charges, customers, webhooks. What it learns is compared with the ledger."""

import functools
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from msgspec.structs import replace

from payonce.adapter import (
    Absent,
    Authorized,
    Declined,
    Listing,
    NextAction,
    Processing,
    Rejected,
    RequiresAction,
    Response,
    Succeeded,
    Unknown,
    Unreadable,
    Window,
)
from payonce.providers.payu import ADAPTER
from payonce.sandbox.faults import REFUND_LATE_S, TOKENS
from payonce.sandbox.payu import SIMULATOR

from .payu_by_hand import FIRE, PAYMENT, REFERENCE, At, S, Story, key, play

Run = Callable[[Story], None]
HOLD = replace(FIRE, manual=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Plays a story at a fresh sandbox."""
    return functools.partial(play, tmp_path / "ledger.db")


# What the fire is known to have come to after a look, and what it was in the end: nothing is ever sent again.
ENDS: dict[str, tuple[type, type]] = {
    "tok_timeout_then_ok": (Absent, Absent),
    "tok_500_then_ok": (Absent, Absent),
    "tok_rate_limited": (Absent, Absent),
    "tok_never_resolves": (Processing, Processing),
    "tok_late_then_ok": (Unreadable, Succeeded),
    "tok_late_then_decline": (Unreadable, Succeeded),
    "tok_late_success": (Unreadable, Succeeded),
    "tok_action": (RequiresAction, RequiresAction),
    "tok_action_ok": (RequiresAction, Succeeded),
    "tok_action_decline": (RequiresAction, Declined),
}


@pytest.mark.parametrize("kind", ["card", "upi", "netbanking"])
@pytest.mark.parametrize("token", sorted(TOKENS))
def test_every_token_ends_as_the_ledger_says(run: Run, token: str, kind: str) -> None:
    """What is learned at once, by a look, and in the end agrees with what was booked."""

    async def story(at: At) -> None:
        declines = TOKENS[token][0].does == "decline" and not TOKENS[token][0].late_s
        soon, end = ENDS.get(token, (Declined, Declined) if declines else (Succeeded, Succeeded))
        fire = replace(FIRE, payment_method=token, payment_method_type=kind)
        first = await at.ask(fire)
        looked = await at.read()
        assert isinstance(looked, soon), looked
        assert isinstance(first, soon | Unknown), first
        at.later(11)
        final = await at.read()
        assert isinstance(final, end), final
        extra = 100 if token == "tok_wrong_amount" else 0
        assert at.booked() == ([("charge", 4200 + extra)] if end is Succeeded else [])
        if isinstance(final, Succeeded):
            (move,) = at.moves()
            assert (final.ref, final.reference, final.amount_minor) == (move.provider_ref, move.reference, move.amount)

    run(story)


def test_every_token_over_http(tmp_path: Path) -> None:
    """The same through a real server: lost, cut and slow answers included."""

    async def story(at: At) -> None:
        for n, token in enumerate(TOKENS):
            fire = replace(FIRE, reference=f"06ex4k2m9p7q8r5s3t{n:02d}0100", payment_method=token)
            await at.ask(fire)
            await at.read(fire)
            at.later(11)
            declines = TOKENS[token][0].does == "decline" and not TOKENS[token][0].late_s
            end = ENDS.get(token, (Declined, Declined if declines else Succeeded))[1]
            final = await at.read(fire)
            assert isinstance(final, end), (token, final)
            taken = [m.amount for m in at.moves() if m.reference == fire.reference]
            assert taken == ([final.amount_minor] if isinstance(final, Succeeded) else []), token

    play(tmp_path / "ledger.db", story, over_http=True)


def test_a_decline_is_by_attempt(run: Run) -> None:
    """Another txnid of the same payment meets another fate."""

    async def story(at: At) -> None:
        fire = replace(FIRE, payment_method="tok_decline_then_ok")
        assert isinstance(await at.ask(fire), Declined)
        assert isinstance(await at.ask(replace(fire, reference=PAYMENT + "0101")), Succeeded)

    run(story)


def test_a_txnid_is_refused_only_after_it_succeeded(run: Run) -> None:
    """The double charge that PayU allows while a txnid is unknown, and the refusal once it is not: why nothing is re-sent."""

    async def story(at: At) -> None:
        assert isinstance(await at.ask(replace(FIRE, payment_method="tok_decline_do_not_honor")), Declined)
        assert isinstance(await at.ask(replace(FIRE, payment_method="tok_late_success")), Unknown)
        assert isinstance(await at.ask(FIRE), Succeeded)
        said = await at.ask(FIRE)
        assert isinstance(said, Unknown)
        assert "look it up" in said.reason
        assert at.booked() == [("charge", 4200)]
        at.later(11)
        assert at.booked() == [("charge", 4200)] * 2

    run(story)


def test_a_wrong_salt_is_refused_and_proves_that_nothing_happened(run: Run) -> None:
    """Rejected for sends, unreadable for reads, and not a movement."""

    async def story(at: At) -> None:
        at.credentials = ADAPTER.credentials_of({**ADAPTER.SANDBOX_CREDENTIALS, "salt": "another"})
        assert isinstance(await at.ask(FIRE), Rejected)
        assert isinstance(await at.read(), Unreadable)
        assert at.booked() == []

    run(story)


def test_trouble_is_no_evidence(run: Run) -> None:
    """Outage, server errors and a lagging lookup prove nothing."""

    async def story(at: At) -> None:
        for profile in ({"outage": True}, {"errorRate": 1.0}):
            at.put(**profile)
            assert isinstance(await at.ask(FIRE), Unknown)
            assert isinstance(await at.read(), Unreadable)
            assert at.booked() == []
        at.put(lookupLagMs=5000)
        assert isinstance(await at.ask(FIRE), Succeeded)
        assert isinstance(await at.read(), Absent)
        at.later(6)
        assert isinstance(await at.read(), Succeeded)

    run(story)


# --- the customer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "token", "type_"),
    [
        ("card", "tok_action", "redirect"),
        ("netbanking", "HDFB", "redirect"),
        ("upi", "ana@bank", "upi_collect"),
        ("upi", "", "upi_intent"),
    ],
)
@pytest.mark.parametrize("approve", [True, False])
def test_a_customer_acts(run: Run, kind: str, token: str, type_: str, approve: bool) -> None:
    """Where the customer goes is in the answer; what was decided there is read."""

    async def story(at: At) -> None:
        fire = replace(FIRE, payment_method=token, payment_method_type=kind, return_url="https://shop.example/back")
        assert isinstance(await at.ask(fire), RequiresAction)
        action = ADAPTER.next_action(fire, at.last)
        assert isinstance(action, NextAction)
        assert action.type == type_
        number = at.sandbox.ledger.by_reference("payu", "payment", REFERENCE)[0].id
        page = f"/sandbox/pay/payu/{number}"
        if type_ == "redirect":
            assert urlsplit(action.url).path == page
        if type_ == "upi_intent":
            assert dict(parse_qsl(urlsplit(action.url).query))["url"].endswith(page)
        standing = SIMULATOR.standing(at.sandbox.ledger, number)
        assert standing is not None
        assert (standing.amount_minor, standing.currency, standing.open) == (4200, "INR", True)
        assert standing.return_url == "https://shop.example/back"
        for _ in range(2):  # a second click is nothing
            SIMULATOR.act(at.sandbox.ledger, number, at.clock.now_us(), approve=approve)
        standing = SIMULATOR.standing(at.sandbox.ledger, number)
        assert standing is not None
        assert not standing.open
        final = await at.read(fire)
        assert isinstance(final, Succeeded if approve else Declined)
        assert at.booked() == ([("charge", 4200)] if approve else [])

    run(story)


def test_a_customer_who_does_not_come_ends_the_payment(run: Run) -> None:
    """After half an hour the payment is over, and the page decides nothing any more."""

    async def story(at: At) -> None:
        await at.ask(replace(FIRE, payment_method="tok_action"))
        at.later(1801)
        over = await at.read()
        assert isinstance(over, Declined)
        assert (over.code, over.flips_until_us) == ("action_expired", None)
        number = at.sandbox.ledger.by_reference("payu", "payment", REFERENCE)[0].id
        SIMULATOR.act(at.sandbox.ledger, number, at.clock.now_us(), approve=True)
        assert at.booked() == []

    run(story)


# --- webhooks and listing ---------------------------------------------------------------------------------------------


def test_webhooks_are_signed_and_tell_every_change(run: Run) -> None:
    """Held, captured, refunded, failed: each one verifies, names our txnid, and is an event of its own."""

    async def story(at: At) -> None:
        hold = await at.ask(HOLD)
        assert isinstance(hold, Authorized)
        await at.ask(replace(HOLD, kind="capture", capture_minor=3000, provider_ref=hold.ref, key=key(0)))
        at.put(refunds="fail_later")
        await at.refund(1000)
        at.later(REFUND_LATE_S + 1)
        at.settle()
        await at.ask(replace(FIRE, reference=PAYMENT + "0101", payment_method="tok_decline_stolen_card"))
        bodies, secrets = at.webhooks(), ADAPTER.webhook_secrets(at.credentials)
        events = []
        for body in bodies:
            headers = SIMULATOR.sign_webhook(body, at.clock.now_us())
            ADAPTER.verify_webhook(headers, body, secrets, at.clock.now_us())
            events.append(ADAPTER.parse_webhook(headers, body))
        assert [e.kind for e in events] == ["success", "success", "refund success", "refund failure", "failure"]
        assert [e.references for e in events] == [(REFERENCE,)] * 4 + [(PAYMENT + "0101",)]
        assert len({e.id for e in events}) == len(events)
        assert [e.id for e in events] == [e.event_id for e in at.sandbox.ledger.deliveries.events(0, 100)]

    run(story)


def test_a_listing_shows_what_was_made_in_its_window(run: Run) -> None:
    """Charges, holds and declines of the time, and nothing beside it."""

    async def story(at: At) -> None:
        await at.ask(replace(FIRE, reference=PAYMENT + "0199"))
        at.later(100)
        from_us = at.clock.now_us()
        await at.ask(FIRE)
        await at.ask(replace(HOLD, reference=PAYMENT + "0101"))
        await at.ask(replace(FIRE, reference=PAYMENT + "0102", payment_method="tok_decline_do_not_honor"))
        before_us = at.clock.now_us() + S
        at.later(100)
        await at.ask(replace(FIRE, reference=PAYMENT + "0198"))
        window = Window(from_us=from_us, before_us=before_us)
        reply = await at.send(ADAPTER.build_listing(window))
        assert isinstance(reply, Response)
        page = ADAPTER.parse_listing(window, reply, "test")
        assert isinstance(page, Listing)
        assert [(type(t), getattr(t, "reference", "")) for t in page.tries] == [
            (Succeeded, REFERENCE),
            (Authorized, PAYMENT + "0101"),
            (Declined, PAYMENT + "0102"),
        ]
        assert page.next == ""

    run(story)
