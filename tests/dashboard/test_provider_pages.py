"""Providers, what needs attention, queues and workers: the words from canned answers, and the switches on a served payonce."""

import html

import pytest

from payonce.core.breaker import Breaker, encode
from payonce.dashboard.accounts_told import told
from payonce.dashboard.pages import attention as attention_page
from payonce.dashboard.pages import providers, workers
from payonce.dashboard.rendering import DASH
from payonce.dashboard.typed import TAKEN_OUT

from .canned import attention, decline, declines, page, provider, table, words
from .house import House

HOSTILE = "<img src=x onerror=alert(1)>"
CARD = "4242 4242 4242 4242"
UNTIL = "2026-11-26T10:24:31.000000Z"


def one(told_of: dict[str, object], *found: dict[str, object], scope: str = "admin") -> str:
    """The page of the account ``a``."""
    return page(
        providers.one, {"/providers/a": told_of, "/stats/declines": declines(*found)}, path={"account": "a"}, scope=scope
    )


def test_the_state_is_told_in_plain_words() -> None:
    """What follows for new payments, why, and when it ends; a drain counts before a breaker."""
    drain = {"reason": "maintenance", "by": "key_1", "since": UNTIL}
    breaker = {"state": "open", "why": "5 of the last 5 calls failed", "until": UNTIL}
    for changes, word, text in (
        ({}, "Takes payments", "Takes new payments."),
        (
            {"breaker": breaker},
            "Breaker open",
            (
                "Nothing new goes there: new payments use the other accounts, or wait. 5 of the last 5 calls failed. "
                "One call tries it at 10:24:31 UTC; when it goes well, the account is back."
            ),
        ),
        ({"breaker": breaker | {"state": "half-open"}}, "Breaker half open", "The next new payment tries it with one call."),
        (
            {"breaker": breaker | {"state": "probing"}},
            "Breaker tries it",
            "One call tries it now. Nothing new goes there: new payments use the other accounts, or wait.",
        ),
        ({"drain": drain}, "Drained", "Drained by key_1 since 26 Nov 2026 10:24:31 UTC: maintenance. Nothing new goes there;"),
        ({"drain": drain, "breaker": breaker}, "Drained", "Its breaker is open as well: 5 of the last 5 calls failed."),
        ({"adapter": None}, "Not in use", "It takes no new payments of yours any more."),
    ):
        said = told(provider("a", **changes))
        assert said.word == word
        assert text in said.text
        assert said.trouble is (word not in ("Takes payments", "Not in use"))


@pytest.mark.parametrize(
    ("sums", "word"),
    [
        ({"attempts": 20, "successRate": 0.70, "previous": {"successRate": 0.86}}, "Approves less"),
        ({"attempts": 20, "successRate": 0.80, "previous": {"successRate": 0.86}}, "Takes payments"),
        ({"attempts": 19, "successRate": 0.10, "previous": {"successRate": 0.86}}, "Takes payments"),
    ],
)
def test_an_account_that_degrades_is_worth_a_look(sums: dict[str, object], word: str) -> None:
    """Far fewer approvals than before; a few payments say nothing."""
    assert told(provider("a", sums=sums)).word == word


@pytest.mark.parametrize(
    ("calls", "errors", "minute", "word"),
    [
        (10, 2, 14, "Many errors"),
        (10, 2, 12, "Many errors"),
        (10, 2, 11, "Takes payments"),
        (10, 1, 14, "Takes payments"),
        (9, 9, 14, "Takes payments"),
    ],
)
def test_an_account_that_fails_now_is_worth_a_look(calls: int, errors: int, minute: int, word: str) -> None:
    """Before its breaker opens: many errors in the last minutes. What has healed since is over; a few calls say nothing."""
    shown = provider("a", sums={"calls": 100, "errors": 90})
    shown["series"][minute] |= {"calls": calls, "errors": errors}
    assert told(shown).word == word


