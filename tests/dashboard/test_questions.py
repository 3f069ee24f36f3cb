"""Questions about a payment are answered from its story alone, and where that does not tell, the answer says so."""

import pytest

from payonce.dashboard.questions import Answer, answers, resting
from payonce.shown.returning import ONLY_HELD
from payonce.shown.standing import GIVEN_BACK_SAID

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
    ("state", "short", "words"),
    [("PENDING", "In part", "is being given back"), ("IN_DOUBT", "Not known", "may not have been")],
)
def test_a_second_charge_that_is_not_back_yet(state: str, short: str, words: str) -> None:
    """It is said to be there, and how far its return is; never a plain no."""
    p = payment(operations=[operation("charge", "SUCCEEDED"), operation("reversal", state, reason="horizon")])
    found = answers(story(p))
    assert found[TWICE].short == short
    assert words in found[TWICE].text
    assert found[WHEN].short == "Not yet"


def test_a_second_charge_that_cannot_go_back() -> None:
    """Charged twice, in the words of the sentence on the money, which has the amounts and references; and not settled."""
    p = payment(
        attention="reversal_unresolved",
        operations=[operation("charge", "SUCCEEDED"), operation("reversal", "FAILED", reason="refund_refused")],
    )
    told = story(p, money="10.50 INR was taken (ch_1) and is kept. A second charge could not.", next="Give it back at mock")
    found = answers(told)
    assert (found[TWICE].short, found[TWICE].text) == ("Yes", f"{told['money']} {told['next']}.")
    assert (found[WHEN].short, "the reversal of 10.50 INR" in found[WHEN].text) == ("Not yet", True)
    assert "Give it back at mock" in found[WHEN].text


@pytest.mark.parametrize(
    ("state", "charged"), [("PENDING", "Yes"), ("FAILED", "Yes"), ("IN_DOUBT", "Not known"), ("SUCCEEDED", "No")]
)
def test_a_late_charge(state: str, charged: str) -> None:
    """Until it is back the customer was charged, and nothing is settled."""
    asked = [operation("charge", "FAILED"), operation("reversal", state, reason="refund_refused")]
    back = 1050 if state == "SUCCEEDED" else 0
    p = payment(status="FAILED", captured=0, reversed=back, reason="late_success_declined", operations=asked)
    found = answers(story(p, money="10.50 INR was taken late at mock (ch_1).", next="Look."))
    assert found[CHARGED].short == charged
    assert found[WHEN].short == ("Yes" if back else "Not yet")
    assert ("No charge is kept" in found[TWICE].text) == bool(back)
    held = answers(story(p, money=f"10.50 INR {ONLY_HELD} at mock (ch_1), late."))
    assert held[CHARGED].short == "No"
    assert "A late hold of 10.50 INR" in held[TWICE].text


def test_two_late_charges_are_two() -> None:
    """Neither could be given back."""
    asked = [operation("charge", "FAILED"), *(operation("reversal", "FAILED", reason="refund_refused") for _ in range(2))]
    p = payment(status="FAILED", captured=0, attention="reversal_unresolved", operations=asked)
    assert answer(story(p, money="Both were taken late."), TWICE).short == "Yes"


def test_what_needs_eyes_is_not_settled() -> None:
    """Beside an end another attempt is unclear: neither settled, nor surely uncharged. An accepted amount is settled."""
    p = payment(status="FAILED", captured=0, attention="attempt_unresolved")
    found = answers(story(p))
    assert [a.short for a in found[:3]] == ["Not known", "Not known", "Not yet"]
    assert "No charge is kept" not in found[TWICE].text
    assert answer(story(payment(attention="amount_accepted")), WHEN).short == "Yes"


@pytest.mark.parametrize(
    ("amounts", "says"),
    [
        ([300], "One charge is kept, 7.50 INR of 10.50 INR at razorpay_mock (ch_1)."),
        ([300, 750], "One charge of 10.50 INR was made at razorpay_mock (ch_1); it was given back in full, none is kept."),
    ],
)
def test_what_was_refunded_is_not_kept(amounts: list[int], says: str) -> None:
    """The rest is, if there is one."""
    asked = [operation("charge", "SUCCEEDED"), *(operation("refund", "SUCCEEDED", each) for each in amounts)]
    assert answer(story(payment(refunded=sum(amounts), operations=asked)), TWICE).text.startswith(says)


def test_a_refund_under_way_is_told_beside_what_is_kept() -> None:
    """It is neither kept for long nor back yet."""
    p = payment(operations=[operation("charge", "SUCCEEDED"), operation("refund", "PENDING", 250)])
    assert "2.50 INR is being given back." in answer(story(p), CHARGED).text
    assert "2.50 INR is being given back." in answer(story(p), TWICE).text


def test_a_charge_that_an_operator_recorded_as_given_back() -> None:
    """The payment stays succeeded; every answer says what was recorded of it."""
    money = f"11.50 INR was taken (ch_1), and {GIVEN_BACK_SAID}."
    found = answers(story(payment(captured=1150), money=money))
    assert [a.short for a in found] == ["Yes", "No", "Yes", "", "Yes"]
    assert all("ecorded that it was given back" in found[which].text for which in (CHARGED, TWICE, BACK))
    assert "is kept" not in found[TWICE].text


def test_a_hold_that_was_released_did_not_lapse() -> None:
    """Some providers show a hold that was voided in the same words as one that ran out."""
    error = {"code": "hold_lapsed", "message": "The hold ran out."}
    released = payment(status="CANCELED", reason="voided", captured=0, lastError=error)
    assert "hold_lapsed" not in answer(story(released, money="It was released as asked."), CHARGED).text
    lapsed = payment(status="CANCELED", reason="authorization_expired", captured=0, lastError=error)
    assert "hold_lapsed" in answer(story(lapsed, money="It was held."), CHARGED).text


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
