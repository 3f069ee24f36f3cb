"""pay, show, list, resolve: on a real store, without a server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Payonce

pytestmark = pytest.mark.usefixtures("one_account")

Paid = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [("tok_ok", "SUCCESS", 0), ("tok_decline_stolen_card", "FAILED", 5), ("tok_wrong_amount", "IN_DOUBT", 1)],
)
def test_pay_waits_for_the_end_and_says_it_in_its_exit_code(payonce: Payonce, token: str, status: str, code: int) -> None:
    """0 charged, 5 declined, 1 in doubt; the JSON is the API's object."""
    ran = payonce("pay", "--amount", "1050", "--currency", "inr", "--method", token, "--wait", "20", "--json")
    assert ran.code == code
    assert (ran.json["status"], ran.json["amount"], ran.json["currency"]) == (status, 1050, "INR")
    assert {"transactionId", "attempts", "lastError", "idempotencyKey", "createdAt"} <= set(ran.json)


def test_pay_that_is_not_settled_in_time_ends_with_6(payonce: Payonce) -> None:
    """A payment that is still open after --wait is neither a success nor a failure."""
    ran = payonce("pay", "--amount", "5", "--currency", "JPY", "--method", "tok_never_resolves", "--wait", "0.3")
    assert ran.code == 6
    assert "PENDING" in ran.out


def test_the_same_key_never_pays_twice(payonce: Payonce) -> None:
    """A repeat answers with the first payment; another request under the key is refused with 5."""
    args = ("pay", "--currency", "INR", "--method", "tok_ok", "--key", "order-1", "--wait", "10", "--json")
    first, second = payonce(*args, "--amount", "700"), payonce(*args, "--amount", "700")
    other = payonce(*args, "--amount", "701")
    assert first.json["transactionId"] == second.json["transactionId"]
    assert (other.code, other.out) == (5, "")
    assert "idempotency_key_reused" in other.err
    assert "What the first request did stands unchanged" in other.err


def test_pay_without_wait_only_accepts(payonce: Payonce) -> None:
    """Without --wait it is accepted and left to whatever worker there is."""
    ran = payonce("pay", "--amount", "700", "--currency", "INR", "--metadata", "order=7", "--metadata", "note=a=b", "--json")
    assert (ran.code, ran.json["status"]) == (0, "PENDING")
    assert ran.json["metadata"] == {"order": 7, "note": "a=b"}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--amount", "0", "--currency", "INR"), 2, "amount must be an integer in minor units"),
        (("--amount", "5", "--currency", "XXX"), 2, "ISO 4217"),
        (("--amount", "5", "--currency", "INR", "--metadata", "a"), 2, "name=value"),
        (("--amount", "5", "--currency", "INR", "--provider", "nobody"), 5, "no_route"),
        (("--amount", "5", "--currency", "INR", "--description", "4242 4242 4242 4242"), 5, "card_number_refused"),
        (("--amount", "5", "--currency", "INR", "--url", "http://127.0.0.1:9"), 6, "Run the same command again with --key"),
    ],
)
def test_what_pay_refuses(payonce: Payonce, args: tuple[str, ...], code: int, said: str) -> None:
    """A refused payment ends with its code and one message that says the state of the money."""
    ran = payonce("pay", *args)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "4242" not in ran.err
    assert "Traceback" not in ran.err


def test_show_tells_the_story(payonce: Payonce, paid: Paid) -> None:
    """The lost answer, the waiting, the question, the answer, and what state the money is in."""
    payment = paid("tok_lost_response", "--key", "story-1")
    ran = payonce("show", payment["transactionId"])
    assert ran.code == 0
    for words in (
        "accepted: 10.50 INR",
        "the charge is sent to mock",
        "no usable answer, it may or may not have happened",
        "of waiting",
        "mock is asked what happened",
        "they show: charged 10.50 INR",
        "-> SUCCESS",
        "Money  10.50 INR was taken, once",
        "Do     Nothing",
    ):
        assert words in ran.out
    assert "\x1b" not in ran.out


def test_show_finds_a_payment_by_every_name_it_has(payonce: Payonce, paid: Paid) -> None:
    """Id, idempotency key, our reference and the provider's id lead to the same payment."""
    payment = paid("tok_ok", "--key", "names-1")
    reference = payment["transactionId"][4:] + "0100"
    for name in (payment["transactionId"], "names-1", reference, payment["providerRef"]):
        ran = payonce("show", name, "--json")
        assert ran.json["payment"]["transactionId"] == payment["transactionId"], name


def test_show_json_is_payment_history_and_words(payonce: Payonce, paid: Paid) -> None:
    """--json gives the API's payment and history, the timeline in words, and what to do next."""
    ran = payonce("show", paid("tok_ok")["transactionId"], "--json")
    told = ran.json
    assert [e["kind"] for e in told["history"]] == ["Accepted", "Planned", "Observed"]
    assert [e["seq"] for e in told["timeline"]] == [1, 2, 3]
    assert (told["payment"]["status"], told["due"]) == ("SUCCESS", None)
    assert "taken, once" in told["money"]


