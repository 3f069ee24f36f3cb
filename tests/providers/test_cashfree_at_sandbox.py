"""The cashfree adapter at the sandbox's Cashfree through the real transport: holds, customers, refunds and listings, with
the ledger as the witness."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

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
    RequiresAction,
    Succeeded,
    Unreadable,
    Voided,
    Window,
)
from payonce.core.outcome import AnyOutcome
from payonce.ports import Lost
from payonce.providers.cashfree import ADAPTER
from payonce.providers.cashfree.building import EXPIRY_MARGIN_S
from payonce.sandbox.cashfree import SIMULATOR
from payonce.testing.provider_cases import Subject
from payonce.testing.provider_live import wired
from payonce.testing.provider_wired import Wired

FOLDER = Path(__file__).parents[1] / "fixtures" / "providers" / "cashfree"
REFERENCE = "06ex4k2m9p7q8r5s3t010100"
S = 1_000_000


def run(folder: Path, story: Callable[[Wired], Awaitable[None]]) -> None:
    """A story at a sandbox of its own."""

    async def main() -> None:
        async with wired(Subject.load(ADAPTER, FOLDER), folder / "ledger.db", over_http=False) as at:
            await story(at)

    asyncio.run(main())


def intent(kind: Any, **more: Any) -> Intent:
    about: dict[str, Any] = {"mode": "test", "amount_minor": 1050, "currency": "INR", "reference": REFERENCE, "key": kind}
    return Intent(kind=kind, **about | more)


async def fired(at: Wired, token: str, **more: Any) -> AnyOutcome:
    """A new order, and the answer to its fire."""
    until_us = at.clock.now_us() + 1800 * S
    about = {"payment_method": token, "action_expires_us": until_us, "return_url": "https://shop.example/back"} | more
    created = await at.ask(intent("create", **about))
    assert isinstance(created, Created), created
    return await at.ask(intent("fire", container=created.container, **about))


async def looked(at: Wired, **more: Any) -> Found:
    found = await at.ask(replace(intent("read", **more), key=""))
    assert isinstance(found, Found), found
    return found


def moves(at: Wired) -> list[tuple[str, int]]:
    return [(m.kind, m.amount) for m in at.movements(REFERENCE)]


def test_a_hold_is_captured_in_part_and_given_back_in_parts(tmp_path: Path) -> None:
    """Held until its end, taken for less, given back twice; the ledger says the same at every step."""

    async def story(at: Wired) -> None:
        await fired(at, "tok_ok", manual=True)
        (hold,) = (await looked(at)).tries
        assert isinstance(hold, Authorized)
        assert (hold.amount_minor, hold.expires_at_us) == (1050, at.clock.now_us() + 7 * 86_400 * S)
        taken = await at.ask(intent("capture", provider_ref=hold.ref, capture_minor=800))
        assert isinstance(taken, Captured)
        assert (taken.ref, taken.amount_minor) == (hold.ref, 800)
        for n, minor in enumerate((300, 500)):
            back = await at.ask(
                intent("refund", key=f"r{n}", provider_ref=hold.ref, refund_reference=f"r0{n}", refund_minor=minor)
            )
            assert isinstance(back, Refunded)
        found = await looked(at)
        assert [(t.amount_minor, t.refunded_minor) for t in found.tries if isinstance(t, Succeeded)] == [(800, 800)]
        assert [(r.reference, r.amount_minor) for r in found.refunds] == [("r00", 300), ("r01", 500)]
        assert moves(at) == [("authorize", 1050), ("capture", 800), ("refund", 300), ("refund", 500)]

    run(tmp_path, story)


def test_a_hold_is_released(tmp_path: Path) -> None:
    """Voided, read as gone, and a later capture proves nothing and takes nothing."""

    async def story(at: Wired) -> None:
        await fired(at, "tok_ok", manual=True)
        (hold,) = (await looked(at)).tries
        assert isinstance(hold, Authorized)
        assert await at.ask(intent("void", provider_ref=hold.ref)) == Voided(ref=hold.ref, reference=REFERENCE)
        found = await looked(at)
        assert [(t.code, t.flips_until_us) for t in found.tries if isinstance(t, Declined)] == [("hold_lapsed", None)]
        assert found.container == "closed"
        assert not isinstance(await at.ask(intent("capture", provider_ref=hold.ref)), Captured)
        assert moves(at) == [("authorize", 1050), ("void", 1050)]

    run(tmp_path, story)


def test_a_hold_that_nobody_captured_lapses(tmp_path: Path) -> None:
    """After its seven days it reads as gone."""

    async def story(at: Wired) -> None:
        await fired(at, "tok_ok", manual=True)
        at.clock.at_us += ADAPTER.CAPABILITIES.terms.hold_s * S
        found = await looked(at)
        assert [t.code for t in found.tries if isinstance(t, Declined)] == ["hold_lapsed"]

    run(tmp_path, story)


@pytest.mark.parametrize("kind", ["capture", "void"])
def test_what_takes_time_is_on_its_way_first(tmp_path: Path, kind: str) -> None:
    """A capture or a void that is PENDING, in the answer and in the read, and what becomes of it; a refund of it too."""

    async def story(at: Wired) -> None:
        await fired(at, "tok_slow_5s", manual=True)
        at.clock.at_us += 5 * S
        (hold,) = (await looked(at)).tries
        assert isinstance(hold, Authorized)
        on_its_way = Processing(ref=hold.ref, reference=REFERENCE)
        assert await at.ask(intent(kind, provider_ref=hold.ref)) == on_its_way
        assert (await looked(at)).tries == (on_its_way,)
        at.clock.at_us += 5 * S
        (shown,) = (await looked(at)).tries
        assert isinstance(shown, Succeeded if kind == "capture" else Declined)
        if kind == "void":
            return
        back = await at.ask(intent("refund", provider_ref=hold.ref, refund_reference="r00", refund_minor=1050))
        assert isinstance(back, Refunding)
        assert (await looked(at)).refunds == (back,)
        at.clock.at_us += 5 * S
        assert [type(r) for r in (await looked(at)).refunds] == [Refunded]

    run(tmp_path, story)


@pytest.mark.parametrize(("note", "means"), [("PENDING", Refunding), ("ONHOLD", Refunding), ("FAILED", RefundFailed)])
def test_refunds_end_as_their_note_says(tmp_path: Path, note: str, means: type) -> None:
    """As in the vendor's own test environment."""

    async def story(at: Wired) -> None:
        await fired(at, "tok_ok")
        (charge,) = (await looked(at)).tries
        assert isinstance(charge, Succeeded)
        about = {"provider_ref": charge.ref, "refund_reference": "r00", "refund_minor": 100}
        said = await at.ask(intent("refund", description=note, **about))
        assert isinstance(said, means)
        assert (await looked(at, refund_reference="r00", refund_minor=100)).refunds == (said,)
        assert moves(at) == [("charge", 1050)]

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("how", "approve"),
    [
        ({"token": "tok_action"}, True),
        ({"token": "tok_action"}, False),
        ({"token": "", "payment_method_type": "upi"}, True),
        ({"token": "tok_action", "payment_method_type": "upi"}, False),
        ({"token": "3021", "payment_method_type": "netbanking"}, True),
    ],
)
def test_a_customer_acts(tmp_path: Path, how: dict[str, str], approve: bool) -> None:
    """By card, UPI intent, UPI request and bank: waiting in the answer and in every read, then paid or declined."""

    async def story(at: Wired) -> None:
        asked = await fired(at, **how)
        assert isinstance(asked, RequiresAction)
        (waits,) = (await looked(at)).tries
        assert isinstance(waits, RequiresAction)
        ledger = at.sandbox.ledger
        with ledger.transaction():
            SIMULATOR.act(ledger, int(asked.ref) - 12_376_000_000, at.clock.now_us(), approve=approve)
        (shown,) = (await looked(at)).tries
        if approve:
            assert isinstance(shown, Succeeded)
            assert (shown.ref, moves(at)) == (asked.ref, [("charge", 1050)])
        else:
            assert isinstance(shown, Declined)
            assert (shown.code, moves(at)) == ("authentication_failed", [])

    run(tmp_path, story)