def test_every_account_shows_its_figures() -> None:
    """Those of the API, with the small chart's numbers in a table; names are text."""
    sums = {
        "approved": 9,
        "attempts": 10,
        "successRate": 0.9,
        "share": 0.75,
        "calls": 1234,
        "errors": 1,
        "callP50Ms": 120.0,
        "callP95Ms": 410.0,
    }
    first = provider("a", sums=sums, inFlight=3, callsMax=8)
    first["series"][14]["calls"] = 17
    text = page(providers.show, {"/providers": {"data": [first, provider(HOSTILE)]}, "/attention": attention()})
    said = words(text)
    for part in ("90 % 9 of 10 payments tried", "75 %", "120 ms 95 of 100 within 410 ms", "1 of 1 234 calls", "3 of 8 at once"):
        assert part in said, part
    assert table(text, "Calls of each account, each minute")[14] == ["10:29", "17", "0"]
    assert HOSTILE not in text
    assert html.escape(HOSTILE) in text
    assert "All 2 accounts take new payments." in said
    assert f"Success rate {DASH} 0 of 0 payments tried" in said


def test_an_account_has_its_page() -> None:
    """Charts with tables, declines with links to the payments, and the switch for who may use it."""
    shown = provider("a", sums={"approved": 3, "declined": 1, "attempts": 4})
    shown["series"][14] |= {"calls": 20, "errors": 2, "approved": 3, "declined": 1}
    text = one(shown, decline("do_not_honor", "a", 5, 2))
    assert table(text, "Calls and errors")[14] == ["10:29", "20", "2"]
    assert table(text, "Payments tried here")[14] == ["10:29", "3", "1"]
    assert table(text, "Declines of a, last 15 min") == [["Do not honor", "INR", "5", "2", "What do_not_honor means."]]
    assert 'href="/dashboard/payments?provider=a&amp;declineCode=do_not_honor"' in text
    assert 'href="/dashboard/providers/a/drain"' in text
    assert "/drain" not in one(shown, scope="payments:read")
    assert "/drain" not in one(shown | {"mayDrain": False})


def test_what_needs_nobody_is_not_shown() -> None:
    """Empty: it says that nothing needs anybody. Else only the parts that have something, the rest in one line."""
    assert "Nothing needs you" in page(attention_page.show, {"/attention": attention()})
    late = {"transactionId": "pay_1", "status": "PENDING", "amount": 1050, "currency": "INR", "dueAt": UNTIL, "lateS": 75}
    text = page(attention_page.show, {"/attention": attention(overdue={"count": 1, "more": False, "data": [late]})})
    assert table(text, "Overdue payments") == [["pay_1", "Pending", "10.50 INR", "26 Nov 2026 10:24:31 UTC", "1 min 15 s"]]
    assert "Payments in doubt" not in text
    assert "Nothing in: payments in doubt" in text


def test_every_part_says_what_it_means_and_what_to_do() -> None:
    """Each with its rows, which lead to the payment, the webhook or the endpoint's deliveries; hostile words stay words."""
    payment = {"transactionId": "pay_1", "status": "IN_DOUBT", "amount": 1050, "currency": "INR", "provider": None}
    payment |= {"attention": "mismatch", "reason": None, "updatedAt": UNTIL}
    stray = {
        "id": "wh_1",
        "account": HOSTILE,
        "kind": HOSTILE,
        "state": "parked",
        "receivedAt": UNTIL,
        "tries": 2,
        "deliveries": 1,
        "dueAt": None,
    }
    news = {
        "id": "dlv_1",
        "endpointId": "we_1",
        "eventId": "evt_1",
        "type": "payment.succeeded",
        "transactionId": "pay_1",
        "state": "failed",
        "tries": 9,
    }
    news |= {"lastStatus": None, "lastError": HOSTILE, "lastTriedAt": UNTIL, "nextTryAt": None, "createdAt": UNTIL}
    dead = {"messageId": "m", "id": HOSTILE, "about": None, "firstSeenAt": UNTIL, "received": 4}
    found = {
        name: {"count": 100, "more": True, "data": [row]}
        for name, row in (("inDoubt", payment), ("webhooks", stray), ("deliveries", news))
    }
    text = page(
        attention_page.show, {"/attention": attention(**found) | {"deadLetters": {"known": True, "count": 1, "data": [dead]}}}
    )
    assert text.count("What it means") == text.count("What to do") == 4
    assert "A provider reports another amount, currency or mode." in text
    for link in ("/payments/pay_1", "/webhooks/wh_1", "/deliveries?endpoint=we_1&amp;state=failed", "/payments?attention=true"):
        assert f'href="/dashboard{link}"' in text, link
    assert HOSTILE not in text
    assert text.count(html.escape(HOSTILE)) == 4
    assert "The first 1 of more than 100 are shown." in text


