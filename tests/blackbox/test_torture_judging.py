"""The judge of ``payonce torture``: the truth is clean, and each lie is found."""

from collections.abc import Callable
from typing import Any

import pytest

from payonce.testing.torture import WRONGS, judging
from payonce.testing.torture.clients import Posted
from tests.machine.story import KEYED, MANUAL, PID, T0, Story, found, no, yes

CALM = judging.Calm(T0 + 100_000_000, look_s=80)


class Told:
    """One payment that went well, as everybody tells it: the client, the API, the vendors' books, the history."""

    def __init__(self) -> None:
        self.posted = [Posted("k", {"amount": 100, "currency": "INR", "paymentMethod": "tok_ok"}, {PID})]
        self.payments: dict[str, dict[str, Any]] = {
            PID: {
                "transactionId": PID,
                "idempotencyKey": "k",
                "status": "SUCCESS",
                "reason": None,
                "amount": 100,
                "currency": "INR",
                "provider": "mock",
                "captured": 100,
                "refunded": 0,
                "captureMethod": "automatic",
                "attention": None,
                "operations": [
                    {"operationId": "op_1", "kind": "charge", "status": "SUCCEEDED", "amount": 100, "reference": None}
                ],
            }
        }
        paid = {"amount": 100, "currency": "INR", "providerRef": "ch_1"}
        self.charge = {"provider": "mock", "kind": "charge", "reference": PID[4:] + "0100", **paid}
        self.movements: list[dict[str, Any]] = [dict(self.charge)]
        self.entries = Story(KEYED).fire(0).saw(yes(), 1).entries

    def ask(self, kind: str, status: str = "SUCCEEDED", amount: int = 100, number: int = 2) -> str:
        """Something was asked of it; our reference of that."""
        reference = f"{PID[4:]}{number:02}00"
        asked = {"operationId": f"op_{number}", "kind": kind, "status": status, "amount": amount, "reference": reference}
        self.payments[PID]["operations"].append(asked)
        return reference

    def give(self, reference: str, amount: int = 100, kind: str = "refund") -> None:
        """The vendor's books show it."""
        self.movements.append({**self.charge, "kind": kind, "amount": amount, "refundReference": reference})

    def wrong(self) -> list[str]:
        """The kinds of all violations that are found, each once."""
        found = [*judging.wrong_overall(self.posted, self.payments, self.movements)]
        moved = judging.by_payment(self.movements)
        for id, payment in self.payments.items():
            found += judging.wrong_with_one(self.posted[0], payment, moved.get(id, []), self.entries, CALM)
        assert all(each.says for each in found)
        return [*dict.fromkeys(each.kind for each in found)]

    # what can be falsified

    def a_second_charge(self) -> None:
        self.movements.append({**self.charge, "providerRef": "ch_2", "reference": PID[4:] + "0101"})

    def a_charge_at_another_vendor(self) -> None:
        self.movements.append({**self.charge, "provider": "cashfree"})

    def a_capture_of_no_hold(self) -> None:
        self.movements[0]["kind"] = "capture"

    def a_second_capture_that_is_given_back(self) -> None:
        hold, taken = ({**self.charge, "kind": kind} for kind in ("authorize", "capture"))
        self.movements = [hold, taken, dict(taken), {**self.charge, "kind": "refund", "providerRef": "re_1"}]

    def no_charge(self) -> None:
        self.movements.clear()

    def a_wrong_amount(self) -> None:
        self.movements[0]["amount"] = 101

    def a_wrong_currency(self) -> None:
        self.movements[0]["currency"] = "USD"

    def a_charge_that_was_given_back(self) -> None:
        self.movements.append({**self.charge, "kind": "refund", "providerRef": "re_1"})

    def money_of_a_payment_that_was_forgotten(self) -> None:
        self.movements.append({**self.charge, "reference": "9" * 20 + "0100", "providerRef": "ch_2"})

    def a_lost_payment(self) -> None:
        self.payments.clear()
        self.movements.clear()

    def a_202_of_another_id(self) -> None:
        self.posted[0].ids = {"pay_" + "9" * 20}

    def two_answers_with_two_ids(self) -> None:
        self.posted[0].ids.add("pay_" + "9" * 20)

    def an_order_that_nobody_answered(self) -> None:
        self.posted.append(Posted("other", self.posted[0].body, set()))

    def a_payment_that_nobody_posted(self) -> None:
        self.payments[PID]["idempotencyKey"] = "whose"

    def two_payments_of_one_key(self) -> None:
        self.payments["pay_" + "9" * 20] = {**self.payments[PID], "transactionId": "pay_" + "9" * 20}

    def another_amount_than_posted(self) -> None:
        self.posted[0].body["amount"] = 99

    def failed_though_charged(self) -> None:
        self.payments[PID]["status"] = "FAILED"

    def a_status_that_went_back(self) -> None:
        self.posted[0].status = "FAILED"

    def pending_for_ever(self) -> None:
        self.payments[PID]["status"] = "PENDING"

    def another_end_than_its_token_has(self) -> None:
        self.posted[0].body["paymentMethod"] = "tok_decline_stolen_card"

    def money_at_another_account_than_it_named(self) -> None:
        self.posted[0].body["provider"] = "razorpay_mock"

    def too_little_captured(self) -> None:
        self.payments[PID]["captured"] = 99

    def a_refund_that_nobody_gave(self) -> None:
        self.ask("refund")
        self.payments[PID]["refunded"] = 100

    def a_refund_that_was_given_and_failed(self) -> None:
        self.give(self.ask("refund", "FAILED"))

    def a_refund_that_is_not_said(self) -> None:
        self.give(self.ask("refund"))

    def more_given_back_than_taken(self) -> None:
        for number in (2, 3):
            self.give(self.ask("refund", amount=60, number=number), 60)
        self.payments[PID]["refunded"] = 120

    def a_refund_given_twice(self) -> None:
        reference = self.ask("refund", amount=50)
        self.give(reference, 50)
        self.give(reference, 50)
        self.payments[PID]["refunded"] = 50

    def a_refund_for_ever(self) -> None:
        self.ask("refund", "PENDING")

    def another_amount_captured_than_asked(self) -> None:
        self.ask("capture", amount=90)

    def a_capture_and_a_void(self) -> None:
        self.ask("capture")
        self.ask("void", number=3)

    def voided_and_kept(self) -> None:
        self.ask("void")
        self.payments[PID] |= {"status": "CANCELED", "captured": 0, "captureMethod": "manual"}

    def voided_and_held_still(self) -> None:
        self.ask("void")
        self.payments[PID] |= {"status": "CANCELED", "captured": 0, "captureMethod": "manual"}
        self.movements = [{**self.charge, "kind": "authorize"}]

    def taken_though_nobody_asked(self) -> None:
        self.payments[PID]["captureMethod"] = "manual"

    def a_reversal_that_failed_and_nobody_knows(self) -> None:
        self.ask("reversal", "FAILED")

    def a_history_of_something_else(self) -> None:
        self.entries = Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).entries

    def a_history_with_a_hole(self) -> None:
        del self.entries[1]

    def no_history(self) -> None:
        self.entries = []


