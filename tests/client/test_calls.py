"""What the client sends again, and what it makes of answers: without I/O."""

from typing import Any

import msgspec
import pytest

from payonce.client import calls, problems
from payonce.client.answers import Payment
from payonce.client.calls import Answer, NoAnswer, Patience, Pause, Send, Woken
from payonce.client.problems import BadAnswer, ClientError, Problem, StillPending, Unanswered
from payonce.core.errors import PROBLEMS
from payonce.shown.bodies import OperationBody, OperationEntry, PaymentBody

PATIENCE = Patience(total_s=60, dice=lambda: 0.5)
PAYMENT = {
    "transactionId": "pay_1",
    "status": "PENDING",
    "amount": 1050,
    "currency": "INR",
    "attempts": 0,
    "idempotencyKey": "k",
    "mode": "test",
    "createdAt": "",
    "updatedAt": "",
}
DONE = (202, msgspec.json.encode(PAYMENT))


def refused(code: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """A problem of the server."""
    about = PROBLEMS[code]
    body = {"status": about.status, "code": code, "title": about.title, "detail": "d", "money": about.money, "next": about.next}
    return about.status, msgspec.json.encode(body), {name.replace("_", "-"): value for name, value in headers.items()}


class Driver:
    """Runs a flow against a list of replies, with a clock of its own."""

    def __init__(self, *replies: Any, lasts_s: float = 0.0) -> None:
        self.replies, self.lasts_s = list(replies), lasts_s
        self.now, self.sent, self.pauses = 100.0, list[Send](), list[float]()

    def run(self, flow: Any) -> Any:
        try:
            step = next(flow)
            while True:
                step = flow.send(self._answer(step))
        except StopIteration as done:
            return done.value

    def _answer(self, step: Send | Pause) -> Any:
        if isinstance(step, Pause):
            self.now += step.seconds
            self.pauses += [step.seconds] if step.seconds else []
            return Woken(self.now)
        self.sent.append(step)
        self.now += self.lasts_s
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, str):
            return NoAnswer(reply, self.now)
        status, body, *headers = reply
        return Answer(status, headers[0] if headers else {}, body, self.now)


def pay(driver: Driver, key: str = "k") -> Payment:
    found: Payment = driver.run(calls.post("/payments", {"amount": 1050, "currency": None}, key, Payment, PATIENCE))
    return found


AGAIN = ["lost", refused("retry_same_key"), refused("rate_limited"), refused("request_in_progress"), refused("over_capacity")]
AGAIN += [refused("internal_error"), refused("body_timeout"), (502, b"<html>"), (504, b"")]


@pytest.mark.parametrize("first", AGAIN)
def test_what_may_pass_is_sent_again_under_the_same_key(first: Any) -> None:
    """Nothing in a second try differs from the first."""
    driver = Driver(first, first, DONE)
    assert pay(driver).transaction_id == "pay_1"
    assert len(driver.sent) == 3
    assert len({(s.method, s.path, s.body, s.headers) for s in driver.sent}) == 1
    assert ("idempotency-key", "k") in driver.sent[0].headers


FINAL = [code for code in PROBLEMS if PROBLEMS[code].status not in calls.AGAIN and code != "request_in_progress"]


@pytest.mark.parametrize("code", FINAL)
def test_a_refusal_is_its_own_exception_and_is_not_asked_again(code: str) -> None:
    """Each code has a class; it carries the key, the state of the money and what to do."""
    driver = Driver(refused(code))
    with pytest.raises(problems.BY_CODE[code]) as raised:
        pay(driver)
    error = raised.value
    assert (error.code, error.money, error.next) == (code, PROBLEMS[code].money, PROBLEMS[code].next)
    assert (error.idempotency_key, error.maybe_done, len(driver.sent)) == ("k", False, 1)


def test_there_is_a_class_for_every_code() -> None:
    """The client's table is the server's."""
    assert set(problems.BY_CODE) == set(PROBLEMS)


def test_a_code_of_a_newer_server_is_a_plain_problem() -> None:
    """What is not known yet can still be caught, with its code."""
    driver = Driver((418, msgspec.json.encode({"status": 418, "code": "teapot"})))
    with pytest.raises(Problem) as raised:
        pay(driver)
    assert type(raised.value) is Problem
    assert raised.value.code == "teapot"


