"""Questions about a payment are answered from its story alone, and where that does not tell, the answer says so."""

import pytest

from payonce.dashboard.questions import Answer, answers, resting

from .told import call, candidate, line, operation, payment, story

CHARGED, TWICE, WHEN, WHY, BACK = 0, 1, 2, 3, 4


def answer(told: dict[str, object], which: int) -> Answer:
    return answers(told)[which]


def test_a_plain_success() -> None:
    """Charged once, with the reference, when, and how long it took."""
    found = answers(story())
    assert [a.short for a in found] == ["Yes", "No", "Yes", ""]
    assert found[CHARGED].text == "10.50 INR was taken at razorpay_mock (ch_1) on 26 Nov 2026 at 10:00:03 UTC."
    assert found[TWICE].text == "One charge is kept, 10.50 INR at razorpay_mock (ch_1)."
    assert found[WHEN].text == "It succeeded on 26 Nov 2026 at 10:00:03 UTC, 3 s after it was accepted."


def test_a_second_charge_that_was_given_back() -> None:
    """Not charged twice: one is kept, the other one went back, with the refund's id."""
    p = payment(reversed=1050, operations=[operation("charge", "SUCCEEDED"), operation("reversal", "SUCCEEDED", ref="re_9")])
    said = answer(story(p), TWICE)
    assert said.short == "No"
    assert "One charge is kept, 10.50 INR at razorpay_mock (ch_1)." in said.text
    assert "A second one of 10.50 INR was given back (re_9)." in said.text
    assert answer(story(p), BACK) == Answer("Was money given back?", "Yes", "A surplus of 10.50 INR was given back (re_9).")


@pytest.mark.parametrize(
    ("state", "words"), [("PENDING", "is being given back"), ("IN_DOUBT", "may not have been"), ("FAILED", "could not be")]
)
def test_a_second_charge_that_is_not_back_yet(state: str, words: str) -> None:
    """It is said to be there, and how far its return is; never a plain no."""
    p = payment(operations=[operation("charge", "SUCCEEDED"), operation("reversal", state, reason="refund_refused")])
    said = answer(story(p), TWICE)
    assert said.short == "In part"
    assert words in said.text


def test_a_provider_that_charged_twice() -> None:
    """What needs eyes as charged_twice is a yes, with what to do."""
    told = story(
        payment(attention="charged_twice"), money="10.50 INR was taken once and is kept. More shows.", next="resolve it."
    )
    assert answer(told, TWICE) == Answer("Charged twice?", "Yes", f"{told['money']} {told['next']}")


def test_in_doubt_nothing_is_claimed() -> None:
    """Neither charged nor not, neither twice nor once; and what ends it."""
    p = payment(status="IN_DOUBT", reason="horizon", captured=0, providerRef=None)
    told = story(p, money="10.50 INR may or may not have been taken.", due="ask mock what happened, in 1 d", lines=[])
    found = answers(told)
    assert [a.short for a in found[:3]] == ["Not known", "Not known", "Not known"]
    assert "until a person decides. Next: ask mock what happened, in 1 d." in found[WHEN].text


@pytest.mark.parametrize(
    ("money", "short"),
    [("10.50 INR may have been taken: the answer is missing.", "Not known"), ("Nothing was sent yet.", "Not yet")],
)
def test_pending_says_whether_anybody_knows(money: str, short: str) -> None:
    """A missing answer is not the same as nothing sent."""
    p = payment(status="PENDING", captured=0, providerRef=None)
    assert answer(story(p, money=money, lines=[]), CHARGED) == Answer("Was the customer charged?", short, money)  # type: ignore[arg-type]


def test_a_failure_says_the_last_answer() -> None:
    """What the provider said last, where the reason is another one."""
    error = {"code": "insufficient_funds", "message": "The account has not enough money."}
    p = payment(status="FAILED", reason="attempts_exhausted", captured=0, lastError=error, providerRef=None)
    said = answer(story(p, money="No money is kept (attempts_exhausted)."), CHARGED)
    assert said.short == "No"
    assert said.text.endswith("The last answer: insufficient_funds. The account has not enough money.")


def test_a_hold_is_no_charge() -> None:
    """Held once, taken never; when it lapses."""
    p = payment(status="AUTHORIZED", authorized=1050, captured=0, authorizationExpiresAt="2026-12-03T10:00:00Z")
    found = answers(story(p, due="ask mock what happened, in 7 d"))
    assert found[CHARGED].short == "No"
    assert "10.50 INR is held" in found[CHARGED].text
    assert "The hold lapses on 3 Dec 2026 at 10:00:00 UTC" in found[WHEN].text