FOUND: dict[Callable[[Told], None], set[str]] = {
    Told.a_second_charge: {"doubled", "wrong"},
    Told.a_charge_at_another_vendor: {"doubled", "wrong"},
    Told.a_capture_of_no_hold: {"doubled"},
    Told.a_second_capture_that_is_given_back: {"doubled"},
    Told.no_charge: {"wrong"},
    Told.a_wrong_amount: {"wrong"},
    Told.a_wrong_currency: {"wrong"},
    Told.a_charge_that_was_given_back: {"wrong"},
    Told.money_of_a_payment_that_was_forgotten: {"lost"},
    Told.a_lost_payment: {"lost"},
    Told.a_202_of_another_id: {"lost", "key"},
    Told.two_answers_with_two_ids: {"lost", "key"},
    Told.an_order_that_nobody_answered: {"lost"},
    Told.a_payment_that_nobody_posted: {"key"},
    Told.two_payments_of_one_key: {"key", "wrong", "rules"},
    Told.another_amount_than_posted: {"wrong"},
    Told.failed_though_charged: {"wrong", "rules"},
    Told.a_status_that_went_back: {"lost"},
    Told.pending_for_ever: {"unsettled", "rules"},
    Told.another_end_than_its_token_has: {"wrong"},
    Told.money_at_another_account_than_it_named: {"wrong"},
    Told.too_little_captured: {"wrong"},
    Told.a_refund_that_nobody_gave: {"wrong"},
    Told.a_refund_that_was_given_and_failed: {"wrong"},
    Told.a_refund_that_is_not_said: {"wrong"},
    Told.more_given_back_than_taken: {"wrong"},
    Told.a_refund_given_twice: {"wrong"},
    Told.a_refund_for_ever: {"unsettled"},
    Told.another_amount_captured_than_asked: {"wrong"},
    Told.a_capture_and_a_void: {"wrong"},
    Told.voided_and_kept: {"wrong", "rules"},
    Told.voided_and_held_still: {"wrong", "rules"},
    Told.taken_though_nobody_asked: {"wrong"},
    Told.a_reversal_that_failed_and_nobody_knows: {"wrong"},
    Told.a_history_of_something_else: {"rules"},
    Told.a_history_with_a_hole: {"rules"},
    Told.no_history: {"lost"},
}