def test_the_action_is_the_sandboxs_page(tmp_path: Path) -> None:
    """What the answer to a fire says is where the customer decides."""

    async def story(at: Wired) -> None:
        created = await at.ask(intent("create"))
        assert isinstance(created, Created)
        about = intent("fire", container=created.container, handle=at.handle, payment_method="tok_action")
        reply = await at._send(about, ADAPTER.build(about))
        assert not isinstance(reply, Lost)
        action = ADAPTER.next_action(about, reply)
        assert isinstance(action, NextAction)
        assert (action.type, action.method, "/sandbox/pay/cashfree/" in action.url) == ("redirect", "GET", True)

    run(tmp_path, story)


@pytest.mark.parametrize("closes", [True, False])
def test_a_customer_who_never_comes(tmp_path: Path, closes: bool) -> None:
    """Closed when the time to act is over: a no at once. Not closed by anybody: the order ends by itself hours later,
    and that is a no a day after."""

    async def story(at: Wired) -> None:
        began_us = at.clock.now_us()
        await fired(at, "tok_action")
        at.clock.at_us += 1800 * S
        if closes:
            await at.ask(intent("close"))
        else:
            assert isinstance((await looked(at)).tries[0], RequiresAction)
            at.clock.at_us += EXPIRY_MARGIN_S * S
        found = await looked(at)
        (shown,) = found.tries
        assert isinstance(shown, Declined)
        ends_us = (began_us // S + 1800 + EXPIRY_MARGIN_S + 86_400) * S
        assert (shown.code, shown.flips_until_us) == ("action_expired", None if closes else ends_us)
        assert (found.container, moves(at)) == ("closed", [])

    run(tmp_path, story)


def test_charges_are_listed(tmp_path: Path) -> None:
    """Every charge of the window with our reference, none of the refunds."""

    async def story(at: Wired) -> None:
        began_us = at.clock.now_us()
        await fired(at, "tok_ok")
        (charge,) = (await looked(at)).tries
        assert isinstance(charge, Succeeded)
        await at.ask(intent("refund", provider_ref=charge.ref, refund_reference="r00", refund_minor=100))
        window = Window(from_us=began_us, before_us=began_us + 60 * S)
        tries, pages = list[Any](), 0
        while True:
            listed = await _listed(at, window)
            assert isinstance(listed, Listing), listed
            tries += listed.tries
            pages += 1
            if not listed.next:
                break
            window = replace(window, cursor=listed.next)
        assert (tries, pages) == ([charge], 2)
        later = Window(from_us=began_us + 60 * S, before_us=began_us + 120 * S)
        assert await _listed(at, later) == Listing(tries=())

    run(tmp_path, story)


async def _listed(at: Wired, window: Window) -> Listing | Unreadable:
    request: HttpRequest = ADAPTER.build_listing(window)
    reply = await at._send(intent("read"), request)
    assert not isinstance(reply, Lost)
    return ADAPTER.parse_listing(window, reply, "test")