def work(**changes: object) -> dict[str, object]:
    """An answer of GET /workers where all is well, with changes."""
    due = {"now": 0, "overdue": 0, "oldestS": None, "nextAt": None}
    found: dict[str, object] = {"version": "1", "startedAt": UNTIL, "asOf": UNTIL, "store": "payments.db", "held": False}
    found |= {
        "worker": True,
        "due": due,
        "webhooksDue": due,
        "notices": due,
        "deliveriesDue": due,
        "backlogMax": 50_000,
        "trouble": None,
    }
    found |= {
        "deliveries": dict.fromkeys(("pending", "delivered", "failed", "canceled"), 0),
        "accounts": [{"account": "a", "inFlight": 2, "callsMax": None}],
    }
    return found | {"inbox": dict.fromkeys(("new", "matched", "parked", "unmatched"), 0)} | changes


def test_the_work_is_told_in_plain_words() -> None:
    """All is well only where it is; each thing that is wrong says what follows and what to do."""
    late = {"now": 1000, "overdue": 7, "oldestS": 75, "nextAt": UNTIL}
    well = page(workers.show, {"/workers": work()})
    assert "All work is taken up" in well
    assert table(well, "Calls of this process, by provider account") == [["a", "2", "no limit"]]
    for changes, said in (
        (
            {"due": late},
            "7 payments are due for more than a minute, the first for 1 min 15 s. No worker runs, or none keeps up.",
        ),
        ({"trouble": "The disk is full."}, "The disk is full. No payment is accepted and nothing is sent to providers until"),
        ({"held": True}, "Held: nothing is sent until payonce reconcile has run"),
        ({"worker": False}, "This process has no worker"),
        ({"webhooksDue": late}, "7 webhooks are due for more than a minute."),
    ):
        text = words(page(workers.show, {"/workers": work(**changes)}))
        assert said in text
        assert "All work is taken up" not in text
    assert table(page(workers.show, {"/workers": work(due=late)}), "What is due now, by queue")[0][1:4] == [
        "1 000+",
        "7",
        "1 min 15 s",
    ]


# --- served -------------------------------------------------------------------------------------------------------------


def test_pages_show_what_the_api_counts(house: House) -> None:
    """Payments that were really made: the same figures on the page as in the API, for the same window."""
    visitor = house.signed_in("payments:read")
    for n, token in enumerate(("tok_ok", "tok_ok", "tok_decline_stolen_card")):
        body = {"amount": 1050, "currency": "INR", "paymentMethod": token, "provider": "mock"}
        answer = visitor.http.post("/payments", json=body, headers={"Idempotency-Key": f"counted-{n}"})
        assert answer.status_code in (200, 201, 202), answer.text
    found = visitor.http.get("/stats").json()
    assert found["now"]["accepted"] == 3
    text = visitor.get("/").text
    assert f"Accepted {found['now']['accepted']} payments, last 15 min" in words(text)
    assert sum(int(row[1]) for row in table(text, "Payments accepted")) == 3
    row = next(row for row in table(text, "Figures of each provider account, last 15 min") if row[0] == "mock")
    sums = next(each for each in found["providers"] if each["account"] == "mock")
    assert row[5] == str(sums["calls"])


