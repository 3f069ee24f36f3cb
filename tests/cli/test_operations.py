"""capture, void, refund, refunds, and resolve --operation: on a real store with the sandbox, without a server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from payonce.adapter import NextAction
from payonce.bootstrap import open_app
from payonce.config import load
from payonce.core.apply import extend
from payonce.core.events import Judged
from payonce.core.idempotency import NewPayment
from payonce.core.operations import NewOperation
from payonce.ports import Change
from payonce.shown.standing import waits_for

from .conftest import Payonce

pytestmark = pytest.mark.usefixtures("one_account")

Paid = Callable[..., dict[str, Any]]
ID = "transactionId"


def held(paid: Paid) -> str:
    payment = paid("tok_ok", "--capture-method", "manual")
    assert (payment["status"], payment["authorized"], payment["captureMethod"]) == ("AUTHORIZED", 1050, "manual")
    return str(payment[ID])


def test_pay_holds_and_says_until_when(payonce: Payonce) -> None:
    """Manual capture waits for the hold, ends with 0, and says how it goes on."""
    args = ("--amount", "1050", "--currency", "INR", "--method", "tok_ok", "--capture-method", "manual", "--wait", "20")
    ran = payonce("pay", *args)
    assert ran.code == 0
    assert "10.50 INR is held, not taken; the hold ends " in ran.out
    assert "Next: payonce capture pay_" in ran.err


def test_a_hold_is_captured_in_part(payonce: Payonce, paid: Paid) -> None:
    """capture --wait ends with 0 when the money was taken; show tells it, with the part that was not."""
    id = held(paid)
    ran = payonce("capture", id, "--amount", "600", "--key", "c-1", "--wait", "20")
    assert ran.code == 0
    assert ran.out.split()[0] == "capture"
    assert "6.00 INR  SUCCEEDED" in ran.out
    assert "Accepted: capture op_" in ran.err
    assert "(key c-1)" in ran.err
    story = payonce("show", id).out
    for words in (
        "a capture of 6.00 INR is asked (op_",
        "mock is told to take the held money: 6.00 INR",
        "took the held 6.00 INR",
        "-> SUCCESS",
        "6.00 INR of the 10.50 INR that were held was taken, once",
    ):
        assert words in story
    again = payonce("capture", id, "--amount", "600", "--key", "c-1", "--json")
    assert (again.code, again.json["status"], again.json["payment"]["captured"]) == (0, "SUCCEEDED", 600)


def test_a_hold_is_voided(payonce: Payonce, paid: Paid) -> None:
    """void --wait ends with 0; the payment is CANCELED, and the story says that nothing is kept."""
    id = held(paid)
    ran = payonce("void", id, "--wait", "20", "--json")
    assert (ran.code, ran.json["status"], ran.json["payment"]["status"]) == (0, "SUCCEEDED", "CANCELED")
    story = payonce("show", id).out
    for words in (
        "a void is asked (op_",
        "mock is told to release the held money",
        "was held and not taken",
        "CANCELED (voided)",
    ):
        assert words in story


def test_refunds_are_given_and_listed(payonce: Payonce, paid: Paid) -> None:
    """Parts, then the rest without an amount; the list has them in order, and more is refused with 5."""
    id = paid("tok_ok")[ID]
    assert payonce("refunds", id).err == f"{id} has no refund.\n"
    assert payonce("refund", id, "--amount", "250", "--wait", "20").code == 0
    assert payonce("refund", id, "--wait", "20").code == 0
    ran = payonce("refunds", id)
    head, *rows = [line.split("\t") for line in ran.out.splitlines()]
    assert head[:4] == ["OPERATION", "STATUS", "AMOUNT", "CURRENCY"]
    assert [row[1:4] for row in rows] == [["SUCCEEDED", "2.50", "INR"], ["SUCCEEDED", "8.00", "INR"]]
    assert all(row[5].startswith("re_") for row in rows)
    assert [o["amount"] for o in payonce("refunds", id, "--json").json["data"]] == [250, 800]
    over = payonce("refund", id, "--amount", "1")
    assert (over.code, over.out) == (5, "")
    assert "amount_exceeds_available" in over.err
    assert "The payment stands as it was" in over.err
    assert "10.50 INR was given back as asked" in payonce("show", id).out


def test_without_wait_it_is_only_accepted(payonce: Payonce, paid: Paid) -> None:
    """The refund is durable, and whatever worker there is does it."""
    id = paid("tok_ok")[ID]
    ran = payonce("refund", id, "--amount", "5", "--json")
    assert (ran.code, ran.json["status"], ran.json["payment"]["refunded"]) == (0, "PENDING", 0)
    assert "0.05 INR is being given back" in payonce("show", id).out
    assert "Due    give the money back at mock, now" in payonce("show", id).out


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("capture", "{id}"), 5, "operation_not_possible"),
        (("void", "{id}"), 5, "refund it"),
        (("refund", "{id}", "--amount", "0"), 2, "amount must be an integer in minor units"),
        (("refund", "{id}", "--amount", "10.5"), 2, "is not a whole number"),
        (("refund", "{id}", "--amount", "-5"), 2, ""),
        (("refund", "{id}", "--amount", "1051"), 5, "amount_exceeds_available"),
        (("refund", "{id}", "--key", ""), 2, "--key is empty"),
        (("refund", "{id}", "--key", "a b"), 2, "idempotency_key_invalid"),
        (("refund", "{id}", "--key", "pay-1"), 5, "idempotency_key_reused"),
        (("refund", "{id}", "--url", ""), 2, "--url is empty"),
        (("refund", "{id}", "--url", "http://127.0.0.1:9"), 6, "Run the same command again with --key"),
        (("refund", "pay_00000000000000000000"), 3, "nothing is known under"),
        (("refund", "{id}", "--data-dir", "elsewhere"), 2, "there is no store"),
        (("refunds", "nothing"), 3, "nothing is known under"),
    ],
)
def test_what_is_refused(payonce: Payonce, paid: Paid, args: tuple[str, ...], code: int, said: str) -> None:
    """One message with the state of the money, and the exit code of its kind; nothing was asked."""
    id = paid("tok_ok", "--key", "pay-1")[ID]
    ran = payonce(*(arg.format(id=id) for arg in args))
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert len(payonce("show", id, "--json").json["payment"]["operations"]) == 1


def test_a_customer_is_sent_to_the_provider(payonce: Payonce, paid: Paid) -> None:
    """pay says at once where to and until when, and goes on waiting; show says it too."""
    pay = ("pay", "--amount", "1050", "--currency", "INR", "--method", "tok_action", "--key", "act-1", "--wait", "1.5")
    ran = payonce(*pay, "--return-url", "https://shop.invalid/", "--action-expires-in", "600")
    assert ran.code == 6
    assert "Send the customer to http" in ran.err
    assert "The customer has to act at the provider until " in ran.out
    shown = payonce("show", "act-1", "--json").json
    assert shown["payment"]["nextAction"]["url"] in ran.err
    assert shown["payment"]["nextAction"]["url"] in shown["next"]
    assert "it waits for the customer" in shown["due"]
    assert payonce("void", "act-1").code == 0
    after = payonce("show", "act-1", "--json").json
    assert after["payment"]["nextAction"] is None
    assert "to be voided" in after["money"]


@pytest.mark.parametrize(
    ("todo", "says"),
    [
        (NextAction(type="redirect", url="https://b.invalid/x"), "Send the customer to https://b.invalid/x, until 18 Nov 2026"),
        (
            NextAction(type="redirect", url="https://b.invalid/", method="POST", fields={"PaReq": "secret", "MD": ""}),
            "Send the customer to https://b.invalid/, with a form of PaReq, MD that is sent with POST, until 18 Nov 2026",
        ),
        (NextAction(type="upi_intent", url="upi://pay?pa=x@y"), "scan it as a QR code, until 18 Nov 2026"),
        (NextAction(type="upi_collect"), "The customer was asked in the UPI app: to be approved there, until 18 Nov 2026"),
        (NextAction(type="redirect", url="https://b.invalid/\x1b[2J"), "https://b.invalid/ [2J"),
    ],
)
def test_every_kind_of_action_is_told(todo: NextAction, says: str) -> None:
    """Where to send the customer and how, in words; what the form holds is not printed, and no text moves the cursor."""
    told = waits_for((todo, 1_795_000_000_000_000))
    assert says in told
    assert "secret" not in told
    assert "until" not in waits_for((todo, 0))


async def _doubtful(data: Path, kind: str) -> tuple[str, str]:
    """A payment with an operation that is put in doubt, as the horizon of a provider that never tells would."""
    settings = load({"store.data_dir": str(data)}, {}, data.parent / "payonce.toml")
    async with open_app(settings) as app:
        wish = NewPayment(amount_minor=1050, currency="INR", capture_method="manual" if kind != "refund" else "automatic")
        id = (await app.engine.submit(app.scope, wish, "doubt-1", actor="test")).payment.id
        await app.engine.advance(id)
        asked = NewOperation(kind=kind, payment_id=id)  # type: ignore[arg-type]
        p = (await app.engine.submit(app.scope, asked, "doubt-2", actor="test")).payment
        doubt = Judged(what="operation_IN_DOUBT", reason="horizon", operation=2)
        after, entries = extend(p, [doubt], at_us=app.clock.now_us(), actor="test")
        await app.store.commit(Change(payment=after, entries=tuple(entries), due_us=None), p.version)
        return id, after.operations[1].id


DECISIONS = (  # operation, decision -> its state, the payment's status, captured, refunded
    ("capture", "done", ("SUCCEEDED", "SUCCESS", 1050, 0)),
    ("capture", "not-done", ("FAILED", "AUTHORIZED", 0, 0)),
    ("void", "done", ("SUCCEEDED", "CANCELED", 0, 0)),
    ("refund", "done", ("SUCCEEDED", "SUCCESS", 1050, 1050)),
    ("refund", "not-done", ("FAILED", "SUCCESS", 1050, 0)),
)


@pytest.mark.parametrize(("kind", "decision", "ends"), DECISIONS)
def test_an_operator_decides_on_an_operation(
    payonce: Payonce, data: Path, kind: str, decision: str, ends: tuple[object, ...]
) -> None:
    """show names the command; the decision settles the operation and the payment, on record."""
    id, op = asyncio.run(_doubtful(data, kind))
    shown = payonce("show", id, "--json").json
    assert f"payonce resolve {id} --operation {op} --as done|not-done --reason TEXT" in shown["next"]
    assert "may have been" in shown["money"]
    ran = payonce("resolve", id, "--operation", op, "--as", decision, "--reason", "seen there, AB", "--yes", "--json")
    assert ran.code == 0, ran.err
    view = ran.json
    assert (view["operations"][1]["status"], view["status"], view["captured"], view["refunded"]) == ends
    story = payonce("show", id).out
    assert f"an operator decided: the {kind} ({op}) was {decision}, because: seen there, AB" in story


def test_what_resolve_refuses_of_operations(payonce: Payonce, data: Path) -> None:
    """--operation goes with done and not-done only, needs a reason, and knows only what is in doubt."""
    id, op = asyncio.run(_doubtful(data, "refund"))
    for args, code, said in (
        (("--as", "done", "--reason", "r"), 2, "belong together"),
        (("--operation", op, "--as", "charged", "--reason", "r"), 2, "belong together"),
        (("--operation", op, "--as", "done", "--reason", " "), 2, "needs --reason"),
        (("--operation", "op_00000000000000000000", "--as", "done", "--reason", "r"), 5, f"in doubt: {op}"),
        (("--operation", op, "--as", "done", "--reason", "r", "--amount", "5"), 2, "--as charged only"),
    ):
        ran = payonce("resolve", id, *args, "--yes")
        assert (ran.code, ran.out) == (code, ""), ran.err
        assert said.lower() in ran.err.lower()
    assert payonce("show", id, "--json").json["payment"]["operations"][1]["status"] == "IN_DOUBT"