def test_show_says_what_is_due_and_why(payonce: Payonce, paid: Paid) -> None:
    """An open payment shows what happens next, when, and why it waits."""
    payment = paid("tok_never_resolves", wait="0.3")
    ran = payonce("show", payment["transactionId"])
    assert "Due    ask mock what happened" in ran.out
    assert "the provider is still working on it" in ran.out


def test_show_masks_control_characters(payonce: Payonce, paid: Paid) -> None:
    """What a customer wrote cannot move the cursor of an operator's terminal."""
    payment = paid("tok_ok", "--client", "shop\u009b31m")
    assert "\u009b" not in payonce("show", payment["transactionId"]).out


@pytest.mark.parametrize("name", ["pay_00000000000000000000", "nothing", "' OR 1=1 --"])
def test_show_of_an_unknown_name_ends_with_3(payonce: Payonce, paid: Paid, name: str) -> None:
    """Unknown ids end with 3 and say where it looked."""
    paid("tok_ok")
    ran = payonce("show", name)
    assert (ran.code, ran.out) == (3, "")
    assert "--data-dir" in ran.err


@pytest.mark.parametrize("command", [("show", "pay_00000000000000000000"), ("list",), ("verify",), ("reconcile",)])
def test_a_mistyped_folder_is_no_empty_store(payonce: Payonce, data: Path, command: tuple[str, ...]) -> None:
    """Commands that look never make a store; they say that there is none."""
    ran = payonce(*command)
    assert (ran.code, ran.out) == (2, "")
    assert "there is no store at" in ran.err
    assert not data.exists()


def test_list_pages_and_filters(payonce: Payonce, paid: Paid) -> None:
    """Newest first, page by page, filtered; tab-separated for programs."""
    ids = [paid("tok_ok")["transactionId"], paid("tok_decline_stolen_card")["transactionId"], paid("tok_ok")["transactionId"]]
    page = payonce("list", "--limit", "2", "--json").json
    assert [p["transactionId"] for p in page["data"]] == ids[:0:-1]
    rest = payonce("list", "--limit", "2", "--cursor", page["nextCursor"], "--json").json
    assert ([p["transactionId"] for p in rest["data"]], rest["nextCursor"]) == (ids[:1], None)
    failed = payonce("list", "--status", "FAILED", "--since", "2020-01-01").out.splitlines()
    assert [line.split("\t")[:4] for line in failed] == [
        ["ID", "STATUS", "AMOUNT", "CURRENCY"],
        [ids[1], "FAILED", "10.50", "INR"],
    ]
    assert [p["transactionId"] for p in payonce("list", "--status", "failed", "--json").json["data"]] == [ids[1]]
    assert payonce("list", "--before", "2020-01-01").err == "No payment matches.\n"


@pytest.mark.parametrize("args", [("--cursor", "zzz"), ("--limit", "0"), ("--since", "yesterday"), ("--status", "done")])
def test_list_refuses_what_it_cannot_use(payonce: Payonce, paid: Paid, args: tuple[str, ...]) -> None:
    """A foreign cursor, a limit out of bounds, an unreadable time and an unknown status are usage errors."""
    paid("tok_ok")
    assert payonce("list", *args).code == 2


def test_resolve_records_a_decision(payonce: Payonce, paid: Paid) -> None:
    """IN_DOUBT leaves by a recorded decision with its reason; the API's object is the answer."""
    doubt = paid("tok_wrong_amount")["transactionId"]
    args = ("resolve", doubt, "--reason", "given back by phone, T-1", "--yes")
    assert payonce("show", doubt).out.count("payonce resolve") == 1
    ran = payonce(*args, "--as", "reversed", "--json")
    assert (ran.code, ran.json["status"], ran.json["reason"]) == (0, "FAILED", "reversed")
    story = payonce("show", doubt).out
    assert "an operator decided: reversed" in story
    assert "T-1" in story
    assert payonce(*args, "--as", "reversed").code == 5, "there is nothing to resolve any more"


def test_resolve_charged_needs_the_whole_truth(payonce: Payonce, paid: Paid) -> None:
    """A charge with another amount is kept only when the amount is accepted in so many words."""
    doubt = paid("tok_wrong_amount")["transactionId"]
    args = ("resolve", doubt, "--as", "charged", "--reason", "kept, T-2", "--yes")
    assert "--provider-ref and --amount" in payonce(*args).err
    differs = payonce(*args, "--provider-ref", "ch_000000000001", "--amount", "1150")
    assert (differs.code, "accept it explicitly" in differs.err) == (2, True)
    kept = payonce(*args, "--provider-ref", "ch_000000000001", "--amount", "1150", "--accept-amount", "--json")
    assert (kept.code, kept.json["status"], kept.json["captured"]) == (0, "SUCCESS", 1150)
    assert kept.json["attention"] == "amount_accepted"


def test_resolve_does_not_guess_without_a_terminal(payonce: Payonce, paid: Paid) -> None:
    """Without --yes and without a terminal nothing is recorded."""
    doubt = paid("tok_wrong_amount")["transactionId"]
    ran = payonce("resolve", doubt, "--as", "reversed", "--reason", "x")
    assert (ran.code, "Nothing was recorded" in ran.err) == (2, True)
    assert json.loads(payonce("show", doubt, "--json").out)["payment"]["status"] == "IN_DOUBT"