def test_an_account_is_drained_and_resumed(house: House) -> None:
    """The page says what will happen and wants a reason; then it is done, told, and on the record with the reason."""
    visitor = house.signed_in()
    asked = visitor.get("/providers/payu_mock/drain").text
    assert "New payments go to the other accounts" in asked
    refused = visitor.post("/providers/payu_mock/drain", {"reason": "  "})
    assert refused.status_code == 422
    assert "Say why" in refused.text
    assert visitor.http.get("/providers/payu_mock").json()["drain"] is None
    done = visitor.post("/providers/payu_mock/drain", {"reason": f"slow {HOSTILE}"})
    assert done.status_code == 303
    text = visitor.get("/providers/payu_mock").text
    assert "payu_mock is drained: new payments go to the others" in text
    assert f"slow {html.escape(HOSTILE)}" in text
    assert HOSTILE not in text
    assert "drained because" in visitor.get("/providers/payu_mock/resume").text
    assert visitor.post("/providers/payu_mock/resume", {"reason": "back"}).status_code == 303
    assert visitor.http.get("/providers/payu_mock").json()["drain"] is None
    acts = [
        (each["what"], each["data"].get("reason"))
        for each in visitor.http.get("/journal").json()["data"]
        if each["subject"] == "payu_mock"
    ]
    assert acts == [("account.resumed", "back"), ("account.drained", f"slow {HOSTILE}")]


@pytest.mark.parametrize("what", ["drain", "resume"])
def test_a_card_number_does_not_come_back(house: House, what: str) -> None:
    """Refused by the API, or too long for it: the reason comes back without the number, and the page says so."""
    visitor = house.signed_in()
    if what == "resume":
        assert visitor.post("/providers/cashfree_mock/drain", {"reason": "slow"}).status_code == 303
    for more in ("", "x" * 200):
        refused = visitor.post(f"/providers/cashfree_mock/{what}", {"reason": f"asked about {CARD} {more}"})
        assert refused.status_code == 422
        assert "asked about [redacted]" in refused.text
        assert TAKEN_OUT in refused.text
        assert CARD not in refused.text
    if what == "resume":
        assert visitor.post("/providers/cashfree_mock/resume", {"reason": "back"}).status_code == 303


def test_a_drain_without_its_reason_is_told() -> None:
    """To who may not switch the account: that it is drained and since when."""
    drain = {"reason": None, "by": None, "since": UNTIL}
    shown = provider("a", drain=drain, mayDrain=False)
    assert told(shown).text.startswith("Drained since 26 Nov 2026 10:24:31 UTC. Nothing new goes there;")
    assert "None" not in words(one(shown, scope="payments:read"))
    assert "None" not in words(page(providers.show, {"/providers": {"data": [shown]}, "/attention": attention()}))


def test_a_breaker_is_closed_by_hand(house: House) -> None:
    """Without a drain the page is about the breaker alone, and closes it."""
    now_us = house.app.clock.now_us()
    breaker = Breaker(state="open", since_us=now_us, until_us=now_us + 50_000_000, why="5 of the last 5 calls failed")
    assert house.run(house.app.store.registry.put("breaker", "stripe_mock", encode(breaker), 0))
    visitor = house.signed_in()
    assert "Breaker open" in visitor.get("/providers/stripe_mock").text
    assert "stripe_mock: Nothing new goes there: new payments use the other accounts, or wait." in words(visitor.get("/").text)
    assert "Close the breaker of stripe_mock" in visitor.get("/providers/stripe_mock/resume").text
    assert visitor.post("/providers/stripe_mock/resume", {"reason": "it answers", "closeBreaker": "yes"}).status_code == 303
    assert visitor.http.get("/providers/stripe_mock").json()["breaker"] is None
    assert "There is nothing to do here" in visitor.get("/providers/stripe_mock/resume").text


def test_a_viewer_switches_nothing(house: House) -> None:
    """No button, no page, and the form is refused; nothing changes. Workers are the house's business."""
    viewer = house.signed_in("payments:read")
    assert "/providers/mock/drain" not in viewer.get("/providers/mock").text
    assert viewer.get("/providers/mock/drain").status_code == 403
    assert viewer.post("/providers/mock/drain", {"reason": "no"}).status_code == 403
    assert viewer.http.get("/providers/mock").json()["drain"] is None
    for path in ("/", "/providers", "/providers/mock", "/declines", "/attention", "/workers"):
        assert viewer.get(path).status_code == 200, path
    assert viewer.get("/providers/nobody").status_code == 404