def test_without_any_answer_it_ends_unanswered() -> None:
    """After all patience the caller learns that it is not known, and has the key to ask again with."""
    driver = Driver("ReadTimeout", lasts_s=1)
    with pytest.raises(Unanswered) as raised:
        pay(driver)
    assert (raised.value.idempotency_key, raised.value.maybe_done) == ("k", True)
    assert 40 < driver.now - 100 < 62  # patience, and one last try
    assert len(driver.sent) > 5


def test_a_refusal_after_a_lost_answer_does_not_say_that_nothing_was_done() -> None:
    """The first try may have been accepted before the key was revoked."""
    driver = Driver("ReadError", refused("key_invalid"))
    with pytest.raises(problems.KeyInvalid) as raised:
        pay(driver)
    assert raised.value.maybe_done


def test_the_pause_grows_and_heeds_retry_after() -> None:
    """Never sooner than the server asks for, and not for ever."""
    driver = Driver(*["x"] * 4, refused("rate_limited", retry_after="7"), DONE)
    pay(driver)
    assert driver.pauses[:4] == sorted(driver.pauses[:4])
    assert driver.pauses[4] >= 7
    with pytest.raises(problems.RateLimited):
        pay(Driver(refused("rate_limited", retry_after="3600")))


@pytest.mark.parametrize("body", [b"", b"<html>it works</html>", b"[]", b'{"transactionId": 5}', b"\xff"])
def test_a_stranger_that_answers_is_seen(body: bytes) -> None:
    """A success that is no payment is not taken for one: it may have been done."""
    with pytest.raises(BadAnswer) as raised:
        pay(Driver((200, body)))
    assert raised.value.maybe_done


def test_reads_ask_again_and_carry_no_key() -> None:
    """A read that fails is repeated; nothing is ever in doubt by it."""
    driver = Driver("lost", (200, DONE[1]))
    driver.run(calls.payment("pay_1/../x", PATIENCE))
    assert driver.sent[0].path == "/payments/pay_1%2F..%2Fx"
    assert driver.sent[0].headers == ()
    with pytest.raises(ClientError) as raised:
        Driver("lost").run(calls.payment("pay_1", PATIENCE))
    assert not raised.value.maybe_done


def test_wait_ends_when_it_is_at_rest() -> None:
    """It reads until nothing is under way, more slowly each time."""
    rest = msgspec.json.encode(PAYMENT | {"status": "SUCCESS"})
    driver = Driver(DONE, DONE, DONE, (200, rest))
    found = driver.run(calls.wait("pay_1", 30, lambda p: p.at_rest, PATIENCE))
    assert found.status == "SUCCESS"
    assert driver.pauses == sorted(driver.pauses)


def test_wait_gives_up_and_says_what_it_saw() -> None:
    """The payment is not lost: the exception has it."""
    driver = Driver(DONE)
    with pytest.raises(StillPending) as raised:
        driver.run(calls.wait("pay_1", 5, lambda p: p.at_rest, PATIENCE))
    assert raised.value.payment.status == "PENDING"
    assert driver.now == pytest.approx(105)


def test_a_refund_under_way_is_not_at_rest() -> None:
    """SUCCESS with a PENDING refund goes on; a reversal, which nobody asked for, is not waited for."""

    def rests(kind: str, status: str) -> bool:
        asked = {"operationId": "op", "transactionId": "p", "kind": kind, "status": status, "amount": 1, "currency": "INR"}
        raw = PAYMENT | {"status": "SUCCESS", "operations": [asked | {"createdAt": ""}]}
        return msgspec.convert(raw, Payment).at_rest

    assert [rests("refund", "PENDING"), rests("refund", "SUCCEEDED"), rests("reversal", "PENDING")] == [False, True, True]


@pytest.mark.parametrize(("ours", "theirs"), [(Payment, PaymentBody), (calls.Operation, OperationBody)])
def test_the_client_knows_every_field(ours: Any, theirs: Any) -> None:
    """What the API answers is what the client shows, name by name."""
    assert set(ours.__struct_fields__) == set(theirs.__struct_fields__)
    assert set(OperationEntry.__struct_fields__) <= set(calls.Operation.__struct_fields__)