@pytest.mark.parametrize(
    ("state", "short", "words"), [("PENDING", "Not yet", "under way"), ("IN_DOUBT", "Not known", "in doubt")]
)
def test_a_capture_under_way_may_have_taken_it(state: str, short: str, words: str) -> None:
    """Nobody says that nothing was taken while a capture is not settled."""
    asked = [operation("authorize", "SUCCEEDED"), operation("capture", state, 900)]
    told = story(payment(status="AUTHORIZED", authorized=1050, captured=0, operations=asked), money="9.00 INR is being taken.")
    found = answers(told)
    assert (found[CHARGED].short, found[CHARGED].text) == (short, "9.00 INR is being taken.")
    assert (found[WHEN].short, found[WHEN].text) == ("Not yet", f"The capture of 9.00 INR is {words}.")


def test_the_customer_who_has_to_act() -> None:
    """Until when."""
    p = payment(status="REQUIRES_ACTION", captured=0, actionExpiresAt="2026-11-26T11:00:00Z")
    said = answer(story(p, money="The customer has to act.", lines=[]), WHEN)
    assert said.text.startswith("When the customer has acted at the provider on 26 Nov 2026 at 11:00:00 UTC at the latest.")


def test_why_this_provider() -> None:
    """The rule, the order, who was skipped with the why, and each attempt in the words of its first step."""
    route = {
        "by": "rule inr",
        "candidates": [
            candidate("razorpay_mock", "rule inr: currency INR"),
            candidate("mock", "fallback: takes INR"),
            candidate("stripe_mock", "does not take INR", taken=False),
            candidate("payu_mock", "does not take INR", taken=False),
        ],
    }
    moved = "the charge is sent to mock (next of the route; passed over: razorpay_mock (circuit breaker open))"
    lines = [
        line("Planned", "an order is created at razorpay_mock (first of the route)", call=call("create")),
        line("Planned", moved, call=call("fire", 2, "mock")),
        line("Planned", "mock is asked what happened", call=call("read", 2, "mock")),
    ]
    assert answer(story(route=route, lines=lines), WHY).text == (
        "By rule inr: razorpay_mock (rule inr: currency INR), then mock. "
        "stripe_mock, payu_mock were skipped: does not take INR. "
        f"Attempt 1: an order is created at razorpay_mock (first of the route). Attempt 2: {moved}."
    )


def test_no_route_yet() -> None:
    """Nothing is guessed from the provider's name."""
    assert "No route is on record yet" in answer(story(route={"by": "", "candidates": []}), WHY).text


def test_how_often_it_was_sent() -> None:
    """Several sends frighten: how many, and which of them could only be charged once."""
    lines = [
        line("Planned", "sent", call=call("fire")),
        line("Planned", "sent again", call=call("replay")),
        line("Planned", "given back", call=call("refund", operation=2)),
        line("Planned", "sent", call=call("fire", 2)),
    ]
    said = answer(story(lines=lines), TWICE).text
    assert "The charge was sent twice in 2 attempts and once more under the same key" in said


@pytest.mark.parametrize(
    ("state", "short", "words"),
    [
        ("SUCCEEDED", "Yes", "2.50 INR was given back as asked (re_1)."),
        ("PENDING", "Not yet", "2.50 INR is being given back (re_1)"),
        ("FAILED", "No", "The refund of 2.50 INR failed (refund_refused)"),
        ("IN_DOUBT", "Not known", "may have been done"),
    ],
)
def test_refunds(state: str, short: str, words: str) -> None:
    """Each state in words, and one word for all."""
    refund = operation("refund", state, 250, "re_1", "refund_refused" if state == "FAILED" else None)
    said = answer(story(payment(operations=[operation("charge", "SUCCEEDED"), refund])), BACK)
    assert (said.short, words in said.text) == (short, True)


def test_a_refund_under_way_is_not_settled() -> None:
    """A final payment with an open refund: not yet, and which one; the page goes on asking."""
    told = story(payment(operations=[operation("charge", "SUCCEEDED"), operation("refund", "PENDING", 250)]))
    assert answer(told, WHEN).short == "Not yet"
    assert "Not settled: the refund of 2.50 INR." in answer(told, WHEN).text
    assert not resting(told)
    assert resting(story())
    assert not resting(story(payment(status="IN_DOUBT")))