def test_the_truth_is_clean() -> None:
    """A payment about which everybody says the same has no violation; nor has one that was declined and kept nothing."""
    told = Told()
    assert told.wrong() == []
    told.posted[0].body["paymentMethod"] = "tok_decline_stolen_card"
    told.payments[PID] |= {"status": "FAILED", "captured": 0}
    told.movements.clear()
    told.entries = Story(KEYED).fire(0).saw(no(hard=True), 1).judge("FAILED", 2).entries
    assert told.wrong() == []


@pytest.mark.parametrize("lie", FOUND, ids=lambda lie: lie.__name__)
def test_each_lie_is_found(lie: Callable[[Told], None]) -> None:
    """One falsehood in what was true is reported, as what it is."""
    told = Told()
    lie(told)
    assert set(told.wrong()) == FOUND[lie]
    assert FOUND[lie] <= set(WRONGS)


@pytest.mark.parametrize(
    ("status", "reason", "at_s", "excused"),
    [
        ("IN_DOUBT", "horizon", 129, True),
        ("IN_DOUBT", "horizon", 131, False),  # by then every claim has run out and every read was due
        ("IN_DOUBT", "amount_mismatch", 50, False),
        ("FAILED", "no_provider_available", 189, True),
        ("FAILED", "no_provider_available", 191, False),
        ("FAILED", "do_not_honor", 79, False),  # it could still look for another account
        ("FAILED", "do_not_honor", 80, True),
    ],
)
def test_giving_up_is_excused_only_while_faults_last(status: str, reason: str, at_s: int, excused: bool) -> None:
    """A payment whose token is good for SUCCESS may end otherwise because of faults: for a reason of time, and not much
    later than their end, here after 100 s."""
    told = Told()
    story = Story(KEYED).fire(0)
    told.entries = (story if status == "IN_DOUBT" else story.saw(no(), 1)).judge(status, at_s, reason=reason).entries
    told.payments[PID] |= {"status": status, "reason": reason, "captured": 0}
    told.movements.clear()
    assert told.wrong() == ([] if excused else ["wrong"])


def test_an_account_that_faults_cost_excuses_the_decline_of_the_last_one() -> None:
    """The first account never got the charge and was left, the second declined: the token would have gone through on the
    next account, and there is none."""
    spoilt = Story(MANUAL, KEYED).boxed(0).fire(1, opens=False).read(50, found(container="open", container_id="box"))
    spoilt.judge("left", 51, attempt=0).fire(52, opens=True).saw(no(1), 53).judge("FAILED", 54)
    assert judging.outlasted(spoilt.p, spoilt.entries, CALM)
    twice = Story(KEYED, KEYED).fire(0).saw(no(), 1).fire(2, opens=True).saw(no(1), 3).judge("FAILED", 4)
    assert not judging.outlasted(twice.p, twice.entries, CALM)
